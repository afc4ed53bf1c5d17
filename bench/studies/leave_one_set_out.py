"""Accuracy of `live` on sensors that it was not trained on.

`python -m motionrt.bench.studies.leave_one_set_out DATA RUNS -o OUT.json`: for every set, the recipe `live` is trained
without it (in RUNS/without-SET, resumed if that exists) and tested on all of its clips whose label occurs in another
set.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from ...export import export_run
from ...runtime.io.dataset import ClipSet
from ...runtime.recognition.recognizer import Recognizer
from ...training.data import vocabulary
from ...training.data.clips import clip_sets
from ...training.recipes import train
from ..accuracy.protocols.labeled_clips import predict_clips, summarize


def shared_labels(data: Path) -> dict[str, set[str]]:
    """For each set, the labels that also occur in another set."""
    sources = defaultdict(set)
    for clip_set in clip_sets(data):
        for record in clip_set.clips:
            if name := vocabulary.label(record):
                sources[name].add(vocabulary.source(record))
    return {s: {name for name, found in sources.items() if s in found and len(found) > 1} for s in vocabulary.SOURCES}


def measure(source: str, labels: set[str], data: Path, runs: Path, settings: dict[str, str]) -> dict[str, Any]:
    """Train without `source`, test on it."""
    run = train("live", {"leave_out": source, "data": str(data), "run": str(runs / f"without-{source}"), **settings})
    recognizer = Recognizer.load(export_run(run, run / "bundle").path)

    def label(clip_set: ClipSet, i: int) -> str | None:
        record = clip_set.clips[i]
        name = vocabulary.label(record)
        return name if name in labels and vocabulary.source(record) == source else None

    predictions, _ = predict_clips(recognizer, data, label)
    return summarize(predictions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("settings", nargs="*", help="of the recipe, KEY=VALUE")
    args = parser.parse_intermixed_args()
    settings = dict(setting.split("=", 1) for setting in args.settings)
    sets = {
        source: measure(source, labels, args.data, args.runs, settings)
        for source, labels in shared_labels(args.data).items()
    }
    protocol = "trained on the training folds of the other sets, tested on all clips of the set with a shared label"
    args.out.write_text(json.dumps({"protocol": protocol, "settings": settings, "sets": sets}, indent=1) + "\n")
    for source, result in sets.items():
        print(f"{source}: {result['n']} clips, top-1 {result['top1']:.1f} %")


if __name__ == "__main__":
    main()
