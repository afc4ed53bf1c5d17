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
    SHIPPED,
    Split,
    Trial,
    align,
    auroc,
    best_penalty,
    best_scale,
    blend,
    calibration_error,
    chosen_on_others,
    few_shot,
    fit,
    report,
    sets_left_out,
)
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.data.vocabulary import open_labels  # noqa: E402
from motionrt.training.tdsm.encoders import EncodedClips  # noqa: E402

from .unseen_split import SPLIT, UNSEEN, K, make_split  # noqa: E402


@pytest.fixture(scope="module")
def split() -> Split:
    return make_split()


def trial(near: float, far: float) -> Trial:
    """One clip per label, at distance `near` from its label, `far` from the next seen one, 9 from all others, and one
    of no label, at 8 from rest."""
    distances, seen = np.full((K + 1, K + 1), 9.0), np.flatnonzero(~UNSEEN)
    distances[K, K] = 8
    for k in range(K):
        distances[k, seen[np.searchsorted(seen, k + 1) % len(seen)]] = far
        distances[k, k] = near
    return Trial(dict.fromkeys(SENTENCES, distances), np.append(np.arange(K), -1), UNSEEN)


def test_clips_of_unseen_labels_are_predicted_among_unseen_and_among_all_labels() -> None:
    good, biased = trial(1, 2), trial(2, 1)
    assert good.zsl_scores(ALL_SENTENCES) == biased.zsl_scores(ALL_SENTENCES) == {"top1": 100, "macro_top1": 100}
    assert good.gzsl_scores() == {"seen": 100, "unseen": 100, "harmonic": pytest.approx(100)}
    assert biased.gzsl_scores()["unseen"] == 0 and biased.gzsl_scores()["harmonic"] == 0
    assert biased.gzsl_scores(1.5)["unseen"] == 100


def test_the_penalty_is_the_best_one_on_other_splits() -> None:
    mixed = trial(2, 1.5)
    mixed.distances[ALL_SENTENCES][:, :] = np.where(
        np.eye(K + 1, dtype=bool) & np.append(~UNSEEN, False), 0, mixed.distances[ALL_SENTENCES]
    )
    trials = {("a", 0): trial(2, 1.5), ("b", 0): mixed, ("b", 1): trial(9, 1)}
    penalty = best_penalty(trials, ("a", 0))
    assert penalty > 0.5 and mixed.gzsl_scores(penalty)["harmonic"] == pytest.approx(100)


def test_rejection_compares_the_best_offered_label_with_the_background() -> None:
    known, others = trial(1, 9).offer(UNSEEN)
    assert (known == 8).all() and len(known) == UNSEEN.sum() and len(others) == K + 1 - len(known)
    assert (others[:-1] == 0).all() and others[-1] == -1 and auroc(known, others) == 1
    known, others = trial(2, 9).offer(UNSEEN, rivals=True)
    assert (known == 7).all() and set(others) == {-7, -1}, "a seen label is in the background then"
    known, others = trial(1, 2).offer_few(rivals=True)[0]
    assert len(known) == 5 and (known == 1).all() and (others <= 0).all()
    assert auroc(np.array([1, 2]), np.array([1, 3])) == pytest.approx((0.5 + 1) / 4)


