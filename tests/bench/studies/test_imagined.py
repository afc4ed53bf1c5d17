"""Unseen labels by motion generated from their texts."""

import json
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.studies import imagined  # noqa: E402
from motionrt.bench.studies.imagined import ONLY_EXAMPLES, ONLY_TEXT, SHARES, mixed_distances, report  # noqa: E402
from motionrt.bench.studies.unseen_labels import ALL_SENTENCES  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.training.data.vocabulary import open_labels  # noqa: E402

from .unseen_split import PLACES, K, make_split  # noqa: E402


def test_examples_of_every_label_identify_clips_that_texts_do_not() -> None:
    split = make_split()
    clips = np.repeat(PLACES[:K, None], 3, axis=1)
    mixed = mixed_distances(split, clips)
    accuracy = [split.trial({ALL_SENTENCES: found}).zsl_scores(ALL_SENTENCES)["macro_top1"] for found in mixed]
    assert accuracy[ONLY_TEXT] < 30 and accuracy[ONLY_EXAMPLES] > 2 * accuracy[ONLY_TEXT]
    half = SHARES.index(0.5)
    assert mixed[half] == pytest.approx((mixed[ONLY_TEXT] + mixed[ONLY_EXAMPLES]) / 2)


def test_every_clip_of_every_label_is_encoded_in_the_encoders_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagined, "CLIPS", 1)
    lengths = np.array([5, 8])
    motions: dict[str, np.ndarray] = {}
    for k, label in enumerate(open_labels()):
        motions |= {label: np.full((13, 22, 3), k, np.float32), f"{label} lengths": lengths}
    found = imagined.encode(Network(), motions, 20.0)  # type: ignore[arg-type]
    assert found.shape == (K, 2, 2)
    assert (found[:, :, 0] == lengths).all() and (found[:, :, 1] == np.arange(K)[:, None]).all()


class Network:
    """Features: frames, and the mean coordinate."""

    layout = Layout.load("core15")

    def whole_input(self, clip: Any) -> np.ndarray:
        assert clip.joints.shape[1] == 15
        return np.array([len(clip.joints), clip.joints.mean()])

    def features(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs).round(3)


def test_the_share_of_examples_is_chosen_on_other_splits() -> None:
    flat = [10.0] * len(SHARES)
    better = [10.0, 40.0, *flat[2:]]
    found = json.loads(json.dumps(report({"a": better, "b": flat, "c": flat}, "default")))
    assert found["both"]["shares"] == [0.0, 0.1, 0.1] and found["both"]["by_split"] == [10, 10, 10]
    assert found["difference"]["mean"] == 0 and found["mean_by_share"]["0.1"] == 20
