"""Accuracy of `live` on data sets that it was not trained on.

`python -m motionrt.bench.studies.leave_one_set_out DATA RUNS -o OUT.json [--seeds N] [KEY=VALUE ...]`: the recipe
`live` is trained without two sets at a time (in RUNS, resumed if a run exists), exported, and tested on the clips of
both, each stepped whole. With the first seed, onsets are measured, too, with thresholds chosen on validation streams of
the other sets. `--recipe live-2d` is tested on the same clips as a random camera sees them: the 17 keypoints of COCO in
pixels. What a run measured is kept in its folder; several processes can work on different folds and seeds (`--folds`,
`--first-seed`), and whichever has finished is part of OUT.json. `--reliability FILE` writes the accuracy of each label
for a bundle.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...export import export_run
from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.io.dataset import ClipSet
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer
from ...training.data import vocabulary
from ...training.data.clips import clip_sets, fingerprint, labeled, load_clips
from ...training.data.streams import Stream, rest_windows
from ...training.recipes import train
from ..accuracy.protocols import labeled_clips
from ..accuracy.protocols.continuous import join_clips, run_stream, summarize, validation_streams
from ..accuracy.protocols.labeled_clips import Prediction
from ..accuracy.protocols.onsets import count_onsets
from ..accuracy.protocols.pictures import photograph
from .thresholds import choose

MEASURED = "measured.json"

FOLDS = (
    ("utd-mhad", "iri-gesture"),
    ("kinder-gator", "florence3d"),
    ("msr-action3d", "hdm05"),
    ("bandai", "utkinect"),
    ("nw-ucla", "irds"),
)
FOLDS_2D = (*FOLDS, ("jhmdb",))  # for live-2d
SETS = tuple(name for fold in FOLDS for name in fold)
STREAM_CLIPS = 240  # of a set, at most
ALARMS = 0.5  # per minute


def labels_by_set(sets: list[ClipSet]) -> dict[str, set[str]]:
    """The labels that each set has."""
    found: dict[str, set[str]] = defaultdict(set)
    for clip_set in sets:
        for i, record in enumerate(clip_set.clips):
            for name, _ in labeled(clip_set, i):
                if name:
                    found[vocabulary.source(record)].add(name)
    return found


def labels_elsewhere(source: str, found: Mapping[str, set[str]]) -> set[str]:
    """The labels that sets other than `source` have."""
    return set().union(*(names for other, names in found.items() if other != source))


def clips_of(source: str, sets: list[ClipSet], found: Mapping[str, set[str]]) -> list[tuple[ClipSet, int, str, Motion]]:
    """The clips of `source` whose label another set has, by `labels_by_set`: set, number, label, motion."""
    elsewhere = labels_elsewhere(source, found)
    return [
        (clip_set, i, name, motion)
        for clip_set in sets
        for i, record in enumerate(clip_set.clips)
        if vocabulary.source(record) == source
        for name, motion in labeled(clip_set, i)
        if name in elsewhere
    ]


def predict(recognizer: Recognizer, source: str, clips: Sequence[tuple[ClipSet, int, str, Motion]]) -> list[Prediction]:
    """Predictions for clips of `source`; a model for pictures gets pictures."""
    rng, predictions = np.random.default_rng(0), []
    for clip_set, i, name, motion in progress(clips, source):
        is_taken = recognizer.bundle.manifest.frontend.flat and clip_set.layout.dims == 3
        label = recognizer.recognize(photograph(motion, rng) if is_taken else motion).label
        predictions.append(Prediction(target=name, label=label, source=source, fingerprint=fingerprint(clip_set, i)))
    return predictions


def measure_clips(recognizer: Recognizer, source: str, sets: list[ClipSet]) -> dict[str, Any]:
    """Accuracy on the clips of `source` whose label another set has."""
    found = labels_by_set(sets)
    elsewhere = labels_elsewhere(source, found)
    shared = found[source] & elsewhere
    predictions = predict(recognizer, source, clips_of(source, sets, found))
    wrong = [p.label in found[source] for p in predictions if p.label not in (p.target, vocabulary.NONE)]
    return {
        **labeled_clips.summarize(predictions),
        "shared_labels": len(shared),
        "wrong_within_own_labels": 100 * float(np.mean(wrong)) if wrong else None,
        "own_share_of_labels": 100 * len(shared) / len(elsewhere),
    }


def measure_onsets(recognizer: Recognizer, source: str, sets: list[ClipSet]) -> dict[str, Any]:
    """Onsets in the clips of `source` whose label another set has, and in those that show no action."""
    known = [(name, motion) for _, _, name, motion in clips_of(source, sets, labels_by_set(sets))]
    return count_onsets(recognizer, known, unknown_clips(source, sets))


def unknown_clips(source: str, sets: list[ClipSet]) -> list[Motion]:
    """The clips of `source` that show no action of the vocabulary."""
    return [
        clip_set[i]
        for clip_set in sets
        for i, record in enumerate(clip_set.clips)
        if vocabulary.source(record) == source and vocabulary.is_unknown(record)
    ]


def measure_streams(recognizer: Recognizer, source: str, data: Path) -> dict[str, Any]:
    """Scores on streams of the clips of `source`."""
    composed = streams_of(source, recognizer.layout, recognizer.labels, data)
    return summarize([run_stream(recognizer, stream, recognizer.labels) for stream in progress(composed, source)])


def streams_of(source: str, layout_name: str, labels: Sequence[str], data: Path) -> list[Stream]:
    """Streams of the clips of `source` that have one of the labels, or are known to have none."""
    layout, rng = Layout.load(layout_name), np.random.default_rng(0)
    clips = load_clips(data, layout, lambda record: vocabulary.source(record) == source)
    known = [clip for clip in clips if clip.label in labels]
    known = [known[i] for i in rng.permutation(len(known))[:STREAM_CLIPS]]
    unknown = [clip for clip in clips if not clip.label and vocabulary.is_unknown(clip.record)]
    return join_clips(known, unknown, rest_windows(clips, layout), layout, labels)


def run_fold(recipe: str, fold: Sequence[str], seed: int, data: Path, runs: Path, settings: Mapping[str, str]) -> None:
    """Train without the sets of a fold, and write measured.json, by set."""
    run = runs / f"without-{'-'.join(fold)}-{seed}"
    if (run / MEASURED).exists():
        return
    overrides = {"leave_out": ",".join(fold), "seed": str(seed), "data": str(data), "run": str(run), **settings}
    train(recipe, overrides)
    bundle = export_run(run, run / "bundle")
    sets = [clip_set for clip_set in clip_sets(data) if bundle.manifest.frontend.flat or clip_set.layout.dims == 3]
    measured = {source: measure_clips(Recognizer.load(bundle.path), source, sets) for source in fold}
    if seed == 0 and not bundle.manifest.frontend.flat:
        streams = validation_streams(data, bundle.manifest.layout, bundle.manifest.labels, without=fold)
        (run / "decision.json").write_text(json.dumps(choose(bundle, streams)["shipped"]) + "\n")
        path = export_run(run, run / "bundle").path
        default, careful = Recognizer.load(path), Recognizer.load(path, alarms_per_minute=ALARMS)
        for source in fold:
            measured[source] |= {
                "onsets": measure_onsets(default, source, sets),
                "streams": measure_streams(careful, source, data),
                "streams_default": measure_streams(default, source, data),
            }
    (run / MEASURED).write_text(json.dumps(measured, indent=1) + "\n")


def gather(runs: Path, seeds: int) -> dict[str, Any]:
    """Mean over the seeds of each set's figures, and over the sets."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fold in FOLDS_2D:
        for seed in range(seeds):
            path = runs / f"without-{'-'.join(fold)}-{seed}" / MEASURED
            if path.exists():
                for source, figures in json.loads(path.read_text()).items():
                    found[source].append(figures)
    sets = {source: average(rows) for source, rows in found.items()}
    scores = [figures["macro_top1"] for figures in sets.values()]
    by_seed = [[figures["macro_top1"] for figures in found[source]] for source in sets]
    complete = len({len(row) for row in by_seed}) == 1
    return {
        "macro_top1": float(np.mean(scores)),
        "macro_top1_by_seed": np.mean(by_seed, axis=0).tolist() if complete else None,
        "lowest": min(scores),
        "seeds": min(len(row) for row in by_seed),
        **{
            key: average([figures.get(key) for figures in sets.values()])
            for key in ("onsets", "streams", "streams_default")
        },
        "sets": sets,
    }


