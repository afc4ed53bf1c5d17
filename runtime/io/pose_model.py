"""`PoseModel`: the protocol of networks that find people in one image.

Shapes: H x W pixels, V joints.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Person(NamedTuple):
    """One person in an image; in a 2-D layout `joints` and `pixels` are the same.

    Args:
        joints: [V, 3] float32 meters, y up, right-handed; the origin may move with the person.
        pixels: [V, 2] float32, x to the right, y down.
        confidence: [V] float32 in 0..1.
    """

    joints: NDArray[np.float32]
    pixels: NDArray[np.float32]
    confidence: NDArray[np.float32]


class PoseModel(Protocol):
    """A network that finds people in images, which arrive in chronological order."""

    @property
    def layout(self) -> str:
        """Name of the skeleton layout."""

    def estimate(self, image: NDArray[np.uint8], t: float) -> list[Person]:
        """Find the people in `image` [H, W, 3] uint8 RGB, taken at `t` seconds."""

    def close(self) -> None:
        """Free the network."""
