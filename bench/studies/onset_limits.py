"""Limits of onsets in clips of data sets that `live` never saw, and of new people.

`python -m motionrt.bench.studies.onset_limits DATA RUNS -o onset_limits.json`, after `leave_one_set_out DATA RUNS`: the
networks of the first seed in RUNS are tested on clips of the sets that they were trained without, and the bundled
`live` on people kept out of the training, with variants of how they decide. Every variant has a curve over thresholds,
of which the point counts that has the most right onsets while few unknown actions have one. The network runs once.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...runtime.backends.factory import create
from ...runtime.body.motion import Motion
from ...runtime.bundles.bundle import Bundle
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer
from ...training.data import vocabulary
from ...training.data.clips import clip_sets
from ..accuracy.protocols.onsets import clips_kept_out, percent, reported_labels
from .leave_one_set_out import FOLDS, clips_of, labels_by_set, unknown_clips
from .limits import Logits, decide, without_none
from .thresholds import Recorder

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
UNKNOWN = 25.0  # percent of unknown actions that may have an onset
VARIANTS: dict[str, dict[str, float]] = {
    "one threshold for all labels": {},
    "scores smoothed over 0.1 s": {"smooth_s": 0.1},
    "scores smoothed over 0.4 s": {"smooth_s": 0.4},
    "threshold held for 0.25 s": {"hold_s": 0.25},
    "threshold held for 0.5 s": {"hold_s": 0.5},
    "none 2.7 times less likely": {"bias": 1.0},
    "none 2.7 times as likely": {"bias": -1.0},
}


def record(bundle: Bundle, motions: Iterable[Motion]) -> tuple[list[Logits], list[str]]:
    """The logits of every frame of every motion, and the label of each motion as a whole."""
    backend, labels = create("auto", bundle), []
    recorded: list[Logits] = []
    for motion in motions:
        recorder = Recorder(backend)
        reported_labels(Recognizer(bundle, recorder), motion)  # type: ignore[arg-type]
        recorded.append(recorder.logits)
        labels.append(decide(bundle, recorder.logits).recognize(motion).label)
    return recorded, labels


def measure(bundle: Bundle, known: Sequence[tuple[str, Motion]], unknown: Sequence[Motion]) -> dict[str, Any]:
    """Curves of all variants, the labels of whole clips, and what unknown actions are taken for."""
    none = bundle.manifest.none_index
    names, motions = [name for name, _ in known], [*(motion for _, motion in known), *unknown]
    recorded, whole = record(bundle, progress(motions, "network"))
    curves: dict[str, list[dict[str, Any]]] = {}
    taken_for: Counter[str] = Counter()
    for variant, changes in progress(list(VARIANTS.items()), "variants"):
        settings = dict(changes)
        bias = settings.pop("bias", 0.0)
        logits = [without_none(one, none, bias) for one in recorded]
        curves[variant] = []
        for on in LEVELS:
            reported = [
                reported_labels(decide(bundle, one, on=on, off=on / 2, **settings), motion)
                for motion, one in zip(motions, logits, strict=True)
            ]
            right = [name in labels for name, labels in zip(names, reported, strict=False)]
            wrong = [bool(labels) and name not in labels for name, labels in zip(names, reported, strict=False)]
            with_onset = [bool(labels) for labels in reported[len(names) :]]
            shares = {"right": percent(right), "wrong": percent(wrong), "unknown_with_onset": percent(with_onset)}
            curves[variant].append({"on": on, **shares})
            if not changes and on == LEVELS[0]:
                taken_for.update(label for labels in reported[len(names) :] for label in labels)
    return {
        "clips": len(names),
        "unknown_clips": len(unknown),
        "best": {variant: best(curve) for variant, curve in curves.items()},
        "whole_clips": {
            "right": percent([name == label for name, label in zip(names, whole, strict=False)]),
            "unknown_as_an_action": percent([label != vocabulary.NONE for label in whole[len(names) :]]),
        },
        "unknown_taken_for": {label: 100 * count / len(unknown) for label, count in taken_for.most_common(5)},
        "curves": curves,
    }


def best(curve: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The point with the most right onsets of those at which at most UNKNOWN percent of unknown actions have one."""
    return max(
        (point for point in curve if point["unknown_with_onset"] <= UNKNOWN), key=lambda p: p["right"], default=None
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    sets = [clip_set for clip_set in clip_sets(args.data) if clip_set.layout.dims == 3]
    found = labels_by_set(sets)
    live, left_out, kept_out = Bundle.load("live"), {}, {}
    known_people, unknown_people = clips_kept_out(sets, live.manifest.labels)
    for fold in FOLDS:
        for source in fold:
            if known_people[source] and unknown_people[source]:
                kept_out[source] = measure(live, known_people[source], unknown_people[source])
            unknown = unknown_clips(source, sets)
            folder = args.runs / f"without-{'-'.join(fold)}-0" / "bundle"
            if unknown and folder.exists():
                known = [(name, motion) for _, _, name, motion in clips_of(source, sets, found)]
                left_out[source] = measure(Bundle.load(folder), known, unknown)
    result = {
        "protocol": "clips stepped from their first frame; right: the label is reported, wrong: only others are; the "
        f"threshold with the most right onsets of those at which at most {UNKNOWN:g} % of unknown actions have one",
        "sets_left_out": left_out,
        "people_kept_out": kept_out,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
