"""CSV tables with a row per frame and columns per joint, of Kinect recorders, MediaPipe and OpenPose scripts.

Columns are `NAME_X`, `NAME.x`, `NAME:x`, `NAME x`, `NAME[x]`, `NameX`, `x_NAME` or, for joints that have numbers,
`x0`; `time`, `timestamp` or `frame`; `person` or `body` for several people; and `NAME_visibility`, `_confidence`,
`_score` or `_c`. Columns of rotations, speeds and anything else are ignored. `write_csv` writes such a table.

Shapes: R rows, T time, M people, B joints.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..body.motion_data import MAX_PEOPLE, MotionData
from ..body.time_check import MAX_RATE_HZ, MIN_RATE_HZ, UNITS_S, unit_of
from ..body.units import turn
from ..errors import InputError
from .arrays import layout_of_shape
from .named_joints import joints_by_name
from .table import HEADER_ROWS, numbers, split_rows
from .text import check_size, read_text

MIN_JOINTS = 3
MAX_NAME = 100  # characters of a column's name
AXES = "xyz"
SUFFIXED = re.compile(r"(?P<name>.+?)(?:[ _.:\-\[(]+(?P<axis>[xyzXYZ])|(?<=[a-z0-9])(?P<upper>[XYZ]))[\])]?", re.ASCII)
PREFIXED = re.compile(r"(?P<axis>[xyzXYZ])(?:[ _.:\-]+(?P<name>.+)|(?P<number>\d+))", re.ASCII)
UNIT = re.compile(r"\s*[(\[](m|meters?|mm|cm|px|pixels?|s|seconds?|ms|units?)[)\]]$", re.IGNORECASE)
POSITION = re.compile(r"[ _.:\-]*(pos(ition)?|translation|loc(ation)?|coord(inate)?s?|world)$", re.IGNORECASE)
NOT_POSITION = re.compile(
    r"(?:^|[ _.:\-])(rot(ation)?|orient(ation)?|ori|q|quat(ernion)?|euler|vel(ocity)?|acc(el(eration)?)?"
    r"|ang(le|ular)?\w*)$",
    re.IGNORECASE,
)
CONFIDENCE = re.compile(
    r"(?P<name>.+?)[ _.:\-\[(]+(?:c|conf|confidence|score|likelihood|visibility|vis|prob(?:ability)?)[\])]?"
    r"|(?:v|c|visibility)(?P<number>\d+)",
    re.IGNORECASE,
)
TIMES = re.compile(
    r"((?:\w*[_ .]?)time(?:[_ ]?stamp)?|t|seconds|sec|elapsed)(?:[ _.(\[]*(s|secs?|seconds|ms|us|ns)[)\]]?)?",
    re.IGNORECASE,
)
FRAMES = re.compile(r"(frame|frames|frame[ _]?(id|number|index|no|num|idx)|fnum)#?", re.IGNORECASE)
PEOPLE = re.compile(
    r"(person|people|body|user|player|track|tracking|skeleton|subject)?[ _]?(id|index|idx)|person|body|user|player",
    re.IGNORECASE,
)
NAMED_UNITS_S = {  # at the end of a column's name
    **dict.fromkeys(("s", "sec", "secs", "seconds"), 1.0),
    **{"ms": UNITS_S["milliseconds"], "us": UNITS_S["microseconds"], "ns": UNITS_S["nanoseconds"]},
}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Columns:
    """Column numbers by joint name, and those of time, frame number and person."""

    points: dict[str, dict[str, int]]
    confidence: dict[str, int] = field(default_factory=dict)
    time: int | None = None
    frame: int | None = None
    person: int | None = None
    time_unit: str = ""


def read_csv(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read a table; without a column of times or frame numbers with `fps`, it needs `fps`."""
    rows = split_rows(read_text(path))
    header, columns = find_header(rows)
    body = [row for row in rows[header + 1 :] if any(cell.strip() for cell in row)]
    return _motion(path, body, header + 2, columns, layout, fps)


