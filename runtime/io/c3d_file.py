"""C3D: points of an optical lab, read with the package c3d; joints by name or from Plug-in Gait's markers.

Axes: POINT:Y_SCREEN is the axis that is up; without it z, as is usual. Shapes: T time, B points.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..body.motion_data import MotionData
from ..body.units import turn
from ..errors import InputError
from ..extras import require
from .markers import joints_from_markers
from .text import MAX_BYTES, check_bytes, check_size

UNITS_M = {"m": 1.0, "mm": 0.001, "cm": 0.01, "in": 0.0254, "ft": 0.3048}


def read_c3d(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read the points, in meters with y up; a point with a negative residual is missing."""
    c3d = require("c3d", "files", "reading .c3d")
    check_bytes(path, MAX_BYTES)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(c3d.Reader(file), layout, fps)
    except InputError:
        raise
    except Exception as error:  # the package raises whatever a damaged header leads to
        raise InputError(f"is damaged or not C3D ({type(error).__name__}: {' '.join(str(error).split())})") from None


def _read(reader: Any, layout: str | None, fps: float | None) -> MotionData:
    names = [label.strip() for label in reader.point_labels][: reader.point_used]
    check_size(reader.frame_count, len(names))
    points = np.full((reader.frame_count, len(names), 3), np.nan, np.float32)
    read = 0
    for _, values, _ in reader.read_frames(copy=False):
        seen = values[: len(names), 3] >= 0
        points[read, seen] = values[: len(names), :3][seen]
        read += 1
    if read < len(points):
        raise InputError(f"is cut short: {read} of {len(points)} frames")
    unit = reader.get("POINT:UNITS")
    unit = "mm" if unit is None else unit.string_value.strip().lower()
    if unit not in UNITS_M:
        raise InputError(f"has the unit {unit!r}, expected one of {', '.join(UNITS_M)}")
    screen = reader.get_screen_axis()
    up = screen[1].strip().lower().lstrip("+") if screen else "z"
    if up not in ("y", "z"):
        raise InputError(f"has the axis {up!r} up (POINT:Y_SCREEN), expected y or z")
    joints, known = joints_from_markers(names, turn(points, up) * np.float32(UNITS_M[unit]), layout)
    return MotionData(joints, float(reader.point_rate) if fps is None else fps, known)
