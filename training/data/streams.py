"""Streams composed of real clips: labeled and unlabeled actions, rest, and transitions. Needs no torch.

Shapes: T time, V joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ...runtime.body.layout import Layout
from .clips import LabeledClip, back_and_forth, resample

Action = tuple[int, int, int]  # class, first frame, last frame plus one

UNLABELED = -1  # class of frames that are neither an action nor rest


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Part of a stream: joints [T, V, 3] at the stream's rate, and their class (`none` for rest)."""

    joints: np.ndarray
    target: int
    actions: tuple[Action, ...]  # within the segment; outside of them the person is at rest
    source: str = ""  # data set of the clip


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """Joints [T, V, 3], the class of every frame [T], the segment of every frame [T] (-1 between segments)."""

    joints: np.ndarray
    targets: np.ndarray
    segments: np.ndarray
    classes: tuple[int, ...]  # of each segment
    sources: tuple[str, ...]  # of each segment
    actions: tuple[Action, ...]  # in frames of the stream
    layout: str | None = None  # of the joints; None: that of the model


def compose(
    parts: Sequence[Segment], layout: Layout, none: int, rate_hz: float, rng: Generator, flat: bool = False
) -> Stream:
    """Join segments; each starts at the position and, unless `flat`, heading of the previous one, after a short
    transition."""
    joints: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    segment_ids: list[np.ndarray] = []
    actions: list[Action] = []
    total = 0
    for i, part in enumerate(parts):
        body = part.joints
        if joints:
            last = joints[-1][-1]
            body = body + last[layout.root] - body[0, layout.root] if flat else _align(last, body, layout)
            joints.append(_transition(last, body[0], round(rate_hz * rng.uniform(0.3, 0.8))))
            height = abs(np.ptp(last[:, 1]) - np.ptp(body[0][:, 1]))
            between = none if height < 0.2 else UNLABELED  # sitting down between two clips is an action
            targets.append(np.full(len(joints[-1]), between))
            segment_ids.append(np.full(len(joints[-1]), -1))
            total += len(joints[-1])
        joints.append(body)
        targets.append(_targets(part, none))
        segment_ids.append(np.full(len(body), i))
        actions += [(target, total + begin, total + end) for target, begin, end in part.actions if target != none]
        total += len(body)
    return Stream(
        joints=np.concatenate(joints),
        targets=np.concatenate(targets),
        segments=np.concatenate(segment_ids),
        classes=tuple(part.target for part in parts),
        sources=tuple(part.source for part in parts),
        actions=tuple(actions),
    )


def rest_windows(clips: Sequence[LabeledClip], layout: Layout, seconds: float = 0.5) -> list[tuple[np.ndarray, float]]:
    """Parts of real clips in which a person stands almost still with hands down: (joints [T, V, 3], fps)."""
    root, head = layout.root, layout.joints.index("head")
    wrists, ankles = (
        [layout.joints.index(f"{side}_{part}") for side in ("left", "right")] for part in ("wrist", "ankle")
    )
    windows = []
    for clip in clips:
        pose = clip.joints - clip.joints[:, [root]]
        speed = np.linalg.norm(np.diff(pose, axis=0, prepend=pose[:1]), axis=2) * clip.fps
        still = np.median(speed, axis=1) < 0.15
        still &= np.percentile(speed, 90, axis=1) < 0.35
        still &= (pose[:, wrists, 1] < 0.15).all(1) & (pose[:, head, 1] > 0.4)
        still &= (pose[:, ankles, 1] < -0.6).all(1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], still, [0]])))
        for begin, end in edges.reshape(-1, 2):
            if end - begin >= seconds * clip.fps:
                windows.append((clip.joints[begin:end], clip.fps))
    return windows


def play_rest(window: np.ndarray, fps: float, seconds: float, rate_hz: float) -> np.ndarray:
    """Play a window of rest back and forth for `seconds`, at `rate_hz`."""
    window = resample(window, max(2, round(len(window) * rate_hz / fps)))
    return back_and_forth(window, max(2, round(seconds * rate_hz)))


def segment(
    joints: np.ndarray, frames: int, label: str, spans: Sequence[tuple[str, int, int]], labels: Sequence[str]
) -> Segment:
    """Segment from a resampled clip and its phases in the frames before resampling, `frames` in number."""
    scale = len(joints) / frames
    return Segment(
        joints=joints,
        target=labels.index(label),
        actions=tuple((labels.index(name), round(begin * scale), round(end * scale)) for name, begin, end in spans),
    )


def _targets(part: Segment, none: int) -> np.ndarray:
    targets = np.full(len(part.joints), none)
    for target, begin, end in part.actions:
        targets[begin:end] = target
    return targets


def _align(last: np.ndarray, joints: np.ndarray, layout: Layout) -> np.ndarray:
    """Rotate and translate `joints` over the ground so that the first frame stands where `last` does."""
    a, b = _left(last, layout), _left(joints[0], layout)
    c, s = (a @ b), (a[1] * b[0] - a[0] * b[1])
    root, first = last[layout.root], joints[0, layout.root]
    x, z = joints[..., 0] - first[0], joints[..., 2] - first[2]
    return np.stack([c * x - s * z + root[0], joints[..., 1], s * x + c * z + root[2]], -1).astype(np.float32)


def _left(pose: np.ndarray, layout: Layout) -> np.ndarray:
    """Unit vector (x, z) to the left of a person."""
    left, right = layout.facing
    vector = (pose[list(left)].sum(0) - pose[list(right)].sum(0))[[0, 2]]
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _transition(a: np.ndarray, b: np.ndarray, frames: int) -> np.ndarray:
    """Smooth transition from pose a to pose b."""
    share = np.arange(1, frames + 1, dtype=np.float32) / (frames + 1)
    share = (share * share * (3 - 2 * share))[:, None, None]
    return a + share * (b - a)