def average(rows: Sequence[Any]) -> Any:
    """The mean of numbers, or of each entry of objects; of anything else, the first."""
    rows = [row for row in rows if row is not None]
    if not rows:
        return None
    if isinstance(rows[0], dict):
        return {key: average([row.get(key) for row in rows]) for key in rows[0]}
    return float(np.mean(rows)) if isinstance(rows[0], float) else rows[0]


def reliability(result: dict[str, Any], sets: list[ClipSet]) -> dict[str, dict[str, Any]]:
    """Mean accuracy of each label over the sets that were left out, None if no other set has it, and its sets."""
    found = labels_by_set(sets)
    table = {}
    for label in sorted(set().union(*found.values())):
        tops = [
            figures["per_class"][label]["top1"]
            for figures in result["sets"].values()
            if figures["per_class"].get(label, {"n": 0})["n"]
        ]
        seen = sorted(source for source, labels in found.items() if label in labels)
        table[label] = {"loso": round(float(np.mean(tops)), 1) if tops else None, "sets": seen}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=("live", "live-2d"), default="live")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    parser.add_argument("--first-seed", type=int, default=0, help="to train")
    parser.add_argument("--folds", default="0,1,2,3,4", help="to train, separated by commas; 5, for live-2d: jhmdb")
    parser.add_argument("--reliability", type=Path, help="file for the accuracy of each label")
    parser.add_argument("settings", nargs="*", help="of the recipe, KEY=VALUE")
    args = parser.parse_intermixed_args()
    settings = dict(setting.split("=", 1) for setting in args.settings)
    for seed in range(args.first_seed, args.seeds):
        for fold in args.folds.split(","):
            run_fold(args.recipe, FOLDS_2D[int(fold)], seed, args.data, args.runs, settings)
    protocol = (
        "trained on the training folds of the other sets, two sets left out at a time; tested on all clips of a set "
        "whose label another set has, each stepped whole; onsets and streams: thresholds chosen on validation streams "
        f"of the other sets, the default ones (1 false onset per minute) and those for {ALARMS} per minute"
    )
    result = {"protocol": protocol, "settings": settings, **gather(args.runs, args.seeds)}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.reliability:
        sets = [clip_set for clip_set in clip_sets(args.data) if args.recipe == "live-2d" or clip_set.layout.dims == 3]
        args.reliability.write_text(json.dumps(reliability(result, sets), indent=1) + "\n")
    print(f"macro top-1 {result['macro_top1']:.1f} %, lowest {result['lowest']:.1f} %, {result['seeds']} seeds")


if __name__ == "__main__":
    main()
