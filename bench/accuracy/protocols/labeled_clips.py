"""Accuracy of a recognizer on the labeled clips of a folder, each stepped frame by frame. Needs no torch."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.errors import InputError
from ....runtime.io.dataset import ClipSet
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer
from ....training.data import vocabulary
from ....training.data.clips import SET_ASIDE, clip_sets, fingerprint

MIN_CLIPS = 5  # a class with fewer clips is left out of the macro average, unless all have fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The recognizer's label for one clip; `fingerprint` identifies the clip by its content."""

    target: str
    label: str
    source: str
    fingerprint: str


def live(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """Every clip with a label of the vocabulary, copies once, except those that the model trained on or set aside."""
    seen: set[str] = set()

    def label(clip_set: ClipSet, i: int) -> str | None:
        name = fingerprint(clip_set, i)
        if name in seen:
            return None
        seen.add(name)
        return vocabulary.label(clip_set.clips[i])

    predictions, left_out = predict_clips(recognizer, data, label)
    protocol = "clips with a label of the vocabulary, each stepped whole; left out: clips that the model set aside"
    return {"protocol": protocol, "left_out": left_out, **summarize(predictions)}


def nw_ucla(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """View 3 of NW-UCLA, with and without the clips whose joints equal those of a clip of view 1 or 2."""
    trained = {
        fingerprint(clip_set, i)
        for clip_set in clip_sets(data)
        for i, record in enumerate(clip_set.clips)
        if record.get("ds") == "nw-ucla" and record["view"] != 3
    }

    def label(clip_set: ClipSet, i: int) -> str | None:
        record = clip_set.clips[i]
        return record["action"] if record.get("ds") == "nw-ucla" and record["view"] == 3 else None

    predictions, left_out = predict_clips(recognizer, data, label)
    protocol = "NW-UCLA cross-view: trained on views 1 and 2, tested on the clips of view 3, each stepped whole"
    new = [prediction for prediction in predictions if prediction.fingerprint not in trained]
    return {
        "protocol": protocol,
        "left_out": left_out,
        **summarize(predictions),
        "without_copies": summarize(new),
    }


def predict_clips(
    recognizer: Recognizer, data: Path, label: Callable[[ClipSet, int], str | None]
) -> tuple[list[Prediction], int]:
    """Predictions for the clips to which `label` gives a label, and the number of clips left out.

    Clips that the model was trained on, or that were set aside with them, are left out.

    Raises:
        InputError: no clip remains.
    """
    labeled = [
        (clip_set, i, target, fingerprint(clip_set, i))
        for clip_set in clip_sets(data)
        for i in range(len(clip_set))
        if (target := label(clip_set, i)) is not None
    ]
    excluded = set_aside(recognizer)
    chosen = [clip for clip in labeled if clip[3] not in excluded]
    if not chosen:
        left_out = f" except {len(labeled)} that the model set aside" if labeled else ""
        raise InputError(f"{data}: no clip of this benchmark in the folder's clip sets{left_out}")
    predictions = [
        Prediction(
            target=target,
            label=recognizer.recognize(clip_set[i]).label,
            source=vocabulary.source(clip_set.clips[i]),
            fingerprint=name,
        )
        for clip_set, i, target, name in progress(chosen, "clips")
    ]
    return predictions, len(labeled) - len(chosen)


def summarize(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Top-1 in percent: overall, mean over the classes with enough clips, per set, per class."""
    by_set: dict[str, list[bool]] = defaultdict(list)
    by_class: dict[str, list[bool]] = defaultdict(list)
    for prediction in predictions:
        by_set[prediction.source].append(prediction.label == prediction.target)
        by_class[prediction.target].append(prediction.label == prediction.target)
    per_class = {name: top1(hits) for name, hits in sorted(by_class.items())}
    min_clips = MIN_CLIPS if any(figure["n"] >= MIN_CLIPS for figure in per_class.values()) else 1
    averaged = [figure["top1"] for figure in per_class.values() if figure["n"] >= min_clips]
    mistakes = Counter((p.target, p.label) for p in predictions if p.label != p.target)
    return {
        **top1([p.label == p.target for p in predictions]),
        "macro_top1": float(np.mean(averaged)) if averaged else None,
        "macro_classes": len(averaged),
        "macro_min_clips": min_clips,
        "per_set": {name: top1(hits) for name, hits in sorted(by_set.items())},
        "per_class": per_class,
        "mistakes": [[*pair, count] for pair, count in mistakes.most_common()],
    }


def top1(hits: Sequence[bool]) -> dict[str, Any]:
    return {"n": len(hits), "top1": 100 * float(np.mean(hits)) if hits else None}


def set_aside(recognizer: Recognizer) -> Set[str]:
    """Fingerprints of the clips that this model must not be evaluated on."""
    manifest, path = recognizer.bundle.manifest, recognizer.bundle.path
    if SET_ASIDE not in manifest.files:
        return frozenset()
    return frozenset(json.loads((path / SET_ASIDE).read_text()))
