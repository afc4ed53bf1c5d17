"""Labeled clips of the sets in a data folder, mapped to one skeleton layout. Needs no torch.

Shapes: T time, V joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.canonical import heading
from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.errors import InputError
from ...runtime.io.dataset import ClipSet
from . import vocabulary

SET_ASIDE = "set_aside.json"  # next to a model: fingerprints of clips that it must not be evaluated on
REACH_M = 2.0  # a joint farther from the root than this is a sensor error
UPRIGHT_M = 0.4  # a root that is never this high above the floor: nobody stands or kneels


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledClip:
    """One recording of one person: joints [T, V, 3] in absolute meters, NaN where missing."""

    joints: np.ndarray
    fps: float
    label: str | None
    source: str
    record: dict[str, Any]
    flat: bool = False  # a picture: z is 0

    @property
    def seconds(self) -> float:
        return len(self.joints) / self.fps


def clip_sets(data: str | Path) -> list[ClipSet]:
    """Every clip set of a folder, or of several folders and sets, separated by commas.

    Raises:
        InputError: there are none, or one is damaged.
    """
    paths: list[Path] = []
    for place in map(Path, str(data).split(",")):
        found = [place] if place.suffix == ".npz" else sorted(place.glob("*.npz"))
        found = [path for path in found if path.with_suffix(".json").is_file()]
        if not found:
            raise InputError(
                f"{place}: no clip set here; expected NAME.npz next to NAME.json (docs/extend.md, A data set)"
            )
        paths += found
    return [ClipSet.load(path) for path in paths]


def load_clips(
    data: str | Path, layout: Layout, keep: Callable[[dict[str, Any]], bool] = lambda record: True
) -> list[LabeledClip]:
    """The clips of data sets (see `clip_sets`) whose record passes `keep`, mapped to `layout`."""
    clips = []
    for clip_set in clip_sets(data):
        map_VV, root, flat = layout.map_from(clip_set.layout), clip_set.layout.root, clip_set.layout.dims == 2
        for i, record in enumerate(clip_set.clips):
            if keep(record):
                for label, motion in labeled(clip_set, i):
                    joints = flat_to_3d(motion.joints) if flat else replace_outliers(motion.joints, root)
                    clips.append(
                        LabeledClip(
                            joints=np.einsum("vw,twc->tvc", map_VV, joints).astype(np.float32),
                            fps=motion.fps,
                            label=label,
                            source=vocabulary.source(record),
                            record=record,
                            flat=flat,
                        )
                    )
    return clips


def labeled(clip_set: ClipSet, i: int) -> list[tuple[str | None, Motion]]:
    """Clip i with its label; of a fall, its parts (see `cut_fall`); of one hand, the side that goes higher."""
    motion, label = clip_set[i], vocabulary.label(clip_set.clips[i])
    if label == vocabulary.FALL:
        parts = cut_fall(motion.joints, motion.fps, clip_set.layout.root)
        return [(name, replace(motion, joints=motion.joints[frames])) for name, frames in parts]
    if label == vocabulary.ONE_HAND:
        wrists = [clip_set.layout.joints.index(f"{side}_wrist") for side in ("left", "right")]
        up = -1 if clip_set.layout.dims == 2 else 1  # y of a picture points down
        left, right = np.nanpercentile(up * motion.joints[:, wrists, 1], 90, axis=0)
        label = "raise left hand" if left > right else "raise right hand"
    return [(label, motion)]


def flat_to_3d(joints: np.ndarray) -> np.ndarray:
    """Joints [T, V, 2] of a picture, y down -> [T, V, 3], y up."""
    return np.pad(joints * np.array([1, -1], np.float32), ((0, 0), (0, 0), (0, 1)))


def cut_fall(joints: np.ndarray, fps: float, root: int) -> list[tuple[str, slice]]:
    """The parts of a clip in which somebody goes down to the floor, or gets up from it: (label, frames).

    The root's height above the lowest joint falls from over 0.7 to under 0.35 of its maximum, or the reverse. Of a clip
    in which nobody is upright there are none.
    """
    height = moving_average(joints[:, root, 1] - joints[..., 1].min(), fps)
    if height.max() < UPRIGHT_M:
        return []
    state = np.where(height > 0.7 * height.max(), 1, np.where(height < 0.35 * height.max(), -1, 0))
    return [
        (vocabulary.FALLS[int(state[a] < 0)], slice(max(0, a - round(fps / 2)), b + round(fps / 2)))
        for a, b in pairwise(np.flatnonzero(state))
        if state[a] != state[b] and b - a < 4 * fps
    ]


def replace_outliers(joints: np.ndarray, root: int) -> np.ndarray:
    """Replace joints out of reach by their previous position relative to the root; in the first frame, by the root."""
    joints = joints.copy()
    far = np.linalg.norm(joints - joints[:, [root]], axis=2) > REACH_M
    for t, v in np.argwhere(far):
        joints[t, v] = joints[t - 1, v] - joints[t - 1, root] + joints[t, root] if t else joints[t, root]
    return joints


def phases(joints: np.ndarray, fps: float, label: str, layout: Layout) -> list[tuple[str, int, int]]:
    """Actions in a clip with this label, in order: (label, first frame, last frame plus one).

    Most clips are one action, from the first movement to the last. Turns are preceded and followed by walking.
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
    """First frame of movement, and last frame plus one.

    Movement starts when a joint has left its initial position, relative to the root, by `share` of its maximum
    distance, and ends when all joints stay that close to their final positions.
    """
    pose = joints - joints[:, :1]
    moving = []
    for anchor in (pose[0], pose[-1]):
        distance = moving_average(np.linalg.norm(pose - anchor, axis=2).max(1), fps)
        moving.append(np.flatnonzero(distance > share * distance.max()))
    start = int(moving[0][0]) if len(moving[0]) else 0
    end = int(moving[1][-1]) + 1 if len(moving[1]) else len(joints)
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


def back_and_forth(frames: np.ndarray, length: int) -> np.ndarray:
    """Play frames [T, ...] back and forth from the first one: [length, ...]."""
    if len(frames) == 1:
        return np.repeat(frames, length, 0)
    last = len(frames) - 1
    return frames[last - np.abs(np.arange(length) % (2 * last) - last)]


def fingerprint(clip_set: ClipSet, i: int) -> str:
    """Identifier of a clip by its content, independent of the file."""
    frames = slice(clip_set.start[i], clip_set.start[i + 1])
    return sha256(np.ascontiguousarray(clip_set.joints[frames], "<f2").tobytes()).hexdigest()[:12]
