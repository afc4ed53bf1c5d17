"""Postprocessing of a decoder's output: constant bone lengths, planted feet, smoothing, and crossfades at seams.

Shapes: T frames, V joints, meters, y up.
"""

from __future__ import annotations

import numpy as np

from ..body.canonical import FEET, SMPL

CROSSFADE_FRAMES = 8  # new frames at a seam that are bent toward the old motion
_PROJECTIONS = 10
_PLANT_PASSES = 3  # a pass corrects the part of the slide that smoothing left in the one before
_LOW_M, _SOFT_M, _SLOW_M = 0.05, 0.012, 0.05  # a standing foot is below this height, +- soft, and this slow per frame
_KERNEL = np.exp(-0.5 * np.arange(-4, 5) ** 2) / np.exp(-0.5 * np.arange(-4, 5) ** 2).sum()  # over frames
_CUTOFF = 0.2  # cycles per frame; chosen on validation clips so that outputs have the jitter of Kinect recordings


def postprocess(joints: np.ndarray) -> np.ndarray:
    """Give a decoder's output [T, 22, 3] a rigid skeleton and feet that do not slide."""
    return plant_feet(fix_bone_lengths(joints, joints))


def fix_bone_lengths(joints: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Move joints [T, 22, 3] as little as possible so that bones have their median lengths in `reference`.

    Source: Gauss-Seidel projection of distance constraints, Mueller et al., "Position based dynamics" (2007).
    """
    lengths = {(i, j): np.median(np.linalg.norm(reference[:, i] - reference[:, j], axis=1)) for i, j in SMPL.edges}
    found = np.ascontiguousarray(joints.transpose(1, 2, 0), np.float64)  # [V, 3, T]
    for _ in range(_PROJECTIONS):
        for (i, j), length in lengths.items():
            bone = found[i] - found[j]
            off = bone * (0.5 - 0.5 * length / (np.sqrt((bone**2).sum(0)) + 1e-9))
            found[i] -= off
            found[j] += off
    return found.transpose(2, 0, 1).astype(np.float32)


def plant_feet(joints: np.ndarray) -> np.ndarray:
    """Translate each frame of [T, 22, 3] in the ground plane so that the standing foot, low and slow, does not slide.

    Frames in the air do not change.
    """
    found = joints.copy()
    for _ in range(_PLANT_PASSES):
        feet = found[:, FEET]
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


def crossfade(old_TV3: np.ndarray, new_TV3: np.ndarray, regenerate_T: np.ndarray) -> np.ndarray:
    """Replace the frames to regenerate by new ones, each stretch bent to meet the old frames at both ends."""
    found = np.where(regenerate_T[:, None, None], new_TV3, old_TV3).astype(np.float32)
    edges = np.flatnonzero(np.diff(regenerate_T.astype(int), prepend=0, append=0))
    for start, end in edges.reshape(-1, 2):
        size = min(CROSSFADE_FRAMES, end - start)
        weight = (0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 1) / (size + 1)))[:, None, None]
        if start > 0:
            found[start : start + size] += weight * (old_TV3[start - 1] - new_TV3[start - 1])
        if end < len(old_TV3):
            found[end - size : end] += weight[::-1] * (old_TV3[end] - new_TV3[end])
    return found
