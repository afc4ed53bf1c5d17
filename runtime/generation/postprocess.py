"""Postprocessing of a decoder's output: constant bone lengths, planted feet, smoothing, and crossfades at seams.

Shapes: T frames, V joints, meters, y up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..body.canonical import FEET_OF, LAYOUTS, heading, rotate_y
from .parts import PARTS_OF, transplant

CROSSFADE_FRAMES = 8  # new frames at a seam that are bent toward the old motion
_SEAM_FRAMES = 6  # at a seam whose root steps lead from the old speed to the new one
_PAST_FRAMES = 20  # that a motion which is appended looks back
_FASTER = 1.2  # a joined root is at most so many times as fast as the old one,
_SLOW_ROOT_M = 0.025  # or this fast, per frame
_STRAY_M, _STRAY_RAD = 0.0125, np.pi / 80  # per frame, that the new path may be bent to end where old frames go on
_PROJECTIONS, _ROUNDS, _BONE_M = 10, 5, 0.005  # projections a round; at most so many, until bones are so exact
_PLANT_PASSES = 3  # a pass corrects the part of the slide that smoothing left in the one before
_LOW_M, _SOFT_M, _SLOW_M = 0.05, 0.012, 0.05  # a standing foot is below this height, +- soft, and this slow per frame
_FLOAT_FRAMES, _FLOAT_M = 11, 0.03  # a body floats that is so long so high above the floor
_GROUND = np.array([1, 0, 1], np.float32)  # x and z
_KERNEL = np.exp(-0.5 * np.arange(-4, 5) ** 2) / np.exp(-0.5 * np.arange(-4, 5) ** 2).sum()  # over frames
_CUTOFF = 0.2  # cycles per frame; chosen on validation clips so that outputs have the jitter of Kinect recordings


def postprocess(joints: np.ndarray) -> np.ndarray:
    """Give a decoder's output [T, V, 3] a rigid skeleton and feet that do not slide."""
    return plant_feet(fix_bone_lengths(joints, joints))


