"""Shared by the protocols: examples, sets of generated motion, and scores compared with real motion.

Shapes: T frames, V joints, N clips, D width of the evaluator's space.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from ....runtime.body.layout import Layout
from ....runtime.errors import InputError
from ....training.metrics import features, motion
from ....training.metrics.statistics import Estimate, bootstrap, paired_difference, ratio, repeat_all

STEP = 4  # frames a latent token
R_AT = (1, 2, 3)
RATIOS = (  # per clip
    *(f"r_precision_{k}" for k in R_AT),
    "jitter",
    "foot_skating",
    "nearest_training_mm",
    "nearest_training_piece_mm",
)

Generate = Callable[[Sequence[str], Sequence[int], int], Sequence[np.ndarray]]
"""texts, lengths in frames, seed -> clips [T, V, 3] in meters, at least as long."""


class Embedder(Protocol):
    """Embeds motion and text in one space: `TrainedEvaluator`, or a retrieval model."""

    def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray: ...

    def texts(self, texts: Sequence[str]) -> np.ndarray: ...


class Clip(Protocol):
    """The attributes of `MotionClip` that are read here."""

    @property
    def joints(self) -> np.ndarray: ...
    @property
    def captions(self) -> tuple[str, ...]: ...
    @property
    def action(self) -> str | None: ...
    @property
    def style(self) -> str | None: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A real clip to score against.

    Attributes:
        joints: [T, V, 3] meters, T a multiple of 4.
        captions: one is drawn each time.
        description: identifies the content; examples with the same description never compete with each other.
        group: the recording that it was cut from; bootstrap intervals resample groups.
    """

    joints: np.ndarray
    captions: tuple[str, ...]
    description: Hashable
    group: Hashable


