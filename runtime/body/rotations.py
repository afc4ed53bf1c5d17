"""Joint rotations of a motion, to drive a rig, and as BVH and glTF files store them.

    rotations = motionrt.rotations.solve(motion)
    rotations.quaternions  # [T, V, 4], relative to the parent; rotations.six_d is [T, V, 6]

Shapes: T time, V joints of the layout, J nodes of a rig: the V joints, then its helpers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .layout import Layout
from .motion_data import MotionData

Array = NDArray[np.float64]

_LEFT_M = {
    "pelvis": (0, 0.95, 0),
    "spine1": (0, 1.06, 0),
    "spine2": (0, 1.18, 0),
    "spine3": (0, 1.24, 0),
    "neck": (0, 1.44, 0),
    "head": (0, 1.56, 0),
    "left_hip": (0.09, 0.86, 0),
    "left_knee": (0.09, 0.47, 0),
    "left_ankle": (0.09, 0.07, 0),
    "left_foot": (0.09, 0.02, 0.13),
    "left_collar": (0.08, 1.38, 0),
    "left_shoulder": (0.18, 1.38, 0),
    "left_elbow": (0.44, 1.38, 0),
    "left_wrist": (0.69, 1.38, 0),
}


def with_right_side(left: Mapping[str, tuple[float, float, float]]) -> dict[str, Array]:
    """Positions of joints, and those of the right side, which mirror the left ones."""
    right = {name.replace("left_", "right_"): np.array([-x, y, z]) for name, (x, y, z) in left.items()}
    return right | {name: np.array(at) for name, at in left.items()}


T_POSE_M = with_right_side(_LEFT_M)  # of smpl22, facing +z
_SHAPE_ROUNDS = 5
_KEEP = 1e-6  # weight of the parent's rotation: small, so that it only decides the twist that bones leave open


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rig:
    """A skeleton in its rest pose: a T-pose that faces +z, y up, in which every rotation is the identity.

    Args:
        layout: its joints are the first V nodes, in order.
        nodes: J names.
        parents: J indices, -1 for the top. A parent may come after its child: see `order`.
        offsets: [J, 3] meters from the parent; 0 for `moving` nodes.
        moving: nodes with a translation in every frame: the layout's root and its ancestors.
    """

    layout: Layout
    nodes: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Array
    moving: tuple[int, ...]

    @staticmethod
    def from_motion(motion: MotionData, *, helpers: bool = False) -> Rig:
        """The rig of one person, with the median bone lengths of a motion.

        The children of a joint with several children, such as hips and spine of the pelvis, are placed at their average
        position in the motion, since one rotation turns them together. In recordings they also move relative to each
        other, by up to a centimeter. With `helpers`, each gets its own parent node at the position of the joint, such
        as `pelvis_to_left_hip`, whose rotation covers that.

        Raises InputError: several people, a 2-D layout, or a missing joint.
        """
        joints, layout = one_person(motion), Layout.load(motion.layout)
        names, parents = list(layout.joints), list(layout.parents)
        moving, top = [layout.root], parents[layout.root]
        while top >= 0:
            moving.insert(0, top)
            top = parents[top]
        bones = [-1 if i in moving else parent for i, parent in enumerate(parents)]
        offsets = _rest(joints, layout, bones)
        for parent in range(len(layout.joints)) if helpers else ():
            children = _children(bones, parent)
            for child in children if len(children) > 1 else ():
                names.append(f"{names[parent]}_to_{names[child]}")
                parents.append(parent)
                parents[child] = len(parents) - 1
        offsets = np.concatenate([offsets, np.zeros((len(names) - len(offsets), 3))])
        return Rig(layout=layout, nodes=tuple(names), parents=tuple(parents), offsets=offsets, moving=tuple(moving))

    @property
    def order(self) -> list[int]:
        """All nodes, depth first: parents before their children."""
        return _depth_first(self.parents)

    def children(self, node: int) -> list[int]:
        """Indices of the children of `node`."""
        return _children(self.parents, node)

    def aims(self, node: int) -> list[int]:
        """Indices of the joints that `node` positions: its children, or for a helper, the helper's children."""
        V = len(self.layout.joints)
        below = [joint for child in self.children(node) for joint in ([child] if child < V else self.children(child))]
        return [joint for joint in below if joint not in self.moving]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rotations:
    """The motion of a rig, relative to the parent nodes.

    Args:
        rig: the skeleton.
        translations: [T, J, 3] float64 meters; the rig's offsets, except for its `moving` nodes.
        matrices: [T, J, 3, 3] float64 rotation matrices.
    """

    rig: Rig
    translations: Array
    matrices: Array

    @property
    def root(self) -> Array:
        """World position of the layout's root, [T, 3] meters."""
        return self.joints[:, self.rig.layout.root]

    @property
    def quaternions(self) -> Array:
        """[T, J, 4] unit quaternions (w, x, y, z), without sign flips over time."""
        return continuous(to_quaternions(self.matrices))

    @property
    def six_d(self) -> Array:
        """[T, J, 6], see `to_six_d`."""
        return to_six_d(self.matrices)

    @property
    def joints(self) -> Array:
        """World positions of the layout's joints, [T, V, 3] meters (forward kinematics)."""
        position, rotation = np.empty_like(self.translations), np.empty_like(self.matrices)
        for node in self.rig.order:
            parent = self.rig.parents[node]
            if parent < 0:
                position[:, node], rotation[:, node] = self.translations[:, node], self.matrices[:, node]
            else:
                position[:, node] = position[:, parent] + _apply(rotation[:, parent], self.translations[:, node])
                rotation[:, node] = rotation[:, parent] @ self.matrices[:, node]
        return position[:, : len(self.rig.layout.joints)]


