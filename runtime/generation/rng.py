"""Random numbers of generation, keyed by their purpose.

A seed therefore gives the same motion on every backend, alone or in a batch.

The generator is Philox 4x64 (Salmon et al. 2011): seed and sample are its key; purpose, step and token its counter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

_ORDER, _TOKEN, _LENGTH = range(3)  # purposes


def _generator(
    seed: int, sample: int, purpose: int, step: int = 0, token: int = 0, draw: int = 0
) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, sample], counter=[0, token, step, 3 * draw + purpose]))


def order(seed: int, sample: int, length: int) -> np.ndarray:
    """Rank by which each of `length` tokens is decided, [length] int64: a permutation, the highest first."""
    return _generator(seed, sample, _ORDER).random(length).argsort(kind="stable").argsort(kind="stable")


def tokens(seed: int, sample: int, step: int, positions: Iterable[int], width: int, draw: int = 0) -> np.ndarray:
    """Initial noise of tokens at an autoregressive step, [positions, width] float32, N(0, 1); `draw` counts redraws."""
    generator = _generator(seed, sample, _TOKEN, step, draw=draw)
    bits: Any = generator.bit_generator
    rows, state = [], bits.state
    for at in positions:
        state["state"]["counter"][1] = at  # as of _generator(..., token=at), which takes twice as long
        bits.state = state
        rows.append(generator.standard_normal(width, np.float32))
    return np.stack(rows) if rows else np.empty((0, width), np.float32)


def uniform(seed: int, sample: int) -> float:
    """Draw a number in [0, 1) for a motion's length."""
    return float(_generator(seed, sample, _LENGTH).random())
