"""What limits onsets in single clips: variants of decisions on recorded networks."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import motionrt
from motionrt import Motion
from motionrt.bench.studies import onset_limits
from motionrt.runtime.bundles.bundle import Bundle

SAMPLES = Path(motionrt.__path__[0]) / "runtime" / "samples"


def test_the_best_threshold_keeps_to_the_unknown_actions_allowed() -> None:
    curve = [{"on": on, "right": right, "unknown_with_onset": unknown} for on, right, unknown in
             ((0.1, 90.0, 60.0), (0.4, 70.0, 25.0), (0.8, 40.0, 5.0))]  # fmt: skip
    assert onset_limits.best(curve) == curve[1]
    assert onset_limits.best(curve[:1]) is None


def test_variants_decide_on_what_the_network_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onset_limits, "LEVELS", (0.3, 0.99))
    monkeypatch.setattr(
        onset_limits, "VARIANTS", {"as it is": {}, "never held": {"hold_s": 60.0}, "no none": {"bias": 50.0}}
    )
    wave, walk = (Motion.load(SAMPLES / name) for name in ("bandai_wave_right_hand.npz", "cmu_walk.npz"))
    found = onset_limits.measure(Bundle.load("live"), [("wave", wave)], [walk])
    low, high = found["curves"]["as it is"]
    assert low["right"] == 100 and low["unknown_with_onset"] == 100 and high["unknown_with_onset"] <= 100
    assert {(p["right"], p["wrong"]) for p in found["curves"]["never held"]} == {(0.0, 0.0)}
    assert found["whole_clips"]["unknown_as_an_action"] == 100 and "walk" in found["unknown_taken_for"]