def solve(motion: MotionData, rig: Rig | None = None) -> Rotations:
    """Rotations that move the joints of `rig`, by default `Rig.from_motion(motion)`, to those of a one-person motion.

    From the root outwards, each node is rotated so that its children come closest to their targets (least squares). The
    remaining freedom, the twist of a bone, is inherited from the parent; a node without children is not rotated. Bones
    keep their length, so the joints match as far as the motion's bones keep theirs.

    Raises InputError: several people, a 2-D layout, or a missing joint.
    Source: Kabsch, "A solution for the best rotation to relate two sets of vectors" (1976).
    """
    rig = Rig.from_motion(motion) if rig is None else rig
    if motion.layout != rig.layout.name:
        raise InputError(f"the motion has layout {motion.layout}, the rig has layout {rig.layout.name}")
    joints = one_person(motion)
    T, J = len(joints), len(rig.nodes)
    translations = np.tile(rig.offsets, (T, 1, 1))
    position, rotation = np.empty((T, J, 3)), np.empty((T, J, 3, 3))
    matrices = np.empty((T, J, 3, 3))
    for node in rig.order:
        parent = rig.parents[node]
        inherited = np.broadcast_to(np.eye(3), (T, 3, 3)) if parent < 0 else rotation[:, parent]
        if node in rig.moving:
            position[:, node] = joints[:, node]
            origin = 0 if parent < 0 else position[:, parent]
            translations[:, node] = _apply(_inverse(inherited), position[:, node] - origin)
        else:
            position[:, node] = position[:, parent] + _apply(inherited, rig.offsets[node])
        aims = rig.aims(node)
        rotation[:, node] = fit_rotation(rig.offsets[aims], joints[:, aims] - position[:, node, None], inherited)
        matrices[:, node] = _inverse(inherited) @ rotation[:, node]
    return Rotations(rig=rig, translations=translations, matrices=matrices)


def to_quaternions(matrices: Array) -> Array:
    """Unit quaternions [..., 4] (w, x, y, z), w >= 0, of rotation matrices [..., 3, 3]."""
    m = np.moveaxis(matrices.reshape(-1, 9), 1, 0)
    xx, xy, xz, yx, yy, yz, zx, zy, zz = m
    products = np.array([  # 4 q qT, whose rows are all multiples of q
        [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, 1 + xx - yy - zz, yx + xy, xz + zx],
        [xz - zx, yx + xy, 1 - xx + yy - zz, zy + yz],
        [yx - xy, xz + zx, zy + yz, 1 - xx - yy + zz],
    ])  # fmt: skip
    largest = np.argmax(np.einsum("iin->in", products), axis=0)
    quaternions = products[largest, :, np.arange(m.shape[1])]
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    return np.where(quaternions[:, :1] < 0, -quaternions, quaternions).reshape(*matrices.shape[:-2], 4)


def continuous(quaternions: Array) -> Array:
    """Quaternions [T, ..., 4] with the sign closer to the previous frame."""
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    return np.concatenate([quaternions[:1], quaternions[1:] * np.cumprod(flips, axis=0)])


