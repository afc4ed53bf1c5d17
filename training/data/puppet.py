"""A body that follows paths of its hands, feet, trunk and pelvis: elbows and knees by inverse kinematics.

Needs no torch. Shapes: T time, V joints of core15. Paths of hands are in arm lengths from the shoulder: (outward, up,
forward).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from ...runtime.body.canonical import heading, rotate_y
from ...runtime.body.layout import Layout
from .clips import back_and_forth

FPS = 30.0
REST = None  # where the hand hangs

Point = Sequence[float] | np.ndarray | None
Keys = list[tuple[float, Point]]  # (seconds, point); between them the path is straight, then it is smoothed


@dataclass
class Score:
    """Paths that a body follows.

    Attributes:
        hands, feet: of the sides "acting" and "other"; of feet, offsets in meters (outward, up, forward).
        pelvis: offset in meters (left, up, forward).
        trunk: pitch forward, turn to the left and lean to the left, radians.
    """

    hands: dict[str, Keys] = field(default_factory=dict)
    feet: dict[str, Keys] = field(default_factory=dict)
    pelvis: Keys = field(default_factory=list)
    trunk: Keys = field(default_factory=list)


def perform(score: Score, rest: np.ndarray, layout: Layout, rng: Generator) -> np.ndarray:
    """Joints [T, V, 3] of a person who follows a score; the acting side is the right one.

    Args:
        rest: joints [R, V, 3] of a person who stands still, played back and forth.
    """
    paths = [*score.hands.values(), *score.feet.values(), score.pelvis, score.trunk]
    seconds = max(keys[-1][0] for keys in paths if keys) + rng.uniform(0.1, 0.5)
    if rng.random() < 0.3:  # a recording that ends early
        seconds *= rng.uniform(0.6, 1)
    T = round(seconds * FPS)
    width = rng.uniform(0.1, 0.3)  # seconds over which paths are smoothed

    def path(keys: Keys, rest_point: np.ndarray) -> np.ndarray:
        points = np.array([rest_point if point is None else point for _, point in keys], float)
        times = np.arange(T) / FPS
        line = np.stack([np.interp(times, [t for t, _ in keys], points[:, i]) for i in range(3)], 1)
        window = np.hanning(max(3, round(width * FPS)) + 2)
        half = len(window) // 2
        padded = np.pad(line, ((half, len(window) - 1 - half), (0, 0)), "edge")
        return np.stack([np.convolve(padded[:, i], window / window.sum(), "valid") for i in range(3)], 1)

    ahead = rotate_y(rest - rest[:1, [layout.root]], heading(rest[:1], layout)[0])
    base = back_and_forth(ahead, T).astype(float)
    index = {name: i for i, name in enumerate(layout.joints)}
    joints = base.copy()
    zero = np.zeros(3)
    pelvis = path(score.pelvis, zero) if score.pelvis else np.zeros((T, 3))
    trunk = path(score.trunk, zero) if score.trunk else np.zeros((T, 3))
    root = base[:, [layout.root]]
    new_root = root + pelvis[:, None]
    R = rotations(trunk)
    legs = [index[f"{side}_{part}"] for side in ("left", "right") for part in ("hip", "knee", "ankle")]
    upper = [i for i in range(len(layout.joints)) if i not in legs]
    joints[:, upper] = np.einsum("tij,tvj->tvi", R, base[:, upper] - root) + new_root
    for role, side, sign in (("acting", "right", -1.0), ("other", "left", 1.0)):
        outward = np.array([sign, 1, 1])
        shoulder, elbow, wrist = (index[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist"))
        if keys := score.hands.get(role):
            hanging = base[:, wrist] - base[:, shoulder]
            arm = bone(base, shoulder, elbow) + bone(base, elbow, wrist)
            hand = arm * path(keys, hanging.mean(0) * outward / arm) * outward
            down = np.array([sign * rng.uniform(0, 0.8), -1, -rng.uniform(0, 0.4)])
            local_elbow, local_hand = two_bones(hand, bone(base, shoulder, elbow), bone(base, elbow, wrist), down)
            for joint, offset in ((elbow, local_elbow), (wrist, local_hand)):
                joints[:, joint] = joints[:, shoulder] + np.einsum("tij,tj->ti", R, offset)
        elif score.trunk:  # an arm that does nothing hangs down, more or less
            turned, straight = (pose[:, [elbow, wrist]] - pose[:, [shoulder]] for pose in (joints, base))
            goal = turned + rng.uniform(0, 1) * (straight - turned)
            lengths = bone(base, shoulder, elbow), bone(base, elbow, wrist)
            joints[:, [elbow, wrist]] = joints[:, [shoulder]] + np.stack(two_bones(goal[:, 1], *lengths, goal[:, 0]), 1)
        hip, knee, ankle = (index[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        joints[:, hip] = base[:, hip] - root[:, 0] + new_root[:, 0]
        foot = path(score.feet[role], zero) * outward if role in score.feet else np.zeros((T, 3))
        reach = base[:, ankle] + foot - joints[:, hip]
        local_knee, local_foot = two_bones(
            reach, bone(base, hip, knee), bone(base, knee, ankle), np.array([sign * 0.15, 0.2, 1])
        )
        if score.feet or score.pelvis:
            joints[:, knee], joints[:, ankle] = joints[:, hip] + local_knee, joints[:, hip] + local_foot
    return joints.astype(np.float32)


def bone(joints: np.ndarray, a: int, b: int) -> float:
    return float(np.median(np.linalg.norm(joints[:, a] - joints[:, b], axis=1)))


def two_bones(reach: np.ndarray, first: float, second: float, pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and end [T, 3] of a chain of two bones from the origin to `reach`, bent toward `pole` ([3] or [T, 3])."""
    distance = np.linalg.norm(reach, axis=1, keepdims=True)
    ahead = reach / np.maximum(distance, 1e-6)
    distance = np.clip(distance, 1.05 * abs(first - second) + 1e-3, 0.995 * (first + second))
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    aside = pole - (ahead * pole).sum(1, keepdims=True) * ahead
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-6)
    return along * ahead + np.sqrt(np.maximum(first**2 - along**2, 0)) * aside, distance * ahead


def rotations(angles: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] of pitch (about x), turn (about y) and lean (about z) [T, 3]."""
    c, s, o = np.cos(angles), np.sin(angles), np.zeros(len(angles))
    e = o + 1
    pitch = np.stack([e, o, o, o, c[:, 0], -s[:, 0], o, s[:, 0], c[:, 0]], 1).reshape(-1, 3, 3)
    turn = np.stack([c[:, 1], o, s[:, 1], o, e, o, -s[:, 1], o, c[:, 1]], 1).reshape(-1, 3, 3)
    lean = np.stack([c[:, 2], s[:, 2], o, -s[:, 2], c[:, 2], o, o, o, e], 1).reshape(-1, 3, 3)
    return turn @ pitch @ lean