def write_csv(motion: MotionData, file: BinaryIO) -> None:
    """Write `time` in seconds, `person` if there are several, and the coordinates of each joint, as `pelvis_x`.

    Missing joints are empty cells; confidence is not written.
    """
    joints = motion.joints if motion.joints.ndim == 4 else motion.joints[:, None]
    T, M, V, D = joints.shape
    columns = [f"{name}_{axis}" for name in Layout.load(motion.layout).joints for axis in AXES[:D]]
    times = np.repeat(motion.times, M)
    lines = [",".join(["time", *(["person"] if M > 1 else []), *columns])]
    for number, (time, row) in enumerate(zip(times, joints.reshape(T * M, V * D), strict=True)):
        cells = [f"{value:.6g}" if np.isfinite(value) else "" for value in row]
        lines.append(",".join([f"{time:.6f}", *([str(number % M)] if M > 1 else []), *cells]))
    file.write("\n".join([*lines, ""]).encode())


def find_header(rows: list[list[str]]) -> tuple[int, Columns]:
    """Number of the row with the names of the columns, and the columns."""
    for number, row in enumerate(rows[:HEADER_ROWS]):
        columns = parse_header(row)
        if len(columns.points) >= MIN_JOINTS:
            return number, columns
    first = ", ".join(cell.strip() for cell in rows[0][:6]) if rows else ""
    raise InputError(
        f"has no columns of joints, expected names such as HEAD_X, HEAD_Y, HEAD_Z (the first row: {first})"
    )


def parse_header(row: Sequence[str]) -> Columns:
    """Assign the cells of a header to joints, time, frame number and person."""
    points: dict[str, dict[str, int]] = {}
    columns = Columns(points)
    for number, cell in enumerate(row):
        if len(cell) > MAX_NAME:
            continue
        name = UNIT.sub("", cell.strip())
        name = name if SUFFIXED.fullmatch(name) else cell.strip()
        if hit := TIMES.fullmatch(name):
            if columns.time is None:
                columns.time, columns.time_unit = number, (hit[2] or "").lower()
        elif FRAMES.fullmatch(name):
            columns.frame = number if columns.frame is None else columns.frame
        elif PEOPLE.fullmatch(name):
            columns.person = number if columns.person is None else columns.person
        elif hit := CONFIDENCE.fullmatch(name):
            columns.confidence.setdefault(_joint(hit["name"] or hit["number"]), number)
        elif hit := SUFFIXED.fullmatch(name) or PREFIXED.fullmatch(name):
            found = hit.groupdict()
            axis = (found["axis"] or found.get("upper") or "").lower()
            joint = found["name"] or found["number"]
            if not NOT_POSITION.search(joint):
                points.setdefault(_joint(joint), {}).setdefault(axis, number)
    flat = {joint: axes for joint, axes in points.items() if {"x", "y"} <= axes.keys()}
    solid = {joint: axes for joint, axes in flat.items() if "z" in axes}
    columns.points = solid if 2 * len(solid) >= len(flat) else flat
    return columns


def _joint(name: str) -> str:
    return POSITION.sub("", name) or name


def _motion(
    path: Path, body: list[list[str]], first_line: int, columns: Columns, layout: str | None, fps: float | None
) -> MotionData:
    joints = list(columns.points)
    dims = 3 if all("z" in axes for axes in columns.points.values()) else 2
    check_size(len(body), len(joints))
    wanted = [columns.points[joint][axis] for joint in joints for axis in AXES[:dims]]
    points = numbers(body, wanted, first_line).reshape(len(body), len(joints), dims)
    confidence = None
    if columns.confidence and all(joint in columns.confidence for joint in joints):
        confidence = numbers(body, [columns.confidence[joint] for joint in joints], first_line)  # [R, B]
    frame, people, count, stamps = _grid(body, columns, first_line, fps)
    times = None
    if stamps is not None and columns.time is not None and fps is None:
        times, fps = _seconds(path, stamps, columns.time_unit)
    if fps is None:
        raise InputError("has no column of times: pass fps (--fps)")
    if stamps is not None and columns.time is None:
        times = (stamps - stamps[0]) / fps
    check_size(frame.max() + 1, count * len(joints))
    placed = np.full((frame.max() + 1, count, *points.shape[1:]), np.nan, np.float32)
    placed[frame, people] = points
    scores = None
    if confidence is not None:
        scores = np.zeros(placed.shape[:-1], np.float32)
        scores[frame, people] = np.nan_to_num(confidence)
    placed, scores, layout = _to_layout(joints, placed, scores, layout)
    motion = MotionData(placed, fps, layout, scores, times)
    return motion if count > 1 else motion.person(0)


