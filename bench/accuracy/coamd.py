"""How good CoAMD's networks are: the named benchmarks on the runs that trained them, the gain of guidance, pictures.

    python -m motionrt.bench.accuracy.coamd guidance MODEL DATA -o guidance.json --plot guidance.png
    python -m motionrt.bench.accuracy.coamd precision MODEL DATA -o precision.json
    python -m motionrt.bench.accuracy.coamd strip MODEL DATA -o generated.png

MODEL is a generation bundle, or a folder of the finished runs coamd-ae, coamd-mar, coamd-generator and, unless the
evaluator that comes with motionrt is to judge, coamd-evaluator.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.layout import Layout
from ...runtime.generation.generator import Generator
from ...runtime.generation.schedule import Guidance, Sampling
from ...runtime.progress import progress
from ...runtime.text_encoder import TextEncoder
from ...training.coamd.evaluator import TrainedEvaluator
from ...training.coamd.pipeline import CoamdPipeline
from ...training.data.motions import load_motions
from . import motion as benchmarks
from . import protocols
from .motion import Judges, Model
from .scoring import Measuring

EVALUATOR = Path(__file__).parent / "evaluator"  # a finished run of recipe coamd-evaluator, in 16 bits
BATCH = 32
STEPS = (0.5, 1.0, 3.0)  # along the gradient, which has length 1 a token
SCHEDULES: tuple[int | None, ...] = (None, 3)  # of the last autoregressive steps
PROMPTS = {  # of the strip, and the action of the real motion below
    "a person walks forward": "walk",
    "a person runs": "run",
    "a person raises the right hand": "raise right hand",
    "a person raises the left hand": "raise left hand",
    "a person waves with the right hand": "wave",
    "a person waves with both hands": "wave both hands",
    "a person bows": "bow",
    "a person kicks": "kick",
    "a person jumps": "jump",
    "a person sits down": "sit down",
}


def evaluate(benchmark: str, model: str, data: Path | None, settings: Sampling | None = None) -> dict[str, Any]:
    """Run one of `training.benchmarks` on a bundle or a folder of runs.

    Raises:
        InputError: as there; a run is missing.
    """
    needs = benchmarks.check(benchmark, data).needs
    text = TextEncoder.load("text")
    pipeline = CoamdPipeline.load(model, text)
    evaluator = evaluator_of(model, text) if "evaluator" in needs else None
    judges = Judges(evaluator=evaluator, encode=lambda texts: text.encode(texts).pooled)
    return {"model": str(model)} | benchmarks.run(benchmark, data, model_of(pipeline, settings), judges)


def evaluator_of(model: str, text: TextEncoder) -> TrainedEvaluator:
    """The run coamd-evaluator beside the model's, or the one that comes with motionrt."""
    own = Path(model) / "coamd-evaluator"
    return TrainedEvaluator.load(own if own.is_dir() else EVALUATOR, text)


def model_of(pipeline: CoamdPipeline, settings: Sampling | None = None) -> Model:
    """What the benchmarks ask of the networks."""

    def generate(texts: Sequence[str], lengths: Sequence[int], seed: int, quality: str = "mocap") -> list[np.ndarray]:
        order = np.argsort(lengths, kind="stable")  # batches of like lengths waste less
        made: dict[int, np.ndarray] = {}
        for begin in range(0, len(texts), BATCH):
            part = [int(i) for i in order[begin : begin + BATCH]]
            captions, frames = [texts[i] for i in part], [lengths[i] for i in part]
            found = pipeline.generate(captions, frames, settings, seed=seed, samples=part, quality=quality)
            made |= dict(zip(part, found, strict=True))
        return [made[i] for i in range(len(texts))]

    def edit(
        clips: Sequence[np.ndarray], texts: Sequence[str], masks: Sequence[np.ndarray], seed: int
    ) -> list[np.ndarray]:
        jobs = zip(clips, texts, masks, strict=True)
        return [pipeline.edit(clip, text, mask, settings, seed=seed) for clip, text, mask in jobs]

    def classify(clips: Sequence[np.ndarray], labels: Sequence[str]) -> list[str]:
        names = list(labels)
        return [names[i] for i in (pipeline.motions(clips) @ pipeline.labels(names).T).argmax(1)]

    return Model(
        generate=generate,
        generate_kinect=partial(generate, quality="kinect"),
        edit=edit,
        reconstruct=pipeline.reconstruct,
        classify=classify,
        retriever=pipeline,
    )


def guidance(model: str, data: Path, generations: int = 1) -> dict[str, Any]:
    """What guidance changes on the test split and the pairs kept out, over step sizes and schedules."""
    text = TextEncoder.load("text")
    pipeline = CoamdPipeline.load(model, text)
    evaluator, real, measuring = judged(model, data, text, generations)
    unguided = model_of(pipeline).generate
    assert unguided is not None
    made: dict[int, Sequence[np.ndarray]] = {}

    def before(texts: Sequence[str], lengths: Sequence[int], seed: int) -> Sequence[np.ndarray]:
        if seed not in made:  # the captions of a seed are always the same
            made[seed] = unguided(texts, lengths, seed)
        return made[seed]

    rows = []
    for last in SCHEDULES:
        for step in STEPS:
            guided = replace(pipeline.sampler, guidance=Guidance(step=step, last=last, norm="token"))
            after = model_of(pipeline, guided).generate
            assert after is not None
            found = protocols.guidance(evaluator, real, before, after, measuring)
            rows.append({"step": step, "last": last, **{k: found[k] for k in ("before", "after", "difference")}})
    return {"benchmark": "guidance", "protocol": found["protocol"], "counts": found["counts"], "rows": rows}


