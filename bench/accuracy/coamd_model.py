"""CoAMD's pipeline behind the interface of the motion benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ...runtime.generation.schedule import Guidance, Sampling
from ...training.coamd.evaluator import TrainedEvaluator
from ...training.coamd.pipeline import CoamdPipeline, text_encoder_of
from ...training.coamd.published_evaluator import PublishedEvaluator, is_published
from ...training.data.caption_features import CaptionEncoder
from .motion_model import MotionModel, Scorer
from .protocols.scoring import Embedder

SHIPPED = Path(__file__).parent  # of evaluators: finished runs of recipe coamd-evaluator, in 16 bits
BATCH = 32


def load(
    model: str,
    *,
    evaluator: str | None,
    sampling: Sampling | None = None,
    guidance: float = 0.0,
    chosen: Path | None = None,
    data: Path | None = None,
) -> tuple[MotionModel, Scorer]:
    """Load a model and its scorer.

    Args:
        model: a generation bundle, or a folder of the finished runs coamd-ae, coamd-mar, coamd-generator and,
            optionally, coamd-evaluator.
        evaluator: name of the evaluator that ships with motionrt, to load one as well.
        sampling: None: the model's own settings.
        guidance: step along the recognizer's gradient; 0: as in `sampling`.
        chosen: folder of another one, see `choose_evaluator`. data: folder of the captions that it embeds.
    """
    pipeline = CoamdPipeline.load(model)
    if guidance:
        sampling = replace(sampling or pipeline.sampler, guidance=Guidance(step=guidance))
    scorer = Scorer(
        evaluator=choose_evaluator(model, evaluator, chosen, data) if evaluator else None,
        encode_text=lambda texts: pipeline.text.encode(texts).pooled,
    )
    return motion_model(pipeline, sampling), scorer


def choose_evaluator(model: str, name: str, chosen: Path | None, data: Path | None) -> Embedder:
    """The chosen evaluator, or that of `load_evaluator`.

    Args:
        chosen: run of recipe coamd-evaluator, or folder of an imported evaluator, for the captions in `data`.
    """
    if chosen is None:
        return load_evaluator(model, name=name)
    if data is not None and is_published(chosen):
        return PublishedEvaluator.load(chosen, data)
    return TrainedEvaluator.load(chosen, text_encoder_of(chosen))


def load_evaluator(model: str, text: CaptionEncoder | None = None, name: str = "evaluator") -> TrainedEvaluator:
    """The run coamd-evaluator next to the model's runs, or else the one of this name that ships with motionrt."""
    own = Path(model) / "coamd-evaluator"
    run = own if own.is_dir() else SHIPPED / name
    return TrainedEvaluator.load(run, text or text_encoder_of(run))


def motion_model(pipeline: CoamdPipeline, sampling: Sampling | None = None) -> MotionModel:
    def generate(texts: Sequence[str], lengths: Sequence[int], seed: int, quality: str = "mocap") -> list[np.ndarray]:
        order = np.argsort(lengths, kind="stable")  # less padding in batches of similar lengths
        generated: dict[int, np.ndarray] = {}
        for start in range(0, len(texts), BATCH):
            part = [int(i) for i in order[start : start + BATCH]]
            captions, frames = [texts[i] for i in part], [lengths[i] for i in part]
            clips = pipeline.generate(captions, frames, sampling, seed=seed, samples=part, quality=quality)
            generated |= dict(zip(part, clips, strict=True))
        return [generated[i] for i in range(len(texts))]

    def edit(
        clips: Sequence[np.ndarray], texts: Sequence[str], masks: Sequence[np.ndarray], seed: int
    ) -> list[np.ndarray]:
        jobs = zip(clips, texts, masks, strict=True)
        return [pipeline.edit(clip, text, mask, sampling, seed=seed) for clip, text, mask in jobs]

    def classify(clips: Sequence[np.ndarray], labels: Sequence[str]) -> list[str]:
        names = list(labels)
        return [names[i] for i in (pipeline.motions(clips) @ pipeline.labels(names).T).argmax(1)]

    return MotionModel(
        generate=generate,
        generate_kinect=partial(generate, quality="kinect"),
        edit=edit,
        reconstruct=pipeline.reconstruct,
        classify=classify,
        retriever=pipeline,
    )
