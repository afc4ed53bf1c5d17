"""Skeletons of data sets of the first Kinect, as they are distributed: text files of numbers.

MSR-Action3D  a01_s01_e01_skeleton3D.txt: 20 lines `x y z confidence` a frame, 15 frames a second. The files in screen
              coordinates (a01_s01_e01_skeleton.txt) are not read. The data set does not state sides: the first of its
              two shoulders is taken as the left one.
UTKinect      joints_s01_e01.txt: a line `frame x y z …` of 61 numbers a frame; the frames are numbers of 30 a second.
Florence 3D   Florence_dataset_WorldCoordinates.txt: a line `video actor action x y z …` of 48 numbers a frame, in
              millimeters, of all 215 videos, which are read as one recording with pauses of `PAUSE_S`.

Shapes: T time, V joints.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..body.motion_data import MotionData
from ..errors import InputError
from .named_joints import joints_by_name
from .text import check_size, read_text

MSR_FPS, KINECT_FPS = 15.0, 30.0
PAUSE_S = 2.0  # between the videos of Florence 3D
MSR = [
    *("left_shoulder", "right_shoulder", "neck", "spine", "left_hip", "right_hip", "pelvis"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot", "head"),
]
FLORENCE = [
    *("head", "neck", "spine", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_shoulder", "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle"),
    *("right_hip", "right_knee", "right_ankle"),
]
JOINTS = len(MSR)  # of the first Kinect


def read_kinect_text(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read a file of one of the data sets, which the numbers a line identify."""
    rows = _numbers(read_text(path))
    if rows.shape[1] == 4:
        return _msr_action3d(path, rows, layout, fps)
    if rows.shape[1] == 1 + 3 * JOINTS:
        return _utkinect(rows, layout, fps)
    if rows.shape[1] == 3 + 3 * len(FLORENCE):
        return _florence(rows, layout, fps)
    raise InputError(
        f"has {rows.shape[1]} numbers a line, expected those of MSR-Action3D (4), UTKinect (61) or Florence 3D (48)"
    )


def looks_numeric(path: Path) -> bool:
    """True if the first line of a file consists of numbers, as it does in these data sets but not in a README."""
    try:
        with path.open("rb") as file:
            words = file.read(4096).splitlines()[0].split()
            return len(words) >= 4 and all(np.isfinite(float(word)) for word in words)
    except (OSError, ValueError, IndexError):
        return False


def _numbers(text: str) -> NDArray[np.float64]:
    """Rows of numbers; lines that are empty or begin with % are skipped."""
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("%"):
            continue
        try:
            rows.append([float(word) for word in words])
        except ValueError as error:
            raise InputError(f"has a word in line {number} where a number was expected ({str(error)[:80]})") from None
        if len(rows[-1]) != len(rows[0]):
            raise InputError(f"has {len(rows[-1])} numbers in line {number}, expected {len(rows[0])}")
        check_size(len(rows), len(rows[0]))
    if not rows:
        raise InputError("has no numbers")
    return np.array(rows)


def _msr_action3d(path: Path, rows: NDArray[np.float64], layout: str | None, fps: float | None) -> MotionData:
    frames, rest = divmod(len(rows), len(MSR))
    if rest:
        raise InputError(f"has {len(rows)} lines, expected {len(MSR)} a frame (MSR-Action3D)")
    points = rows.reshape(frames, len(MSR), 4)
    points[..., :3][(points[..., :3] == 0).all(axis=-1)] = np.nan  # a joint or a frame without a skeleton
    seen = points[np.isfinite(points[..., 0]).any(axis=1)]
    if len(seen) and np.median(np.nanmax(seen[..., 0], axis=1) - np.nanmin(seen[..., 0], axis=1)) > 10:  # pixels
        raise InputError(
            "holds screen coordinates: use MSR-Action3D's files in meters, named like a01_s01_e01_skeleton3D.txt"
        )
    joints, known = joints_by_name(MSR, points[..., :3], layout)
    return MotionData(joints, MSR_FPS if fps is None else fps, known, meta={"file_name": path.stem})


def _utkinect(rows: NDArray[np.float64], layout: str | None, fps: float | None) -> MotionData:
    """About 2 % of the frames are there twice; the first is kept."""
    _check_integers(rows[:, :1], "frame number")
    order = np.unique(rows[:, 0], return_index=True)[1]
    numbers, points = rows[order, 0], rows[order, 1:].reshape(len(order), -1, 3)
    joints, known = joints_by_name(Layout.load("kinect20").joints, _without_zeros(points), layout)
    if fps is not None:
        return MotionData(joints, fps, known)
    times = (numbers - numbers[0]) / KINECT_FPS
    rate = 1 / float(np.median(np.diff(times))) if len(times) > 1 else KINECT_FPS
    return MotionData(joints, rate, known, timestamps=times)


def _florence(rows: NDArray[np.float64], layout: str | None, fps: float | None) -> MotionData:
    _check_integers(rows[:, :3], "video, actor or action")
    rate = KINECT_FPS if fps is None else fps
    points = _without_zeros(rows[:, 3:].reshape(len(rows), -1, 3)) * 0.001
    hips = points[:, [FLORENCE.index("left_hip"), FLORENCE.index("right_hip")]].mean(axis=1, keepdims=True)
    joints, known = joints_by_name(["pelvis", *FLORENCE], np.concatenate([hips, points], axis=1), layout)
    starts = np.flatnonzero(np.diff(rows[:, 0], prepend=np.nan))
    times = np.arange(len(rows)) / rate + np.searchsorted(starts, np.arange(len(rows)), side="right") * PAUSE_S
    videos = [
        {"video": int(rows[start, 0]), "actor": int(rows[start, 1]), "action": int(rows[start, 2]), "start": float(t)}
        for start, t in zip(starts, times[starts] - times[0], strict=True)
    ]
    return MotionData(joints, rate, known, timestamps=times - times[0], meta={"videos": videos})


def _check_integers(values: NDArray[np.float64], what: str) -> None:
    if not (np.abs(values) < 1 << 31).all():  # NaN, too
        raise InputError(f"has {values[~(np.abs(values) < 1 << 31)][0]} as {what}, expected an integer")


def _without_zeros(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where a joint is at the origin: the sensor did not see it."""
    return np.where((points == 0).all(axis=-1, keepdims=True), np.nan, points)
