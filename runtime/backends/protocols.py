"""The interfaces that every backend implements."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Session(Protocol):
    """An open graph."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs in the order of their names, for all inputs by name."""


class Streams(Protocol):
    """States of a network for several people, in slots 0 to `capacity` - 1."""

    @property
    def capacity(self) -> int: ...

    def begin(self, slot: int) -> None:
        """Restart the stream in this slot."""

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One frame of each of M different slots, [M, V, 3] -> logits [M, C], features [M, D]."""


class Backend(Protocol):
    """Interface of a backend. M people, T frames, V joints, C labels, D features."""

    name: str

    def streams(self, people: int) -> Streams:
        """New streams for `people` people."""

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A whole clip of one person: frames [T, V, 3] -> logits [T, C], features [T, D]."""
