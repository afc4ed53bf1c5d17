"""Metrics of motion itself, without an embedding network: meters, y up, the floor at y = 0.

Shapes: T frames, V joints, N clips, F frames that clips are resampled to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...runtime.body.canonical import heading
from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ..data.clips import resample

FEET = ("left_foot", "right_foot")


def mpjpe(predicted_TV3: np.ndarray, target_TV3: np.ndarray, root: int | None = 0) -> float:
    """Mean per-joint position error in mm, after aligning joint `root` in every frame.

    Args:
        root: None compares positions in the world.
    Source: Ionescu et al., Human3.6M, TPAMI 2014.
    """
    predicted = check_motion("predicted motion", predicted_TV3, 1)
    target = check_motion("target motion", target_TV3, 1)
    if predicted.shape != target.shape:
        raise InputError(f"motions of shapes {list(predicted.shape)} and {list(target.shape)}, expected the same")
    if root is not None:
        predicted, target = predicted - predicted[:, root, None], target - target[:, root, None]
    return 1000 * float(np.linalg.norm(predicted - target, axis=-1).mean())


def foot_skating(joints_TV3: np.ndarray, fps: float, layout: Layout) -> float:
    """% of frames with foot skating: a foot is below 5 cm in two consecutive frames and moves horizontally by more than
    0.5 m/s (2.5 cm per frame at 20 fps), there and in the mean over 5 frames.

    Args:
        joints_TV3: at least 2 frames; the heights are those of left_foot and right_foot (the balls of the feet).
    Source: GMD, Karunratanakul et al., ICCV 2023; the mean over 5 frames as in its published evaluation.
    """
    joints = check_motion("motion", joints_TV3, 2)
    feet = joints[:, [layout.joints.index(name) for name in FEET]]
    low = feet[:, :, 1] < 0.05
    speed = np.linalg.norm(np.diff(feet[:, :, [0, 2]], axis=0), axis=-1) * fps  # [T - 1, 2]
    padded = np.pad(speed, ((2, 2), (0, 0)))
    mean = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0).mean(-1)
    slides = low[1:] & low[:-1] & (speed > 0.5) & (mean > 0.5)
    return 100 * float(slides.any(1).mean())


def jitter(joints_TV3: np.ndarray, fps: float) -> float:
    """Mean magnitude of the jerk of joints (third difference times fps^3), m/s^3; at least 4 frames.

    Source: the jitter of TransPose, Yi et al., SIGGRAPH 2021.
    """
    joints = check_motion("motion", joints_TV3, 4)
    return float(np.linalg.norm(np.diff(joints, 3, axis=0), axis=-1).mean()) * fps**3


def bone_length_drift(joints_TV3: np.ndarray, layout: Layout) -> float:
    """100 std / mean of each bone's length over a clip, %, averaged over bones; 0 for a rigid skeleton.

    Raises:
        InputError: fewer than 2 frames, or a bone without length.
    """
    joints = check_motion("motion", joints_TV3, 2)
    child, parent = np.array(layout.edges).T
    length = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)  # [T, bones]
    mean = length.mean(0)
    if not mean.all():
        raise InputError(f"the bone to {layout.joints[child[mean.argmin()]]} has no length")
    return 100 * float((length.std(0) / mean).mean())


def upright(joints_TV3: np.ndarray, layout: Layout, degrees: float = 45) -> float:
    """% of frames in which the line from pelvis to neck is within `degrees` of vertical, the neck above."""
    joints = check_motion("motion", joints_TV3, 1)
    spine = joints[:, layout.joints.index("neck")] - joints[:, layout.root]
    length = np.linalg.norm(spine, axis=-1)
    return 100 * float((spine[:, 1] > np.cos(np.radians(degrees)) * length).mean())


def floor_error(joints_TV3: np.ndarray) -> float:
    """Distance of the lowest joint of a clip from the floor, mm: floating motion has no foot skating."""
    return 1000 * abs(float(check_motion("motion", joints_TV3, 1)[:, :, 1].min()))


def nearest_training_distance(
    clips: Sequence[np.ndarray], training: Sequence[np.ndarray], frames: int = 32, root: int = 0
) -> np.ndarray:
    """Distance of every clip from the nearest training clip, mm; close to 0 for a copy.

    Clips are resampled to `frames`, joints are relative to the root of their frame, and the distance is the mean over
    joints and frames. If mirrored clips are trained on, include them.

    Args:
        clips, training: [T, V, 3] each, meters, with the same heading in their first frames.
    Returns:
        [N] mm; compare with real clips that were not trained on.
    """
    if not clips or not training:
        raise InputError(f"{len(clips)} clips and {len(training)} training clips, expected at least one each")
    known = np.stack([pose_sequence(joints, frames, root) for joints in training])  # [M, F, V, 3]
    nearest = np.full(len(clips), np.inf)
    for i, joints in enumerate(clips):
        own = pose_sequence(joints, frames, root)
        if own.shape != known.shape[1:]:
            raise InputError(f"clip {i} has {own.shape[1]} joints, training clips have {known.shape[2]}")
        for begin in range(0, len(known), 256):
            distance = np.sqrt(((known[begin : begin + 256] - own) ** 2).sum(-1)).mean((1, 2))
            nearest[i] = min(nearest[i], float(distance.min()))
    return 1000 * nearest


def nearest_training_piece(
    clips: Sequence[np.ndarray], training: Sequence[np.ndarray], layout: Layout, frames: int = 16
) -> np.ndarray:
    """Distance of every clip's pieces from the nearest pieces of training clips, mm.

    Unlike `nearest_training_distance`, this finds partial copies that are cut, shifted or concatenated. A piece is
    `frames` consecutive frames, every fifth of which is compared, relative to the root and facing +z in its first
    frame; pieces of training clips start every 4 frames. The distance is the root mean square over joints and frames,
    at the clips' own speed; that of a clip is the mean over its consecutive pieces.

    Args:
        clips, training: [T, V, 3] each, meters, T at least `frames`; shorter training clips are skipped.
    Returns:
        [N] mm; compare with real clips that were not trained on.
    """
    long_enough = [joints for joints in training if len(joints) >= frames]
    if not clips or not long_enough or min(map(len, clips)) < frames:
        raise InputError(
            f"{len(clips)} clips and {len(long_enough)} training clips of at least {frames} frames, expected at least "
            f"one each, and no shorter clip"
        )
    queries = [pieces(joints, frames, frames, layout) for joints in clips]
    query_QF = np.concatenate(queries)
    nearest = np.full(len(query_QF), np.inf, np.float32)
    for begin in range(0, len(long_enough), 128):
        part = long_enough[begin : begin + 128]
        known_KF = np.concatenate([pieces(joints, frames, 4, layout) for joints in part])
        distance_QK = (known_KF**2).sum(1) - 2 * query_QF @ known_KF.T
        nearest = np.minimum(nearest, distance_QK.min(1))
    joints_compared = query_QF.shape[1] / 3
    squared = np.maximum(nearest + (query_QF**2).sum(1), 0) / joints_compared
    ends = np.cumsum([len(own) for own in queries])[:-1]
    return 1000 * np.array([np.sqrt(own).mean() for own in np.split(squared, ends)])


def pieces(joints_TV3: np.ndarray, frames: int, stride: int, layout: Layout) -> np.ndarray:
    """Every fifth pose of the pieces that start every `stride` frames: [pieces, poses * V * 3] float32."""
    joints = check_motion("motion", joints_TV3, frames).astype(np.float32)
    joints = joints - joints[:, layout.root, None]
    begin = np.arange(0, len(joints) - frames + 1, stride)
    poses = joints[begin[:, None] + np.arange(0, frames, 5)]  # [pieces, poses, V, 3]
    yaw = heading(poses[:, 0], layout)
    cos, sin = np.cos(yaw)[:, None, None], np.sin(yaw)[:, None, None]
    x, z = poses[..., 0] * cos + poses[..., 2] * sin, poses[..., 2] * cos - poses[..., 0] * sin
    return np.stack([x, poses[..., 1], z], -1).reshape(len(begin), -1)


def pose_sequence(joints_TV3: np.ndarray, frames: int, root: int) -> np.ndarray:
    """Root-aligned poses [F, V, 3] float32, evenly spaced from the first frame to the last."""
    joints = check_motion("motion", joints_TV3, 1).astype(np.float32)
    joints = joints - joints[:, root, None]
    return resample(joints, frames)


def check_motion(name: str, joints_TV3: np.ndarray, least: int) -> np.ndarray:
    """Convert to float64 [T, V, 3]. Raises InputError: another shape, too few frames, or values that are not finite."""
    joints = np.asarray(joints_TV3, np.float64)
    if joints.ndim != 3 or joints.shape[2] != 3:
        raise InputError(f"{name}: shape {list(joints.shape)}, expected [frames, joints, 3]")
    if len(joints) < least:
        raise InputError(f"{name}: {len(joints)} frames, expected at least {least}")
    if not np.isfinite(joints).all():
        raise InputError(f"{name}: frame {int((~np.isfinite(joints).all((1, 2))).argmax())} is not finite")
    return joints