def precision(model: str, data: Path, generations: int = 1) -> dict[str, Any]:
    """What products in 8 bits change, in the runtime, on the clips that `guidance` takes."""
    text = TextEncoder.load("text")
    evaluator, real, measuring = judged(model, data, text, generations)

    def by(precision: str) -> Callable[[Sequence[str], Sequence[int], int], list[np.ndarray]]:
        generator = Generator.load(model, precision=precision)

        def generate(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
            made = zip(texts, lengths, strict=True)
            return [
                generator.generate(text, frames / generator.fps, seed=1_000_000 * seed + i).joints
                for i, (text, frames) in enumerate(progress(list(made), f"made in {precision}"))
            ]

        return generate

    found = protocols.guidance(evaluator, real, by("fp32"), by("int8"), measuring)
    return {"benchmark": "precision", **found}


def judged(
    model: str, data: Path, text: TextEncoder, generations: int
) -> tuple[TrainedEvaluator, list[Any], Measuring]:
    """Who scores, the motion capture of the test split and of the pairs kept out, and how much is measured."""
    clips = [clip for clip in load_motions(data) if clip.split in ("test", "pairs") and clip.quality == "mocap"]
    real = [example for clip in clips for example in benchmarks.windowed(clip)]
    return evaluator_of(model, text), real, benchmarks.fitting(real, Measuring(generations=generations))


def draw_guidance(report: dict[str, Any], path: Path) -> None:
    """R@1 and FID over the step size, a line for each schedule."""
    from matplotlib.figure import Figure

    figure, shown = (
        Figure(figsize=(10, 4), layout="constrained"),
        {"r_precision_1": "R-precision at 1, %", "fid": "FID"},
    )
    for axes, (name, title) in zip(figure.subplots(1, 2), shown.items(), strict=True):
        for last in SCHEDULES:
            rows = [row for row in report["rows"] if row["last"] == last]
            steps = [0.0, *(row["step"] for row in rows)]
            values = [rows[0]["before"][name]["mean"], *(row["after"][name]["mean"] for row in rows)]
            axes.plot(steps, values, "o-", label="all steps" if last is None else f"last {last}")
        axes.set(xlabel="guidance step", title=title)
        axes.legend()
    figure.savefig(path, dpi=120)


def strip(model: str, data: Path, path: Path, settings: Sampling | None = None, frames: int = 80) -> None:
    """Draw generated motion for ten prompts beside real motion of the same action."""
    from matplotlib.figure import Figure

    pipeline = CoamdPipeline.load(model, TextEncoder.load("text"))
    made = pipeline.generate(list(PROMPTS), [frames] * len(PROMPTS), settings)
    clips = [clip for clip in load_motions(data) if clip.split != "train"]
    figure = Figure(figsize=(16, 2.2 * len(PROMPTS)), layout="constrained")
    for row, ((prompt, action), motion) in enumerate(zip(PROMPTS.items(), made, strict=True)):
        known = [clip for clip in clips if clip.action == action]
        shown = [(prompt, motion)]
        if known:
            real = max(known, key=lambda clip: (clip.quality == "mocap", len(clip.joints)))
            shown.append((f"real, {real.quality}", real.joints))
        for column, (title, joints) in enumerate(shown):
            axes = figure.add_subplot(len(PROMPTS), 2, 2 * row + column + 1)
            axes.set_title(title, fontsize=10)
            axes.set_aspect("equal")
            axes.axis("off")
            draw_strip(axes, joints[:frames])
    figure.savefig(path, dpi=80)


def draw_strip(axes: Any, joints: np.ndarray, poses: int = 8) -> None:
    """Poses [T, V, 3] side by side, turned by a quarter of a right angle so that depth shows; left blue, right red."""
    layout = Layout.load("smpl22")
    turn = np.pi / 8
    across = np.array([-np.cos(turn), np.sin(turn)])  # the viewer stands before the person
    for k, t in enumerate(np.linspace(0, len(joints) - 1, poses).round().astype(int)):
        pose = joints[t] - joints[t, 0] * [1, 0, 1]
        x, y = pose[:, [0, 2]] @ across + 1.1 * k, pose[:, 1]
        for joint, parent in enumerate(layout.parents):
            if parent >= 0:
                name = layout.joints[joint]
                colour = "tab:blue" if name.startswith("left") else "tab:red" if name.startswith("right") else "k"
                axes.plot(x[[joint, parent]], y[[joint, parent]], color=colour, lw=1.5)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("guidance", "precision", "strip"))
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    if args.what == "strip":
        strip(args.model, args.data, args.out)
        return
    report = (guidance if args.what == "guidance" else precision)(args.model, args.data)
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot:
        draw_guidance(report, args.plot)


if __name__ == "__main__":
    main()
