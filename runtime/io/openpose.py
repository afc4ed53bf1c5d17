"""OpenPose's `--write_json`: a folder with a file `NAME_000000000012_keypoints.json` per frame, in pixels.

{"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, score, …]}, …]}

Joints are in the order of BODY_25 (the mid hip and the feet are dropped) or of COCO's 18. People have no ids, so they
are tracked by position. Shapes: T time, M people, V joints.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..body.motion_data import MotionData
from ..errors import InputError
from .text import MAX_FRAMES, check_bytes, check_size, decode
from .tracker import Tracker

ENDING = "_keypoints.json"
MAX_BYTES = 1 << 22  # of one frame
BODY_25 = [*range(8), *range(9, 19)]  # openpose18 in BODY_25, which has the mid hip at 8 and the feet at the end
ORDERS = {25: BODY_25, 18: list(range(18))}


def is_openpose_folder(path: Path) -> bool:
    """True for a folder that contains OpenPose's files."""
    return path.is_dir() and any(file.name.endswith(ENDING) for file in path.iterdir())


def read_openpose(folder: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read a folder of frames; `fps` is needed, as OpenPose does not store it."""
    if fps is None:
        raise InputError("OpenPose does not store the frame rate of the video: pass fps (--fps)")
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(ENDING))
    if len(paths) > MAX_FRAMES:
        raise InputError(f"has {len(paths)} frames, the limit is {MAX_FRAMES}")
    numbers = _frame_numbers(paths)
    check_size(numbers[-1] + 1, 18)
    tracker = Tracker(parents=Layout.load("openpose18").parents)
    poses: list[tuple[int, int, NDArray[np.float32], NDArray[np.float32]]] = []
    for t, path in zip(numbers, paths, strict=True):
        try:
            found = _people(path)
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
        ids = tracker.assign(t / fps, [pose for pose, _ in found], [score for _, score in found])
        poses += [(t, person, *one) for person, one in zip(ids, found, strict=True) if person >= 0]
    if not poses:
        raise InputError("has nobody in any frame")
    people = 1 + max(person for _, person, _, _ in poses)
    check_size(numbers[-1] + 1, people * 18)
    joints = np.full((numbers[-1] + 1, people, 18, 2), np.nan, np.float32)
    confidence = np.zeros(joints.shape[:-1], np.float32)
    for t, person, pose, score in poses:
        joints[t, person], confidence[t, person] = pose, score
    _check_pixels(joints)
    motion = MotionData(joints, fps, layout or "openpose18", confidence)
    return motion if people > 1 else motion.person(0)


def _frame_numbers(paths: list[Path]) -> list[int]:
    """Numbers of the frames from 0, from the names of the files; without numbers, in the order of the names."""
    found = [re.search(r"(\d+)_keypoints\.json$", path.name) for path in paths]
    numbers = [int(hit[1]) for hit in found if hit]
    if len(numbers) < len(paths) or len(set(numbers)) < len(numbers):
        return list(range(len(paths)))
    if numbers != sorted(numbers) or numbers[-1] - numbers[0] >= MAX_FRAMES:
        raise InputError(f"has frames {numbers[0]} to {numbers[-1]}, expected one recording of up to {MAX_FRAMES}")
    return [number - numbers[0] for number in numbers]


def _people(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Pose [18, 2] and score [18] of each person in one file."""
    check_bytes(path, MAX_BYTES)
    try:
        frame = json.loads(decode(path.read_bytes()))
        return [_person(person) for person in frame["people"]]
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"is not a frame of OpenPose ({type(error).__name__}: {error})") from None


def _person(person: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values = np.array(person["pose_keypoints_2d"], np.float64)
    if values.ndim != 1 or values.size % 3 or values.size // 3 not in ORDERS:
        raise InputError(f"has {values.size} numbers a person, expected 75 (BODY_25) or 54 (COCO)")
    table = values.reshape(-1, 3)[ORDERS[values.size // 3]]
    score = table[:, 2].astype(np.float32)
    with np.errstate(over="ignore"):  # overflow becomes infinite: a missing joint
        return np.where(table[:, 2:] > 0, table[:, :2], np.nan).astype(np.float32), score


def _check_pixels(joints: NDArray[np.float32]) -> None:
    if np.nanmax(np.abs(joints)) <= 2:
        raise InputError("has coordinates relative to the image, expected pixels: run OpenPose with --keypoint_scale 0")
