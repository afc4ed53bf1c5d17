"""TRC (Track Row Column): tab-separated points of OpenSim, OpenCap, Pose2Sim and Motion Analysis; y up.

The third row has the rate, the unit and the numbers of frames and points; the fourth the names of the points, each over
three columns. Shapes: T time, B points.
"""

from __future__ import annotations

from pathlib import Path

from ..body.motion_data import MotionData
from ..errors import InputError
from .markers import joints_from_markers
from .table import numbers
from .text import check_size, read_text

UNITS_M = {"m": 1.0, "meters": 1.0, "cm": 0.01, "mm": 0.001, "millimeters": 0.001, "in": 0.0254, "ft": 0.3048}


def read_trc(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read the joints, or Plug-in Gait's markers, in meters."""
    rows = [line.split("\t") for line in read_text(path).splitlines()]
    if len(rows) < 6 or not rows[0][0].startswith("PathFileType"):
        raise InputError("is not TRC: the first line does not begin with PathFileType")
    about = {key.strip(): value.strip() for key, value in zip(rows[1], rows[2], strict=False)}
    try:
        rate, unit = float(about["DataRate"]), UNITS_M[about["Units"].lower()]
        frames, markers = int(about["NumFrames"]), int(about["NumMarkers"])
    except (KeyError, ValueError, OverflowError):
        raise InputError(
            f"its third line does not have DataRate, NumFrames, NumMarkers and Units (one of {', '.join(UNITS_M)})"
        ) from None
    names = [name.strip() for name in rows[3][2:] if name.strip()]
    if len(names) != markers:
        raise InputError(f"has {len(names)} names in its fourth line, its header states {markers} points")
    start = next((number for number in range(4, len(rows)) if rows[number][0].strip().isdecimal()), len(rows))
    body = [row for row in rows[start:] if row[0].strip()]
    if len(body) != frames:
        raise InputError(f"has {len(body)} frames, its header states {frames}")
    check_size(frames, markers)
    points = numbers(body, range(2, 2 + 3 * markers), start + 1).reshape(frames, markers, 3) * unit
    joints, known = joints_from_markers(names, points, layout)
    return MotionData(joints, rate if fps is None else fps, known)
