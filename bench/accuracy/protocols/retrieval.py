"""Retrieval, text to motion and motion to text, against chance and a bag-of-joints baseline.

Shapes: N clips, D width of the model's space, W text width.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....runtime.errors import InputError
from ....training.metrics import features
from ....training.metrics.statistics import paired_difference, summary
from .bag_of_joints import BagOfJoints
from .scoring import Embedder, Example, ScoringConfig, count_examples, draw_captions

RECALL_AT = (1, 2, 3, 5, 10)
DIRECTIONS = ("text_to_motion", "motion_to_text")

EncodeText = Callable[[Sequence[str]], np.ndarray]
"""texts -> features [N, W]."""
Ranks = dict[tuple[str, str], np.ndarray]
"""(direction, kind of gallery) -> ranks [N]; 0 for clips in no batch."""


def retrieval(
    model: Embedder,
    real: Sequence[Example],
    training: Sequence[Example] = (),
    encode_text: EncodeText | None = None,
    config: ScoringConfig | None = None,
) -> dict[str, Any]:
    """R@k and median rank in both directions, for a model, for chance, and for the bag-of-joints baseline.

    `all`: the whole gallery, only the matching item counts; `all_tolerant`: so does every item of the same description;
    `batch`: random batches of distinct descriptions, left out if there are not enough.

    Args:
        training: with `encode_text`, the clips that the baseline is fitted to; else there is no baseline.
        encode_text: text features [N, W] for the baseline.
    Returns:
        protocol, counts and `model`, `chance`, `bag_of_joints`, each {"text_to_motion": {"all": {"R@1": …, "MedR": …},
        …}, …}; `difference`: R@k over the whole gallery, with tolerance, of the model - the baseline, per clip.
    """
    config = config or ScoringConfig()
    if len(real) < 2:
        raise InputError(f"{len(real)} clips, expected at least 2 to retrieve from")
    clips, captions = [example.joints for example in real], all_captions(real)
    ranks = {"model": rank_all(real, model.motions(clips), captions, model.texts(captions), config)}
    if encode_text is not None and training:
        baseline = fit_baseline(training, encode_text, config)
        texts = baseline.texts(encode_text(captions))
        ranks["bag_of_joints"] = rank_all(real, baseline.motions(clips), captions, texts, config)
    ranks["chance"] = rank_by_chance(real, captions, config)
    report: dict[str, Any] = {name: summarize(repeats) for name, repeats in ranks.items()}
    if "bag_of_joints" in ranks:
        groups = [example.group for example in real]
        report["difference"] = {
            direction: {
                f"R@{k}": paired_difference(
                    recall_by_clip(ranks["bag_of_joints"], direction, k),
                    recall_by_clip(ranks["model"], direction, k),
                    groups,
                ).json()
                for k in RECALL_AT
            }
            for direction in DIRECTIONS
        }
    return {
        "protocol": f"retrieval among {len(real)} clips with one caption each, drawn again in each of {config.repeats} "
        f"repeats; batches of {config.batch} distinct descriptions",
        "counts": count_examples(real, config) | {"training_clips": len(training) if encode_text else 0},
    } | report


def fit_baseline(training: Sequence[Example], encode_text: EncodeText, config: ScoringConfig) -> BagOfJoints:
    """Fit the baseline to the mean features of every clip's captions."""
    captions = all_captions(training)
    encoded = dict(zip(captions, encode_text(captions), strict=True))
    text_NW = np.stack([np.mean([encoded[caption] for caption in example.captions], axis=0) for example in training])
    return BagOfJoints([example.joints for example in training], text_NW, config.fps)


def all_captions(real: Sequence[Example]) -> list[str]:
    return sorted({caption for example in real for caption in example.captions})


def rank_all(
    real: Sequence[Example],
    motion_ND: np.ndarray,
    captions: Sequence[str],
    caption_ND: np.ndarray,
    config: ScoringConfig,
) -> list[Ranks]:
    """Ranks of the matching items, one dictionary per repeat."""
    row = {caption: i for i, caption in enumerate(captions)}
    names: dict[Hashable, int] = {}
    number = np.array([names.setdefault(example.description, len(names)) for example in real])
    same_NN = number[:, None] == number
    repeats = []
    for i in range(config.repeats):
        rng = np.random.default_rng((config.seed, i))
        text_ND = caption_ND[[row[caption] for caption in draw_captions(real, rng)]]
        ranks = {}
        for direction, query, gallery in zip(DIRECTIONS, (text_ND, motion_ND), (motion_ND, text_ND), strict=True):
            ranks[direction, "all"] = features.gallery_ranks(query, gallery)
            ranks[direction, "all_tolerant"] = features.gallery_ranks(query, gallery, same_NN)
            if len(names) >= config.batch:
                ranks[direction, "batch"] = features.batched_ranks(query, gallery, rng, number.tolist(), config.batch)
        repeats.append(ranks)
    return repeats


def rank_by_chance(real: Sequence[Example], captions: Sequence[str], config: ScoringConfig) -> list[Ranks]:
    """Ranks of random embeddings, new ones in each repeat; clips that share a caption share its embedding."""
    repeats = []
    for i in range(config.repeats):
        rng = np.random.default_rng((config.seed, 4, i))
        motion_ND, caption_ND = (rng.normal(size=(n, 16)) for n in (len(real), len(captions)))
        repeats += rank_all(real, motion_ND, captions, caption_ND, replace(config, repeats=1, seed=config.seed + i))
    return repeats


def summarize(repeats: Sequence[Ranks]) -> dict[str, Any]:
    """R@k and MedR by direction and kind of gallery, with their intervals over repeats."""
    report: dict[str, Any] = {direction: {} for direction in DIRECTIONS}
    for direction, kind in repeats[0]:
        ranked = [ranks[direction, kind][ranks[direction, kind] > 0] for ranks in repeats]
        scores = {f"R@{k}": summary([features.recall(ranks, k) for ranks in ranked]).json() for k in RECALL_AT}
        report[direction][kind] = scores | {"MedR": summary([features.median_rank(r) for r in ranked]).json()}
    return report


def recall_by_clip(repeats: Sequence[Ranks], direction: str, k: int) -> np.ndarray:
    """[N] % of the repeats in which a clip's match ranked k or better in the whole gallery, with tolerance."""
    return 100 * np.mean([ranks[direction, "all_tolerant"] <= k for ranks in repeats], axis=0)
