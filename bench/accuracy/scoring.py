"""What protocols share: examples, sets of generations, and their scores beside real motion.

Shapes: T frames, V joints, N clips, D width of the evaluator's space.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ...training.metrics import features, motion
from ...training.metrics.statistics import Estimate, bootstrap, paired_difference, ratio, repeat_all

STEP = 4  # frames a latent token
R_AT = (1, 2, 3)
RATIOS = (
    *(f"r_precision_{k}" for k in R_AT),
    "jitter",
    "foot_skating",
    "nearest_training_mm",
    "nearest_training_piece_mm",
)  # by clip

Generate = Callable[[Sequence[str], Sequence[int], int], Sequence[np.ndarray]]
"""texts, lengths in frames, seed -> clips [T, V, 3] in metres, at least as long."""


class Embedder(Protocol):
    """What puts motion and text into one space: `TrainedEvaluator`, or a retrieval model."""

    def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray: ...

    def texts(self, texts: Sequence[str]) -> np.ndarray: ...


class Clip(Protocol):
    """The part of `training.motions.MotionClip` that is read here."""

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
    """A clip to measure with.

    Attributes:
        joints: [T, V, 3] metres, T a multiple of 4.
        captions: what it may be called; one is drawn each time.
        description: what it shows; examples of one description are never set against each other.
        group: the recording that it was cut from; intervals over clips resample groups.
    """

    joints: np.ndarray
    captions: tuple[str, ...]
    description: Hashable
    group: Hashable


def examples(
    clips: Iterable[Clip],
    description: Callable[[Clip], Hashable] = lambda clip: (clip.action, clip.style),
    group: Callable[[Clip], Hashable] = lambda clip: clip.name,
    shortest: int = 16,
) -> list[Example]:
    """Clips as examples, cut to whole tokens; those under `shortest` frames are left out."""
    return [
        Example(
            joints=clip.joints[: len(clip.joints) // STEP * STEP],
            captions=clip.captions,
            description=description(clip),
            group=group(clip),
        )
        for clip in clips
        if len(clip.joints) >= shortest
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measuring:
    """How much is measured; the values are those of the literature."""

    repeats: int = 20
    generations: int = 1  # sets of generated motion; the literature makes one a repeat
    seed: int = 0
    batch: int = 32
    pca_dims: int = 64
    pairs: int = 300
    several_texts: int = 0  # texts of multimodality; 0 leaves it out, the literature takes 100
    several: int = 30  # generations of each
    several_pairs: int = 10
    fps: float = 20.0
    layout: str = "smpl22"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSet:
    """One pass over the examples: a caption of each, and what was made for it."""

    clips: list[np.ndarray]
    text_ND: np.ndarray
    motion_ND: np.ndarray


def generation_set(
    evaluator: Embedder, real: Sequence[Example], generate: Generate, measuring: Measuring, number: int
) -> GenerationSet:
    """Set `number`: captions are drawn and noise is seeded by (seed, number) alone."""
    texts = draw_captions(real, np.random.default_rng((measuring.seed, 1, number)))
    lengths = [len(example.joints) for example in real]
    made = checked(generate(texts, lengths, measuring.seed + number), lengths)
    return GenerationSet(clips=made, text_ND=evaluator.texts(texts), motion_ND=evaluator.motions(made))


def checked(made: Sequence[np.ndarray], lengths: Sequence[int]) -> list[np.ndarray]:
    """Generated clips cut to their lengths. Raises InputError: too few, too short, or not finite."""
    if len(made) != len(lengths):
        raise InputError(f"{len(made)} clips were generated, expected {len(lengths)}")
    for i, (joints, frames) in enumerate(zip(made, lengths, strict=True)):
        if len(joints) < frames:
            raise InputError(f"generated clip {i} has {len(joints)} frames, expected {frames}")
        motion.check_motion(f"generated clip {i}", joints, 1)
    return [np.asarray(joints[:frames]) for joints, frames in zip(made, lengths, strict=True)]


def draw_captions(real: Sequence[Example], rng: Generator) -> list[str]:
    for i, example in enumerate(real):
        if not example.captions:
            raise InputError(f"example {i} has no caption")
    return [example.captions[rng.integers(len(example.captions))] for example in real]


def compare_sets(
    evaluator: Embedder,
    real: Sequence[Example],
    sets: Sequence[GenerationSet],
    measuring: Measuring,
    training: Sequence[np.ndarray],
) -> dict[str, Any]:
    """counts, real, generated, difference and ratio of generated sets beside the real clips."""
    layout, groups = Layout.load(measuring.layout), [example.group for example in real]
    clips = [example.joints for example in real]
    embedded = evaluator.motions(clips)
    as_real = [GenerationSet(clips=clips, text_ND=one.text_ND, motion_ND=embedded) for one in sets]
    scores = {
        "real": repeat_scores(real, embedded, as_real, measuring),
        "generated": repeat_scores(real, embedded, sets, measuring),
    }
    matching = {"real": clip_scores(real, as_real, measuring), "generated": clip_scores(real, sets, measuring)}
    physical = {
        "real": physics(clips, measuring.fps, layout),
        "generated": mean_physics([one.clips for one in sets], measuring.fps, layout),
    }
    if training:
        for name, nearest in (
            ("nearest_training_mm", motion.nearest_training_distance),
            ("nearest_training_piece_mm", partial(motion.nearest_training_piece, layout=layout)),
        ):
            physical["real"][name] = nearest(clips, training)
            physical["generated"][name] = np.mean([nearest(one.clips, training) for one in sets], axis=0)
    dims = features.pca(embedded, measuring.pca_dims).shape[1]
    report: dict[str, Any] = {"counts": counts(real, measuring) | {"pca_dims": dims, "training_clips": len(training)}}
    for side in ("real", "generated"):
        report[side] = as_json(scores[side]) | {
            name: bootstrap(values, groups).json() for name, values in physical[side].items()
        }
    by_clip = {side: matching[side] | physical[side] for side in ("real", "generated")}
    report["difference"] = clip_differences(by_clip["real"], by_clip["generated"], groups)
    report["ratio"] = {
        name: scores["generated"][name].mean / scores["real"][name].mean
        for name in scores["real"]
        if scores["real"][name].mean
    } | {
        name: ratio(*both_known(by_clip["generated"][name], values, groups)).json()
        for name, values in by_clip["real"].items()
        if name in RATIOS and np.nanmean(values)
    }
    return report


def clip_differences(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], groups: Sequence[Hashable]
) -> dict[str, Any]:
    """after - before of every figure [N], over the clips where both are known."""
    return {name: paired_difference(*both_known(before[name], after[name], groups)).json() for name in before}


def both_known(
    one_N: np.ndarray, other_N: np.ndarray, groups: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray, list[Hashable]]:
    """What is not NaN in either, with its groups."""
    known = np.flatnonzero(np.isfinite(one_N) & np.isfinite(other_N))
    return one_N[known], other_N[known], [groups[i] for i in known.tolist()]


def repeat_scores(
    real: Sequence[Example], embedded_ND: np.ndarray, sets: Sequence[GenerationSet], measuring: Measuring
) -> dict[str, Estimate]:
    """Metrics in the evaluator's space, with other halves, batches and pairs each repeat, and the sets in turn."""
    descriptions = [example.description for example in real]
    directions = features.pca(embedded_ND, measuring.pca_dims)
    turn = iter(range(measuring.repeats))

    def measure(rng: Generator) -> dict[str, float]:
        one = sets[next(turn) % len(sets)]
        first, second = features.halves(len(real), rng)
        precision = features.r_precision(one.text_ND, one.motion_ND, rng, descriptions, R_AT, measuring.batch)
        return {
            "fid_pca": features.fid(embedded_ND[first] @ directions, one.motion_ND[second] @ directions),
            "fid": features.fid(embedded_ND[first], one.motion_ND[second]),
            **{f"r_precision_{k}": value for k, value in zip(R_AT, precision, strict=True)},
            "mm_dist": features.mm_dist(one.text_ND, one.motion_ND),
            "clip_like_score": features.clip_like_score(one.text_ND, one.motion_ND),
            "diversity": features.diversity(one.motion_ND, rng, min(measuring.pairs, len(real))),
        }

    return repeat_all(measure, measuring.repeats, measuring.seed)


