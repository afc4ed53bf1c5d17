"""How a zero-shot model is measured: on classes that it never saw, alone and among those that it did."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from .protocols import Classify, recognition


def zero_shot(
    classify: Classify,
    clips: Sequence[np.ndarray],
    labels: Sequence[str],
    seen: Sequence[str],
    unseen: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Top-1 among the unseen classes (ZSL), and of each side among all of them (generalised ZSL).

    Args:
        clips: none of those that the model was trained on, of both sides; features, if that is what it classifies.
        labels: the class of every clip.
        seen, unseen: the classes that the model was trained on, and the others.
        groups: subjects or recordings, for the intervals; None: every clip for itself.
    Returns:
        protocol, `zsl`, and `gzsl` with `seen`, `unseen`, each as of `recognition`, and `harmonic`, the harmonic means
        of their `top1` and `macro_top1`.
    Raises:
        InputError: a class on both sides, a clip of neither; as `recognition`.
    """
    if both := set(seen) & set(unseen):
        raise InputError(f"{sorted(both)[0]!r} is both seen and unseen")
    if stray := set(labels) - set(seen) - set(unseen):
        raise InputError(f"clips of {sorted(stray)[0]!r}, which is neither seen nor unseen")

    def measured(side: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
        mine = [i for i, label in enumerate(labels) if label in side]
        chosen = None if groups is None else [groups[i] for i in mine]
        return recognition(classify, [clips[i] for i in mine], [[labels[i]] for i in mine], known, chosen)

    every = [*seen, *unseen]
    gzsl: dict[str, Any] = {"seen": measured(seen, every), "unseen": measured(unseen, every)}
    gzsl["harmonic"] = {
        "top1": harmonic(*(gzsl[side]["top1"]["mean"] for side in ("seen", "unseen"))),
        "macro_top1": harmonic(*(gzsl[side]["macro_top1"] for side in ("seen", "unseen"))),
    }
    return {
        "protocol": f"zero-shot: {len(seen)} classes seen, {len(unseen)} unseen; clips of unseen classes among those "
        "alone (zsl), and clips of both among all (gzsl)",
        "zsl": measured(unseen, unseen),
        "gzsl": gzsl,
    }


def harmonic(one: float, other: float) -> float:
    """2ab / (a + b), 0 of two zeros."""
    return 2 * one * other / (one + other) if one + other else 0.0
