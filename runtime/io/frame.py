"""`Frame`: one skeleton at one time, the output of a source and the input of a recognizer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One skeleton at one time.

    Args:
        t: seconds.
        person: id of the person, constant over time.
        joints: [V, D] float32, absolute, meters with y up (pixels in a 2-D layout), NaN where missing.
        layout: name of the skeleton layout.
        confidence: [V] float32, 0 where a joint was not visible.
        image: [H, W, 3] uint8 RGB, from video only.
        pixels: [V, 2] float32, positions of the joints in `image`.
    """

    t: float
    person: int
    joints: NDArray[np.float32]
    layout: str
    confidence: NDArray[np.float32] | None = None
    image: NDArray[np.uint8] | None = None
    pixels: NDArray[np.float32] | None = None


Snapshot = tuple[float, list[Frame]]  # seconds, the people visible at that time
SourceUpdate = tuple[float, list[Frame] | None]  # a snapshot, or None instead of people: a heartbeat without data

HEARTBEAT_S = 0.1  # a live source without data yields a heartbeat this often
