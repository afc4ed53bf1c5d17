"""Plots of confusion and similarity matrices. They need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def draw_confusion(path: Path, confusion: np.ndarray, labels: Sequence[str]) -> None:
    """Plot clips by true class (row) and predicted class (column), rows normalized; empty classes are omitted."""
    used = np.flatnonzero(confusion.sum(1) + confusion.sum(0)).tolist()
    names, matrix = [labels[i] for i in used], confusion[np.ix_(used, used)]
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axes = _matrix(share, names, names)
    axes.set(xlabel="predicted", ylabel="true")
    for row, column in np.argwhere(matrix > 0):
        color = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", size=7, color=color)
    figure.savefig(path, dpi=80)


def draw_similarity(path: Path, similarity: np.ndarray, clips: Sequence[str], texts: Sequence[str]) -> None:
    """Plot how well each text (column) matches the clips of each label (row), scaled per row from white to dark."""
    low, high = similarity.min(1, keepdims=True), similarity.max(1, keepdims=True)
    figure, axes = _matrix((similarity - low) / np.maximum(high - low, 1e-12), clips, texts)
    axes.set(xlabel="text", ylabel="clips")
    figure.savefig(path, dpi=80)


def _matrix(values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 + 0.27 * len(columns), 2 + 0.27 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    return figure, axes
