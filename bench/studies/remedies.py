"""Remedies that keep `live` from recognizing the data set, each measured by leaving sets out.

`python -m motionrt.bench.studies.remedies DATA RUNS -o OUT.json [--folds 0,1,...] [KEY=VALUE ...]`: the recipe `live`,
and the recipe without one remedy at a time and without any, are trained without the two sets of a fold and tested on
all of their clips whose label another set has. Differences are paired by clip; intervals are of a bootstrap over clips.
A third of the steps (steps=500) shows differences in a third of the time. Predictions are kept in RUNS; several
processes can work on different folds.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...export import export_run
from ...runtime.recognition.recognizer import Recognizer
from ...training.data.clips import clip_sets
from ...training.recipes import train
from ..accuracy.protocols.labeled_clips import Prediction
from .leave_one_set_out import FOLDS, clips_of, labels_by_set, predict

WITHOUT: dict[str, dict[str, str]] = {
    "bones of one length": {"bones": "none"},
    "loss over the labels of a clip's own set": {"own_labels": "0"},
    "more camera tilt": {"tilt": "0.08"},
    "depth and hidden legs of a webcam": {"webcam": "0", "hidden_legs": "0"},
    "choreography": {"choreography": "0"},
}
VARIANTS: dict[str, dict[str, str]] = {
    "recipe": {},
    **{f"without {name}": changes for name, changes in WITHOUT.items()},
    "without any": {key: value for changes in WITHOUT.values() for key, value in changes.items()},
}
DRAWS = 2000
PREDICTIONS = "predictions.json"


def predictions_of(
    variant: str, fold: Sequence[str], data: str, runs: Path, settings: Mapping[str, str]
) -> dict[str, list[Prediction]]:
    """Predictions of a variant, by set, for the sets that it was trained without; trained if RUNS has none."""
    run = runs / f"{variant.replace(' ', '-')}-{'-'.join(fold)}".replace("'", "")
    path = run / PREDICTIONS
    if not path.exists():
        train("live", {"leave_out": ",".join(fold), "data": data, "run": str(run), **settings, **VARIANTS[variant]})
        recognizer = Recognizer.load(export_run(run, run / "bundle").path)
        sets = [clip_set for clip_set in clip_sets(data) if clip_set.layout.dims == 3]
        labels = labels_by_set(sets)
        found = {source: predict(recognizer, source, clips_of(source, sets, labels)) for source in fold}
        path.write_text(json.dumps({source: list(map(asdict, rows)) for source, rows in found.items()}) + "\n")
    content = json.loads(path.read_text())
    return {source: [Prediction(**row) for row in rows] for source, rows in content.items()}


def macro(targets: np.ndarray, correct: np.ndarray) -> float:
    """Mean over labels of the share of correct clips, percent."""
    return 100 * float(np.mean([correct[targets == label].mean() for label in np.unique(targets)]))


def compare(ours: Mapping[str, Sequence[Prediction]], other: Mapping[str, Sequence[Prediction]]) -> dict[str, Any]:
    """Macro accuracy by set and their mean of both, and the mean difference with its 95 % interval."""
    rng = np.random.default_rng(0)
    pairs: dict[str, tuple[np.ndarray, ...]] = {}
    for source in ours:
        targets = np.array([p.target for p in ours[source]])
        assert targets.tolist() == [p.target for p in other[source]]
        pairs[source] = (
            targets,
            *(np.array([p.label == p.target for p in of]) for of in (ours[source], other[source])),
        )
    draws = []
    for _ in range(DRAWS):
        gains = []
        for targets, with_it, without_it in pairs.values():
            picked = rng.integers(len(targets), size=len(targets))
            gains.append(macro(targets[picked], with_it[picked]) - macro(targets[picked], without_it[picked]))
        draws.append(np.mean(gains))
    sets = {source: macro(targets, correct) for source, (targets, _, correct) in pairs.items()}
    mean = float(np.mean(list(sets.values())))
    recipe_mean = float(np.mean([macro(targets, correct) for targets, correct, _ in pairs.values()]))
    low, high = np.percentile(draws, (2.5, 97.5))
    return {"sets": sets, "macro_top1": mean, "gain": recipe_mean - mean, "low": float(low), "high": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--folds", default="0,1,2,3,4", help="to leave out, one at a time, separated by commas")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="to train, separated by commas")
    parser.add_argument("settings", nargs="*", help="of the recipe, KEY=VALUE")
    args = parser.parse_intermixed_args()
    settings = dict(setting.split("=", 1) for setting in args.settings)
    found: dict[str, dict[str, list[Prediction]]] = defaultdict(dict)
    for fold in args.folds.split(","):
        for variant in args.variants.split(","):
            found[variant] |= predictions_of(variant, FOLDS[int(fold)], args.data, args.runs, settings)
    variants = {variant: compare(found["recipe"], found[variant]) for variant in found}
    protocol = (
        "macro top-1 on all clips of a set that was left out whose label another set has, mean over sets; gain: of the "
        "recipe over the variant, paired, 95 % interval over clips"
    )
    args.out.write_text(json.dumps({"protocol": protocol, "settings": settings, "variants": variants}, indent=1) + "\n")
    for variant, row in variants.items():
        print(f"{variant}: {row['macro_top1']:.1f} %, gain {row['gain']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]")


if __name__ == "__main__":
    main()
