"""Open labels of a `Recognizer`: any texts, or a few examples each, matched alongside the stream.

The encoder steps with every frame. The mean feature of the last seconds is matched a few times a second on a
background thread; a frame only reads the latest result. New labels are encoded first and then swapped in between two
frames.
"""

from __future__ import annotations

import json
import logging
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..backends.protocols import Backend
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE
from ..bundles.bundle import Bundle
from ..bundles.safetensors import pack
from ..bundles.schema import MANIFEST, MATCHER, WEIGHTS, RecognitionManifest, ZeroShotManifest, parse_manifest
from ..errors import InputError
from ..fork import survive_fork
from .decision import Descriptions
from .engine import StreamEngine
from .gestures import MAX_FEATURES, MAX_RECORDINGS, read_gestures, write_gestures
from .label_texts import NONE, Text, check_gesture_name, resolve_labels
from .labels import Classified, Lock
from .matched_streams import ClipRecord, ClipStreams, MatchedStreams
from .matcher import Matcher

MAX_LABELS = 1000
_WAIT_S = 3600.0

logger = logging.getLogger(__name__)


class OpenLabels:
    """Labels described by texts and examples. They may be changed from any thread.

    Args:
        bundle: a zero-shot bundle.
        backend: runs its encoder.
        matcher: matches features with labels.
        texts: sentences by label; None: those of training, or none as long as a gesture is enrolled.
        examples: features [n, F] by label; those of "none" are of no gesture.
    Attributes:
        streams: the encoder, with the matcher's logits. texts, examples: as above. thread: matches; None before the
            first frame in the background.
    """

    fixed = False

    def __init__(
        self,
        bundle: Bundle[ZeroShotManifest],
        backend: Backend,
        matcher: Matcher,
        texts: Mapping[str, Text] | None = None,
        examples: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.matcher = matcher
        self.streams = MatchedStreams(backend.streams(MAX_PEOPLE), matcher, bundle.manifest)
        self.texts = texts
        self.examples = examples or {}
        self.thread: threading.Thread | None = None
        self._bundle, self._backend = bundle, backend
        self._engine: StreamEngine
        self._editing = threading.Lock()
        survive_fork(self)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.streams.vocabulary.labels

    @property
    def lock(self) -> Lock:
        return self.streams.lock

    def attach(self, engine: StreamEngine) -> None:
        self._engine = engine
        self._apply(self.texts, self.examples)

    def _after_fork(self) -> None:
        self._editing = threading.Lock()
        self.streams._after_fork()
        self.thread = None  # the next frame starts another one

    def frame_lock(self, background: bool) -> Lock:
        streams = self.streams
        if background and self.thread is None:
            self.thread = threading.Thread(target=_match, args=(streams,), name="motionrt matching", daemon=True)
            self.thread.start()
            weakref.finalize(self, _stop, streams, self.thread)  # runs at interpreter exit, too
        if streams.error is not None:
            raise streams.error
        streams.background = background
        return streams.lock

    def classify(self, motion: Motion) -> Classified:
        vocabulary, record = self.streams.vocabulary, self.clip_record(motion)
        rows = np.concatenate([record.mean()[None], record.windows(self.streams.window)])
        logits_BK = self.matcher.logits(rows, vocabulary)
        logits_K, gestures = logits_BK[0], [label for label in vocabulary.enrolled if vocabulary.labels[label] != NONE]
        logits_K[gestures] = logits_BK[:, gestures].max(0)  # of the part of the clip that is most like an example
        probs_K = np.exp(logits_K - logits_K.max())
        return int(logits_K.argmax()), probs_K / probs_K.sum(), vocabulary.labels

    def clip_feature(self, motion: Motion) -> np.ndarray:
        """Mean of the encoder's features over a clip, [F]."""
        return self.clip_record(motion).mean()

    def clip_record(self, motion: Motion) -> ClipRecord:
        """The frames of the longest part of a clip without a gap."""
        streams = ClipStreams(self._backend.streams(MAX_PEOPLE), self._bundle.manifest.none_index)
        return self._engine.fork(streams).run_clip(motion, lambda: streams.record)

    def inline_streams(self, people: int) -> MatchedStreams:
        """New streams with the current labels, matched within the frame."""
        streams = MatchedStreams(self._backend.streams(people), self.matcher, self._bundle.manifest)
        streams.background = False
        streams.relabel(self.streams.vocabulary)
        return streams

    def editor(self) -> OpenLabels:
        return self

    def clone(self) -> OpenLabels:
        with self._editing:
            return OpenLabels(self._bundle, self._backend, self.matcher, self.texts, self.examples)

    def set_labels(self, labels: Sequence[str], descriptions: Descriptions | None = None) -> None:
        texts = resolve_labels(labels, descriptions, self._bundle.manifest.matching.known)
        self.matcher.check_words(texts)
        with self._editing:
            self._apply(texts, self.examples)
        if similar := self.matcher.find_similar(texts):
            (one, other, cosine), more = similar[0], len(similar) - 1
            also = f", and {more} more pairs" if more else ""
            logger.warning(
                "labels %r and %r mean the same to the text encoder (cosine %.3f)%s: they cannot be distinguished",
                one,
                other,
                cosine,
                also,
            )

    def prepare(self, labels: Sequence[str]) -> Iterator[str]:
        for label, text in resolve_labels(labels, None, self._bundle.manifest.matching.known).items():
            self.matcher.encode(text)
            yield label

    def enroll(self, label: str, motions: Sequence[Motion]) -> None:
        label = NONE if label == NONE else check_gesture_name(label)
        valid = isinstance(motions, Sequence) and all(isinstance(motion, Motion) for motion in motions)
        if not valid or not 1 <= len(motions) <= MAX_RECORDINGS:
            count = f"{len(motions)} motions" if valid else type(motions).__name__
            raise InputError(f"examples of {label!r} are {count}, expected a list of 1 to {MAX_RECORDINGS} motions")
        features = []
        for i, motion in enumerate(motions, 1):
            try:
                features.append(self.clip_record(motion).windows(self.streams.window))
            except InputError as error:
                raise type(error)(f"example {i} of {label!r}: {error}") from error
        with self._editing:
            together = np.concatenate([*([self.examples[label]] if label in self.examples else []), *features])
            if len(together) > MAX_FEATURES:
                raise InputError(f"{label!r} would have {len(together)} examples, expected at most {MAX_FEATURES}")
            self._apply(self.texts, {**self.examples, label: together})

    def forget(self, label: str) -> None:
        with self._editing:
            if label not in self.examples:
                known = ", ".join(map(repr, self.examples)) or "nothing"
                raise InputError(f"{label!r} is not enrolled, there is {known}")
            self._apply(self.texts, {name: features for name, features in self.examples.items() if name != label})

    def save_gestures(self, path: str | Path) -> None:
        write_gestures(path, self.examples, self.matcher.settings.encoder_sha256, self._bundle.manifest.name)

    def load_gestures(self, path: str | Path) -> None:
        loaded = read_gestures(path, self._bundle.manifest.features, self.matcher.settings.encoder_sha256)
        resolve_labels([label for label in loaded if label != NONE])
        with self._editing:
            self._apply(self.texts, {**self.examples, **loaded})

    def _apply(self, texts: Mapping[str, Text] | None, examples: Mapping[str, np.ndarray]) -> None:
        """Switch to these labels between two frames; the slow part runs before the lock is taken."""
        if (chosen := texts) is None:
            chosen = {} if examples.keys() - {NONE} else self._bundle.manifest.matching.labels
        count = len(chosen.keys() | examples.keys() - {NONE})
        if not 1 <= count <= MAX_LABELS:
            found = f"{count} labels" if count else "no labels, and nothing is enrolled"
            raise InputError(f"{found}, expected 1 to {MAX_LABELS}")
        vocabulary = self.matcher.vocabulary(chosen, examples)
        with self.streams.lock:
            self._engine.relabel(len(vocabulary.labels))
            self.streams.relabel(vocabulary)
        self.texts, self.examples = texts, examples


def encoder_bundle(bundle: Bundle[ZeroShotManifest]) -> Bundle[RecognitionManifest]:
    """The encoder of a zero-shot bundle as a bundle of its own."""
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


def _match(streams: MatchedStreams) -> None:
    while (requests := streams.requests.take(_WAIT_S)) is not None:
        if requests:
            try:
                streams.match(requests)
            except Exception as error:  # raised by the next frame
                streams.error = error
                return


def _stop(streams: MatchedStreams, thread: threading.Thread) -> None:
    streams.requests.close()
    if thread is not threading.current_thread():
        thread.join()