def fid_difference(
    embedded_ND: np.ndarray,
    before: Sequence[GenerationSet],
    after: Sequence[GenerationSet],
    measuring: Measuring,
    rng: Generator,
) -> dict[str, float]:
    """FID of `after` - FID of `before` against the same half of the real clips, of a random set."""
    directions, number = features.pca(embedded_ND, measuring.pca_dims), int(rng.integers(len(before)))
    first, second = features.halves(len(embedded_ND), rng)
    found = [
        features.fid(embedded_ND[first] @ directions, sets[number].motion_ND[second] @ directions)
        for sets in (before, after)
    ]
    return {"fid_pca": found[1] - found[0]}


def clip_scores(real: Sequence[Example], sets: Sequence[GenerationSet], measuring: Measuring) -> dict[str, np.ndarray]:
    """By clip, mean over repeats: % of batches in which its motion was among the k nearest, and matching distance.

    The same batches for the same examples and `measuring`, so that two models can be paired; NaN where no batch took a
    clip.
    """
    descriptions, found = [example.description for example in real], []
    for i in range(measuring.repeats):
        one, rng = sets[i % len(sets)], np.random.default_rng((measuring.seed, 2, i))
        found.append(features.batched_ranks(one.text_ND, one.motion_ND, rng, descriptions, measuring.batch))
    ranks = np.stack(found)
    taken = (ranks > 0).sum(0)
    scores = {}
    for k in R_AT:
        share = 100 * ((ranks > 0) & (ranks <= k)).sum(0) / np.maximum(taken, 1)
        scores[f"r_precision_{k}"] = np.where(taken, share, np.nan)
    distance = [np.linalg.norm(features.differences(one.text_ND, one.motion_ND), axis=1) for one in sets]
    return scores | {"mm_dist": np.mean(distance, axis=0)}


