"""Motion benchmarks on their data sets: each function loads the data and runs a protocol on them.

All have the signature (data folder, `MotionModel`, `Scorer`) -> JSON object. Needs no torch until one runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.errors import InputError
from ...training.data import ntu
from .motion_model import MotionModel, Scorer
from .protocols import editing, generation, reconstruction, retrieval, text_labels
from .protocols.scoring import Clip, Example, ScoringConfig, describe, make_examples

if TYPE_CHECKING:
    from ...training.data.motions import MotionClip

OWN_CONFIG = ScoringConfig(generations=3, multimodality_texts=20, multimodality_samples=10)
PUBLISHED_CONFIG = ScoringConfig(generations=20, multimodality_texts=100, published=True)
GENERATION_SPLITS = {"test": ("test", "mocap"), "pairs": ("pairs", "mocap"), "test_kinect": ("test", "kinect")}
RECONSTRUCTION_SPLITS = {
    "validation": ("validation", "mocap"),
    "test": ("test", "mocap"),
    "pairs": ("pairs", "mocap"),
    "validation_kinect": ("validation", "kinect"),
}

LATER_SETS = frozenset(
    ("cmumore22", "hdm22", "kindergator20", "lafan22w", "robotmix22", "styles22", "utdmhad20", "rests")
)  # which only generation-all tests, so that figures of the others can be compared with older ones

# ---- our own data sets


def benchmark_motions(data: Path, with_later: bool = False) -> list[MotionClip]:
    """The clips of a folder that the benchmarks of our own sets use. Raises InputError as `load_motions` does."""
    from ...training.data.motions import load_motions

    return [clip for clip in load_motions(data) if with_later or clip.source not in LATER_SETS]


def own_generation(data: Path, model: MotionModel, scorer: Scorer, with_later: bool = False) -> dict[str, Any]:
    """Splits `test` and `pairs` of motion capture, and `test_kinect`, generated in the quality of sensors."""
    from ...training.data.motions import mirror

    clips = benchmark_motions(data, with_later)
    trained = [window for clip in clips if clip.split == "train" for window in clip_windows(clip)]
    training = [joints for clip in trained for joints in (clip.joints, mirror(clip).joints)]
    report = {}
    for name, (split, quality) in GENERATION_SPLITS.items():
        real = split_examples(clips, split, quality)
        if real:
            tested = replace(model, generate=model.generate_kinect or model.generate) if quality == "kinect" else model
            report[name] = text_to_motion(
                real, tested, limit_batch(real, scorer.config or OWN_CONFIG), scorer, training
            )
    if not report:
        raise InputError(f"{data}: none of its clips is in a test split")
    return {
        "protocol": "clips that neither the model nor the evaluator was trained on: `test` and `test_kinect`, whole "
        "trials, takes and subjects; `pairs`, whole (content, style) pairs. In each: "
        + next(iter(report.values()))["protocol"],
        "counts": {name: scores["counts"] for name, scores in report.items()},
    } | report


def own_reconstruction(data: Path, model: MotionModel, scorer: Scorer) -> dict[str, Any]:
    """Clips that the auto-encoder was not trained on, by split and quality."""
    assert model.reconstruct is not None
    clips, report = benchmark_motions(data), {}
    for name, (split, quality) in RECONSTRUCTION_SPLITS.items():
        real = split_examples(clips, split, quality)
        if real:
            report[name] = reconstruction.reconstruction(model.reconstruct, real, scorer.config)
    if not report:
        raise InputError(f"{data}: none of its clips is held out of training")
    return report


def own_retrieval(data: Path, model: MotionModel, scorer: Scorer) -> dict[str, Any]:
    """Motion capture of the splits `test` and `pairs`; the baseline is fitted to the training clips."""
    assert model.retriever is not None
    clips = [clip for clip in benchmark_motions(data) if clip.quality == "mocap"]
    real = [example for clip in clips if clip.split in ("test", "pairs") for example in window_examples(clip)]
    training = [example for clip in clips if clip.split == "train" for example in window_examples(clip)]
    config = scorer.config or ScoringConfig()
    return retrieval.retrieval(model.retriever, real, training, scorer.encode_text, config)


def split_examples(clips: Sequence[MotionClip], split: str, quality: str) -> list[Example]:
    chosen = [clip for clip in clips if clip.split == split and clip.quality == quality]
    return [example for clip in chosen for example in window_examples(clip)]


def window_examples(clip: MotionClip) -> list[Example]:
    """The windows of a clip as examples of one group."""
    return make_examples(clip_windows(clip), group=lambda window: clip.name)


def clip_windows(clip: MotionClip) -> list[MotionClip]:
    """The windows of a clip, each as a clip."""
    from ...training.data.motions import cut, windows

    return [cut(clip, window) for window in windows(clip)]


def limit_batch(real: Sequence[Example], config: ScoringConfig) -> ScoringConfig:
    """Limit batches to the number of distinct descriptions."""
    descriptions = len({example.description for example in real})
    return replace(config, batch=min(config.batch, descriptions))


# ---- published data sets


def humanml_generation(data: Path, model: MotionModel, scorer: Scorer) -> dict[str, Any]:
    return text_to_motion(humanml_examples(data, "test"), model, published_config(scorer), scorer, ())


def kit_generation(data: Path, model: MotionModel, scorer: Scorer) -> dict[str, Any]:
    """KIT-ML has a different skeleton and rate."""
    config = replace(published_config(scorer), fps=12.5, layout="kit21")
    return text_to_motion(humanml_examples(data, "test", kit=True), model, config, scorer, ())


def humanml_reconstruction(data: Path, model: MotionModel, scorer: Scorer, *, kit: bool = False) -> dict[str, Any]:
    """Motion through the auto-encoder, and its FID and R-precision with the captions of the real motion."""
    assert model.reconstruct is not None
    config = replace(published_config(scorer), generations=1, multimodality_texts=0)
    if kit:
        config = replace(config, fps=12.5, layout="kit21")
    real = humanml_examples(data, "test", kit)
    made = model.reconstruct([example.joints for example in real])
    report = reconstruction.reconstruction(lambda clips: made, real, config)
    scores = text_to_motion(real, replace(model, generate=lambda *_: made), config, scorer, ())
    for side, found in (("real", "real"), ("reconstructed", "generated")):
        report[side] |= scores[found]
    return report | {"protocol": f"{report['protocol']}; {describe(config)}"}


def humanml_retrieval(data: Path, model: MotionModel, scorer: Scorer) -> dict[str, Any]:
    assert model.retriever is not None
    has_training = scorer.encode_text and (data / "train.txt").is_file()
    training = humanml_examples(data, "train") if has_training else []
    real, config = humanml_examples(data, "test"), scorer.config or ScoringConfig()
    return retrieval.retrieval(model.retriever, real, training, scorer.encode_text, config)


def humanml_editing(data: Path, model: MotionModel, scorer: Scorer, *, kind: str) -> dict[str, Any]:
    assert scorer.evaluator is not None and model.edit is not None
    real = humanml_examples(data, "test")
    return editing.editing(scorer.evaluator, real, model.edit, kind, published_config(scorer))


def humanml_400(data: Path, model: MotionModel, scorer: Scorer) -> dict[str, Any]:
    """A prediction counts as correct if it is any of the labels of the clip's motion."""
    from ...training.data.humanml import load_humanml, load_labels

    assert model.classify is not None
    known, labels_of = load_labels(data)
    everything = load_humanml(data, "test")
    clips = [clip for clip in everything if labels_of.get(clip.action)]
    own = [{known[i] for i in labels_of[clip.action]} for clip in clips]
    groups = [motion_id(clip) for clip in clips]
    report = text_labels.recognition(model.classify, [clip.joints for clip in clips], own, known, groups)
    report["counts"] |= {"motions": len(set(groups)), "left_out": len(everything) - len(clips)}
    return report


