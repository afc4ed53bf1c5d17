"""Frozen recognizers as encoders: their features equal the streaming features."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import save_file  # noqa: E402

from motionrt.runtime.backends.factory import create  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.training.data import vocabulary  # noqa: E402
from motionrt.training.data.clips import LabeledClip, load_clips  # noqa: E402
from motionrt.training.data.unseen_labels import unseen_labels  # noqa: E402
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig  # noqa: E402
from motionrt.training.recipes import RECIPES, train  # noqa: E402
from motionrt.training.recognition.ctr_gcn import LAYOUT  # noqa: E402
from motionrt.training.tdsm.encoders import FrozenEncoder, load_encoder  # noqa: E402

SPLIT = "walk-punch-swing"


@pytest.fixture(scope="module")
def live() -> FrozenEncoder:
    return load_encoder("live")


@pytest.fixture(scope="module")
def clips(data: Path, live: FrozenEncoder) -> list[LabeledClip]:
    found = [clip for clip in load_clips(data, live.layout, vocabulary.is_validation) if clip.label][:8]
    return [replace(clip, joints=clip.joints[: 20 + 3 * i]) for i, clip in enumerate(found)]


def test_features_are_the_mean_of_the_streaming_features(live: FrozenEncoder, clips: list[LabeledClip]) -> None:
    native = create("native", Bundle.load("live"))
    inputs = [live.whole_input(clip) for clip in clips]
    wanted = np.stack([native.clip(frames)[1].mean(0) for frames in inputs])
    assert live.width == wanted.shape[1] and len({len(frames) for frames in inputs}) > 3
    np.testing.assert_allclose(live.features(inputs), wanted, atol=1e-4)


def test_augmentation_changes_body_and_style_and_keeps_the_action(
    live: FrozenEncoder, clips: list[LabeledClip]
) -> None:
    inputs, labels = zip(
        *(live.augmented_input(clip, np.random.default_rng(i)) for i, clip in enumerate(clips)), strict=True
    )
    for clip, frames, label in zip(clips, inputs, labels, strict=True):
        assert label in (clip.label, vocabulary.MIRRORED.get(clip.label or ""))
        assert np.isfinite(frames).all() and len(frames) <= 90
    again = live.augmented_input(clips[0], np.random.default_rng(0))[0]
    assert np.array_equal(inputs[0], again)


def test_a_matcher_learns_nothing_of_the_sets_that_its_encoder_left_out(tmp_path: Path) -> None:
    config = StreamGCNConfig(parents=Layout.load("core15").parents, classes=2, fps=20.0, channels=(8,))
    save_file(StreamGCN(config).state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    recipe = asdict(RECIPES["open"]()) | {"leave_out": "bandai,hdm05"}

    def load() -> FrozenEncoder:
        about = {"recipe": recipe, "labels": ["wave", "none"], "model": asdict(config)}
        (tmp_path / "recipe.json").write_text(json.dumps(about))
        return load_encoder(str(tmp_path))

    assert set(vocabulary.sources()) - set(load().sources) == {"bandai", "hdm05"}
    del recipe["leave_out"]  # as in a run on recordings of one's own
    assert load().sources == vocabulary.sources()


def test_an_encoder_knows_only_its_training_labels(shared: Path, tmp_path: Path) -> None:
    run = train(
        "nwucla-ctrgcn",
        {"unseen": SPLIT, "data": str(shared), "run": str(tmp_path / "run"), "channels": "8,16", "steps": "1"}
        | {"batch": "2", "subset": "24", "precision": "no"},
    )
    encoder = load_encoder(str(run))
    assert encoder.layout.name == LAYOUT and encoder.sources == ("nw-ucla",) and encoder.width == 16
    clip = LabeledClip(
        joints=np.random.default_rng(0).normal(size=(40, 20, 3)), fps=30, label="standing still", source="", record={}
    )
    inputs, label = encoder.augmented_input(clip, np.random.default_rng(0))
    assert label == clip.label and encoder.features([inputs, encoder.whole_input(clip)]).shape == (2, 16)
    assert unseen_labels(SPLIT) & {"carry", "walk"} and not unseen_labels(SPLIT) & set(encoder.labels)
    assert set(encoder.labels) == {"drop trash", "pick up", "put on", "sit down", "stand up", "take off", "throw"}
    clips = [c for c in load_clips(shared, encoder.layout, lambda r: r.get("ds") == "nw-ucla") if c.label == "throw"]
    inputs = [encoder.whole_input(clip) for clip in clips[:3]]
    assert encoder.features(inputs).shape == (3, 16)
    np.testing.assert_allclose(encoder.features(inputs[1:2])[0], encoder.features(inputs)[1], atol=1e-5)