def from_quaternions(quaternions: Array) -> Array:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4] (w, x, y, z)."""
    w, x, y, z = np.moveaxis(quaternions, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def to_rotation_vectors(matrices: Array) -> Array:
    """Axes times angles in radians, [..., 3], of rotation matrices [..., 3, 3]."""
    quaternions = to_quaternions(matrices)
    half = np.linalg.norm(quaternions[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(half, quaternions[..., :1])
    return np.asarray(quaternions[..., 1:] * np.where(half < 1e-8, 2.0, angle / np.maximum(half, 1e-8)))


def to_six_d(matrices: Array) -> Array:
    """The first two columns of rotation matrices [..., 3, 3], concatenated: [..., 6].

    Source: Zhou et al., "On the continuity of rotation representations in neural networks" (2019).
    """
    return np.concatenate([matrices[..., 0], matrices[..., 1]], axis=-1)


def from_six_d(six_d: Array) -> Array:
    """Rotation matrices [..., 3, 3] of [..., 6] as of `to_six_d`; they need not be orthonormal."""
    first, second = six_d[..., :3], six_d[..., 3:]
    x = first / np.linalg.norm(first, axis=-1, keepdims=True)
    y = second - (x * second).sum(-1, keepdims=True) * x
    y /= np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def one_person(motion: MotionData) -> Array:
    """Joints [T, V, 3] of one person. Raises InputError: several people, a 2-D layout, or a missing joint."""
    joints = motion.only_person().joints.astype(np.float64)
    layout = Layout.load(motion.layout)
    if layout.dims != 3:
        raise InputError(f"layout {layout.name} is 2-D, rotations need 3-D joints")
    missing = np.argwhere(~np.isfinite(joints).all(axis=-1))
    if len(missing):
        frame, joint = missing[0]
        raise InputError(
            f"{layout.joints[joint]} is missing in frame {frame}, rotations need every joint in every frame"
        )
    return joints


def _rest(joints: Array, layout: Layout, bones: Sequence[int]) -> Array:
    """Offsets [V, 3] from the parents in `bones`; 0 where the parent is -1."""
    smpl = Layout.load("smpl22")
    pose = layout.map_from(smpl) @ np.array([T_POSE_M[name] for name in smpl.joints])
    offsets = np.zeros((len(bones), 3))
    ahead = {-1: np.array([0.0, 1.0, 0.0])}  # unit vectors
    for joint in _depth_first(bones):
        parent = bones[joint]
        along = pose[joint] - pose[parent] if parent >= 0 else np.zeros(3)
        length = np.linalg.norm(along)
        ahead[joint] = (
            along / length if length > 1e-3 else ahead[parent]
        )  # a finger continues in the direction of the hand
        if parent >= 0:
            offsets[joint] = ahead[joint] * np.median(np.linalg.norm(joints[:, joint] - joints[:, parent], axis=-1))
    for parent in range(len(bones)):
        children = _children(bones, parent)
        if len(children) > 1:
            offsets[children] = _shape(offsets[children], joints[:, children] - joints[:, parent, None])
    return offsets


def _shape(rest: Array, seen: Array) -> Array:
    """Vectors [K, 3] with the lengths of `rest` that fit the vectors `seen` [T, K, 3] best as a rigid body."""
    lengths, shape = np.linalg.norm(rest, axis=-1, keepdims=True), rest
    for _ in range(_SHAPE_ROUNDS):
        rotation = fit_rotation(shape, seen, np.broadcast_to(np.eye(3), (len(seen), 3, 3)))
        shape = (seen @ rotation).mean(axis=0)  # each vector times rotation.T
        shape *= lengths / np.maximum(np.linalg.norm(shape, axis=-1, keepdims=True), 1e-9)
    return shape


def fit_rotation(rest: Array, seen: Array, inherited: Array) -> Array:
    """Rotations [T, 3, 3] of `rest` [K, 3] to `seen` [T, K, 3]; where they leave a choice, close to `inherited`."""
    covariance = np.einsum("tki,kj->tij", seen, rest)
    size = (np.linalg.norm(seen, axis=-1) * np.linalg.norm(rest, axis=-1)).sum(-1)
    u, _, vt = np.linalg.svd(covariance + (_KEEP * size + 1e-12)[:, None, None] * inherited)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]  # no reflection
    return u @ vt


def _apply(matrices: Array, vectors: Array) -> Array:
    return (matrices @ vectors[..., None])[..., 0]


def _inverse(rotations: Array) -> Array:
    return rotations.swapaxes(-1, -2)


def _children(parents: Sequence[int], node: int) -> list[int]:
    return [child for child, parent in enumerate(parents) if parent == node]


def _depth_first(parents: Sequence[int]) -> list[int]:
    order, waiting = [], _children(parents, -1)[::-1]
    while waiting:
        order.append(waiting.pop())
        waiting += _children(parents, order[-1])[::-1]
    return order
