"""Gains of remedies are paired by clip, by label and by set."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.bench.accuracy.protocols.labeled_clips import Prediction
from motionrt.bench.studies.remedies import VARIANTS, compare, macro
from motionrt.training.recognition.recipes import live
from motionrt.training.settings import override


def predictions(*answers: str) -> list[Prediction]:
    """Of clips that show, in turn, bow, bow, bow, wave."""
    targets = ("bow", "bow", "bow", "wave")
    return [
        Prediction(target=target, label=label, source="a", fingerprint="")
        for target, label in zip(targets, answers, strict=True)
    ]


def test_macro_accuracy_counts_every_label_alike() -> None:
    assert macro(np.array(["bow", "bow", "wave"]), np.array([True, False, True])) == pytest.approx(75.0)


def test_a_gain_is_the_mean_difference_over_sets() -> None:
    right, wrong = predictions("bow", "bow", "bow", "wave"), predictions("walk", "bow", "bow", "bow")
    found = compare({"a": right, "b": right}, {"a": wrong, "b": right})
    assert found["sets"] == {"a": pytest.approx(100 / 3), "b": 100.0}
    assert found["gain"] == pytest.approx((200 / 3) / 2)
    assert found["low"] <= found["gain"] <= found["high"]
    same = compare({"a": wrong}, {"a": wrong})
    assert same["gain"] == same["low"] == same["high"] == 0


def test_every_variant_is_a_setting_of_the_recipe() -> None:
    for changes in VARIANTS.values():
        override(live(), changes).check()
    assert override(live(), VARIANTS["without any"]).frontend.bones is None
