"""HumanML3D and KIT-ML as published for text-to-motion, and the 400 labels of HumanML3D-400. Needs no torch.

    ROOT/new_joints/ID.npy   [T, 22, 3] (KIT-ML: [T, 21, 3]), facing +z at frame 0, on the floor
    ROOT/texts/ID.txt        one caption per line: caption#word/tag word/tag …#from#to, seconds; 0 and 0: whole motion
    ROOT/train.txt, val.txt, test.txt   one ID per line

Shapes: T time, V joints. Meters, y up.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...runtime.errors import InputError
from .motions import UNIT, MotionClip

FILES = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
LABELS, LABEL_NAMES = "annotations_actions_400.json", "humanml3d400_label_map.txt"
EXPECTED = "new_joints/ID.npy, texts/ID.txt and train.txt, val.txt, test.txt with one ID per line"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _DataSet:
    """Properties of one of the two data sets; motions of min_frames <= T < max_frames are used."""

    source: str
    joints: int
    fps: float
    min_frames: int
    max_frames: int
    unit_m: float


HUMANML3D = _DataSet(source="humanml3d", joints=22, fps=20.0, min_frames=40, max_frames=200, unit_m=1.0)
# KIT-ML is in millimeters of a body 1 m tall; TEMOS (Petrovich et al. 2022) equates 480 of them with 0.75 m.
KIT_ML = _DataSet(source="kit-ml", joints=21, fps=12.5, min_frames=24, max_frames=200, unit_m=0.75 / 480)


def load_humanml(root: Path, split: str, kit: bool = False) -> list[MotionClip]:
    """Motions of one split, with joints as published.

    A caption of a part of a motion makes that part a separate clip, "ID from:to", with this caption only. Motions and
    parts that are too short or too long are skipped, as usual in the literature, and so are motions that are not
    finite. There are no names of actions: the action of a clip is its motion's ID.

    Args:
        root: the folder.
        split: "train", "validation" or "test".
        kit: the folder is KIT-ML: layout kit21 at 12.5 frames per second, converted to meters; else smpl22 at 20.

    Raises:
        InputError: a file is missing or damaged.
    """
    if split not in FILES:
        raise InputError(f"unknown split {split!r}; there are {', '.join(FILES)}")
    published, clips, skipped = KIT_ML if kit else HUMANML3D, [], Counter[str]()
    for name in _lines(root, FILES[split]):
        joints = _joints(root, name, published)
        if not published.min_frames <= len(joints) < published.max_frames or not np.isfinite(joints).all():
            skipped["motions"] += 1
            continue
        for part, captions in _parts(root, name, published.fps):
            cut = joints[part]
            if not published.min_frames <= len(cut) < published.max_frames:
                skipped["parts"] += 1
                continue
            whole = part.stop is None
            clips.append(
                MotionClip(
                    joints=cut,
                    captions=tuple(captions),
                    action=name,
                    style=None,
                    quality="mocap",
                    split=split,
                    source=published.source,
                    name=name if whole else f"{name} {part.start}:{part.stop}",
                )
            )
    log.info("%s, %s: %d clips; skipped %s", published.source, split, len(clips), dict(skipped))
    return clips


def is_humanml(folder: Path) -> bool:
    """True for a folder in this form."""
    return (folder / "new_joints").is_dir()


def is_kit(root: Path) -> bool:
    """True for KIT-ML, by the joints of a motion. Raises InputError: there is no readable one."""
    path = min((root / "new_joints").glob("*.npy"), default=None)
    if path is None:
        raise InputError(f"{root / 'new_joints'}: no motion; the folder must hold {EXPECTED}")
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable array ({error})") from None
    return shape[-2:] == (KIT_ML.joints, 3)


@dataclass(frozen=True, kw_only=True)
class PublishedSampler:
    """Endless, reproducible sampling of clips as in the released loaders: in place, and neither mirrored nor weighted.

    Attributes:
        window: frames of a sample, every window being equally likely; None: the whole clip, cut at random to a multiple
            of four frames, of which a third of the samples lose four more.
        labels: names of the actions of every motion by ID, of which a sample gets one; without, it has the ID.
    """

    clips: Sequence[MotionClip]
    seed: int
    window: int | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    weights: np.ndarray = field(init=False)  # [N], probability of every clip

    def __post_init__(self) -> None:
        lengths = np.array([len(clip.joints) for clip in self.clips], float)
        weights = np.ones_like(lengths) if self.window is None else np.maximum(lengths - self.window + 1, 0)
        if not weights.any():
            raise InputError(f"no clip of {self.window} frames")
        object.__setattr__(self, "weights", weights / weights.sum())

    def batch(self, step: int, size: int) -> list[MotionClip]:
        """Clips of 4 n frames; sample i depends on seed, step and i only."""
        return [self.sample(np.random.default_rng((self.seed, step, i))) for i in range(size)]

    def sample(self, rng: np.random.Generator) -> MotionClip:
        clip = self.clips[int(rng.choice(len(self.clips), p=self.weights))]
        length = self.window or len(clip.joints) // UNIT * UNIT - (UNIT if rng.random() < 1 / 3 else 0)
        begin = int(rng.integers(len(clip.joints) - length + 1))
        names = self.labels.get(clip.action, ())
        return replace(
            clip,
            joints=clip.joints[begin : begin + length],
            action=names[int(rng.integers(len(names)))] if names else clip.action,
            name=f"{clip.name} {begin}:{begin + length}",
        )


def load_labels(root: Path) -> tuple[tuple[str, ...], dict[str, set[int]]]:
    """The 400 labels of HumanML3D-400 in order, and the labels of every motion by ID.

    Reads `annotations_actions_400.json` (or .json.gz) and `humanml3d400_label_map.txt`.

    Raises:
        InputError: a file is missing or damaged.
    """
    names = tuple(_lines(root, LABEL_NAMES))
    path = root / LABELS if (root / LABELS).is_file() else root / f"{LABELS}.gz"
    if not path.is_file():
        raise InputError(f"{root / LABELS}: no such file, nor {LABELS}.gz; it must have the `labels` of motions by ID")
    try:
        raw = path.read_bytes()
        about = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
        of_motion = {name: {int(label) for label in motion["labels"]} for name, motion in about.items()}
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not an object of motions with `labels` ({error!r})") from None
    invalid = {label for labels in of_motion.values() for label in labels if not 0 <= label < len(names)}
    if invalid:
        raise InputError(f"{path}: has label {min(invalid)}, but {LABEL_NAMES} names {len(names)}")
    return names, of_motion


def mean_and_std(clips: Iterable[MotionClip]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [3 V] of every joint and axis over all frames, in the order x0 y0 z0 x1 ….

    Raises:
        InputError: there are no clips.
    """
    total = square = np.zeros(1)
    frames = 0
    for clip in clips:
        values = clip.joints.reshape(len(clip.joints), -1).astype(np.float64)
        total, square, frames = total + values.sum(0), square + (values**2).sum(0), frames + len(values)
    if not frames:
        raise InputError("no clips to compute mean and standard deviation of")
    mean = total / frames
    std = np.sqrt(np.maximum(square / frames - mean**2, 1e-12))
    return mean.astype(np.float32), std.astype(np.float32)


