"""Labelled clips of the sets in a data folder, brought to one skeleton layout. Needs no torch.

Shapes: T time, V joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.canonical import heading
from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ...runtime.io.dataset import ClipSet
from . import vocabulary

SET_ASIDE = "set_aside.json"  # beside a model: fingerprints of clips that it must not be evaluated on
REACH_M = 2.0  # a joint farther from the root than this is a sensor's error


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledClip:
    """One recording of one person: joints [T, V, 3] in absolute metres, NaN where missing."""

    joints: np.ndarray
    fps: float
    label: str | None
    source: str
    record: dict[str, Any]

    @property
    def seconds(self) -> float:
        return len(self.joints) / self.fps


def clip_sets(data: Path) -> list[ClipSet]:
    """Every clip set in a folder, except those whose labels are not mapped to the vocabulary yet.

    Raises:
        InputError: the folder holds none, or one is damaged.
    """
    found = sorted(
        path
        for path in data.glob("*.npz")
        if path.with_suffix(".json").is_file() and path.stem not in vocabulary.UNMAPPED_SETS
    )
    if not found:
        raise InputError(f"{data}: no clip set here; expected NAME.npz beside NAME.json (docs/extend.md, A data set)")
    return [ClipSet.load(path) for path in found]


def load_clips(
    data: Path, layout: Layout, keep: Callable[[dict[str, Any]], bool] = lambda record: True
) -> list[LabeledClip]:
    """The clips of a data folder whose record passes `keep`, mapped to `layout`."""
    clips = []
    for clip_set in clip_sets(data):
        map_VV = layout.map_from(clip_set.layout)
        for i, record in enumerate(clip_set.clips):
            if keep(record):
                motion = clip_set[i]
                joints = np.einsum("vw,twc->tvc", map_VV, replace_outliers(motion.joints, clip_set.layout.root))
                clips.append(
                    LabeledClip(
                        joints=joints.astype(np.float32),
                        fps=motion.fps,
                        label=vocabulary.training_label(record),
                        source=vocabulary.source(record),
                        record=record,
                    )
                )
    return clips


def replace_outliers(joints: np.ndarray, root: int) -> np.ndarray:
    """Joints beyond a body's reach take their place of the frame before; in the first frame, the root's."""
    joints = joints.copy()
    far = np.linalg.norm(joints - joints[:, [root]], axis=2) > REACH_M
    for t, v in np.argwhere(far):
        joints[t, v] = joints[t - 1, v] - joints[t - 1, root] + joints[t, root] if t else joints[t, root]
    return joints


def phases(joints: np.ndarray, fps: float, label: str, layout: Layout) -> list[tuple[str, int, int]]:
    """What a person does when in a clip with this label: (label, first frame, last frame plus one) in order.

    Most clips are one action from its first movement to its last. Who turns while walking walks before and after.
    """
    if not label.startswith("turn "):
        return [(label, *active_span(joints, fps))]
    turned = np.abs(heading(joints, layout) - heading(joints[:1], layout))
    turning = np.flatnonzero((turned > 0.1 * turned[-1]) & (turned < 0.9 * turned[-1]))
    if not len(turning):
        return [(label, 0, len(joints))]
    begin, end = int(turning[0]), int(turning[-1]) + 1
    parts = [("walk", 0, begin), (label, begin, end), ("walk", end, len(joints))]
    return [(name, first, last) for name, first, last in parts if last > first]


def active_span(joints: np.ndarray, fps: float, share: float = 0.12) -> tuple[int, int]:
    """First and last-plus-one frame between which a person moves.

    Movement begins when a joint has left its first place, relative to the root, by `share` of the farthest it goes,
    and ends when all stay as near to their last.
    """
    pose = joints - joints[:, :1]
    moved = []
    for anchor in (pose[0], pose[-1]):
        distance = moving_average(np.linalg.norm(pose - anchor, axis=2).max(1), fps)
        moved.append(np.flatnonzero(distance > share * distance.max()))
    start = int(moved[0][0]) if len(moved[0]) else 0
    end = int(moved[1][-1]) + 1 if len(moved[1]) else len(joints)
    return (start, end) if start < end else (0, len(joints))


def moving_average(values: np.ndarray, fps: float) -> np.ndarray:
    """Moving average of [T] over a fifth of a second."""
    size = max(1, round(fps / 5))
    padded = np.pad(values, (size // 2, size - 1 - size // 2), "edge")
    return np.convolve(padded, np.ones(size) / size, "valid")


def resample(joints: np.ndarray, frames: int) -> np.ndarray:
    """Linear resampling [T, V, 3] -> [frames, V, 3] from first to last frame."""
    at = np.linspace(0, len(joints) - 1, frames)
    i = np.minimum(at.astype(int), max(len(joints) - 2, 0))
    share = (at - i)[:, None, None].astype(np.float32)
    return joints[i] * (1 - share) + joints[np.minimum(i + 1, len(joints) - 1)] * share


def fingerprint(clip_set: ClipSet, i: int) -> str:
    """Names a clip by its content, whatever file it stands in."""
    frames = slice(clip_set.start[i], clip_set.start[i + 1])
    return sha256(np.ascontiguousarray(clip_set.joints[frames], "<f2").tobytes()).hexdigest()[:12]
