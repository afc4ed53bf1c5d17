"""A run's folder becomes a bundle whose graphs give the network's numbers and carry none of its weights."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.export import export_run  # noqa: E402
from motionrt.export.recognizer import load_network  # noqa: E402
from motionrt.runtime.backends import create  # noqa: E402
from motionrt.runtime.bundle import Bundle  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.frontend import Frontend, prepare  # noqa: E402
from motionrt.runtime.motion import Motion  # noqa: E402
from motionrt.runtime.recognizer import Recognizer  # noqa: E402
from motionrt.runtime.skeleton import Layout  # noqa: E402
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig  # noqa: E402
from motionrt.training.recipes import RECIPES  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

LABELS = ["jump", "wave", "none"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of an untrained network."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    config = StreamGCNConfig(parents=Layout.load("core15").parents, classes=3, fps=20.0, channels=(16, 24))
    model = StreamGCN(config)
    model(torch.randn(4, 30, 15, 3))
    save_file(model.state_dict(), folder / "model.safetensors")
    about = {"recipe": asdict(RECIPES["live"]()), "labels": LABELS, "model": asdict(config)}
    (folder / "recipe.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_run(run, tmp_path_factory.mktemp("out") / "tiny")


def test_graphs_give_the_networks_numbers_on_real_recordings(run: Path, bundle: Bundle, samples: list[Motion]) -> None:
    network = load_network(run, json.loads((run / "recipe.json").read_text())["model"])
    backend, layout = create("onnx", bundle), Layout.load("core15")
    for motion in samples:
        joints = np.einsum("vw,twc->tvc", layout.map_from(Layout.load(motion.layout)), motion.joints)
        frames = prepare(joints, Frontend(rate_hz=20.0), layout)
        wanted = network(torch.from_numpy(frames)[None])[0][0].numpy()
        np.testing.assert_allclose(backend.clip(frames)[0], wanted, atol=1e-4)
        state = backend.new_state(1)
        for frame, row in zip(frames, wanted, strict=True):
            logits, _, state = backend.step(state, frame[None])
            np.testing.assert_allclose(logits[0], row, atol=1e-4)


def test_several_people_are_stepped_at_once(bundle: Bundle) -> None:
    backend = create("onnx", bundle)
    frames = np.random.default_rng(0).normal(0, 0.3, (3, 15, 3)).astype(np.float32)
    together = backend.step(backend.new_state(3), frames)
    for person in range(3):
        alone = backend.step(backend.new_state(1), frames[person : person + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[person], b[0], atol=1e-5)


def test_weights_exist_once(bundle: Bundle) -> None:
    weights = bundle.path / "weights.safetensors"
    assert set(bundle.initializers["step.onnx"]) == set(bundle.initializers["clip.onnx"]) == set(bundle.weights)
    for graph in ("step.onnx", "clip.onnx"):
        assert (bundle.path / graph).stat().st_size < 60_000 < weights.stat().st_size + 60_000
        assert str(Path(__file__).parents[2]).encode() not in bundle.graphs[graph]


def test_a_bundle_is_a_recognizer(bundle: Bundle, samples: list[Motion]) -> None:
    recognizer = Recognizer.load(bundle.path)
    assert recognizer.labels == tuple(LABELS) and recognizer.delay == 0
    assert recognizer.recognize(samples[0]).label in LABELS


def test_an_unfinished_run_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes((run / "recipe.json").read_bytes())
    with pytest.raises(InputError, match="has not finished"):
        export_run(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="recipe.json: no such file"):
        export_run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
