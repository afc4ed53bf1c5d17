"""The benchmark of TDSM: parity before speed, and its report."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from motionrt.bench.speed import tdsm
from motionrt.runtime.errors import MotionError
from motionrt.training.data.vocabulary import labels
from motionrt.training.models.tdsm import SIZES

TINY = replace(SIZES["small"], depth=1, width=20)


def test_speed_is_reported_only_if_the_scores_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.loads(json.dumps(tdsm.compare_with_plain(TINY, 4), allow_nan=False))
    assert report["scores_max_relative"] <= 1e-5 and report["classes"] == 4
    assert report["times_faster"] == pytest.approx(report["plain_s"] / report["matcher_s"])
    plain = tdsm.plain_scores
    monkeypatch.setattr(tdsm, "plain_scores", lambda *args: plain(*args) * 1.0001)
    with pytest.raises(MotionError, match="parity: scores differ by"):
        tdsm.compare_with_plain(TINY, 4)


def test_the_bundled_size_is_timed_on_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tdsm, "CALLS", 2)
    report = tdsm.small()
    assert report["classes"] == len(labels()) and report["ms"]["n"] == 2
