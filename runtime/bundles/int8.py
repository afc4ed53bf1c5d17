"""Weights in 8 bits: a matrix as integers and one scale a row, widened when a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

INTEGERS, SCALE = ".integers", ".scale"


def rows8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weight [R, ...] as int8 of the same shape, and the scale [R, 1, ...] float32 that a row is multiplied by."""
    others = tuple(range(1, weight.ndim))
    scale = np.abs(weight).max(others, keepdims=True).astype(np.float32) / np.float32(127)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    return np.round(weight / scale).astype(np.int8), scale


def widened(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All weights as float32: `name.integers` times `name.scale` is `name`; float16 is widened. Integers stay, too."""
    found = {}
    for name, array in weights.items():
        if name.endswith(INTEGERS):
            stem = name.removesuffix(INTEGERS)
            found[stem] = array.astype(np.float32) * weights[stem + SCALE]
            found[name] = array
        else:
            found[name] = array.astype(np.float32)
    return found


def wide(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of `widened` weights those that a network has, without the integers and their scales."""
    stems = {name.removesuffix(INTEGERS) for name in weights if name.endswith(INTEGERS)}
    parts = {stem + part for stem in stems for part in (INTEGERS, SCALE)}
    return {name: array for name, array in weights.items() if name not in parts}
