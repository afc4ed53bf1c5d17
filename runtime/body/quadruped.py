"""Animals on four legs whose rig has the joint names of a person.

Two things together tell them from everybody: front legs and a trunk that are nearly as long as the hind legs, which no
person has; and, unlike a cartoon character with short legs, a trunk across all four in most poses. Neither depends on
units or axes.
Shapes: N poses, V joints.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..errors import LayoutError
from .layout import Layout
from .motion_data import MotionData
from .people import PLAUSIBLE_POSES, mask_unseen, sample
from .units import median

# Of the hip-knee-ankle length; of 10,000 clips of people none has 0.8 of both, even with the noise of a Kinect.
MIN_ARM, MIN_TRUNK = 0.8, 0.8
MAX_TRUNK_COSINE, MIN_ARM_COSINE = 0.5, 0.7  # with the direction from the hips to the ankles
PARTS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))

Array = NDArray[np.float64]


def is_quadruped(motion: MotionData) -> bool:
    """Tell whether somebody in a motion is built as an animal on four legs and stands on them in most poses."""
    layout = Layout.load(motion.layout)
    weights = _weights(layout) if layout.dims == 3 else None
    if weights is None:
        return False
    poses = [mask_unseen(one.joints, one.confidence) for one in map(motion.person, range(motion.people))]
    return any(_is_quadruped(weights @ sample(person, PLAUSIBLE_POSES)) for person in poses)


@np.errstate(over="ignore", invalid="ignore")
def _is_quadruped(poses: NDArray[np.float32]) -> bool:
    """The same for poses [N, V, 3] of core15."""
    poses_NV3 = poses[np.isfinite(poses).all(axis=(1, 2))].astype(float)
    if not len(poses_NV3):
        return False
    index = Layout.load("core15").joints.index
    limbs = [  # of front and hind legs: [side, joint, N, 3]
        np.array([[poses_NV3[:, index(f"{side}_{part}")] for part in parts] for side in ("left", "right")])
        for parts in PARTS
    ]
    arm, leg = (np.linalg.norm(np.diff(limb, axis=1), axis=-1).sum(axis=1).mean(axis=0) for limb in limbs)  # [N]
    trunk = np.linalg.norm(poses_NV3[:, index("neck")] - poses_NV3[:, index("pelvis")], axis=-1)
    if median(arm / leg) < MIN_ARM or median(trunk / leg) < MIN_TRUNK:
        return False
    (shoulders, wrists), (hips, ankles) = (limb.mean(axis=0)[[0, -1]] for limb in limbs)
    down = ankles - hips
    across, along = np.abs(_cosine(shoulders - hips, down)), _cosine(wrists - shoulders, down)
    return median(across) < MAX_TRUNK_COSINE and median(along) > MIN_ARM_COSINE


def _cosine(a_N3: Array, b_N3: Array) -> Array:
    lengths: Array = np.linalg.norm(a_N3, axis=-1) * np.linalg.norm(b_N3, axis=-1)
    return np.asarray((a_N3 * b_N3).sum(axis=-1) / np.maximum(lengths, 1e-9))


@cache
def _weights(layout: Layout) -> NDArray[np.float32] | None:
    """Weights of core15's joints; None if the layout lacks them."""
    try:
        return Layout.load("core15").map_from(layout)
    except LayoutError:
        return None
