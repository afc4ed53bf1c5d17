"""8-bit weights: a matrix as int8 with one float32 scale per row, dequantized when a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

INTEGERS, SCALE = ".integers", ".scale"


def quantize_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize a weight [R, ...] to int8, with the scale [R, 1, ...] float32 of each row."""
    other_axes = tuple(range(1, weight.ndim))
    scale = np.abs(weight).max(other_axes, keepdims=True).astype(np.float32) / np.float32(127)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    return np.round(weight / scale).astype(np.int8), scale


def dequantize(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Convert all weights to float32; `name.integers` times `name.scale` becomes `name`, and the integers stay, too."""
    result = {}
    for name, array in weights.items():
        if name.endswith(INTEGERS):
            stem = name.removesuffix(INTEGERS)
            result[stem] = array.astype(np.float32) * weights[stem + SCALE]
            result[name] = array
        else:
            result[name] = array.astype(np.float32, copy=False)
    return result


def network_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drop the integers and scales from dequantized weights."""
    stems = {name.removesuffix(INTEGERS) for name in weights if name.endswith(INTEGERS)}
    parts = {stem + part for stem in stems for part in (INTEGERS, SCALE)}
    return {name: array for name, array in weights.items() if name not in parts}
