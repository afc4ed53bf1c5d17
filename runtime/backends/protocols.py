"""The interfaces that every backend implements."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Session(Protocol):
    """A graph that is ready to run."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names, for all inputs by name."""


class Streams(Protocol):
    """What a network remembers of several people, each in a slot of 0 to `capacity` - 1."""

    @property
    def capacity(self) -> int: ...

    def begin(self, slot: int) -> None:
        """The stream in this slot starts anew."""

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One frame of each of M different slots, [M, V, 3] -> logits [M, C], features [M, D]."""


class Backend(Protocol):
    """What every backend offers. M people, T frames, V joints, C labels, D features."""

    name: str

    def streams(self, people: int) -> Streams:
        """New streams of `people` people."""

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A whole clip of one person: frames [T, V, 3] -> logits [T, C], features [T, D]."""