def make_examples(
    clips: Iterable[Clip],
    description: Callable[[Clip], Hashable] = lambda clip: (clip.action, clip.style),
    group: Callable[[Clip], Hashable] = lambda clip: clip.name,
    min_frames: int = 16,
) -> list[Example]:
    """Convert clips to examples, cut to whole tokens; clips shorter than `min_frames` are left out."""
    return [
        Example(
            joints=clip.joints[: len(clip.joints) // STEP * STEP],
            captions=clip.captions,
            description=description(clip),
            group=group(clip),
        )
        for clip in clips
        if len(clip.joints) >= min_frames
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringConfig:
    """Repeats, batch sizes and seeds of the metrics; the defaults are those of the literature."""

    repeats: int = 20
    generations: int = 1  # sets of generated motion; the literature uses one per repeat
    seed: int = 0
    batch: int = 32
    pca_dims: int = 64
    diversity_pairs: int = 300
    multimodality_texts: int = 0  # 0 skips multimodality; the literature uses 100
    multimodality_samples: int = 30  # generations per text
    multimodality_pairs: int = 10
    fps: float = 20.0
    layout: str = "smpl22"
    published: bool = False  # FID of all clips as well, and pairs that are drawn independently


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSet:
    """One pass over the examples: a caption for each, and the motion generated for it."""

    clips: list[np.ndarray]
    text_ND: np.ndarray
    motion_ND: np.ndarray


def generation_set(
    evaluator: Embedder, real: Sequence[Example], generate: Generate, config: ScoringConfig, number: int
) -> GenerationSet:
    """Generate set `number`; captions and noise depend only on (seed, number)."""
    texts = draw_captions(real, np.random.default_rng((config.seed, 1, number)))
    lengths = [len(example.joints) for example in real]
    generated = cut_generated(generate(texts, lengths, config.seed + number), lengths)
    return GenerationSet(clips=generated, text_ND=evaluator.texts(texts), motion_ND=evaluator.motions(generated))


def cut_generated(generated: Sequence[np.ndarray], lengths: Sequence[int]) -> list[np.ndarray]:
    """Cut generated clips to their lengths. Raises InputError if they are too few, too short, or not finite."""
    if len(generated) != len(lengths):
        raise InputError(f"{len(generated)} clips were generated, expected {len(lengths)}")
    for i, (joints, frames) in enumerate(zip(generated, lengths, strict=True)):
        if len(joints) < frames:
            raise InputError(f"generated clip {i} has {len(joints)} frames, expected {frames}")
        motion.check_motion(f"generated clip {i}", joints, 1)
    return [np.asarray(joints[:frames]) for joints, frames in zip(generated, lengths, strict=True)]


def draw_captions(real: Sequence[Example], rng: Generator) -> list[str]:
    for i, example in enumerate(real):
        if not example.captions:
            raise InputError(f"example {i} has no caption")
    return [example.captions[rng.integers(len(example.captions))] for example in real]


def compare_sets(
    evaluator: Embedder,
    real: Sequence[Example],
    sets: Sequence[GenerationSet],
    config: ScoringConfig,
    training: Sequence[np.ndarray],
) -> dict[str, Any]:
    """Compare generated sets with the real clips: counts, real, generated, difference and ratio."""
    layout, groups = Layout.load(config.layout), [example.group for example in real]
    clips = [example.joints for example in real]
    embedded = evaluator.motions(clips)
    as_real = [GenerationSet(clips=clips, text_ND=generated.text_ND, motion_ND=embedded) for generated in sets]
    scores = {
        "real": repeat_scores(real, embedded, as_real, config),
        "generated": repeat_scores(real, embedded, sets, config),
    }
    matching = {"real": clip_scores(real, as_real, config), "generated": clip_scores(real, sets, config)}
    quality = {
        "real": motion_quality(clips, config.fps, layout),
        "generated": mean_motion_quality([generated.clips for generated in sets], config.fps, layout),
    }
    if training:
        for name, nearest in (
            ("nearest_training_mm", motion.nearest_training_distance),
            ("nearest_training_piece_mm", partial(motion.nearest_training_piece, layout=layout)),
        ):
            quality["real"][name] = nearest(clips, training)
            quality["generated"][name] = np.mean([nearest(generated.clips, training) for generated in sets], axis=0)
    dims = features.pca(embedded, config.pca_dims).shape[1]
    report: dict[str, Any] = {
        "counts": count_examples(real, config) | {"pca_dims": dims, "training_clips": len(training)}
    }
    for side in ("real", "generated"):
        report[side] = to_json(scores[side]) | {
            name: bootstrap(values, groups).json() for name, values in quality[side].items()
        }
    by_clip = {side: matching[side] | quality[side] for side in ("real", "generated")}
    report["difference"] = clip_differences(by_clip["real"], by_clip["generated"], groups)
    report["ratio"] = {
        name: scores["generated"][name].mean / scores["real"][name].mean
        for name in scores["real"]
        if scores["real"][name].mean
    } | {
        name: ratio(*finite_pairs(by_clip["generated"][name], values, groups)).json()
        for name, values in by_clip["real"].items()
        if name in RATIOS and np.nanmean(values)
    }
    return report


def clip_differences(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], groups: Sequence[Hashable]
) -> dict[str, Any]:
    """Paired differences after - before of every metric [N], over the clips where both are known."""
    return {name: paired_difference(*finite_pairs(before[name], after[name], groups)).json() for name in before}


def finite_pairs(
    one_N: np.ndarray, other_N: np.ndarray, groups: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray, list[Hashable]]:
    """The entries that are finite in both, with their groups."""
    known = np.flatnonzero(np.isfinite(one_N) & np.isfinite(other_N))
    return one_N[known], other_N[known], [groups[i] for i in known.tolist()]


def repeat_scores(
    real: Sequence[Example], embedded_ND: np.ndarray, sets: Sequence[GenerationSet], config: ScoringConfig
) -> dict[str, Estimate]:
    """Metrics in the evaluator's space; each repeat draws new halves, batches and pairs, and takes the next set."""
    descriptions = [example.description for example in real]
    directions = features.pca(embedded_ND, config.pca_dims)
    turn = iter(range(config.repeats))
    full = [features.fid(embedded_ND, one.motion_ND) for one in sets] if config.published else []

    def measure(rng: Generator) -> dict[str, float]:
        next_set = next(turn) % len(sets)
        generated = sets[next_set]
        first, second = features.halves(len(real), rng)
        precision = features.r_precision(generated.text_ND, generated.motion_ND, rng, descriptions, R_AT, config.batch)
        return {
            "fid_pca": features.fid(embedded_ND[first] @ directions, generated.motion_ND[second] @ directions),
            "fid": features.fid(embedded_ND[first], generated.motion_ND[second]),
            **{f"r_precision_{k}": value for k, value in zip(R_AT, precision, strict=True)},
            "mm_dist": features.mm_dist(generated.text_ND, generated.motion_ND),
            "clip_like_score": features.clip_like_score(generated.text_ND, generated.motion_ND),
            "diversity": features.diversity(
                generated.motion_ND, rng, min(config.diversity_pairs, len(real)), config.published
            ),
            **({"fid_full": full[next_set]} if config.published else {}),
        }

    return repeat_all(measure, config.repeats, config.seed)


def fid_difference(
    embedded_ND: np.ndarray,
    before: Sequence[GenerationSet],
    after: Sequence[GenerationSet],
    config: ScoringConfig,
    rng: Generator,
) -> dict[str, float]:
    """FID of `after` minus FID of `before` against the same half of the real clips, for a random set."""
    directions, number = features.pca(embedded_ND, config.pca_dims), int(rng.integers(len(before)))
    first, second = features.halves(len(embedded_ND), rng)
    found = [
        features.fid(embedded_ND[first] @ directions, sets[number].motion_ND[second] @ directions)
        for sets in (before, after)
    ]
    return {"fid_pca": found[1] - found[0]}


def clip_scores(real: Sequence[Example], sets: Sequence[GenerationSet], config: ScoringConfig) -> dict[str, np.ndarray]:
    """Per clip, mean over repeats: % of batches in which its motion was among the k nearest, and matching distance.

    Batches depend only on the examples and the config, so that two models can be paired; NaN for clips in no batch.
    """
    descriptions, found = [example.description for example in real], []
    for i in range(config.repeats):
        generated, rng = sets[i % len(sets)], np.random.default_rng((config.seed, 2, i))
        found.append(features.batched_ranks(generated.text_ND, generated.motion_ND, rng, descriptions, config.batch))
    ranks = np.stack(found)
    taken = (ranks > 0).sum(0)
    scores = {}
    for k in R_AT:
        percent = 100 * ((ranks > 0) & (ranks <= k)).sum(0) / np.maximum(taken, 1)
        scores[f"r_precision_{k}"] = np.where(taken, percent, np.nan)
    distance = [
        np.linalg.norm(features.differences(generated.text_ND, generated.motion_ND), axis=1) for generated in sets
    ]
    return scores | {"mm_dist": np.mean(distance, axis=0)}


def multimodality(evaluator: Embedder, real: Sequence[Example], generate: Generate, config: ScoringConfig) -> Estimate:
    """MultiModality: several generations for each of a few texts, random pairs each repeat."""
    rng = np.random.default_rng((config.seed, 3))
    chosen = [real[i] for i in rng.permutation(len(real))[: config.multimodality_texts]]
    texts, lengths = draw_captions(chosen, rng), [len(example.joints) for example in chosen]
    embedded = np.stack(
        [
            evaluator.motions(cut_generated(generate(texts, lengths, config.seed + 1000 + i), lengths))
            for i in range(config.multimodality_samples)
        ],
        axis=1,
    )  # [N, R, D]
    return repeat_all(
        lambda rng: {"": features.multimodality(embedded, rng, config.multimodality_pairs, config.published)},
        config.repeats,
        config.seed,
    )[""]


def motion_quality(clips: Sequence[np.ndarray], fps: float, layout: Layout) -> dict[str, np.ndarray]:
    """Metrics of the motion itself, one value per clip, [N] each."""
    return {
        "jitter": np.array([motion.jitter(joints, fps) for joints in clips]),
        "foot_skating": np.array([motion.foot_skating(joints, fps, layout) for joints in clips]),
        "bone_length_drift": np.array([motion.bone_length_drift(joints, layout) for joints in clips]),
        "upright": np.array([motion.upright(joints, layout) for joints in clips]),
        "floor_error_mm": np.array([motion.floor_error(joints) for joints in clips]),
    }


def mean_motion_quality(sets: Sequence[Sequence[np.ndarray]], fps: float, layout: Layout) -> dict[str, np.ndarray]:
    per_set = [motion_quality(clips, fps, layout) for clips in sets]
    return {name: np.mean([scores[name] for scores in per_set], axis=0) for name in per_set[0]}


def count_examples(real: Sequence[Example], config: ScoringConfig) -> dict[str, int]:
    return {
        "clips": len(real),
        "recordings": len({example.group for example in real}),
        "descriptions": len({example.description for example in real}),
        "captions": len({caption for example in real for caption in example.captions}),
        "repeats": config.repeats,
        "generations": config.generations,
        "batch": config.batch,
    }


def describe(config: ScoringConfig) -> str:
    fid = (
        "FID between disjoint halves, fid_full between all clips" if config.published else "FID between disjoint halves"
    )
    return (
        f"R-precision in batches of {config.batch} distinct descriptions, {fid}, "
        f"{config.repeats} repeats over {config.generations} sets of generations"
    )


def to_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.json() for name, estimate in estimates.items()}