def several(evaluator: Embedder, real: Sequence[Example], generate: Generate, measuring: Measuring) -> Estimate:
    """MultiModality: `several` generations of each of `several_texts` texts, random pairs each repeat."""
    rng = np.random.default_rng((measuring.seed, 3))
    chosen = [real[i] for i in rng.permutation(len(real))[: measuring.several_texts]]
    texts, lengths = draw_captions(chosen, rng), [len(example.joints) for example in chosen]
    embedded = np.stack(
        [
            evaluator.motions(checked(generate(texts, lengths, measuring.seed + 1000 + i), lengths))
            for i in range(measuring.several)
        ],
        axis=1,
    )  # [N, R, D]
    return repeat_all(
        lambda rng: {"": features.multimodality(embedded, rng, measuring.several_pairs)},
        measuring.repeats,
        measuring.seed,
    )[""]


def physics(clips: Sequence[np.ndarray], fps: float, layout: Layout) -> dict[str, np.ndarray]:
    """Metrics of every clip's motion itself, [N] each."""
    return {
        "jitter": np.array([motion.jitter(joints, fps) for joints in clips]),
        "foot_skating": np.array([motion.foot_skating(joints, fps, layout) for joints in clips]),
        "bone_length_drift": np.array([motion.bone_length_drift(joints, layout) for joints in clips]),
        "upright": np.array([motion.upright(joints, layout) for joints in clips]),
        "floor_error_mm": np.array([motion.floor_error(joints) for joints in clips]),
    }


def mean_physics(sets: Sequence[Sequence[np.ndarray]], fps: float, layout: Layout) -> dict[str, np.ndarray]:
    each = [physics(clips, fps, layout) for clips in sets]
    return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}


def counts(real: Sequence[Example], measuring: Measuring) -> dict[str, int]:
    return {
        "clips": len(real),
        "recordings": len({example.group for example in real}),
        "descriptions": len({example.description for example in real}),
        "captions": len({caption for example in real for caption in example.captions}),
        "repeats": measuring.repeats,
        "generations": measuring.generations,
        "batch": measuring.batch,
    }


def described(measuring: Measuring) -> str:
    return (
        f"R-precision in batches of {measuring.batch} distinct descriptions, FID between disjoint halves, "
        f"{measuring.repeats} repeats over {measuring.generations} sets of generations"
    )


def as_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.json() for name, estimate in estimates.items()}
