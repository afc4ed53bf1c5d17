"""The protocol of labels that were not trained on: who is asked among whom, what is handicapped, what is compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.studies import zero_shot  # noqa: E402
from motionrt.bench.studies.zero_shot import ALIGNMENT, MOST, SAID, Side, Trial, aligned, few_shot, handicap, report  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.data.unseen_labels import splits  # noqa: E402
from motionrt.training.data.vocabulary import labels  # noqa: E402
from motionrt.training.tdsm.encoders import EncodedClips  # noqa: E402

SPLIT = "walk-raise"
UNSEEN = np.isin(np.arange(40), splits()[SPLIT].unseen)


@pytest.fixture(scope="module")
def side() -> Side:
    """Every label at a place of its own, ten clips to train on and eight to test with; those of a pair nearer."""
    draw = np.random.default_rng(0)
    places = draw.normal(size=(40, 48)).astype(np.float32)

    def clips(names: list[str], count: int) -> EncodedClips:
        of = [name for name in names for _ in range(count)]
        features = np.stack([places[labels().index(name)] + 0.1 * draw.normal(size=48) for name in of])
        return EncodedClips(features_ND=features.astype(np.float32), labels=tuple(of))

    seen = [name for name, hidden in zip(labels(), UNSEEN, strict=True) if not hidden]
    hidden = [name for name in labels() if name not in seen]
    return Side(clips(seen, 10), clips(list(labels()), 8), clips(hidden, 4), UNSEEN, TextEncoder.load("text"))


def trial(near: float, far: float) -> Trial:
    """One clip a label: `near` to its own one, `far` from the next seen one, 9 from all others."""
    distances, seen = np.full((40, 40), 9.0), np.flatnonzero(~UNSEEN)
    for k in range(40):
        distances[k, seen[np.searchsorted(seen, k + 1) % len(seen)]] = far
        distances[k, k] = near
    return Trial(dict.fromkeys(SAID, distances), np.arange(40), UNSEEN)


def test_clips_of_unseen_labels_are_asked_among_these_and_among_all() -> None:
    good, biased = trial(1, 2), trial(2, 1)
    assert good.zsl_figures(MOST) == biased.zsl_figures(MOST) == {"top1": 100, "macro_top1": 100}
    assert good.gzsl_figures() == {"seen": 100, "unseen": 100, "harmonic": pytest.approx(100)}
    assert biased.gzsl_figures()["unseen"] == 0 and biased.gzsl_figures()["harmonic"] == 0
    assert biased.gzsl_figures(1.5)["unseen"] == 100
    assert np.array_equal(good.zsl(), np.flatnonzero(UNSEEN))


def test_the_handicap_is_what_is_best_elsewhere() -> None:
    mixed = trial(2, 1.5)
    mixed.distances[MOST][:, :] = np.where(np.eye(40, dtype=bool) & ~UNSEEN, 0, mixed.distances[MOST])
    of = {("a", 0): trial(2, 1.5), ("b", 0): mixed, ("b", 1): trial(9, 1)}
    far = handicap(of, ("a", 0))
    assert far > 0.5 and mixed.gzsl_figures(far)["harmonic"] == pytest.approx(100)


def test_alignment_learns_the_labels_that_it_sees(side: Side) -> None:
    assert side.trial(aligned(side, 0, steps=150)).gzsl_figures()["seen"] > 80


def test_what_was_measured_once_is_kept(tmp_path: Path) -> None:
    wanted = {"label and motion": np.eye(2)}
    assert np.array_equal(zero_shot.kept(tmp_path / "d.npz", lambda: wanted)["label and motion"], np.eye(2))
    again = zero_shot.kept(tmp_path / "d.npz", lambda: pytest.fail("measured again"))
    assert list(again) == list(wanted) and [path.name for path in tmp_path.iterdir()] == ["d.npz"]


def test_examples_tell_what_no_text_was_needed_for(side: Side) -> None:
    found = few_shot({SPLIT: side})
    assert set(found) == {"1", "3", "5"} and all(of["low"] <= of["mean"] <= of["high"] for of in found.values())
    assert found["5"]["mean"] > 80


def test_a_report_compares_over_the_same_seeds(side: Side) -> None:
    trials = {name: {(s, seed): trial(1, 2) for s in (SPLIT, "other") for seed in range(3)} for name in zero_shot.ABOUT}
    worse = trial(1, 2)
    hidden = np.flatnonzero(UNSEEN)
    worse.distances[MOST][hidden[:2]] = 9.0 - np.eye(40)[hidden[:2][::-1]]
    trials[ALIGNMENT] = dict.fromkeys(trials[ALIGNMENT], worse)
    found: dict[str, Any] = json.loads(json.dumps(report(trials, {SPLIT: side, "other": side}), allow_nan=False))
    assert found["chance"] == 12.5 and found["splits"][SPLIT]["clips"] == 64
    assert found["methods"]["tdsm"]["zsl"][MOST]["mean"] == 100
    assert found["methods"][ALIGNMENT]["zsl"][MOST]["by_seed"] == [75, 75, 75]
    assert found["ahead_of_alignment"]["tdsm"]["mean"] == 25 and found["ahead_of_alignment"]["tdsm"]["improves"]


def test_an_encoder_that_has_seen_a_label_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="live: was trained on 'carry', expected a run with unseen=walk-raise"):
        zero_shot.side_of(SPLIT, Path("live"), data, tmp_path, TextEncoder.load("text"))
