"""`Frame`: one skeleton at one moment, what a source yields and a recogniser takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One skeleton at one moment.

    Args:
        t: seconds.
        person: id that stays with the person.
        joints: [V, D] float32, absolute, metres with y up (pixels in a 2-D layout), NaN where missing.
        layout: name of the skeleton layout.
        confidence: [V] float32, 0 where a joint was not seen.
        image: [H, W, 3] uint8 RGB, from video only.
        pixels: [V, 2] float32, where the joints lie in `image`.
    """

    t: float
    person: int
    joints: NDArray[np.float32]
    layout: str
    confidence: NDArray[np.float32] | None = None
    image: NDArray[np.uint8] | None = None
    pixels: NDArray[np.float32] | None = None


Moment = tuple[float, list[Frame]]  # seconds, everybody seen then
Tick = tuple[float, list[Frame] | None]  # a moment, or None for the people where nothing has come in for a while

SILENCE_S = 0.1  # after this long without news, a live source says so
