"""A matcher's run is exported to a bundle with the network's errors and the run's encoder."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402

from motionrt.bench.speed.tdsm import open_gates  # noqa: E402
from motionrt.export.zero_shot import PROBES, Graphs, check_parity, export_zero_shot, is_matcher, network_errors  # noqa: E402
from motionrt.runtime.backends.factory import create  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.bundles.safetensors import unpack  # noqa: E402
from motionrt.runtime.bundles.schema import WEIGHTS, ZeroShotManifest  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.recognition.matcher import Matcher as Exported  # noqa: E402
from motionrt.runtime.recognition.open_labels import OpenLabels, encoder_bundle  # noqa: E402
from motionrt.runtime.recognition.recognizer import Recognizer  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.data.unseen_labels import sentences  # noqa: E402
from motionrt.training.models.tdsm import SIZES, CrossDiTConfig, ZeroShot, ZeroShotConfig  # noqa: E402
from motionrt.training.tdsm.matching import Matcher, fixed_noises  # noqa: E402
from motionrt.training.tdsm.sentences import class_texts  # noqa: E402

SMALL = replace(SIZES["small"], width=16, depth=2, heads=2, encoded=192)  # as many features as `live`
LABELS = ["wave", "sit down", "walk"]
TEXTS = [*map(sentences, LABELS), *PROBES]

pytestmark = pytest.mark.slow  # an export


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder.load()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text: TextEncoder) -> Path:
    """A finished run of an untrained network with open gates."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    network = opened(SMALL)
    save_file(network.state_dict(), folder / "model.safetensors")
    about = {
        "recipe": {"name": "tdsm", "encoder": "live"},
        "model": asdict(SMALL),
        "labels": LABELS,
        "license": "for research",
        "encoder_sha256": Bundle.load("live").manifest.files[WEIGHTS].sha256,
        "text_sha256": text.sha256,
    }
    (folder / "recipe.json").write_text(json.dumps(about))
    (folder / "matching.json").write_text(json.dumps({"noises": 2, "scale": 7.0}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "top1": 62.5}) + "\n")
    (folder / "similarity.png").write_bytes(b"a picture")
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle[ZeroShotManifest]:
    return export_zero_shot(run, tmp_path_factory.mktemp("out") / "tiny")


def opened(config: ZeroShotConfig) -> ZeroShot:
    """An untrained network with open gates and random projections."""
    network = open_gates(config)
    assert isinstance(network, ZeroShot)
    for of in (network.mean, network.projection, network.sentence_mean):
        of.normal_()
    network.sentence_scale.fill_(20)
    return network


def stored_network(bundle: Bundle[ZeroShotManifest]) -> ZeroShot:
    """The network with the weights of the bundle."""
    network = ZeroShot(SMALL).eval().requires_grad_(False)
    weights = {name: torch.from_numpy(bundle.weights[f"matcher.{name}"].copy()) for name in network.state_dict()}
    network.load_state_dict(weights)
    return network


def test_errors_match_the_network(bundle: Bundle[ZeroShotManifest], text: TextEncoder) -> None:
    z = np.random.default_rng(0).normal(size=(3, SMALL.feature)).astype(np.float32)
    found = Exported(bundle, text).errors(z, TEXTS)
    assert found.shape == (3, len(TEXTS)) and found.std() > 1e-4, "texts matter"
    wanted = network_errors(stored_network(bundle), text, TEXTS, torch.from_numpy(z), fixed_noises(2, SMALL.feature))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    np.testing.assert_allclose(Exported(bundle, text).errors(z[1:2], TEXTS[::-1])[0], found[1, ::-1], rtol=1e-5)


def test_features_are_projected_as_in_the_network(bundle: Bundle[ZeroShotManifest], text: TextEncoder) -> None:
    encoded = np.random.default_rng(0).normal(size=(3, SMALL.encoded)).astype(np.float32)
    wanted = stored_network(bundle).project(torch.from_numpy(encoded)).numpy()
    np.testing.assert_allclose(Exported(bundle, text).project(encoded), wanted, rtol=1e-4, atol=1e-4)


def test_precomputed_conditioning_changes_no_error(text: TextEncoder) -> None:
    """Before it becomes graphs."""
    torch.manual_seed(1)
    network = opened(SMALL)
    z = torch.randn(2, SMALL.feature)
    encoded, mask = torch.randn(5, SMALL.tokens, SMALL.text), (torch.rand(5, SMALL.tokens) < 0.6).float()
    mask[:, 0] = 1
    graphs = Graphs(network, fixed_noises(2, SMALL.feature))
    (found,) = graphs.match(z, *graphs.condition(encoded, mask))
    classes = class_texts(*network.embed_sentences(encoded, mask))
    wanted = Matcher(network, classes, fixed_noises(2, SMALL.feature)).scores(z)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4)


def test_matrices_are_stored_in_16_bits(bundle: Bundle[ZeroShotManifest], run: Path) -> None:
    trained = load_file(run / "model.safetensors")
    for name, weight in stored_network(bundle).state_dict().items():
        if name != "noises":
            assert (weight - trained[name]).abs().max() <= 1e-3 * trained[name].abs().max(), name
    stored = unpack(bundle.weights_file, "weights")
    assert all(stored[f"matcher.{name}.weight"].dtype == np.float16 for name in ("t_embedder.mlp.0", "fl_embedder"))


