"""Effect of CoCoDiff: `python -m motionrt.bench.studies.cocodiff DATA RUNS -o OUT.json [KEY=VALUE ...]`.

The subjects of every Kinect set are split into five folds. Seed k trains the recognizer without fold k and tests it
there, without the helper and with each variant of it: same clips in the same order, same initial weights. Runs stay in
RUNS and are resumed; OUT is rewritten after each run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from ...runtime.body.frontend import Frontend
from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ...training.data import vocabulary
from ...training.data.clips import LabeledClip, load_clips
from ...training.loop import CHECKPOINTS, LoopConfig, fit
from ...training.metrics.statistics import Estimate
from ...training.recognition import cocodiff
from ...training.recognition.cocodiff import CoCoDiffConfig
from ...training.recognition.recipes import StreamGcnRecipe, live
from ...training.recognition.tasks import ClipTask
from ...training.recognition.validation import Validation
from ...training.settings import override, write_description

PROTOCOL = (
    "Kinect sets, clips with a label of the vocabulary; fold k of the subjects of every set held out from seed k, "
    "every clip tested once, whole; networks averaged over the last steps, after the last step; 95 % t-intervals over "
    "seeds"
)
FOLDS = 5
SMALL = CoCoDiffConfig(width=64)
VARIANTS: dict[str, CoCoDiffConfig | None] = {
    "off": None,
    "on": SMALL,
    "through": replace(SMALL, through=True),
    "text": replace(SMALL, diffusion=0.0, generated=0.0, coarse=0.0, real=0.2),
}
ABOUT = {
    "off": "the recognizer alone",
    "on": "with its default settings",
    "through": "with gradients through generated features into the recognizer",
    "text": "contrast of real features with label text only, without diffusion",
}
FIGURES = ("top1", "macro_top1")
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # of Student's t for 1, 2, ... 9 degrees


def recipe_of(data: Path, settings: Mapping[str, str]) -> StreamGcnRecipe:
    """The recipe of `live`, with a narrower network and fewer steps."""
    base = replace(
        live(),
        name="cocodiff",
        frontend=Frontend(rate_hz=12.0),
        loop=LoopConfig(steps=1000, lr=6e-3, validate_every=10_000),
        channels=(32, 64, 128),
        dropout=0.2,
        data=str(data),
    )
    recipe: StreamGcnRecipe = override(base, settings)
    recipe.check()
    return recipe


def kinect_clips(data: Path, layout: Layout) -> list[LabeledClip]:
    """Labeled clips of the Kinect sets."""
    kinect = [clip for clip in load_clips(data, layout) if clip.source in vocabulary.KINECT_SETS]
    clips = [clip for clip in kinect if clip.label is not None]
    if not clips:
        raise InputError(f"{data}: no labeled clip of a Kinect set")
    return clips


def folds(clips: Sequence[LabeledClip]) -> dict[tuple[str, int], int]:
    """(set, subject) -> fold; subjects are assigned in turn, continuing from one set to the next."""
    people = sorted({(clip.source, clip.record["subject"]) for clip in clips})
    return {person: i % FOLDS for i, person in enumerate(people)}


def train(clips: Sequence[LabeledClip], recipe: StreamGcnRecipe, variant: str, run: Path) -> dict[str, Any]:
    """Scores of one run; trains it, resumes it, or reads it if it is finished."""
    finished = run / "result.json"
    seed, options = recipe.loop.seed, VARIANTS[variant]
    recipe = replace(recipe, cocodiff=options is not None, helper=options or recipe.helper)
    about = json.loads(json.dumps({"recipe": asdict(recipe), "variant": variant}))
    write_description(run, about, about["recipe"])
    if finished.is_file():
        saved: dict[str, Any] = json.loads(finished.read_text())
        return saved
    layout, labels = Layout.load(recipe.layout), tuple(sorted({clip.label or "" for clip in clips}))
    fold_of = folds(clips)
    held_out = [clip for clip in clips if fold_of[clip.source, clip.record["subject"]] == seed % FOLDS]
    training = [clip for clip in clips if fold_of[clip.source, clip.record["subject"]] != seed % FOLDS]
    task = ClipTask(clips=training, layout=layout, frontend=recipe.frontend, labels=labels, seed=seed)
    validation = Validation(held_out, layout, recipe.frontend, labels)
    torch.manual_seed(seed)
    model, loss = recipe.network(layout, labels)
    resumed, start_s = (run / CHECKPOINTS[0]).exists(), time.process_time()
    trained = fit(model, task, recipe.loop, run, validation, loss)
    assert trained is not None
    network = cocodiff.without_helper(trained)
    save_file(network.state_dict(), run / "model.safetensors")
    result: dict[str, Any] = {"seed": seed, "trained": len(training), "n": len(held_out), **validation(network)}
    result |= {"cpu_s": None if resumed else time.process_time() - start_s, "confusion": validation.confusion.tolist()}
    finished.write_text(json.dumps(result) + "\n")
    return result


def report(results: Mapping[str, Sequence[dict[str, Any]]], recipe: StreamGcnRecipe) -> dict[str, Any]:
    """Every variant's scores by seed, and its differences from `off` over their common seeds."""
    loop = recipe.loop
    base = {run["seed"]: run for run in results.get("off", ())}
    variants: dict[str, Any] = {}
    for variant, runs in results.items():
        pairs = [(run, base[run["seed"]]) for run in runs if run["seed"] in base]
        variants[variant] = {
            "about": ABOUT[variant],
            "helper": asdict(helper) if (helper := VARIANTS[variant]) else None,
            "seeds": [{key: value for key, value in run.items() if key != "confusion"} for run in runs],
            **{name: float(np.mean([run[name] for run in runs])) for name in FIGURES},
        }
        if variant != "off" and len(pairs) > 1:
            gains = {name: [run[name] - other[name] for run, other in pairs] for name in FIGURES}
            variants[variant]["gain"] = {name: paired_interval(values) for name, values in gains.items()}
            ratios = [run["cpu_s"] / other["cpu_s"] for run, other in pairs if run["cpu_s"] and other["cpu_s"]]
            variants[variant]["cpu_ratio"] = float(np.median(ratios)) if ratios else None
    return {
        "benchmark": "cocodiff",
        "protocol": PROTOCOL,
        "recognizer": {"channels": recipe.channels, "steps": loop.steps, "batch": loop.batch, "lr": loop.lr},
        "clips": sum(run["n"] for run in results.get("off", ())),
        "variants": variants,
    }


