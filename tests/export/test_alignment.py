"""A run of an encoder is exported with a matcher by alignment that is fitted to its features."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from safetensors.torch import save_file  # noqa: E402

from motionrt.export import alignment  # noqa: E402
from motionrt.export import recognizer as recognizer_export  # noqa: E402
from motionrt.export.alignment import export_alignment  # noqa: E402
from motionrt.export.zero_shot import read_encoder  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.recognition.recognizer import Recognizer  # noqa: E402
from motionrt.training.data.unseen_labels import BACKGROUND  # noqa: E402
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig  # noqa: E402
from motionrt.training.recipes import RECIPES  # noqa: E402
from motionrt.training.tdsm.encoders import EncodedClips, load_encoder  # noqa: E402

LABELS = ["bow", "clap", "squat", "wave"]

pytestmark = pytest.mark.slow  # an export


def encoded(width: int) -> EncodedClips:
    """Ten clips of each label and of rest, at places of their own."""
    rng, labels = np.random.default_rng(0), [*LABELS, BACKGROUND] * 10
    places = rng.normal(size=(5, width))
    features = np.tile(places, (10, 1)) + 0.1 * rng.normal(size=(50, width))
    return EncodedClips(features_ND=features.astype(np.float32), labels=tuple(labels))


def test_an_encoder_and_its_matcher_are_one_bundle(
    tmp_path: Path, samples: list[Motion], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = StreamGCNConfig(parents=Layout.load("core15").parents, classes=5, fps=20.0, channels=(16, 24))
    run = tmp_path / "run"
    run.mkdir()
    save_file(StreamGCN(config).state_dict(), run / "model.safetensors")
    about = {
        "recipe": asdict(RECIPES["open"]()),
        "labels": [*LABELS, "none"],
        "model": asdict(config),
        "sets": [{"clips": 3, "terms": "a set: its terms"}],
    }
    (run / "recipe.json").write_text(json.dumps(about))
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    clips = encoded(config.features)
    exported, sha256 = read_encoder(str(run))
    monkeypatch.setattr(recognizer_export, "graphs", lambda network: exported.graphs)  # not a second time
    assert exported.manifest.labels == (*LABELS, "none") and sha256 == load_encoder(str(run)).sha256
    monkeypatch.setattr(alignment, "encode_clips", lambda *_: (clips, clips))
    bundle = export_alignment(run, tmp_path, tmp_path / "mine")
    assert bundle.manifest.space and sum(bundle.manifest.space.shares) == 1 and "match" not in bundle.manifest.graphs
    assert "| a set: its terms | 3 |" in (bundle.path / "MODEL_CARD.md").read_text()
    assert bundle.manifest.metrics["validation"]["top1"] == 100
    recognizer = Recognizer.load(bundle.path)
    assert recognizer.labels == (*LABELS, "none")
    recognizer.set_labels(["Applaud", "someone jumps"])
    assert recognizer.recognize(samples[0]).labels == ("Applaud", "someone jumps", "none")
