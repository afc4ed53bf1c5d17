"""Every random number of generation, keyed by what it is for.

A seed so means the same motion on every backend, alone or in a batch.

The generator is Philox 4x64 (Salmon et al. 2011): seed and sample are its key; purpose, step and token its counter.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_ORDER, _TOKEN, _LENGTH = range(3)  # purposes


def _stream(seed: int, sample: int, purpose: int, step: int = 0, token: int = 0, draw: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, sample], counter=[0, token, step, 3 * draw + purpose]))


def order(seed: int, sample: int, length: int) -> np.ndarray:
    """When each of `length` tokens is decided, [length] int64: a permutation, the highest first."""
    return _stream(seed, sample, _ORDER).random(length).argsort(kind="stable").argsort(kind="stable")


def tokens(seed: int, sample: int, step: int, places: Iterable[int], width: int, draw: int = 0) -> np.ndarray:
    """What these tokens begin with at an autoregressive step, [places, width] float32, N(0, 1); `draw` counts on."""
    rows = [_stream(seed, sample, _TOKEN, step, int(at), draw).standard_normal(width, np.float32) for at in places]
    return np.stack(rows) if rows else np.empty((0, width), np.float32)


def uniform(seed: int, sample: int) -> float:
    """A number in [0, 1) by which a motion's length is drawn."""
    return float(_stream(seed, sample, _LENGTH).random())