def _grid(
    body: list[list[str]], columns: Columns, first_line: int, fps: float | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], int, NDArray[np.float64] | None]:
    """Frame and person of every row, the number of people, and the time or number [T] of each frame if it is used."""
    clock = columns.frame if columns.time is None else columns.time
    person = columns.person
    names = [] if person is None else [row[person].strip() if person < len(row) else "" for row in body]
    known = list(dict.fromkeys(names))
    if len(known) > MAX_PEOPLE:
        raise InputError(f"{len(known)} people, expected 1 to {MAX_PEOPLE}")
    if len(known) > 1 and clock is None:
        raise InputError("has several people, but no column of times or frames")
    rows, alone = np.arange(len(body)), np.zeros(len(body), np.intp)
    if clock is None or (len(known) < 2 and columns.time is not None and fps is not None):
        return rows, alone, 1, None
    stamps = numbers(body, [clock], first_line)[:, 0]
    what = "frame number" if columns.time is None else "time"
    if not np.isfinite(stamps).all():
        raise InputError(f"has no {what} in line {first_line + np.flatnonzero(~np.isfinite(stamps))[0]}")
    if len(known) > 1:
        times, frame = np.unique(stamps, return_inverse=True)
        return frame, np.array([known.index(name) for name in names]), len(known), times
    late = np.flatnonzero(np.diff(stamps) <= 0)
    if len(late):
        where = f"the {what} in line {first_line + late[0] + 1}"
        raise InputError(
            f"{where} is not above the one before: expected a row per frame, or a column 'person'"
            + ("" if columns.time is None else "; or pass fps (--fps)")
        )
    return rows, alone, 1, stamps


def _seconds(path: Path, stamps: NDArray[np.float64], unit: str) -> tuple[NDArray[np.float64] | None, float | None]:
    """Times [T] in seconds and their rate; the unit is named by the header, or the one with a usual rate."""
    if len(stamps) < 2:
        return None, None
    step = float(np.median(np.diff(stamps)))
    if unit in NAMED_UNITS_S:
        unit_s = NAMED_UNITS_S[unit]
    elif MIN_RATE_HZ <= 1 / step <= MAX_RATE_HZ:
        unit_s = 1.0
    elif (known := unit_of(step)) is not None:
        log.warning("%s: times are %.6g apart and are taken as %s", path, step, known)
        unit_s = UNITS_S[known]
    else:
        raise InputError(f"its times are {step:.6g} apart, not a usual rate in any unit: pass fps (--fps)")
    return (stamps - stamps[0]) * unit_s, 1 / (step * unit_s)


def _to_layout(
    names: list[str], points: NDArray[np.float32], confidence: NDArray[np.float32] | None, layout: str | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, str]:
    """Joints of the layout that fits the names; joints that have numbers are in the order of the layout."""
    ends = [re.search(r"\d+$", name) for name in names]
    if all(ends) and len({name[: end.start()] for name, end in zip(names, ends, strict=True) if end}) == 1:
        order = np.argsort([int(end[0]) for end in ends if end])
        points = points[..., order, :]
        confidence = None if confidence is None else confidence[..., order]
        known = layout_of_shape(points.shape[-2:]) if layout is None else layout
    else:
        chosen = points
        points, known = joints_by_name(names, chosen, layout)
        if confidence is not None:
            weight = np.repeat(confidence[..., None], points.shape[-1], axis=-1)
            confidence = joints_by_name(names, weight, known)[0][..., 0]
    if known == "mediapipe33":
        points = _mediapipe(points)
    return points, confidence, known


def _mediapipe(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """World landmarks y up. Raises InputError for landmarks in units of the image."""
    joints = Layout.load("mediapipe33").joints
    whole = points[np.isfinite(points).all(axis=(-1, -2))]  # [P, 33, 3] of people and frames
    if not len(whole):
        return points
    nose, hips, ankles = (
        whole[:, [joints.index(name) for name in names]].mean(axis=1)
        for names in (["nose"], ["left_hip", "right_hip"], ["left_ankle", "right_ankle"])
    )
    if np.median(nose[:, 1] - ankles[:, 1]) > 0:  # y up already, in any pose but a headstand
        return points
    if np.median(np.abs(hips[:, :2])) > 0.1 and np.quantile(np.abs(whole[..., :2] - 0.5), 0.9) <= 0.75:
        raise InputError(
            "holds MediaPipe's landmarks in units of the image, without meters: write pose_world_landmarks instead"
        )
    return turn(points, "-y")