def test_the_encoder_matches_its_own_bundle(bundle: Bundle[ZeroShotManifest], samples: list[Motion]) -> None:
    live, encoder = Bundle.load("live"), encoder_bundle(bundle)
    assert encoder.weights.keys() == live.weights.keys() and encoder.graphs == live.graphs
    frames = np.random.default_rng(0).normal(0, 0.3, (30, 15, 3)).astype(np.float32)
    for backend in ("native", "onnx"):
        for found, expected in zip(
            create(backend, encoder).clip(frames), create(backend, live).clip(frames), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    plain = Recognizer(encoder, create("native", encoder))
    assert plain.recognize(samples[0]).top() == Recognizer.load("live").recognize(samples[0]).top()


def test_a_bundle_is_a_recognizer_of_any_text(bundle: Bundle[ZeroShotManifest], samples: list[Motion]) -> None:
    recognizer = Recognizer.load(bundle.path)
    assert isinstance(recognizer.label_strategy, OpenLabels) and recognizer.backend == "native"
    assert recognizer.labels == (*LABELS, "none") and recognizer.layout == "core15" and recognizer.fps == 20.0
    recognizer.set_labels(["bow", "run"])
    assert recognizer.recognize(samples[0]).labels == ("bow", "run", "none")


def test_a_feature_is_the_mean_over_the_frames_of_the_clip(
    bundle: Bundle[ZeroShotManifest], samples: list[Motion]
) -> None:
    from motionrt.runtime.body.frontend import prepare
    from motionrt.runtime.body.layout import Layout

    recognizer = Recognizer.load(bundle.path)
    assert isinstance(recognizer.label_strategy, OpenLabels)
    layout, motion = Layout.load("core15"), samples[0]
    joints = np.einsum("vw,twc->tvc", layout.map_from(Layout.load(motion.layout)), motion.person(0).joints)
    frames = prepare(joints, bundle.manifest.frontend, layout)
    features = create("onnx", Bundle.load("live")).clip(frames)[1]
    np.testing.assert_allclose(recognizer.label_strategy.clip_feature(motion), features.mean(0), atol=1e-4)


def test_a_bundle_describes_its_run(bundle: Bundle[ZeroShotManifest]) -> None:
    manifest, live = bundle.manifest, Bundle.load("live").manifest
    assert (manifest.name, manifest.license, manifest.layout) == ("tiny", "for research", "core15")
    assert tuple(manifest.matching.labels) == tuple(LABELS) and tuple(manifest.matching.background) == (
        "standing still",
    )
    assert (manifest.matching.scale, manifest.matching.none, manifest.matching.prototype_scale) == (7.0, 0.0, 10.0)
    assert manifest.decision.temperature == 1 and manifest.frontend == live.frontend and manifest.labels == live.labels
    assert manifest.metrics["validation"]["top1"] == 62.5
    assert (bundle.path / "similarity.png").read_bytes() == b"a picture"
    card = (bundle.path / "MODEL_CARD.md").read_text()
    for fact in (
        "for research",
        ", ".join(LABELS),
        "62.5",
        "core15",
        "standing still",
        "![similarity](similarity.png)",
    ):
        assert fact in card


def test_a_mismatch_between_graphs_and_network_is_noticed(bundle: Bundle[ZeroShotManifest], text: TextEncoder) -> None:
    network = stored_network(bundle)
    check_parity(bundle, text, network, fixed_noises(2, SMALL.feature))
    with torch.no_grad():
        network.final_layer.linear.bias += 0.1
    with pytest.raises(RuntimeError, match="errors differ from the network's by"):
        check_parity(bundle, text, network, fixed_noises(2, SMALL.feature))


def test_the_command_line_exports_a_matcher(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("motionrt.export.export_zero_shot", lambda *arguments: seen.append(arguments))
    assert main(["export", str(run), "-o", str(tmp_path / "out")]) == 0
    assert seen == [(run, tmp_path / "out")]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recipe.json").write_text(json.dumps({"recipe": {"name": "live"}}))
    assert is_matcher(run) and not is_matcher(tmp_path / "other") and not is_matcher(tmp_path)


def test_runs_that_do_not_match_are_refused_in_one_line(
    run: Path, text: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextEncoder, "load", classmethod(lambda cls: text))
    copy = shutil.copytree(run, tmp_path / "copy")
    about = json.loads((run / "recipe.json").read_text())

    def refuse(message: str, **changes: Any) -> None:
        kept = {key: value for key, value in (about | changes).items() if value is not None}
        (copy / "recipe.json").write_text(json.dumps(kept))
        with pytest.raises(InputError, match=message) as refused:
            export_zero_shot(copy, tmp_path / "out")
        assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()

    refuse("trained with an encoder of sha256 0000.*, which now is [0-9a-f]{64}", encoder_sha256="0" * 64)
    refuse("trained with an encoder of sha256 1111", text_sha256="1" * 64)
    refuse("has no 'license'; expected that of a matcher's run", license=None)
    refuse("not the run of a ZeroShot", model=asdict(CrossDiTConfig()))
    refuse("no model named 'nowhere'", recipe={**about["recipe"], "encoder": "nowhere"})
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "recipe.json").write_text(json.dumps({"recipe": {"stream": "joint"}}))
    refuse("clips: CTR-GCN recognizes whole clips, a matcher", recipe={**about["recipe"], "encoder": str(clips)})
    (clips / "recipe.json").write_text(json.dumps({"recipe": {}}))
    refuse("has no 'labels'; expected that of a recognizer's run", recipe={**about["recipe"], "encoder": str(clips)})
