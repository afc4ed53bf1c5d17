"""What limits `live`: variants of its decisions."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.bench.studies.limits import detected_at, mean_logits, without_none


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row) / np.exp(row).sum(1, keepdims=True)


def test_none_gets_less_likely_by_a_factor() -> None:
    row = np.array([[1.0, 2.0, 3.0]], np.float32)
    before, after = softmax(row), softmax(without_none([row], 2, 1.0)[0])
    np.testing.assert_allclose(before[:, 2] / before[:, 0] / np.e, after[:, 2] / after[:, 0], rtol=1e-5)
    np.testing.assert_allclose(before[:, 1] / before[:, 0], after[:, 1] / after[:, 0], rtol=1e-5)


def test_probabilities_are_averaged() -> None:
    one, other = np.array([[5.0, 0.0]], np.float32), np.array([[900.0, 903.0]], np.float32)
    (mean,) = mean_logits([[one], [other]])
    np.testing.assert_allclose(softmax(mean), (softmax(one) + softmax(other - 900)) / 2, rtol=1e-4)


def test_detections_are_read_between_two_rates() -> None:
    curve = [(4.0, 60.0), (1.0, 40.0), (0.25, 10.0)]
    assert detected_at(2.0, curve) == pytest.approx(50.0) and detected_at(8.0, curve) == 60.0
    assert detected_at(0.1, curve) is None
