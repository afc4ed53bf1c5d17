"""Motion that repeats without a jump, and motion that stays in place.

Shapes: T frames, V joints, meters, y up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .canonical import heading, rotate_y
from .layout import Layout
from .motion_data import MotionData
from .rotations import one_person

BLEND_S = 0.5  # at the end, in which poses change to the one at the beginning
_LEAST_FRAMES = 8
_SPARE = 0.25  # of the frames, that may be cut at each end
_VELOCITY_S = 0.15  # weight of velocities against positions where the cut is chosen
_STRAY_M, _STRAY_RAD = 0.3, np.pi / 4  # a path or heading that ends this close to its beginning is closed


def loop(motion: MotionData) -> tuple[NDArray[np.float32], slice]:
    """Joints of a part of one person's motion whose last frame has the pose of the first, and the part."""
    joints, layout = one_person(motion).astype(np.float32), Layout.load(motion.layout)
    if motion.timestamps is not None or motion.frames < _LEAST_FRAMES:
        raise InputError(f"a loop needs at least {_LEAST_FRAMES} frames, evenly spaced in time")
    root, facing = joints[:, layout.root], heading(joints, layout)
    ground = np.array([1, 0, 1], np.float32)
    pose = rotate_y(joints - (root * ground)[:, None], facing[:, None])
    first, last = _ends(pose, motion.fps)
    part = slice(first, last + 1)
    pose, facing, at = pose[part], facing[part] - facing[first], root[part] * ground

    blended, steps = pose.copy(), min(round(BLEND_S * motion.fps), last - first)
    weight = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, steps + 1) / steps)
    blended[-steps:] += weight[:, None, None].astype(np.float32) * (pose[0] - pose[-1])
    pose = _with_bones(blended, pose, layout)
    share = np.linspace(0, 1, len(at))
    if np.linalg.norm(at[-1] - at[0]) < _STRAY_M:
        at = at - share[:, None] * (at[-1] - at[0])
    turn = facing[-1] - 2 * np.pi * np.round(facing[-1] / (2 * np.pi))
    if abs(turn) < _STRAY_RAD:
        facing = facing - share * turn
    start = heading(joints[first : first + 1], layout)[0]
    looped = rotate_y(pose, -(facing + start)[:, None]) + at[:, None]
    return looped.astype(np.float32), part


def hold(motion: MotionData) -> NDArray[np.float32]:
    """Joints of one person's motion with the root above where it is first."""
    joints, root = motion.only_person().joints, Layout.load(motion.layout).root
    if joints.shape[-1] != 3 or not np.isfinite(joints[:, root]).all():
        raise InputError("motion in place needs 3-D joints with the root in every frame")
    path = joints[:, root] - joints[0, root]
    return joints - (path * [1, 0, 1]).astype(np.float32)[:, None]


def _ends(pose: NDArray[np.float32], fps: float) -> tuple[int, int]:
    """The first and the last frame between which poses [T, V, 3] repeat best."""
    T = len(pose)
    seen = np.concatenate([pose, _VELOCITY_S * fps * np.gradient(pose, axis=0)], axis=1).reshape(T, -1)
    spare = max(1, int(_SPARE * T))
    starts, ends = seen[:spare], seen[T - spare :]
    apart = (starts**2).sum(1)[:, None] + (ends**2).sum(1) - 2 * starts @ ends.T
    first, last = np.unravel_index(int(apart.argmin()), apart.shape)
    return int(first), T - spare + int(last)


def _with_bones(pose: NDArray[np.float32], reference: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Poses whose bones are as long as in a reference, from the root outward."""
    found, done = pose.copy(), {layout.root}
    while len(done) < len(layout.joints):
        for i, j in layout.edges:
            if (i in done) == (j in done):
                continue
            near, far = (i, j) if i in done else (j, i)
            bone = pose[:, far] - pose[:, near]
            length = np.linalg.norm(reference[:, far] - reference[:, near], axis=-1, keepdims=True)
            found[:, far] = found[:, near] + bone * (
                length / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            )
            done.add(far)
    return found
