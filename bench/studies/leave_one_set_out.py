"""Accuracy of `live` on data sets that it was not trained on.

`python -m motionrt.bench.studies.leave_one_set_out DATA RUNS -o OUT.json [KEY=VALUE ...]`: for every set, the recipe
`live` is trained without it (in RUNS/without-SET, resumed if that exists), exported, and tested on all of its clips,
each stepped whole. Sets that OUT.json already has are not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ...export import export_run
from ...runtime.body.motion import Motion
from ...runtime.io.dataset import ClipSet
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer
from ...training.data import vocabulary
from ...training.data.clips import clip_sets, fingerprint, labeled
from ...training.recipes import train
from ..accuracy.protocols.labeled_clips import Prediction, summarize

SETS = (
    "utd-mhad",
    "kinder-gator",
    "msr-action3d",
    "utkinect",
    "florence3d",
    "nw-ucla",
    "bandai",
    "hdm05",
    "iri-gesture",
    "irds",
)


def labels_by_set(sets: list[ClipSet]) -> dict[str, set[str]]:
    """The labels that each set has."""
    found: dict[str, set[str]] = defaultdict(set)
    for clip_set in sets:
        for i, record in enumerate(clip_set.clips):
            for name, _ in labeled(clip_set, i):
                if name:
                    found[vocabulary.source(record)].add(name)
    return found


def predict(recognizer: Recognizer, source: str, sets: list[ClipSet]) -> tuple[list[Prediction], list[bool]]:
    """Predictions for the clips of `source` whose label another set has, and for each clip without a label whether it
    has an onset."""
    found = labels_by_set(sets)
    elsewhere = set().union(*(names for other, names in found.items() if other != source))
    predictions, onsets = [], []
    clips = [
        (clip_set, i)
        for clip_set in sets
        for i, record in enumerate(clip_set.clips)
        if vocabulary.source(record) == source
    ]
    for clip_set, i in progress(clips, source):
        for name, motion in labeled(clip_set, i):
            if name in elsewhere:
                label, identity = recognizer.recognize(motion).label, fingerprint(clip_set, i)
                predictions.append(Prediction(target=name, label=label, source=source, fingerprint=identity))
            elif vocabulary.is_unknown(clip_set.clips[i]):
                onsets.append(has_onset(recognizer, motion))
    return predictions, onsets


def measure(recognizer: Recognizer, source: str, sets: list[ClipSet]) -> dict[str, Any]:
    """Accuracy on the clips of `source` whose label another set has, and false onsets on actions without a label."""
    found = labels_by_set(sets)
    elsewhere = set().union(*(names for other, names in found.items() if other != source))
    shared = found[source] & elsewhere
    predictions, onsets = predict(recognizer, source, sets)
    wrong = [p.label in found[source] for p in predictions if p.label not in (p.target, vocabulary.NONE)]
    return {
        **summarize(predictions),
        "shared_labels": len(shared),
        "wrong_within_own_labels": 100 * float(np.mean(wrong)) if wrong else None,
        "own_share_of_labels": 100 * len(shared) / len(elsewhere),
        "unknown_clips": len(onsets),
        "unknown_with_onset": 100 * float(np.mean(onsets)) if onsets else None,
    }


def has_onset(recognizer: Recognizer, motion: Motion) -> bool:
    """True if a label is told while the clip is stepped."""
    recognizer.reset()
    return any(
        recognizer.step(joints, float(time), layout=motion.layout).event == "onset"
        for joints, time in zip(motion.joints, motion.times, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS), help="to leave out, one at a time, separated by commas")
    parser.add_argument("settings", nargs="*", help="of the recipe, KEY=VALUE")
    args = parser.parse_intermixed_args()
    settings = dict(setting.split("=", 1) for setting in args.settings)
    protocol = (
        "trained on the training folds of the other sets; tested on all clips of the set whose label another set has, "
        "each stepped whole"
    )
    result: dict[str, Any] = {"protocol": protocol, "settings": settings}
    if args.out.exists():
        result = json.loads(args.out.read_text())
    measured = result.setdefault("sets", {})
    sets = [clip_set for clip_set in clip_sets(args.data) if clip_set.layout.dims == 3]
    for source in args.sets.split(","):
        if source in measured:
            continue
        run = args.runs / f"without-{source}"
        train("live", {"leave_out": source, "data": str(args.data), "run": str(run), **settings})
        recognizer = Recognizer.load(export_run(run, run / "bundle").path)
        measured[source] = measure(recognizer, source, sets)
        scores = [figures["macro_top1"] for figures in measured.values()]
        result |= {"macro_top1": float(np.mean(scores)), "lowest": min(scores)}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{source}: macro top-1 {measured[source]['macro_top1']:.1f} %")


if __name__ == "__main__":
    main()
