"""Label strategies of a `Recognizer`: the fixed labels of a network, or open labels (see `open_labels`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np

from .._core import choose_labels
from ..backends.protocols import Backend, Streams
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE
from ..bundles.schema import RecognitionManifest
from ..errors import InputError
from ..fork import survive_fork
from .decision import Descriptions
from .engine import StreamEngine

Lock = AbstractContextManager[Any]
Classified = tuple[int, np.ndarray, tuple[str, ...]]  # label index (-1: none), probabilities [C], labels


class LabelEditor(Protocol):
    """Adds labels by examples; see the methods of `Recognizer` with the same names."""

    def enroll(self, label: str, motions: Sequence[Motion]) -> None: ...
    def forget(self, label: str) -> None: ...
    def save_gestures(self, path: str | Path) -> None: ...
    def load_gestures(self, path: str | Path) -> None: ...


class LabelStrategy(Protocol):
    """Decides which labels there are and computes their logits.

    Attributes:
        labels: the current labels. fixed: whether they are those of training, or some of them.
        streams: the network, whose logits are those of `labels`.
        lock: held during a frame, and during a change of labels.
    """

    fixed: bool

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def streams(self) -> Streams: ...
    @property
    def lock(self) -> Lock: ...

    def attach(self, engine: StreamEngine) -> None:
        """Use the engine that was made of `streams`."""

    def frame_lock(self, background: bool) -> Lock:
        """The lock to hold during one frame. `background`: match on a thread, see `Recognizer.background`."""

    def classify(self, motion: Motion) -> Classified:
        """Decide on a whole clip."""

    def set_labels(self, labels: Sequence[str], descriptions: Descriptions | None = None) -> None:
        """See `Recognizer.set_labels`."""

    def prepare(self, labels: Sequence[str]) -> Iterator[str]:
        """Do the slow part of `set_labels`, and raise its errors, label by label; yields each that is done."""

    def editor(self) -> LabelEditor:
        """The object that adds labels. Raises InputError if they are fixed."""

    def clone(self) -> LabelStrategy:
        """A strategy with the same labels and its own streams."""


class FixedLabels:
    """The labels that a network was trained with, or some of them."""

    fixed = True

    def __init__(self, manifest: RecognitionManifest, backend: Backend) -> None:
        self.labels = manifest.labels
        self.streams = backend.streams(MAX_PEOPLE)
        self.lock: Lock = threading.Lock()
        self._manifest, self._backend = manifest, backend
        self._chosen: list[int] = []  # labels without "none"; empty: all
        self._engine: StreamEngine
        survive_fork(self)

    def attach(self, engine: StreamEngine) -> None:
        self._engine = engine
        engine.choose(self._chosen)

    def _after_fork(self) -> None:
        self.lock = threading.Lock()

    def frame_lock(self, background: bool) -> Lock:
        return self.lock

    def classify(self, motion: Motion) -> Classified:
        with self.lock:
            chosen, labels = self._chosen, self.labels
        engine = self._engine.fork(self._backend.streams(MAX_PEOPLE))
        engine.choose(chosen)
        return *engine.run_clip(motion, engine.clip_decision), labels

    def set_labels(self, labels: Sequence[str], descriptions: Descriptions | None = None) -> None:
        manifest = self._manifest
        if descriptions:
            raise self._refusal()
        names, none = check_names(labels), manifest.none
        try:
            chosen = choose_labels(manifest.name, manifest.labels, manifest.none_index, names)
        except ValueError as error:
            hint = "" if set(names) <= set(manifest.labels) else "; model 'zero-shot' takes any text"
            raise InputError(f"{error}{hint}") from None
        found = *(manifest.labels[label] for label in chosen), *((none,) if none is not None else ())
        if found == manifest.labels:
            chosen = []
        with self.lock:
            self._engine.choose(chosen)
            self._chosen, self.labels = chosen, found

    def prepare(self, labels: Sequence[str]) -> Iterator[str]:
        return iter(())

    def editor(self) -> NoReturn:
        raise self._refusal()

    def clone(self) -> FixedLabels:
        copy = FixedLabels(self._manifest, self._backend)
        with self.lock:
            copy._chosen, copy.labels = self._chosen, self.labels
        return copy

    def _refusal(self) -> InputError:
        name = self._manifest.name
        return InputError(
            f"the labels of model {name!r} are fixed, model 'zero-shot' (--model zero-shot) takes any text"
        )


def check_names(labels: Sequence[str]) -> list[str]:
    """Labels without surrounding spaces. Raises InputError unless they are a list of texts."""
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise InputError(f"labels is {str(labels)[:40]!r}, expected a list of texts")
    for i, label in enumerate(labels):
        if not isinstance(label, str):
            raise InputError(f"label {i} is {str(label)[:40]!r}, expected a string")
    return [label.strip().encode("utf-8", "replace").decode() for label in labels]