def fix_bone_lengths(joints: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Move joints [T, V, 3] as little as possible so that bones have their median lengths in `reference`.

    Source: Gauss-Seidel projection of distance constraints, Mueller et al., "Position based dynamics" (2007).
    """
    lengths = bone_lengths(reference)
    found = np.ascontiguousarray(joints.transpose(1, 2, 0), np.float64)  # [V, 3, T]
    for _ in range(_ROUNDS):
        if project_lengths(found, lengths, np.ones(len(found), bool), _PROJECTIONS) < _BONE_M:
            break
    return found.transpose(2, 0, 1).astype(np.float32)


def bone_lengths(joints: np.ndarray) -> dict[tuple[int, int], float]:
    """Median lengths in joints [T, V, 3] of bones, by their joints."""
    edges = LAYOUTS[joints.shape[1]].edges
    i, j = np.array(edges).T
    lengths = np.median(np.linalg.norm(joints[:, i] - joints[:, j], axis=2), 0)
    return dict(zip(edges, lengths.tolist(), strict=True))


def project_lengths(
    found: np.ndarray, lengths: Mapping[tuple[int, int], float], is_free: np.ndarray, projections: int
) -> float:
    """Move joints [V, 3, T] float64 that are free, [V] bool, so that pairs get the lengths; in place.

    Returns by how much a length is still off, at most.
    """
    from .._core import project_lengths  # where it is used: training imports this module without it

    return project_lengths(found, [(i, j, length) for (i, j), length in lengths.items()], is_free, projections)


def plant_feet(joints: np.ndarray) -> np.ndarray:
    """Translate each frame of [T, V, 3] in the ground plane so that the standing foot, low and slow, does not slide.

    Frames in the air do not change.
    """
    found = joints.copy()
    for _ in range(_PLANT_PASSES):
        feet = found[:, FEET_OF[joints.shape[1]]]
        slide = np.diff(feet[..., [0, 2]], axis=0)  # [T - 1, 2, 2]
        height = np.maximum(feet[1:, :, 1], feet[:-1, :, 1])
        low = 1 / (1 + np.exp(np.clip((height - _LOW_M) / _SOFT_M, -30, 30)))
        contact = low * np.exp(-np.linalg.norm(slide, axis=-1) / _SLOW_M) + 1e-9
        contact /= contact.sum(1, keepdims=True)
        correction = -(contact[..., None] * slide).sum(1) * low.max(1, keepdims=True)
        padded = np.pad(correction, ((4, 4), (0, 0)), "edge")
        smooth = np.stack([np.convolve(axis, _KERNEL, "valid") for axis in padded.T], 1)
        found[1:, :, [0, 2]] += np.cumsum(smooth, 0)[:, None].astype(np.float32)
    return found


def settle(joints: np.ndarray) -> np.ndarray:
    """Lower a body [T, V, 3] to the floor where its lowest joint is above it for more than half a second."""
    height = joints[..., 1].min(1)
    if len(height) < _FLOAT_FRAMES:
        return joints
    lowest = sliding_window_view(height, _FLOAT_FRAMES).min(1)
    padded = np.pad(lowest, _FLOAT_FRAMES - 1, constant_values=-np.inf)
    level = np.maximum(sliding_window_view(padded, _FLOAT_FRAMES).max(1) - _FLOAT_M, 0)
    found = joints.copy()
    found[..., 1] -= np.convolve(np.pad(level, 4, "edge"), _KERNEL, "valid")[:, None]
    return found


def smooth_for_quality(joints: np.ndarray, quality: str) -> np.ndarray:
    """Smooth a decoder's output of "kinect" quality, as Kinect recordings were smoothed before training."""
    return whittaker_smooth(joints) if quality == "kinect" else joints


def whittaker_smooth(joints: np.ndarray) -> np.ndarray:
    """Smooth joints [T, V, 3]: argmin_x |x - joints|^2 + l |D x|^2, D the second difference.

    At `_CUTOFF` half of the amplitude passes.

    Source: Whittaker, "On a new method of graduation" (1923).
    """
    T = len(joints)
    second = np.diff(np.eye(T), 2, axis=0)
    stiffness = (2 * np.sin(np.pi * _CUTOFF)) ** -4
    smooth = np.linalg.solve(np.eye(T) + stiffness * second.T @ second, joints.reshape(T, -1))
    return smooth.reshape(joints.shape).astype(np.float32)


def extrapolate(joints: np.ndarray, frames: int) -> np.ndarray:
    """Extend joints [T, V, 3] to a number of frames by odd reflection about the last one."""
    found: np.ndarray = np.pad(joints, ((0, frames - len(joints)), (0, 0), (0, 0)), "reflect", reflect_type="odd")
    return found


def bend(old_TV3: np.ndarray, new_TV3: np.ndarray, regenerate_T: np.ndarray) -> np.ndarray:
    """Replace the frames to regenerate, the last ones, by new ones, which are bent to meet the frame before them.

    Bones keep their lengths in the new motion.
    """
    found = np.where(regenerate_T[:, None, None], new_TV3, old_TV3).astype(np.float32)
    start = int(regenerate_T.argmax())
    if start > 0:
        weight = _fade(len(found) - start)
        part = slice(start, start + len(weight))
        found[part] = fix_bone_lengths(found[part] + weight * (old_TV3[start - 1] - new_TV3[start - 1]), new_TV3)
    return found


def crossfade(
    old_TV3: np.ndarray, new_TV3: np.ndarray, regenerate_T: np.ndarray, joints: frozenset[int] | None = None
) -> np.ndarray:
    """Replace the frames to regenerate by new ones that go on where the old ones are.

    Position, heading and velocity of the root continue at every seam; poses fade from old to new. Where old frames
    follow that the new path does not lead to, root and legs stay as they are.

    Args:
        joints: to replace; None: all.
    """
    found = old_TV3.astype(np.float32)
    edges = np.flatnonzero(np.diff(regenerate_T.astype(int), prepend=0, append=0))
    for start, end in edges.reshape(-1, 2):
        found[start:end] = _join(old_TV3, new_TV3, start, end, joints)
    return found


def append(past_TV3: np.ndarray, new_TV3: np.ndarray) -> np.ndarray:
    """Joints of a motion and of another, which goes on where the first one ends."""
    kept = past_TV3[-_PAST_FRAMES:]
    frames = len(kept) + len(new_TV3)
    held = np.repeat(new_TV3[:1], len(kept), 0)
    joined = crossfade(extrapolate(kept, frames), np.concatenate([held, new_TV3]), np.arange(frames) >= len(kept))
    return np.concatenate([past_TV3, joined[len(kept) :]])


def split_path(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Path of the root, [T, 3]: x, z and heading; and joints [T, V, 3] above the origin, facing +z in every frame."""
    facing = heading(joints, LAYOUTS[joints.shape[1]])
    path = np.concatenate([joints[:, 0, [0, 2]], facing[:, None]], 1).astype(np.float64)
    return path, rotate_y(joints - joints[:, :1] * _GROUND, path[:, 2:])


def join_path(path: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Joints of `split_path`'s path and poses."""
    joints = rotate_y(pose, -path[:, 2:])
    joints[..., [0, 2]] += path[:, None, :2].astype(np.float32)
    return joints


def _steps(path: np.ndarray) -> np.ndarray:
    """Steps of a path as the person sees them: [T - 1, 3]."""
    moves = np.diff(path, axis=0)
    return np.concatenate([turn_ground(moves[:, :2], -path[:-1, 2]), moves[:, 2:]], 1)


def _walk(steps: np.ndarray) -> np.ndarray:
    """Path [T, 3] from the origin, facing +z, by steps [T - 1, 3] as of `_steps`."""
    facing = np.concatenate([[0.0], np.cumsum(steps[:, 2])])
    at = np.concatenate([np.zeros((1, 2)), np.cumsum(turn_ground(steps[:, :2], facing[:-1]), 0)])
    return np.concatenate([at, facing[:, None]], 1)


def turn_ground(xz: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Turn points [T, 2] of the ground plane by an angle, as headings count."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * xz[:, 0] - sin * xz[:, 1], cos * xz[:, 1] + sin * xz[:, 0]], -1)


def _fade(frames: int) -> np.ndarray:
    """Weights [N, 1, 1] of the old motion in the first N of new frames: from 1 to 0, both left out."""
    size = min(CROSSFADE_FRAMES, frames)
    weight: np.ndarray = (0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 1) / (size + 1)))[:, None, None]
    return weight


def _join(
    old_TV3: np.ndarray, new_TV3: np.ndarray, start: int, end: int, replaced: frozenset[int] | None
) -> np.ndarray:
    """New joints for the frames from `start` to `end`."""
    has_past, has_future = start > 0, end < len(old_TV3)
    if not has_past and not has_future and replaced is None:
        return new_TV3
    first, last = max(start - 1, 0), min(end, len(old_TV3) - 1)  # with the neighbors
    part, inner = slice(first, last + 1), slice(start - first, end - first)
    (old_path, old_pose), (new_path, new_pose) = split_path(old_TV3), split_path(new_TV3)
    pose = new_pose[part].copy()
    weight = _fade(end - start)
    if has_past:
        pose[1 : 1 + len(weight)] += weight * (old_pose - new_pose)[start : start + len(weight)]
        pose[0] = old_pose[first]
    if has_future:
        pose[-1 - len(weight) : -1] += weight[::-1] * (old_pose - new_pose)[end - len(weight) : end]
        pose[-1] = old_pose[last]
    pose = fix_bone_lengths(pose, old_TV3)
    if replaced is not None:
        return transplant(old_TV3[part], join_path(old_path[part], pose), replaced)[inner]
    pose -= pose[:, :1] * _GROUND

    steps, old_steps = _steps(new_path[part]), _steps(old_path)
    size = min(_SEAM_FRAMES, len(steps) // (has_past + has_future))  # at a seam the decoder leaps back to the old path
    ramp = (np.arange(size) / size)[:, None]
    inner_first, inner_last = steps[min(size, len(steps) - 1)].copy(), steps[max(len(steps) - 1 - size, 0)].copy()
    if has_past:
        steps[:size] = ramp * inner_first + (1 - ramp) * (old_steps[first - 1] if first else inner_first)
    if has_future:
        after = old_steps[last] if last < len(old_steps) else inner_last
        steps[len(steps) - size :] = ramp[::-1] * inner_last + (1 - ramp[::-1]) * after
    path = _walk(steps)
    if has_past and has_future:
        turn = old_path[last, 2] - old_path[first, 2] - path[-1, 2]
        turn -= 2 * np.pi * np.round(turn / (2 * np.pi))
        steps[:, 2] += turn / len(steps)
        path = _walk(steps)
    anchor = 0 if has_past else -1
    angle = old_path[part][anchor, 2] - path[anchor, 2]
    path[:, :2] = turn_ground(path[:, :2] - path[anchor, :2], angle) + old_path[part][anchor, :2]
    path[:, 2] += angle
    joints = plant_feet(join_path(path, pose))
    joints += (old_TV3[part][anchor, 0] - joints[anchor, 0]) * _GROUND
    if has_past and has_future:
        rest = (old_TV3[last, 0] - joints[-1, 0])[[0, 2]]
        share = np.cumsum(np.minimum(1, np.minimum(np.arange(len(steps)) + 1, np.arange(len(steps))[::-1] + 1) / 4))
        joints[1:, :, [0, 2]] += (share / share[-1])[:, None, None] * rest
        fastest = max(_FASTER * np.linalg.norm(old_steps[:, :2], axis=1).max(), _SLOW_ROOT_M)
        too_fast = np.linalg.norm(np.diff(joints[:, 0, [0, 2]], axis=0), axis=1).max() > fastest
        if too_fast or np.linalg.norm(rest) > _STRAY_M * len(steps) or abs(turn) > _STRAY_RAD * len(steps):
            upper_body = PARTS_OF[joints.shape[1]]["upper_body"]
            joints = transplant(old_TV3[part], join_path(old_path[part], pose), upper_body)
    return joints[inner]
