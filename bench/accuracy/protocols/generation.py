"""Text to motion: a generator against real clips, and two generators against each other.

Every score is `{"mean", "low", "high", "n", "over"}`: `over` "repeats" is +- 1.96 sigma / sqrt(n) of a measurement
repeated with other batches, halves and pairs (each set of generations draws new captions); `over` "clips" is a 95 %
bootstrap interval. Rates are percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....runtime.body.layout import Layout
from ....training.metrics.statistics import repeat_all
from .scoring import (
    Embedder,
    Example,
    Generate,
    ScoringConfig,
    clip_differences,
    clip_scores,
    compare_sets,
    count_examples,
    describe,
    fid_difference,
    generation_set,
    mean_motion_quality,
    multimodality,
    repeat_scores,
    to_json,
)


def text_to_motion(
    evaluator: Embedder,
    real: Sequence[Example],
    generate: Generate,
    config: ScoringConfig | None = None,
    training: Sequence[np.ndarray] = (),
) -> dict[str, Any]:
    """Score motion generated for the captions and lengths of real clips, next to those clips.

    FID is between equal halves: the features of one half of the real clips against motion generated for the other
    half, and as the floor against the real motion of that other half; on at most `pca_dims` principal directions of all
    the real features, and on all features.

    Args:
        evaluator: must not have been trained on `real`, and must not be the network that guides `generate`.
        training: clips that the generator was trained on, for the distance to the nearest; empty skips it.
    Returns:
        protocol, counts, `real`, `generated`, `difference` (generated - real per clip) and `ratio` (generated / real).
    Raises:
        InputError: too few clips or distinct descriptions, or a generated clip that is too short.
    """
    config = config or ScoringConfig()
    sets = [generation_set(evaluator, real, generate, config, i) for i in range(config.generations)]
    report = compare_sets(evaluator, real, sets, config, training)
    if config.multimodality_texts:
        report["generated"]["multimodality"] = multimodality(evaluator, real, generate, config).json()
        report["counts"]["multimodality_texts"] = min(config.multimodality_texts, len(real))
    return {"protocol": "text-to-motion: " + describe(config)} | report


def compare_generators(
    evaluator: Embedder,
    real: Sequence[Example],
    before: Generate,
    after: Generate,
    config: ScoringConfig | None = None,
) -> dict[str, Any]:
    """Effect of a change to a generator: `after` - `before`, for the same captions, lengths and seeds.

    Returns:
        protocol, counts, `before`, `after`, `difference`: R-precision, matching distance, jitter and foot skating per
        clip, FID per repeat.
    """
    config = config or ScoringConfig()
    sides = {}
    for name, generate in (("before", before), ("after", after)):
        sides[name] = [generation_set(evaluator, real, generate, config, i) for i in range(config.generations)]
    embedded = evaluator.motions([example.joints for example in real])
    scores = {name: repeat_scores(real, embedded, sets, config) for name, sets in sides.items()}
    layout = Layout.load(config.layout)
    by_clip = {
        name: clip_scores(real, sets, config) | mean_motion_quality([one.clips for one in sets], config.fps, layout)
        for name, sets in sides.items()
    }
    groups = [example.group for example in real]
    difference = clip_differences(by_clip["before"], by_clip["after"], groups)
    fid = repeat_all(
        lambda rng: fid_difference(embedded, sides["before"], sides["after"], config, rng),
        config.repeats,
        config.seed,
    )
    return {
        "protocol": "two generators on the same captions, lengths and seeds: " + describe(config),
        "counts": count_examples(real, config),
        "before": to_json(scores["before"]),
        "after": to_json(scores["after"]),
        "difference": difference | to_json(fid),
    }
