"""Label strategies of a `Recognizer`: the fixed labels of a network, or open labels (see `open_labels`)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np

from ..backends.protocols import Backend, Streams
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE
from ..errors import InputError
from ..fork import survive_fork
from .decision import Descriptions
from .engine import StreamEngine

Lock = AbstractContextManager[Any]
Classified = tuple[int, np.ndarray, tuple[str, ...]]  # label index (-1: none), probabilities [C], labels


class LabelEditor(Protocol):
    """Changes labels; see the methods of `Recognizer` with the same names."""

    def set_labels(self, labels: Sequence[str], descriptions: Descriptions | None = None) -> None: ...
    def enroll(self, label: str, motions: Sequence[Motion]) -> None: ...
    def forget(self, label: str) -> None: ...
    def save_gestures(self, path: str | Path) -> None: ...
    def load_gestures(self, path: str | Path) -> None: ...


class LabelStrategy(Protocol):
    """Decides which labels there are and computes their logits.

    Attributes:
        labels: the current labels. fixed: whether they never change.
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

    def editor(self) -> LabelEditor:
        """The object that changes the labels. Raises InputError if they are fixed."""

    def clone(self) -> LabelStrategy:
        """A strategy with the same labels and its own streams."""


class FixedLabels:
    """The labels that a network was trained with."""

    fixed = True

    def __init__(self, name: str, labels: tuple[str, ...], backend: Backend) -> None:
        self.labels = labels
        self.streams = backend.streams(MAX_PEOPLE)
        self.lock: Lock = threading.Lock()
        self._name, self._backend = name, backend
        self._engine: StreamEngine
        survive_fork(self)

    def attach(self, engine: StreamEngine) -> None:
        self._engine = engine

    def _after_fork(self) -> None:
        self.lock = threading.Lock()

    def frame_lock(self, background: bool) -> Lock:
        return self.lock

    def classify(self, motion: Motion) -> Classified:
        engine = self._engine.fork(self._backend.streams(MAX_PEOPLE))
        return *engine.run_clip(motion, engine.clip_decision), self.labels

    def editor(self) -> NoReturn:
        raise InputError(
            f"the labels of model {self._name!r} are fixed, model 'zero-shot' (--model zero-shot) takes any text"
        )

    def clone(self) -> FixedLabels:
        return FixedLabels(self._name, self.labels, self._backend)
