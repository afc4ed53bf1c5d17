"""A recogniser whose labels are any texts or a few examples each, matched beside the stream that they are told of.

The encoder steps with every frame. What it found in the last seconds is matched a few times a second, on a thread of
its own; a frame only reads the newest result. Labels are made ready apart and then exchanged between two frames.

Shapes: P slots of people, N frames or examples, F features, B features at once, K labels with "none".
"""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .. import backends
from ..backends.protocols import Backend, Streams
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE
from ..bundles.bundle import Bundle
from ..bundles.safetensors import pack
from ..bundles.schema import MANIFEST, MATCHER, SLOTS, WEIGHTS, RecognitionManifest, ZeroShotManifest, parse_manifest
from ..errors import InputError
from ..io.latest_queue import LatestQueue
from ..text_encoder import TextEncoder, check_texts
from .decision import Decision, Descriptions, clip_decision
from .gestures import MAX_EXAMPLES, read_gestures, write_gestures
from .matcher import NO_MATCH, NONE, Matcher, Text, Vocabulary
from .recognizer import Recognizer

MAX_LABELS = 1000
_WAIT_S = 3600.0


class ZeroShotRecognizer(Recognizer):
    """See `Recognizer`. Labels may be changed from any thread; all else is not for several threads at once."""

    def __init__(self, bundle: Bundle[ZeroShotManifest], encoder: Backend, matcher: Matcher) -> None:
        self._matcher = matcher
        self._matched = MatchedStreams(encoder.streams(MAX_PEOPLE), self._matcher, bundle.manifest)
        super().__init__(bundle, encoder, self._matched)
        self._thread: threading.Thread | None = None
        self._changing = threading.Lock()  # one after the other
        self._texts: Mapping[str, Text] = {}
        self._examples: Mapping[str, np.ndarray] = {}
        self._take(bundle.manifest.matching.labels, {})

    @classmethod
    def of(
        cls, bundle: Bundle[Any], backend: str = "auto", threads: int = 1, precision: str = "fp32"
    ) -> ZeroShotRecognizer:
        """That of a verified bundle; else as `load`."""
        encoder = backends.create(backend, encoder_bundle(bundle), threads, precision)
        return cls(bundle, encoder, Matcher(bundle, TextEncoder.load(threads=threads), threads))

    def clone(self) -> ZeroShotRecognizer:
        other = ZeroShotRecognizer(self.bundle, self._backend, self._matcher)
        with self._changing:
            other._take(self._texts, self._examples)
        return other

    def set_labels(self, labels: Sequence[str], descriptions: Descriptions | None = None) -> None:
        texts = resolve_labels(labels, descriptions, self.bundle.manifest.matching.labels)
        with self._changing:
            self._take(texts, self._examples)

    def enroll(self, label: str, motions: Sequence[Motion]) -> None:
        (label,) = resolve_labels([label])
        good = isinstance(motions, Sequence) and all(isinstance(motion, Motion) for motion in motions)
        if not good or not 1 <= len(motions) <= MAX_EXAMPLES:
            count = f"{len(motions)} motions" if good else type(motions).__name__
            raise InputError(f"examples of {label!r} are {count}, expected a list of 1 to {MAX_EXAMPLES} motions")
        features = []
        for i, motion in enumerate(motions, 1):
            try:
                features.append(self._feature(motion))
            except InputError as error:
                raise type(error)(f"example {i} of {label!r}: {error}") from error
        with self._changing:
            self._take(self._texts, {**self._examples, label: np.stack(features)})

    def forget(self, label: str) -> None:
        with self._changing:
            if label not in self._examples:
                known = ", ".join(map(repr, self._examples)) or "nothing"
                raise InputError(f"{label!r} is not enrolled, there is {known}")
            self._take(self._texts, {name: of for name, of in self._examples.items() if name != label})

    def save_gestures(self, path: str | Path) -> None:
        write_gestures(path, self._examples, self._matcher.settings.encoder_sha256)

    def load_gestures(self, path: str | Path) -> None:
        F = self.bundle.manifest.features
        found = read_gestures(path, F, self._matcher.settings.encoder_sha256)
        resolve_labels(list(found))
        with self._changing:
            self._take(self._texts, {**self._examples, **found})

    def recognize(self, motion: Motion) -> Decision:
        started = time.perf_counter()
        vocabulary = self._matched.vocabulary
        logits_K = self._matcher.logits(self._feature(motion)[None], vocabulary)[0]
        probs_K = np.exp(logits_K - logits_K.max())
        return clip_decision(started, int(logits_K.argmax()), probs_K / probs_K.sum(), vocabulary.labels)

    def evict(self, timestamp: float) -> list[Decision]:
        with self._matched.lock:
            return super().evict(timestamp)

    def _step(
        self,
        started: float,
        timestamp: float | None,
        people: list[int],
        joints: np.ndarray,
        confidence: np.ndarray | None,
        layout: int,
    ) -> list[Decision]:
        if self.background and self._thread is None:
            self._thread = threading.Thread(target=_work, args=(self._matched,), name="motionrt matching", daemon=True)
            self._thread.start()
            weakref.finalize(self, _stop, self._matched, self._thread)  # also when Python ends
        if self._matched.error is not None:
            raise self._matched.error
        with self._matched.lock:
            self._matched.background = self.background
            return super()._step(started, timestamp, people, joints, confidence, layout)

    def _take(self, texts: Mapping[str, Text], examples: Mapping[str, np.ndarray]) -> None:
        """Recognise these from the next frame on, which waits for no more than the exchange."""
        count = len(texts.keys() | examples.keys())
        if not 1 <= count <= MAX_LABELS:
            what = f"{count} labels" if count else "no labels, and nothing is enrolled"
            raise InputError(f"{what}, expected 1 to {MAX_LABELS}")
        vocabulary = self._matcher.vocabulary(texts, examples)
        with self._matched.lock:
            self._engine.relabel(len(vocabulary.labels), len(vocabulary.labels) - 1)
            self._matched.relabel(vocabulary)
            self.labels = vocabulary.labels
        self._texts, self._examples = texts, examples

    def _feature(self, motion: Motion) -> np.ndarray:
        """Mean of the encoder's features over a clip, [F]."""
        streams = MeanStreams(self._backend.streams(MAX_PEOPLE))
        apart = Recognizer(self.bundle, self._backend, streams)
        apart._monitor = self._monitor
        return apart._longest(motion, streams.mean)


