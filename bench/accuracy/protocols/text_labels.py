"""Recognition among text labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

import numpy as np

from ....runtime.errors import InputError
from ....training.metrics import features
from ....training.metrics.statistics import bootstrap

Classify = Callable[[Sequence[np.ndarray], Sequence[str]], Sequence[str]]
"""clips [T, V, 3], labels to choose from -> one label per clip."""


def recognition(
    classify: Classify,
    clips: Sequence[np.ndarray],
    labels: Sequence[Collection[str]],
    known: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Top-1: the predicted label is one of the clip's own (with several labels per clip: any match).

    Args:
        clips: [T, V, 3] each.
        labels: the correct labels of every clip, at least one.
        known: all labels to choose from.
        groups: subjects or recordings, for the interval; None: every clip is its own group.
    Returns:
        protocol, counts, `top1`, `macro_top1` (mean over labels of the accuracy on their clips), `chance` (a random
        label), `per_label`.
    Raises:
        InputError: no clips, a clip without labels or with an unknown one, or an unknown predicted label.
    """
    for i, own in enumerate(labels):
        if not own or not set(own) <= set(known):
            raise InputError(f"clip {i}: labels {sorted(own)}, expected at least one and only known ones")
    predictions = list(classify(clips, known)) if len(clips) else []
    if unknown := sorted(set(predictions) - set(known)):
        raise InputError(f"the model predicted {unknown[0]!r}, which is not one of the known labels")
    hits = features.hits(predictions, labels)
    per_label = {
        label: hits[[i for i, own in enumerate(labels) if label in own]]
        for label in known
        if any(label in own for own in labels)
    }
    any_match = any(len(own) > 1 for own in labels)
    return {
        "protocol": f"recognition among {len(known)} labels, a clip counts as correct if "
        + ("one of its labels is predicted" if any_match else "its label is predicted"),
        "counts": {"clips": len(clips), "labels": len(known), "labels_with_clips": len(per_label)},
        "top1": bootstrap(100.0 * hits, groups).json(),
        "macro_top1": 100 * float(np.mean([hit.mean() for hit in per_label.values()])),
        "chance": 100 * float(np.mean([len(own) for own in labels])) / len(known),
        "per_label": {label: {"n": len(hit), "top1": 100 * float(hit.mean())} for label, hit in per_label.items()},
    }