def paired_interval(differences: Sequence[float]) -> dict[str, Any]:
    """Paired differences, their mean and its 95 % interval by Student's t."""
    n, mean = len(differences), float(np.mean(differences))
    half = T95[n - 2] * float(np.std(differences, ddof=1)) / n**0.5
    estimate = Estimate(mean=mean, low=mean - half, high=mean + half, n=n, over="seeds")
    return {"differences": list(differences), **estimate.json(), "improves": estimate.low > 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=FOLDS, choices=range(2, len(T95) + 2))
    parser.add_argument("settings", nargs="*", help="of the recipe, KEY=VALUE")
    args = parser.parse_intermixed_args()
    recipe = recipe_of(args.data, dict(setting.split("=", 1) for setting in args.settings))
    clips = kinect_clips(args.data, Layout.load(recipe.layout))
    pairs = [(variant, seed) for seed in range(args.seeds) for variant in ("off", "on")]
    others = [(variant, seed) for variant in VARIANTS for seed in range(args.seeds) if variant not in ("off", "on")]
    results: dict[str, list[dict[str, Any]]] = {}
    for variant, seed in pairs + others:
        seeded = replace(recipe, loop=replace(recipe.loop, seed=seed))
        result = train(clips, seeded, variant, args.runs / f"{variant}-{seed}")
        results.setdefault(variant, []).append(result)
        args.out.write_text(json.dumps(report(results, recipe), indent=1) + "\n")
        print(
            f"{variant}, seed {seed}: top-1 {result['top1']:.1f} %, by class {result['macro_top1']:.1f} %", flush=True
        )


if __name__ == "__main__":
    main()