def test_probabilities_are_calibrated_on_seen_labels_and_none() -> None:
    one = trial(1, 2)
    logits, target = one.logits(2.0, 1.0)
    assert logits.shape == (K + 1 - UNSEEN.sum(), K + 1 - UNSEEN.sum()) and (logits[:, -1] == 0).all()
    assert target[-1] == logits.shape[1] - 1 and logits[0, 0] == 2.0 * (9 - 1) - 1.0
    right = np.log([[0.8, 0.2]] * 10)
    assert calibration_error(right, np.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(right, np.ones(10, int)) == pytest.approx(0.8)
    assert best_scale([one])[0] > 1


def test_matchers_learn_the_seen_labels(split: Split) -> None:
    for distances in (align(split, 0, steps=150), fit(split, (0.5, 0.5))):
        assert split.trial(distances).gzsl_scores()["seen"] > 80


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


def test_distances_of_several_methods_count_alike() -> None:
    small, large = np.array([[1.0, 2, 3], [3, 2, 1]]), np.array([[3000.0, 1000, 2000], [1000, 2000, 3000]])
    found = blend([{ALL_SENTENCES: small}, {ALL_SENTENCES: large}])[ALL_SENTENCES]
    assert found == pytest.approx(blend([{ALL_SENTENCES: large / 1000 + 5}, {ALL_SENTENCES: small}])[ALL_SENTENCES])
    assert found.argmin(1)[0] == 1 and found[1] == pytest.approx(0)


def test_settings_are_chosen_on_other_splits(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = trial(1, 2), trial(1, 2)
    wrong.distances[ALL_SENTENCES][:, np.flatnonzero(UNSEEN)] = 5
    tested = EncodedClips(features_ND=np.zeros((K + 1, 1)), labels=(*open_labels(), ""))
    one, two = (split._replace(held_out=tested) for _ in range(2))
    monkeypatch.setattr(unseen_labels, "CHOICES", [(0.5, 3.0), (0.5, 1.0)])
    monkeypatch.setattr(
        unseen_labels, "fit", lambda of, _, ridge: (right if (of is one) == (ridge == 3.0) else wrong).distances
    )
    found = chosen_on_others({"one": one, "two": two}, [1, 1])
    assert found and found["share_of_attributes_and_penalty"] == [(0.5, 1.0), (0.5, 3.0)]
    assert max(found["zsl"]["by_split"]) < 10 and found["ahead_of_alignment"]["mean"] == found["zsl"]["mean"] - 1
    assert chosen_on_others({"one": one}, [1]) is None


def test_sets_left_out_are_measured_by_text_and_by_examples(split: Split) -> None:
    found = sets_left_out({SPLIT: split._replace(held_out=split.examples)})
    assert found["clips"][SPLIT] == 4 * UNSEEN.sum() and found["labels"][SPLIT] == UNSEEN.sum()
    assert 0 <= found["zsl"]["mean"] <= 100 and found["few_shot"]["3"]["mean"] > 80


def test_a_report_compares_over_the_same_seeds(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseen_labels, "CHOICES", [(0.5, 1.0)])
    monkeypatch.setattr(unseen_labels, "PENALTIES", 20)
    trials = {
        name: {(s, seed): trial(1, 2) for s in (SPLIT, "other") for seed in range(2)}
        for name in (SHIPPED, ALIGNMENT, "tdsm")
    }
    worse = trial(1, 2)
    hidden = np.flatnonzero(UNSEEN)
    wrong = 100 * 2 / len(hidden)
    worse.distances[ALL_SENTENCES][hidden[:2]] = 9.0 - np.eye(K + 1)[hidden[:2][::-1]]
    trials[ALIGNMENT] = dict.fromkeys(trials[ALIGNMENT], worse)
    found: dict[str, Any] = json.loads(json.dumps(report(trials, {SPLIT: split, "other": split}), allow_nan=False))
    assert found["chance"] == pytest.approx(100 / UNSEEN.sum()) and found["splits"][SPLIT]["clips"] == 8 * UNSEEN.sum()
    assert found["methods"]["tdsm"]["zsl"][ALL_SENTENCES]["mean"] == 100
    assert found["methods"][ALIGNMENT]["zsl"][ALL_SENTENCES]["by_split"] == pytest.approx([100 - wrong] * 2)
    ahead = found["ahead_of_alignment"][SHIPPED]
    assert ahead["mean"] == pytest.approx(wrong) and ahead["low"] <= ahead["mean"] <= ahead["high"]
    assert found["methods"][SHIPPED]["rejection"]["all seen labels"]["auroc"]["mean"] == 1


def test_an_encoder_trained_on_an_unseen_label_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="live: was trained on 'basketball shoot', expected a run with unseen=draw-throw-bow"
    ):
        unseen_labels.load_split(SPLIT, Path("live"), data, tmp_path, TextEncoder.load("text"))
