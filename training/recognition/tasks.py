"""Training samples of recognizers: endless, reproducible streams and clips. Needs no torch.

Shapes: N batch, T time, V joints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from ...runtime.body.frontend import Frontend, prepare
from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ..data import augment, streams, vocabulary
from ..data.augment import Augmentation
from ..data.choreography import choreography
from ..data.clips import LabeledClip, active_span, back_and_forth, phases
from ..data.streams import UNLABELED, Segment, Stream

FEW_CLIPS = 10  # a data set with fewer clips of a label is drawn less often than the others


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamSample:
    """Network input frames [T, V, 3]; class (-1: not trained), weight and segment (-1: none) of every frame; class of
    every segment, and the classes [S, C] that its data set has; None: all."""

    frames: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    segments: np.ndarray
    classes: tuple[int, ...]
    own_classes: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class LiveTask:
    """Streams of augmented clips, rest and unknown actions.

    A label is drawn in proportion to the square root of the number of data sets that show it.

    Attributes:
        pictures: share of streams of 2-D joints: 3-D clips seen by a random camera, and clips of 2-D data sets.
        choreography: number of clips of each label that are made by rule and added to `clips`.
        mirrored: labels that change when a clip is mirrored.
        one_sided: labels whose clips are not mirrored.
        turns: labels of clips whose turns are preceded and followed by walking, see `phases`.
    """

    clips: Sequence[LabeledClip]
    layout: Layout
    frontend: Frontend
    labels: tuple[str, ...]  # `none` is the last
    seed: int
    seconds: float = 5.0
    max_clip_s: float = 4.5
    augmentation: Augmentation = Augmentation()
    pictures: float = 0.0
    choreography: int = 0
    mirrored: Mapping[str, str] = field(default_factory=lambda: vocabulary.MIRRORED)
    one_sided: Set[str] = frozenset()
    turns: Set[str] = frozenset(vocabulary.TURNS)
    by_label: dict[bool, dict[str | None, dict[str, list[LabeledClip]]]] = field(init=False)  # first: for pictures
    rests: list[tuple[np.ndarray, float]] = field(init=False)
    own_classes: dict[str, np.ndarray] = field(init=False)  # source -> whether it has clips of the class, [C]

    def __post_init__(self) -> None:
        solid = [clip for clip in self.clips if not clip.flat]
        rests = streams.rest_windows(solid, self.layout)
        made = choreography(self.labels, rests, self.layout, self.choreography, self.seed)
        clips = [*self.clips, *made]
        object.__setattr__(self, "clips", clips)
        object.__setattr__(self, "by_label", {False: by_label([*solid, *made]), True: by_label(clips)})
        object.__setattr__(self, "rests", rests + streams.rest_windows(made, self.layout))
        object.__setattr__(self, "own_classes", self._own_classes())

    def _own_classes(self) -> dict[str, np.ndarray]:
        found: dict[str, set[str]] = defaultdict(set)
        for clip in self.clips:
            if clip.label:
                found[clip.source] |= {clip.label, self.mirrored.get(clip.label, clip.label)}
        return {
            clip.source: np.array([name in found[clip.source] or name == vocabulary.NONE for name in self.labels])
            for clip in self.clips
        }

    def batch(self, step: int, size: int) -> list[StreamSample]:
        return [self.sample(np.random.default_rng((self.seed, step, i))) for i in range(size)]

    def sample(self, rng: Generator) -> StreamSample:
        T = round(self.seconds * self.frontend.rate_hz)
        flat = self.pictures > 0 and rng.random() < self.pictures
        while True:
            stream = self.stream(rng, T, flat)
            try:
                frames = prepare(stream.joints[:T], self.frontend, self.layout, flat)
                break
            except InputError:  # a camera that looks along the trunk: the picture has no scale
                if not flat:
                    raise
        if not flat:
            frames = augment.rotate(frames, rng.normal(0, 0.2), np.zeros(2))
        segments = stream.segments[:T].copy()
        for i, target in enumerate(stream.classes):  # drop segments that end before most of their action
            action = (stream.segments == i) & (stream.targets == target)
            if action[:T].sum() < min(0.7 * action.sum(), 2 * self.frontend.rate_hz):
                segments[segments == i] = -1
        return StreamSample(
            frames=frames,
            targets=stream.targets[:T],
            weights=self.weights(stream)[:T],
            segments=segments,
            classes=stream.classes,
            own_classes=np.stack(
                [self.own_classes[s] if s else np.ones(len(self.labels), bool) for s in stream.sources]
            ),
        )

    def stream(self, rng: Generator, frames: int, flat: bool = False) -> Stream:
        """A random stream of at least `frames` frames."""
        parts: list[Segment] = []
        while sum(len(part.joints) for part in parts) < frames:
            if self.rests and rng.random() < 0.3:
                parts.append(self.rest(rng, flat))
            parts.append(self.action(rng, flat))
        return streams.compose(parts, self.layout, len(self.labels) - 1, self.frontend.rate_hz, rng, flat)

    def rest(self, rng: Generator, flat: bool = False) -> Segment:
        joints, fps = self.rests[rng.integers(len(self.rests))]
        rate = self.frontend.rate_hz
        joints = streams.play_rest(joints, fps, rng.uniform(0.4, 2.0), rate)
        joints = augment.augment(joints, rate, rate, self.layout, rng, self.augmentation)
        joints = augment.take_picture(joints, self.layout, rng) if flat else joints
        return Segment(joints=joints, target=len(self.labels) - 1, actions=())

    def action(self, rng: Generator, flat: bool = False) -> Segment:
        table = self.by_label[flat]
        known = [label for label in self.labels if label in table]
        weights = np.array([len(table[label]) for label in known]) ** 0.5
        unknown = None in table and rng.random() < 0.15
        label = None if unknown else known[rng.choice(len(known), p=weights / weights.sum())]
        clips = table[label]
        sources = sorted(clips)
        share = np.array([min(len(clips[source]), FEW_CLIPS) for source in sources], float)
        source = sources[rng.choice(len(sources), p=share / share.sum())]
        clip = clips[source][rng.integers(len(clips[source]))]
        joints, rate = clip.joints, self.frontend.rate_hz
        limit = round(rng.uniform(0.6, 1) * self.max_clip_s * clip.fps)
        if len(joints) > limit and label not in self.turns:
            begin = rng.integers(len(joints) - limit + 1)
            joints = joints[begin : begin + limit]
        if rng.random() < 0.5 and label not in self.one_sided:
            joints = augment.mirror(joints, self.layout)
            label = self.mirrored.get(label, label) if label else None
        name = label or vocabulary.NONE
        if label in self.turns:
            spans = phases(joints, clip.fps, name, self.layout)
        else:
            spans = [(name, *active_span(joints, clip.fps))]
        if clip.flat:
            augmented = augment.augment_picture(joints, clip.fps, rate, rng)
        else:
            augmented = augment.augment(joints, clip.fps, rate, self.layout, rng, self.augmentation)
            augmented = augment.take_picture(augmented, self.layout, rng) if flat else augmented
        return replace(streams.segment(augmented, len(joints), name, spans, self.labels), source=source)

    def weights(self, stream: Stream) -> np.ndarray:
        """Frame weights, which rise to 1 over the first half of each action (at most a second): it starts ambiguous."""
        weights = np.where(stream.targets == UNLABELED, 0, 0.7).astype(np.float32)
        for _, begin, end in stream.actions:
            rise = max(1, min((end - begin) / 2, self.frontend.rate_hz))
            weights[begin:end] = np.clip(np.arange(1, end - begin + 1) / rise, 0.3, 1)
        return weights


def by_label(clips: Sequence[LabeledClip]) -> dict[str | None, dict[str, list[LabeledClip]]]:
    """Clips by label and data set."""
    table: dict[str | None, dict[str, list[LabeledClip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        table[clip.label][clip.source].append(clip)
    return table


@dataclass(frozen=True, kw_only=True)
class ClipTask:
    """One augmented clip per sample; an epoch has every clip once, with similar lengths in a batch."""

    clips: Sequence[LabeledClip]
    layout: Layout
    frontend: Frontend
    labels: tuple[str, ...]
    seed: int
    max_clip_s: float = 3.2

    def batch(self, step: int, size: int) -> list[StreamSample]:
        batches = len(self.clips) // size
        rng = np.random.default_rng((self.seed, step // batches))
        order = rng.permutation(len(self.clips))[: batches * size]
        chunk = size * 8
        by_length = [
            i
            for begin in range(0, len(order), chunk)
            for i in sorted(order[begin : begin + chunk], key=lambda i: len(self.clips[i].joints))
        ]
        begin = size * rng.permutation(batches)[step % batches]
        return [
            self.sample(self.clips[i], np.random.default_rng((self.seed, step, k)))
            for k, i in enumerate(by_length[begin : begin + size])
        ]

    def sample(self, clip: LabeledClip, rng: Generator) -> StreamSample:
        joints = augment.mirror(clip.joints, self.layout) if rng.random() < 0.5 else clip.joints
        if clip.flat:
            joints = augment.augment_picture(joints, clip.fps, self.frontend.rate_hz, rng)
        else:
            joints = augment.augment(joints, clip.fps, self.frontend.rate_hz, self.layout, rng)
        limit = round(self.max_clip_s * self.frontend.rate_hz)
        if len(joints) > limit:
            begin = rng.integers(len(joints) - limit + 1)
            joints = joints[begin : begin + limit]
        frames = prepare(joints, self.frontend, self.layout, clip.flat)
        if not clip.flat:
            frames = augment.rotate(frames, rng.normal(0, 0.3), np.zeros(2))
        T, target = len(frames), self.labels.index(clip.label or "")
        return StreamSample(
            frames=frames,
            targets=np.full(T, target),
            weights=np.linspace(0, 1, T + 1, dtype=np.float32)[1:],
            segments=np.zeros(T, int),
            classes=(target,),
        )


def collate(samples: Sequence[StreamSample]) -> dict[str, np.ndarray]:
    """Arrays of a batch: frames [N, T, V, 3], targets, weights and segments [N, T], classes [all segments] and, if the
    samples have them, own_classes [all segments, C]."""
    T = max(len(sample.frames) for sample in samples)

    def padded(values: np.ndarray, fill: float) -> np.ndarray:
        return np.pad(values, (0, T - len(values)), constant_values=fill)

    first = np.cumsum([0, *(len(sample.classes) for sample in samples)])
    segments = [np.where(s.segments >= 0, s.segments + f, -1) for s, f in zip(samples, first[:-1], strict=True)]
    own = [sample.own_classes for sample in samples if sample.own_classes is not None]
    return {
        **({"own_classes": np.concatenate(own)} if own else {}),
        "frames": np.stack([back_and_forth(sample.frames, T) for sample in samples]),
        "targets": np.stack([padded(sample.targets, UNLABELED) for sample in samples]),
        "weights": np.stack([padded(sample.weights, 0) for sample in samples]),
        "segments": np.stack([padded(segment, -1) for segment in segments]),
        "classes": np.array([c for sample in samples for c in sample.classes]),
    }