class Asked(NamedTuple):
    """What is to be matched: a person's `feature_F`, in whose `slot` the stream was the `life`-th one."""

    slot: int
    life: int
    feature_F: np.ndarray


class MatchedStreams:
    """The encoder's streams, whose logits are those of the newest match.

    Everything but `match` is done while `lock` is held.

    Attributes:
        background: whether features are put into `asked`, for a thread to match.
        error: that has ended this thread.
    """

    def __init__(self, streams: Streams, matcher: Matcher, manifest: ZeroShotManifest) -> None:
        P, settings = streams.capacity, manifest.matching
        self.capacity = P
        self.lock = threading.Lock()
        self.background = True
        self.asked: LatestQueue[Asked] = LatestQueue()
        self.error: Exception | None = None
        self.vocabulary: Vocabulary
        self._streams, self._matcher = streams, matcher
        self._every = max(1, round(settings.every_s * manifest.fps))  # frames
        window = max(1, round(settings.window_s * manifest.fps))
        self._windows_PNF = np.zeros((P, window, manifest.features), np.float32)
        self._seen_P, self._due_P, self._life_P = np.zeros((3, P), int)  # frames seen, the one to be matched at

    def relabel(self, vocabulary: Vocabulary) -> None:
        """Nothing is matched any more; whoever was is again at the next frame."""
        self.vocabulary = vocabulary
        self.logits_PK = np.full((self.capacity, len(vocabulary.labels)), NO_MATCH, np.float32)
        self.logits_PK[:, -1] = 0
        self._due_P[self._seen_P >= self._every] = 0

    def begin(self, slot: int) -> None:
        self._streams.begin(slot)
        self._life_P[slot] += 1
        self._seen_P[slot], self._due_P[slot] = 0, self._every
        self.logits_PK[slot], self.logits_PK[slot, -1] = NO_MATCH, 0

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As that of the encoder, but for the logits, [M, K]."""
        _, features = self._streams.step(slots, frames)
        self._windows_PNF[slots, self._seen_P[slots] % self._windows_PNF.shape[1]] = features
        self._seen_P[slots] += 1
        due = [self._asked(slot) for slot in slots if self._seen_P[slot] >= self._due_P[slot]]
        if due and self.background:
            self.asked.put({asked.slot: asked for asked in due})
        elif due:
            self._publish(due, self._logits(due, self.vocabulary))
        return self.logits_PK[slots], features

    def match(self, asked: Sequence[Asked]) -> None:
        """Beside the stream: what has changed meanwhile is not told of."""
        vocabulary = self.vocabulary
        logits_BK = self._logits(asked, vocabulary)
        with self.lock:
            if vocabulary is self.vocabulary:
                self._publish(asked, logits_BK)

    def _asked(self, slot: int) -> Asked:
        seen = self._seen_P[slot]
        self._due_P[slot] = seen + self._every
        return Asked(int(slot), self._life_P[slot], self._windows_PNF[slot, :seen].mean(0))

    def _logits(self, asked: Sequence[Asked], vocabulary: Vocabulary) -> np.ndarray:
        return self._matcher.logits(np.stack([of.feature_F for of in asked]), vocabulary)

    def _publish(self, asked: Sequence[Asked], logits_BK: np.ndarray) -> None:
        for of, logits_K in zip(asked, logits_BK, strict=True):
            if of.life == self._life_P[of.slot]:
                self.logits_PK[of.slot] = logits_K


class MeanStreams:
    """The encoder's streams, with the mean of the features since the last of them began."""

    def __init__(self, streams: Streams) -> None:
        self.capacity, self._streams = streams.capacity, streams

    def mean(self) -> np.ndarray:
        """[F]"""
        return (self._sum_F / self._count).astype(np.float32)

    def begin(self, slot: int) -> None:
        self._streams.begin(slot)
        self._sum_F, self._count = np.zeros(()), 0

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, features = self._streams.step(slots, frames)
        self._sum_F = self._sum_F + features[0]
        self._count += 1
        return logits, features