def ntu_recognition(data: Path, model: MotionModel, scorer: Scorer, *, split: str) -> dict[str, Any]:
    assert model.classify is not None
    chosen, missing = ntu.test_recordings(data, split)
    clips, kept, empty = ntu.lift_recordings(chosen)
    report = text_labels.recognition(
        model.classify,
        clips,
        [{sample.label} for sample in kept],
        ntu.labels(split),
        groups=[sample.subject for sample in kept],
    )
    report["counts"] |= {"subjects": len({s.subject for s in kept}), "left_out": missing + empty}
    return report


def text_to_motion(
    real: Sequence[Example],
    model: MotionModel,
    config: ScoringConfig,
    scorer: Scorer,
    training: Sequence[np.ndarray],
) -> dict[str, Any]:
    assert scorer.evaluator is not None and model.generate is not None
    return generation.text_to_motion(scorer.evaluator, real, model.generate, config, training)


def published_config(scorer: Scorer) -> ScoringConfig:
    return scorer.config or PUBLISHED_CONFIG


def humanml_examples(data: Path, split: str, kit: bool = False) -> list[Example]:
    """Every clip is its own description; parts of one motion, and its mirror image, are one group."""
    from ...training.data.humanml import load_humanml

    return make_examples(load_humanml(data, split, kit), description=lambda clip: clip.name, group=motion_id)


def motion_id(clip: Clip) -> str:
    """The ID of a published motion, without the M that marks mirror images."""
    return (clip.action or "").removeprefix("M")
