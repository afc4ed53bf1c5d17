"""A motion on a body of other proportions, whose rest pose can be any: the directions of bones carry over.

Shapes: T time, J joints of the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout import Layout
from .motion_data import MotionData
from .rotations import T_POSE_M, fit_rotation

Array = NDArray[np.float64]
SMPL = Layout.load("smpl22")
_LEVELED = {"head": "neck", "left_foot": "left_ankle", "right_foot": "right_ankle"}  # ends of bones, and beginnings
_FLOOR, _SOLE = 0.15, 0.02  # of the legs' length: farthest lowest joint above a floor at 0, and soles below that joint


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Body:
    """Joints of a standing body at rest, y up.

    Attributes:
        joints: names, of those of smpl22; the pelvis is first, and parents come before their children.
        parents: index of each joint's parent, -1 for the pelvis.
        rest: positions [J, 3], in any unit.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    rest: Array


def to_smpl(motion: MotionData) -> MotionData:
    """One person with the joints of smpl22."""
    person = motion.only_person()
    if motion.layout == SMPL.name:
        return person
    joints = SMPL.map_from(Layout.load(motion.layout)) @ person.joints
    return MotionData(joints, motion.fps, SMPL.name, meta=motion.meta)


def put_on(body: Body, joints: NDArray[np.floating]) -> tuple[Array, Array]:
    """Make a body follow joints [T, 22, 3] of smpl22.

    Bones take the motion's directions, head and feet those relative to a standing person. The path is scaled by the
    length of the legs, and raised so that the lower foot, in nearly all frames, is on or above the floor, y = 0.

    Returns the pelvis [T, 3], and rotations [T, J, 3, 3] in the world, the identity at rest.
    """
    seen = joints.astype(np.float64)[:, [SMPL.joints.index(name) for name in body.joints]]
    turns = np.empty((*seen.shape, 3))
    for joint, parent in enumerate(body.parents):
        inherited = turns[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (len(seen), 3, 3))
        children = [child for child, above in enumerate(body.parents) if above == joint]
        if children:
            rest = np.array([_bone_at_rest(body, child) for child in children])
            bones = _unit(seen[:, children] - seen[:, joint, None])
            inherited = fit_rotation(rest, bones, inherited)
        turns[:, joint] = inherited
    own_legs = _legs(body, body.rest[None])
    pelvis = seen[:, 0] * (own_legs / _legs(body, seen))
    at = np.empty_like(seen)
    for joint, parent in enumerate(body.parents):
        bone = body.rest[joint] - body.rest[parent]
        at[:, joint] = pelvis if parent < 0 else at[:, parent] + turns[:, parent] @ bone
    low = [number for number, name in enumerate(body.joints) if name.endswith(("ankle", "foot"))]
    standing = np.quantile((at[:, low, 1] - body.rest[low, 1]).min(axis=1), 0.05)
    lowest = body.rest[:, 1].min()
    floor = 0 if 0 <= lowest < _FLOOR * own_legs else lowest - _SOLE * own_legs
    return pelvis - [0, standing + floor, 0], turns


def _bone_at_rest(body: Body, joint: int) -> Array:
    """Direction of the bone that ends in a joint; of head and feet as steep as in the rest pose of smpl22."""
    parent, name = body.parents[joint], body.joints[joint]
    bone = body.rest[joint] - body.rest[parent]
    if _LEVELED.get(name) == body.joints[parent]:
        known = T_POSE_M[name] - T_POSE_M[_LEVELED[name]]
        bone = _unit(bone * [1, 0, 1]) * np.hypot(known[0], known[2]) + [0, known[1], 0]
    return _unit(bone)


def _legs(body: Body, joints: Array) -> float:
    """Length of the legs from hip to ankle, in positions [T, J, 3]."""
    lengths = [
        np.linalg.norm(np.diff(joints[:, [body.joints.index(f"{side}_{part}") for part in parts]], axis=1), axis=-1)
        for side in ("left", "right")
        for parts in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(np.median(lengths, axis=1).sum() / 2)


def _unit(vectors: Array) -> Array:
    found: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return found
