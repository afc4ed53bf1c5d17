"""Zero-shot figures of made-up models."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from motionrt.runtime.errors import InputError
from motionrt.training.metrics.zero_shot import harmonic, zero_shot

SEEN, UNSEEN = ("walk", "bow", "run", "clap"), ("wave", "kick")
LABELS = [label for label in (*SEEN, *UNSEEN) for _ in range(5)]
CLIPS = [np.full(1, (*SEEN, *UNSEEN).index(label)) for label in LABELS]


def right(clips: Sequence[np.ndarray], known: Sequence[str]) -> list[str]:
    return [(*SEEN, *UNSEEN)[int(clip[0])] for clip in clips]


def biased(clips: Sequence[np.ndarray], known: Sequence[str]) -> list[str]:
    """Knows all classes, but takes waving for walking where that is an answer."""
    return ["walk" if said == "wave" and "walk" in known else said for said in right(clips, known)]


def test_who_knows_all_is_right_everywhere() -> None:
    report = zero_shot(right, CLIPS, LABELS, SEEN, UNSEEN)
    json.dumps(report, allow_nan=False)
    assert report["zsl"]["top1"]["mean"] == report["gzsl"]["harmonic"]["top1"] == 100
    assert report["zsl"]["counts"] == {"clips": 10, "labels": 2, "labels_with_clips": 2}
    assert [report["gzsl"][side]["counts"]["clips"] for side in ("seen", "unseen")] == [20, 10]
    assert report["gzsl"]["unseen"]["counts"]["labels"] == 6


def test_a_bias_to_what_was_seen_shows_in_generalised_zero_shot_alone() -> None:
    report = zero_shot(biased, CLIPS, LABELS, SEEN, UNSEEN, groups=list(range(30)))
    gzsl = report["gzsl"]
    assert report["zsl"]["macro_top1"] == gzsl["seen"]["macro_top1"] == 100 and gzsl["unseen"]["macro_top1"] == 50
    assert gzsl["harmonic"]["top1"] == gzsl["harmonic"]["macro_top1"] == pytest.approx(200 / 3)


def test_the_harmonic_mean_is_nearer_to_the_worse() -> None:
    assert harmonic(80, 20) == pytest.approx(32)
    assert harmonic(0, 0) == 0 == harmonic(100, 0)


def test_classes_belong_to_one_side() -> None:
    with pytest.raises(InputError, match="'wave' is both seen and unseen"):
        zero_shot(right, CLIPS, LABELS, (*SEEN, "wave"), UNSEEN)
    with pytest.raises(InputError, match="clips of 'kick', which is neither"):
        zero_shot(right, CLIPS, LABELS, SEEN, UNSEEN[:1])
