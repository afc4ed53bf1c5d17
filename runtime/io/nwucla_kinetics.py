"""Clips that are one JSON object: NW-UCLA's `all_sqe` and Kinetics-Skeleton (OpenPose).

NW-UCLA   {"file_name": "a01_s01_e00_v01", "skeletons": [T][20][3] meters in the camera frame, "label": 1…10}
Kinetics  {"data": [{"frame_index": 1…T or 0…T-1, "skeleton": [{"pose": [x, y, …], "score": […]}, …]}, …], "label": …}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..body.motion_data import MAX_PEOPLE, MotionData, as_array
from ..errors import InputError
from .text import read_text

FPS = 30.0
KINETICS_SIZE = np.array([340, 256], np.float32)  # pixels of its resized videos; poses are relative to it
MAX_FRAMES = 100_000


def read_nwucla_kinetics(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read a clip of NW-UCLA (kinect20) or of Kinetics-Skeleton (openpose18, pixels), detected by its keys."""
    try:
        clip = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"is not valid JSON ({error})") from None
    rate = FPS if fps is None else fps
    try:
        if isinstance(clip, dict) and "skeletons" in clip:
            return _nw_ucla(clip, layout or "kinect20", rate)
        if isinstance(clip, dict) and "data" in clip:
            return _kinetics(clip, layout or "openpose18", rate)
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"does not have the structure of its format ({type(error).__name__}: {error})") from None
    if isinstance(clip, dict) and "people" in clip:
        raise InputError("is one frame of OpenPose: name the folder of its frames")
    raise InputError("has neither 'skeletons' (NW-UCLA) nor 'data' (Kinetics-Skeleton)")


def _nw_ucla(clip: dict[str, Any], layout: str, fps: float) -> MotionData:
    joints = as_array("skeletons", clip["skeletons"], np.float32)
    if joints.ndim != 3:
        raise InputError(f"'skeletons' have shape {list(joints.shape)}, expected [T, 20, 3]")
    return MotionData(joints, fps, layout, meta={key: clip[key] for key in ("file_name", "label") if key in clip})


def _kinetics(clip: dict[str, Any], layout: str, fps: float) -> MotionData:
    """People are in the order of each frame, as the format has no ids across frames."""
    data = clip["data"]
    indices = [int(frame["frame_index"]) for frame in data]
    first = min([1, *indices])  # ST-GCN's files count from 1, some scripts from 0
    if first < 0:
        raise InputError("has a 'frame_index' below 0")
    frames = max(indices, default=0) + 1 - first
    people = max((len(frame["skeleton"]) for frame in data), default=0)
    if not 1 <= frames <= MAX_FRAMES:
        raise InputError(f"has {frames} frames, expected 1 to {MAX_FRAMES}")
    if not 1 <= people <= MAX_PEOPLE:
        raise InputError(f"{people} people, expected 1 to {MAX_PEOPLE}")
    joints = np.full((frames, people, 18, 2), np.nan, np.float32)
    confidence = np.zeros((frames, people, 18), np.float32)
    for t, frame in zip(indices, data, strict=True):
        for m, person in enumerate(frame["skeleton"]):
            score = as_array("score", person["score"], np.float32)
            with np.errstate(over="ignore"):  # overflow becomes infinite: a missing joint
                pose = as_array("pose", person["pose"], np.float32).reshape(18, 2) * KINETICS_SIZE
            joints[t - first, m] = np.where(score[:, None] > 0, pose, np.nan)
            confidence[t - first, m] = score
    motion = MotionData(joints, fps, layout, confidence, meta={"label": clip["label"]} if "label" in clip else {})
    return motion if people > 1 else motion.person(0)
