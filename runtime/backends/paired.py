"""`PairedBackend`: a network for 3-D poses and one for 2-D poses, which take the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..bundles.schema import RecognitionManifest
from .protocols import Backend, Streams


@dataclass(frozen=True, slots=True)
class PairedStreams:
    """Streams of 3-D poses, and of 2-D poses in `flat`."""

    solid: Streams
    flat: Streams
    flat_manifest: RecognitionManifest

    @property
    def capacity(self) -> int:
        return self.solid.capacity

    def begin(self, slot: int) -> None:
        self.solid.begin(slot)

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.solid.step(slots, frames)


class PairedBackend:
    """A backend whose streams are `PairedStreams`; clips are of 3-D poses.

    Args:
        solid: for 3-D poses. flat, flat_manifest: for 2-D ones.
    """

    def __init__(self, solid: Backend, flat: Backend, flat_manifest: RecognitionManifest) -> None:
        self.name = solid.name
        self._solid, self._flat, self._flat_manifest = solid, flat, flat_manifest

    def streams(self, people: int) -> PairedStreams:
        return PairedStreams(self._solid.streams(people), self._flat.streams(people), self._flat_manifest)

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._solid.clip(frames)
