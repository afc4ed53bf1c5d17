"""Effect of guidance, of 8-bit precision and of shorter sampling on generated motion.

    python -m motionrt.bench.studies.generation guidance MODEL DATA -o guidance.json --plot guidance.png
    python -m motionrt.bench.studies.generation precision MODEL DATA -o precision.json
    python -m motionrt.bench.studies.generation sampling MODEL DATA -o sampling.json

MODEL is a generation bundle, or a folder of the finished runs coamd-ae, coamd-mar, coamd-generator and, to replace the
evaluator that ships with motionrt, coamd-evaluator.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.generation.generator import Generator
from ...runtime.generation.schedule import Guidance
from ...runtime.progress import progress
from ...runtime.text_encoder import TextEncoder
from ...training.coamd.evaluator import TrainedEvaluator
from ...training.coamd.pipeline import CoamdPipeline
from ..accuracy.coamd_model import load_evaluator, motion_model
from ..accuracy.motion_data import benchmark_motions, limit_batch, window_examples
from ..accuracy.protocols.generation import compare_generators
from ..accuracy.protocols.scoring import Example, Generate, ScoringConfig

STEPS = (0.5, 1.0, 3.0)  # step sizes along the gradient, which has length 1 per token
SCHEDULES: tuple[int | None, ...] = (None, 3)  # guidance in all autoregressive steps, or in the last three
SAMPLERS: tuple[dict[str, Any], ...] = (
    {"steps": 12, "evaluations": 8, "solver": "heun"},
    {"steps": 12, "evaluations": 4, "solver": "heun"},
    {"steps": 12, "evaluations": 4, "solver": "midpoint"},
    {"steps": 8, "evaluations": 4, "solver": "euler"},
    {"steps": 8, "evaluations": 2, "solver": "midpoint"},
    {"steps": 4, "evaluations": 4, "solver": "midpoint"},
)


def guidance(model: str, data: Path) -> dict[str, Any]:
    """Effect of guidance on the test split and the held-out pairs, over step sizes and schedules."""
    changes = [
        ({"step": step, "last": last}, {"guidance": Guidance(step=step, last=last, norm="token")})
        for last in SCHEDULES
        for step in STEPS
    ]
    return {"benchmark": "guidance", **compare_samplers(model, data, changes)}


def sampling(model: str, data: Path) -> dict[str, Any]:
    """Effect of other numbers of steps and evaluations, on the clips of `guidance`."""
    return {"benchmark": "sampling", **compare_samplers(model, data, [(change, change) for change in SAMPLERS])}


def compare_samplers(
    model: str, data: Path, changes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> dict[str, Any]:
    """The model's own settings against some changes to them, each with the entries that name it in its row."""
    text = TextEncoder.load("text")
    pipeline = CoamdPipeline.load(model, text)
    evaluator, real, config = scoring_setup(model, data, text, generations=1)
    own = motion_model(pipeline).generate
    assert own is not None
    cache: dict[int, Sequence[np.ndarray]] = {}

    def before(texts: Sequence[str], lengths: Sequence[int], seed: int) -> Sequence[np.ndarray]:
        if seed not in cache:  # captions depend on the seed only
            cache[seed] = own(texts, lengths, seed)
        return cache[seed]

    rows = []
    for names, change in progress(list(changes), "settings"):
        after = motion_model(pipeline, replace(pipeline.sampler, **change)).generate
        assert after is not None
        report = compare_generators(evaluator, real, before, after, config)
        rows.append({**names, **{k: report[k] for k in ("before", "after", "difference")}})
    return {"protocol": report["protocol"], "counts": report["counts"], "rows": rows}


def precision(model: str, data: Path, generations: int = 1) -> dict[str, Any]:
    """Effect of 8-bit matrix products in the runtime, on the clips of `guidance`."""
    text = TextEncoder.load("text")
    evaluator, real, config = scoring_setup(model, data, text, generations)

    def generate_in(precision: str) -> Generate:
        generator = Generator.load(model, precision=precision)

        def generate(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
            jobs = list(zip(texts, lengths, strict=True))
            return [
                generator.generate(text, frames / generator.fps, seed=1_000_000 * seed + i).joints
                for i, (text, frames) in enumerate(progress(jobs, f"generated in {precision}"))
            ]

        return generate

    report = compare_generators(evaluator, real, generate_in("fp32"), generate_in("int8"), config)
    return {"benchmark": "precision", **report}


def scoring_setup(
    model: str, data: Path, text: TextEncoder, generations: int
) -> tuple[TrainedEvaluator, list[Example], ScoringConfig]:
    """The evaluator, motion capture of the test split and of the held-out pairs, and the scoring config."""
    clips = [clip for clip in benchmark_motions(data) if clip.split in ("test", "pairs") and clip.quality == "mocap"]
    real = [example for clip in clips for example in window_examples(clip)]
    return load_evaluator(model, text), real, limit_batch(real, ScoringConfig(generations=generations))


def draw_guidance(report: dict[str, Any], path: Path) -> None:
    """R@1 and FID over the step size, one line per schedule."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    titles = {"r_precision_1": "R-precision at 1, %", "fid": "FID"}
    for axes, (name, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for last in SCHEDULES:
            rows = [row for row in report["rows"] if row["last"] == last]
            steps = [0.0, *(row["step"] for row in rows)]
            values = [rows[0]["before"][name]["mean"], *(row["after"][name]["mean"] for row in rows)]
            axes.plot(steps, values, "o-", label="all steps" if last is None else f"last {last}")
        axes.set(xlabel="guidance step", title=title)
        axes.legend()
    figure.savefig(path, dpi=120)


STUDIES = {"guidance": guidance, "precision": precision, "sampling": sampling}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    report = STUDIES[args.study](args.model, args.data)
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot:
        draw_guidance(report, args.plot)


if __name__ == "__main__":
    main()