def resolve_labels(
    labels: Sequence[str], descriptions: Descriptions | None = None, known: Mapping[str, Text] = MappingProxyType({})
) -> dict[str, Text]:
    """Labels, without spaces around them, with what is said of them.

    Args:
        known: what is said of labels without a description, if they are among these.
    Raises:
        InputError: one of them cannot be a label, or is there twice; a description that is none, or of none of them.
    """
    names = [name.strip() for name in check_texts(labels)]
    for name in names:
        if name.lower() == NONE:
            raise InputError(f"label {name!r} stands for no action and is always there")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"label {twice!r} is there twice")
    if not isinstance(descriptions, Mapping | None):
        raise InputError(f"descriptions are a {type(descriptions).__name__}, expected a dict of labels and texts")
    described = {str(name).strip(): _described(str(name), of) for name, of in (descriptions or {}).items()}
    unknown = described.keys() - set(names)
    if unknown:
        raise InputError(f"there is a description of {min(unknown)!r}, which is none of the labels")
    return {name: {SLOTS[0]: name, **described[name]} if name in described else known.get(name, {SLOTS[0]: name})
            for name in names}  # fmt: skip


def _described(label: str, description: str | Text) -> Text:
    """Sentences of a description that is one, or several by what they are about."""
    if not isinstance(description, Mapping):
        description = {SLOTS[1]: description}
    if not description.keys() <= set(SLOTS[1:]):
        other = min(map(str, description.keys() - set(SLOTS[1:])))
        raise InputError(f"the description of {label!r} has {other!r}, expected some of {', '.join(SLOTS[1:])}")
    return dict(zip(description, check_texts(list(description.values())), strict=True))


def encoder_bundle(bundle: Bundle[ZeroShotManifest]) -> Bundle[RecognitionManifest]:
    """The encoder as a recogniser's bundle."""
    weights = {name: array for name, array in bundle.weights.items() if not name.startswith(MATCHER)}
    raw = json.loads(bundle.manifest_file)
    graphs = {name: graph for name, graph in raw["graphs"].items() if name in ("step", "clip")}
    raw |= {"task": RecognitionManifest.task, "graphs": graphs}
    manifest = parse_manifest(raw, str(bundle.path / MANIFEST))
    assert isinstance(manifest, RecognitionManifest)
    return Bundle(
        path=bundle.path,
        manifest=manifest,
        files={**bundle.files, WEIGHTS: pack(weights)},
        weights=weights,
        manifest_file=json.dumps(raw).encode(),
        sha256=bundle.sha256,
    )


def _work(matched: MatchedStreams) -> None:
    while (asked := matched.asked.take(_WAIT_S)) is not None:
        if asked:
            try:
                matched.match(asked)
            except Exception as error:  # it belongs to whoever steps
                matched.error = error
                return


def _stop(matched: MatchedStreams, thread: threading.Thread) -> None:
    matched.asked.close()
    if thread is not threading.current_thread():
        thread.join()
