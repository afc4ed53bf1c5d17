"""Joints from the markers of a lab: TRC and C3D files have markers on the skin, or joint centers that have names.

Shapes: T time, B markers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import LayoutError
from .named_joints import joints_by_name

HIP = {
    "side": 0.36,
    "down": 0.30,
    "back": 0.19,
}  # of the distance of the two ASIS, from their middle (Bell et al. 1989)
PLUG_IN_GAIT = {  # joint -> markers whose mean it is
    "head": ("LFHD", "RFHD", "LBHD", "RBHD"),
    "neck": ("C7", "CLAV"),
    **{
        f"{side}_{joint}": tuple(f"{side[0].upper()}{marker}" for marker in markers)
        for side in ("left", "right")
        for joint, markers in {
            "shoulder": ("SHO",),
            "elbow": ("ELB",),
            "wrist": ("WRA", "WRB"),
            "knee": ("KNE",),
            "ankle": ("ANK",),
            "foot": ("TOE",),
        }.items()
    },
}
PELVIS = ("LASI", "RASI")
SACRUM = (("LPSI", "RPSI"), ("SACR",))


def joints_from_markers(
    names: Sequence[str], points: NDArray[np.floating], layout: str | None
) -> tuple[NDArray[np.float32], str]:
    """Joints [T, V, 3] and layout, of points [T, B, 3] whose names are joints or Plug-in Gait's markers.

    Raises LayoutError, which names some of the points, if they are neither.
    """
    try:
        return joints_by_name(names, points, layout)
    except LayoutError:
        centers = _plug_in_gait({name.split(":")[-1].strip().upper(): points[:, b] for b, name in enumerate(names)})
        if centers is None:
            raise
    return joints_by_name(list(centers), np.stack(list(centers.values()), axis=1), layout)


def _plug_in_gait(markers: dict[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]] | None:
    """Joint centers [T, 3] by name, None unless all markers are there."""
    back = next((group for group in SACRUM if all(name in markers for name in group)), None)
    needed = {name for group in PLUG_IN_GAIT.values() for name in group} | set(PELVIS)
    if back is None or not needed <= markers.keys():
        return None
    left, right = (markers[name] for name in PELVIS)
    sacrum = np.mean([markers[name] for name in back], axis=0)
    middle = (left + right) / 2
    width = np.linalg.norm(left - right, axis=-1, keepdims=True)
    side = (left - right) / np.maximum(width, 1e-9)
    forward = middle - sacrum
    forward -= (forward * side).sum(axis=-1, keepdims=True) * side
    forward /= np.maximum(np.linalg.norm(forward, axis=-1, keepdims=True), 1e-9)
    center = middle - width * (HIP["back"] * forward + HIP["down"] * np.cross(forward, side))
    hips = {"left_hip": center + HIP["side"] * width * side, "right_hip": center - HIP["side"] * width * side}
    means = {joint: np.mean([markers[name] for name in group], axis=0) for joint, group in PLUG_IN_GAIT.items()}
    return {"pelvis": np.mean(list(hips.values()), axis=0), **hips, **means}
