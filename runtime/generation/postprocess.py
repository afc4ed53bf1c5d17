"""Where a motion stands and which way it faces. The networks know motions from one place only: see `canonical`.

Shapes: T frames, V joints, metres, y up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..body.layout import Layout

SMPL = Layout.load("smpl22")
FEET = [SMPL.joints.index(f"{side}_foot") for side in ("left", "right")]
_ROUNDS = 10  # of projection
_PASSES = 3  # of planting: what is smoothed away of a correction is corrected by the next
_LOW_M, _SOFT_M, _SLOW_M = 0.05, 0.012, 0.05  # a foot stands below this height, give or take, and this slow a frame
_SMOOTH = np.exp(-0.5 * np.arange(-4, 5) ** 2) / np.exp(-0.5 * np.arange(-4, 5) ** 2).sum()  # of frames
_CUTOFF = 0.2  # cycles a frame; chosen where what is made jerks as much as what a Kinect saw, on validation clips
BLEND = 8  # frames on the new side of a seam, over which it leans towards what was there


def heading(joints: np.ndarray, layout: Layout) -> np.ndarray:
    """Direction [T] to a person's left in the ground plane, radians, continuous over time; it turns as they turn."""
    left, right = layout.facing
    across = joints[:, list(left)].sum(1) - joints[:, list(right)].sum(1)
    return np.unwrap(np.arctan2(across[:, 2], across[:, 0]))


def turned(joints: np.ndarray, yaw: float) -> np.ndarray:
    """Joints [T, V, 3] turned about the vertical through the origin; a heading of `yaw` becomes 0."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], -1).astype(np.float32)


def rigid(joints: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Joints [T, 22, 3] moved as little as makes every bone as long as in the middle one of `like`.

    Source: projection of distances in turn, Mueller et al., "Position based dynamics" (2007).
    """
    lengths = {(i, j): np.median(np.linalg.norm(like[:, i] - like[:, j], axis=1)) for i, j in SMPL.edges}
    found = np.ascontiguousarray(joints.transpose(1, 2, 0), np.float64)  # [V, 3, T]
    for _ in range(_ROUNDS):
        for (i, j), length in lengths.items():
            bone = found[i] - found[j]
            off = bone * (0.5 - 0.5 * length / (np.sqrt((bone**2).sum(0)) + 1e-9))
            found[i] -= off
            found[j] += off
    return found.transpose(2, 0, 1).astype(np.float32)


def planted(joints: np.ndarray) -> np.ndarray:
    """Joints [T, 22, 3] carried along so that the foot they stand on stays where it is.

    The person moves as a whole: by what the standing foot, low and slow, would have slid. In the air nothing changes.
    """
    found = joints.copy()
    for _ in range(_PASSES):
        feet = found[:, FEET]
        slid = np.diff(feet[..., [0, 2]], axis=0)  # [T - 1, 2, 2]
        height = np.maximum(feet[1:, :, 1], feet[:-1, :, 1])
        low = 1 / (1 + np.exp(np.clip((height - _LOW_M) / _SOFT_M, -30, 30)))
        bears = low * np.exp(-np.linalg.norm(slid, axis=-1) / _SLOW_M) + 1e-9
        bears /= bears.sum(1, keepdims=True)
        back = -(bears[..., None] * slid).sum(1) * low.max(1, keepdims=True)
        padded = np.pad(back, ((4, 4), (0, 0)), "edge")
        smooth = np.stack([np.convolve(axis, _SMOOTH, "valid") for axis in padded.T], 1)
        found[1:, :, [0, 2]] += np.cumsum(smooth, 0)[:, None].astype(np.float32)
    return found


def smooth_as(joints: np.ndarray, quality: str) -> np.ndarray:
    """What a decoder made, [T, 22, 3], as smooth as its quality: what a Kinect saw was smoothed before it was learnt.

    The x that minimises |x - joints|^2 + l |D x|^2, D the second difference: at `_CUTOFF` half the amplitude passes.

    Source: Whittaker, "On a new method of graduation" (1923).
    """
    if quality != "kinect":
        return joints
    T = len(joints)
    second = np.diff(np.eye(T), 2, axis=0)
    stiffness = (2 * np.sin(np.pi * _CUTOFF)) ** -4
    smooth = np.linalg.solve(np.eye(T) + stiffness * second.T @ second, joints.reshape(T, -1))
    return smooth.reshape(joints.shape).astype(np.float32)


def settled(joints: np.ndarray) -> np.ndarray:
    """What a decoder made, [T, 22, 3], with a rigid skeleton and feet that do not slide."""
    return planted(rigid(joints, joints))


def canonical(joints: np.ndarray) -> np.ndarray:
    """Joints [T, 22, 3] turned to face +z at frame 0, pelvis over the origin there, the lowest foot ever on y = 0."""
    found = turned(joints - joints[:1, :1] * np.array([1, 0, 1], np.float32), heading(joints[:1], SMPL)[0])
    found[..., 1] -= found[:, FEET, 1].min()
    return found


def placed(joints: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """A motion [T, 22, 3] as the networks know motions, `canonical`, and what brings such a one back to its place."""
    known, yaw = canonical(joints), heading(joints[:1], SMPL)[0]
    offset = joints[0, 0] - turned(known[:1], -yaw)[0, 0]
    return known, lambda made: turned(made, -yaw) + offset


def extended(joints: np.ndarray, frames: int) -> np.ndarray:
    """Joints [T, V, 3] carried on to so many frames: each joint goes on as it came, mirrored in where it was last."""
    found: np.ndarray = np.pad(joints, ((0, frames - len(joints)), (0, 0), (0, 0)), "reflect", reflect_type="odd")
    return found


def blended(old_TV3: np.ndarray, new_TV3: np.ndarray, regenerate_T: np.ndarray) -> np.ndarray:
    """New frames where they are wanted, each stretch bent so that it meets the old frames on both sides."""
    found = np.where(regenerate_T[:, None, None], new_TV3, old_TV3).astype(np.float32)
    edges = np.flatnonzero(np.diff(regenerate_T.astype(int), prepend=0, append=0))
    for begin, end in edges.reshape(-1, 2):
        size = min(BLEND, end - begin)
        weight = (0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 1) / (size + 1)))[:, None, None]
        if begin > 0:
            found[begin : begin + size] += weight * (old_TV3[begin - 1] - new_TV3[begin - 1])
        if end < len(old_TV3):
            found[end - size : end] += weight[::-1] * (old_TV3[end] - new_TV3[end])
    return found
