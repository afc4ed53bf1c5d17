"""The canonical frame of a motion, in which CoAMD's networks see it: facing +z, over the origin, feet on the floor.

Shapes: T frames, V joints, meters, y up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .layout import Layout

SMPL, KIT = Layout.load("smpl22"), Layout.load("kit21")
LAYOUTS = {len(layout.joints): layout for layout in (SMPL, KIT)}  # of generated motion, by V
FEET_OF = {V: [layout.joints.index(f"{side}_foot") for side in ("left", "right")] for V, layout in LAYOUTS.items()}
FEET = FEET_OF[len(SMPL.joints)]


def heading(joints: np.ndarray, layout: Layout) -> np.ndarray:
    """Heading [T], radians: the direction in the ground plane that a person's left points to, continuous over time."""
    left, right = layout.facing
    across = joints[:, list(left)].sum(1) - joints[:, list(right)].sum(1)
    return np.unwrap(np.arctan2(across[:, 2], across[:, 0]))


def rotate_y(joints: np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    """Rotate joints [T, V, 3] about the vertical axis through the origin; a heading of `angle` becomes 0.

    `angle` may be of every frame, [T, 1].
    """
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], -1).astype(np.float32)


def to_canonical(joints: np.ndarray) -> np.ndarray:
    """Move joints [T, V, 3] so that frame 0 faces +z with the pelvis over the origin; the lowest foot is at y = 0.

    Of smpl22, V = 22, or kit21, V = 21.
    """
    V = joints.shape[1]
    found = rotate_y(joints - joints[:1, :1] * np.array([1, 0, 1], np.float32), heading(joints[:1], LAYOUTS[V])[0])
    found[..., 1] -= found[:, FEET_OF[V], 1].min()
    return found


def to_canonical_with_inverse(joints: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """`to_canonical` of a motion [T, V, 3], and the function that moves canonical joints back to where it was."""
    canonical, yaw = to_canonical(joints), heading(joints[:1], LAYOUTS[joints.shape[1]])[0]
    offset = joints[0, 0] - rotate_y(canonical[:1], -yaw)[0, 0]
    return canonical, lambda joints: rotate_y(joints, -yaw) + offset
