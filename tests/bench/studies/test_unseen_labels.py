"""The protocol of unseen labels: candidates, the penalty on seen labels, and comparisons."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.studies import unseen_labels  # noqa: E402
from motionrt.bench.studies.unseen_labels import (  # noqa: E402
    ALIGNMENT,
    ALL_SENTENCES,
    SENTENCES,
    Split,
    Trial,
    align,
    best_penalty,
    few_shot,
    report,
)
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.data.unseen_labels import splits  # noqa: E402
from motionrt.training.data.vocabulary import labels  # noqa: E402
from motionrt.training.tdsm.encoders import EncodedClips  # noqa: E402

SPLIT = "walk-raise"
K = len(labels())
UNSEEN = np.isin(np.arange(K), splits()[SPLIT].unseen)


@pytest.fixture(scope="module")
def split() -> Split:
    """Every label at its own position, with ten training and eight test clips."""
    draw = np.random.default_rng(0)
    positions = draw.normal(size=(K, 48)).astype(np.float32)

    def clips(names: list[str], count: int) -> EncodedClips:
        of = [name for name in names for _ in range(count)]
        features = np.stack([positions[labels().index(name)] + 0.1 * draw.normal(size=48) for name in of])
        return EncodedClips(features_ND=features.astype(np.float32), labels=tuple(of))

    seen = [name for name, hidden in zip(labels(), UNSEEN, strict=True) if not hidden]
    hidden = [name for name in labels() if name not in seen]
    return Split(clips(seen, 10), clips(list(labels()), 8), clips(hidden, 4), UNSEEN, TextEncoder.load("text"))


def trial(near: float, far: float) -> Trial:
    """One clip per label, at distance `near` from its label, `far` from the next seen one, 9 from all others."""
    distances, seen = np.full((K, K), 9.0), np.flatnonzero(~UNSEEN)
    for k in range(K):
        distances[k, seen[np.searchsorted(seen, k + 1) % len(seen)]] = far
        distances[k, k] = near
    return Trial(dict.fromkeys(SENTENCES, distances), np.arange(K), UNSEEN)


def test_clips_of_unseen_labels_are_predicted_among_unseen_and_among_all_labels() -> None:
    good, biased = trial(1, 2), trial(2, 1)
    assert good.zsl_scores(ALL_SENTENCES) == biased.zsl_scores(ALL_SENTENCES) == {"top1": 100, "macro_top1": 100}
    assert good.gzsl_scores() == {"seen": 100, "unseen": 100, "harmonic": pytest.approx(100)}
    assert biased.gzsl_scores()["unseen"] == 0 and biased.gzsl_scores()["harmonic"] == 0
    assert biased.gzsl_scores(1.5)["unseen"] == 100
    assert np.array_equal(good.zsl(), np.flatnonzero(UNSEEN))


def test_the_penalty_is_the_best_one_on_other_splits() -> None:
    mixed = trial(2, 1.5)
    mixed.distances[ALL_SENTENCES][:, :] = np.where(np.eye(K, dtype=bool) & ~UNSEEN, 0, mixed.distances[ALL_SENTENCES])
    trials = {("a", 0): trial(2, 1.5), ("b", 0): mixed, ("b", 1): trial(9, 1)}
    penalty = best_penalty(trials, ("a", 0))
    assert penalty > 0.5 and mixed.gzsl_scores(penalty)["harmonic"] == pytest.approx(100)


def test_alignment_learns_the_seen_labels(split: Split) -> None:
    assert split.trial(align(split, 0, steps=150)).gzsl_scores()["seen"] > 80


def test_distances_are_computed_once_and_cached(tmp_path: Path) -> None:
    expected = {"label and motion": np.eye(2)}
    assert np.array_equal(unseen_labels.cached(tmp_path / "d.npz", lambda: expected)["label and motion"], np.eye(2))
    again = unseen_labels.cached(tmp_path / "d.npz", lambda: pytest.fail("measured again"))
    assert list(again) == list(expected) and [path.name for path in tmp_path.iterdir()] == ["d.npz"]


def test_examples_identify_labels_without_text(split: Split) -> None:
    found = few_shot({SPLIT: split})
    assert set(found) == {"1", "3", "5"} and all(
        score["low"] <= score["mean"] <= score["high"] for score in found.values()
    )
    assert found["5"]["mean"] > 80


def test_a_report_compares_over_the_same_seeds(split: Split) -> None:
    trials = {
        name: {(s, seed): trial(1, 2) for s in (SPLIT, "other") for seed in range(3)} for name in unseen_labels.ABOUT
    }
    worse = trial(1, 2)
    hidden = np.flatnonzero(UNSEEN)
    wrong = 100 * 2 / len(hidden)
    worse.distances[ALL_SENTENCES][hidden[:2]] = 9.0 - np.eye(K)[hidden[:2][::-1]]
    trials[ALIGNMENT] = dict.fromkeys(trials[ALIGNMENT], worse)
    found: dict[str, Any] = json.loads(json.dumps(report(trials, {SPLIT: split, "other": split}), allow_nan=False))
    assert found["chance"] == pytest.approx(100 / UNSEEN.sum()) and found["splits"][SPLIT]["clips"] == 8 * UNSEEN.sum()
    assert found["methods"]["tdsm"]["zsl"][ALL_SENTENCES]["mean"] == 100
    assert found["methods"][ALIGNMENT]["zsl"][ALL_SENTENCES]["by_seed"] == pytest.approx([100 - wrong] * 3)
    ahead = found["ahead_of_alignment"]["tdsm"]
    assert ahead["mean"] == pytest.approx(wrong) and ahead["improves"]


def test_an_encoder_trained_on_an_unseen_label_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="live: was trained on 'carry', expected a run with unseen=walk-raise"):
        unseen_labels.load_split(SPLIT, Path("live"), data, tmp_path, TextEncoder.load("text"))
