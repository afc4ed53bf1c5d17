"""Units of length and axes of joints whose file does not tell: guessed by the body's height, turned to y up.

Shapes: N poses, V joints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, LayoutError
from .layout import Layout
from .motion_data import MotionData
from .people import PLAUSIBLE_POSES, sample

Poses = NDArray[np.float32]
UNITS_M = {
    "meters": 1.0,
    "feet": 0.3048,
    "decimeters": 0.1,
    "CMU's unit of 1/0.45 inch": 0.0254 / 0.45,
    "inches": 0.0254,
    "centimeters": 0.01,
    "millimeters": 0.001,
}
CMU = "CMU's unit of 1/0.45 inch"
STANDING_M = (1.0, 2.2)
READABLE_M = (0.5, 3.4)
TYPICAL_M = 1.7
CHAIN = ("head", "neck", "pelvis", "left_hip", "left_knee", "left_ankle")
CHAIN_OF_HEIGHT = 0.87  # length of these bones, from the head's joint to the ankle, over the height of a person
TRUNK_OF_HEIGHT = 0.33  # of the first two
SPREAD_OF_HEIGHT = 0.36  # mean distance of two joints over the height

UPS = ("y", "z", "-y")


def height(poses_NV3: Poses, layout: Layout) -> float:
    """Height of the standing body, whatever its pose, in the unit of its joints: by its bones, else by its size."""
    chain, share = _chain(layout)
    if chain is None:
        distances = np.linalg.norm(poses_NV3[:, :, None] - poses_NV3[:, None], axis=-1)
        pairs = len(layout.joints) * max(1, len(layout.joints) - 1)
        return median(distances.sum(axis=(1, 2)) / pairs) / SPREAD_OF_HEIGHT
    points = chain @ poses_NV3  # [N, 6, 3] or [N, 3, 3]
    return median(np.linalg.norm(np.diff(points, axis=1), axis=-1).sum(axis=1)) / share


def nearest_unit(height: float, units_m: Mapping[str, float] = UNITS_M) -> str:
    """The unit in which a person of this height is nearest to 1.7 m tall, of those between 1.0 and 2.2 m if any."""
    if not math.isfinite(height):
        return "millimeters"
    return min(
        possible_units(height) or units_m,
        key=lambda unit: abs(math.log(max(height, 1e-9) * units_m[unit] / TYPICAL_M)),
    )


def possible_units(height: float) -> list[str]:
    """Units in which a person of this height is 1.0 to 2.2 m tall."""
    return [unit for unit, meters in UNITS_M.items() if STANDING_M[0] <= height * meters <= STANDING_M[1]]


def guess_unit(motion: MotionData) -> tuple[str, str | None]:
    """The unit of a file that does not tell, and a sentence about the assumption unless just one unit is possible.

    In it a person is 1.0 to 2.2 m tall, or in the nearest one up to half or 1.5 times as tall. Raises InputError if
    there is none.
    """
    joints = motion.joints.reshape(-1, *motion.joints.shape[-2:])
    complete = joints[np.isfinite(joints).all(axis=(1, 2))]
    if not len(complete):
        return "meters", "no pose is complete: read as meters, or pass scale (--scale)"
    tall = height(sample(complete, PLAUSIBLE_POSES), Layout.load(motion.layout))
    possible = possible_units(tall)
    unit = CMU if CMU in possible and motion.layout == "cmu31" else nearest_unit(tall)
    tall_m = tall * UNITS_M[unit]
    if not READABLE_M[0] <= tall_m <= READABLE_M[1]:
        raise InputError(
            f"the body is {tall:.3g} units tall, which is no person in {', '.join(UNITS_M)}: pass scale (--scale), "
            "meters per unit"
        )
    if len(possible) == 1 or unit == CMU:
        return unit, None
    others = " or ".join(other for other in possible if other != unit)
    doubt = f"could be {others}" if others else "a person is 1 to 2.2 m tall"
    return unit, f"the body is {tall:.3g} units tall: read as {unit}, {tall_m:.1f} m ({doubt}, see --scale)"


def turn(joints: Poses, up: str) -> Poses:
    """Joints [..., 3] whose `up` is y, z or -y, in coordinates with y up; right-handed stays right-handed.

    Raises InputError: an unknown axis, or joints in 2-D.
    """
    if up not in UPS:
        raise InputError(f"up is {up!r}, expected {', '.join(UPS)}")
    if up == "y":
        return joints
    if joints.shape[-1] != 3:
        raise InputError(f"up is {up!r}, but the joints are in 2-D")
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack([x, z, -y] if up == "z" else [x, -y, -z], axis=-1)


@cache
def _chain(layout: Layout) -> tuple[NDArray[np.float32] | None, float]:
    """Weights [6, V] of the chain's joints, [3, V] without legs, and its share of the height; None without others."""
    core = Layout.load("core15")
    try:
        weights = core.map_from(layout, needs_legs=False)[[core.joints.index(name) for name in CHAIN]]
    except LayoutError:
        return None, 0
    return (weights, CHAIN_OF_HEIGHT) if weights.any(axis=1).all() else (weights[:3], TRUNK_OF_HEIGHT)


def median(values_N: NDArray[np.floating[Any]]) -> float:
    """Without `np.median`, whose first call imports more than hundreds of frames take."""
    return float(np.sort(values_N)[len(values_N) // 2])