def _lines(root: Path, file: str) -> list[str]:
    path = root / file
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the folder must hold {EXPECTED}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _joints(root: Path, name: str, published: _DataSet) -> np.ndarray:
    path = root / "new_joints" / f"{name}.npy"
    try:
        joints = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the folder must hold {EXPECTED}") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable array ({error})") from None
    if joints.ndim == 2:  # a motion of one frame in some copies
        joints = joints[None]
    if joints.shape[1:] != (published.joints, 3) or joints.dtype.kind != "f":
        wanted = f"floating point [T, {published.joints}, 3] for {published.source}"
        raise InputError(f"{path}: {joints.dtype} {list(joints.shape)}, expected {wanted}")
    return (joints * published.unit_m).astype(np.float32)


def _parts(root: Path, name: str, fps: float) -> Iterator[tuple[slice, list[str]]]:
    """Parts of a motion and their captions."""
    parts: dict[tuple[int, int | None], list[str]] = {}
    for number, line in enumerate(_lines(root, f"texts/{name}.txt"), 1):
        caption, begin, end = _caption(root / "texts" / f"{name}.txt", number, line)
        part = begin or end
        parts.setdefault((int(begin * fps), int(end * fps) if part else None), []).append(caption)
    for ends, captions in parts.items():
        yield slice(*ends), captions


def _caption(path: Path, number: int, line: str) -> tuple[str, float, float]:
    """Caption with start and end in seconds; published files have "nan" for 0."""
    try:
        caption, _, begin, end = line.split("#")
        first, last = (0.0 if math.isnan(float(tag)) else float(tag) for tag in (begin, end))
        if not caption.strip() or not 0 <= first <= last:
            raise ValueError("no caption, or start and end out of order")
    except ValueError as error:
        raise InputError(
            f"{path}, line {number}: expected caption#tokens#from#to, got {line[:60]!r} ({error})"
        ) from None
    return caption.strip(), first, last
