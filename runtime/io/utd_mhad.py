"""UTD-MHAD's `a1_s1_t1_skeleton.mat`: `d_skel` [20, 3, T] of the first Kinect, in meters, 30 frames a second.

Source: Chen et al., "UTD-MHAD: a multimodal dataset for human action recognition" (2015).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..body.layout import Layout
from ..body.motion_data import MotionData, as_array
from ..errors import InputError
from ..extras import require
from .kinect_text import KINECT_FPS
from .named_joints import joints_by_name
from .text import MAX_BYTES, check_bytes, check_size

NAME = "d_skel"
TOP = ("head", "neck", "spine", "pelvis")  # the first joints, before those of kinect20 in its order


def read_utd_mhad(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read a skeleton; of MATLAB's files, no other is read."""
    io = require("scipy.io", "files", "reading .mat")
    check_bytes(path, MAX_BYTES)
    try:
        found = io.loadmat(path, variable_names=[NAME])
    except NotImplementedError:
        raise InputError("is a MATLAB file of version 7.3, expected an older one") from None
    except Exception as error:  # the package raises whatever a damaged header leads to
        raise InputError(f"is damaged or not of MATLAB ({' '.join(str(error).split())[:100]})") from None
    if NAME not in found:
        raise InputError(f"has no array {NAME!r}: of MATLAB's files, only those of UTD-MHAD's skeletons are read")
    names = [*TOP, *Layout.load("kinect20").joints[len(TOP) :]]
    points = as_array(NAME, found[NAME], np.float32)
    if points.ndim != 3 or points.shape[:2] != (len(names), 3):
        raise InputError(f"{NAME!r} has shape {list(points.shape)}, expected [{len(names)}, 3, T]")
    check_size(points.shape[2], len(names))
    joints, known = joints_by_name(names, points.transpose(2, 0, 1), layout)
    return MotionData(joints, KINECT_FPS if fps is None else fps, known, meta={"file_name": path.stem})
