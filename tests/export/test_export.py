"""A run is exported to a bundle whose graphs match the network and contain none of its weights."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from onnxscript import ir  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from motionrt.export import export_run  # noqa: E402
from motionrt.export import recognizer as exporter  # noqa: E402
from motionrt.export.graphs import INLINE, detach_weights  # noqa: E402
from motionrt.export.recognizer import check_parity, load_network  # noqa: E402
from motionrt.runtime.backends.factory import create  # noqa: E402
from motionrt.runtime.body.frontend import Frontend, prepare  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.bundles.schema import Reliability  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.recognition.recognizer import Recognizer  # noqa: E402
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig  # noqa: E402
from motionrt.training.recipes import RECIPES  # noqa: E402

LABELS = ["jump", "wave", "none"]
THRESHOLDS = {"on": 0.55, "hold_s": 0.25}  # of the run; the rest as is
RELIABILITY = {"wave": {"loso": 62.5, "sets": ["one", "two"]}}
METRICS = [{"step": 1, "top1": 10.0}, {"step": 2, "top1": 62.5, "macro_top1": 37.5}]

pytestmark = pytest.mark.slow  # an export


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of an untrained network with non-trivial batch-norm statistics."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    parents = Layout.load("core15").parents
    config = StreamGCNConfig(parents=parents, classes=3, fps=20.0, channels=(16, 24), body=20, body_blocks=2)
    model = StreamGCN(config)
    model(torch.randn(4, 30, 15, 3))
    save_file(model.state_dict(), folder / "model.safetensors")
    about = {"recipe": asdict(RECIPES["live"]()), "labels": LABELS, "model": asdict(config)}
    (folder / "recipe.json").write_text(json.dumps(about))
    (folder / "decision.json").write_text(json.dumps(THRESHOLDS))
    (folder / "set_aside.json").write_text(json.dumps(["0123456789ab"]))
    (folder / "reliability.json").write_text(json.dumps(RELIABILITY))
    (folder / "notes.md").write_text("## Tried\nThis and that.\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_run(run, tmp_path_factory.mktemp("out") / "tiny")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder, to be damaged."""
    return shutil.copytree(run, tmp_path / "copy")


def test_every_backend_gives_the_networks_numbers_on_real_recordings(
    run: Path, bundle: Bundle, samples: list[Motion]
) -> None:
    network = load_network(run, json.loads((run / "recipe.json").read_text())["model"])
    layout = Layout.load("core15")
    for motion in samples:
        joints = np.einsum("vw,twc->tvc", layout.map_from(Layout.load(motion.layout)), motion.joints)
        frames = prepare(joints, Frontend(rate_hz=20.0), layout)
        wanted = network(torch.from_numpy(frames)[None])[0][0].numpy()
        for backend in (create("onnx", bundle), create("native", bundle)):
            np.testing.assert_allclose(backend.clip(frames)[0], wanted, atol=1e-4)
            streams = backend.streams(1)
            stepped = [streams.step([0], frame[None])[0][0] for frame in frames]
            np.testing.assert_allclose(stepped, wanted, atol=1e-4)


def test_the_exported_network_is_the_trained_one(run: Path) -> None:
    """Loaded from the run and folded, it is within 1e-5 of the network before it was stored."""
    config = json.loads((run / "recipe.json").read_text())["model"]
    folded = load_network(run, config)
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
    trained = StreamGCN(StreamGCNConfig(**fields))
    trained.load_state_dict(load_file(run / "model.safetensors"))
    frames = torch.randn(2, 25, 15, 3, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(folded(frames), trained.eval()(frames), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_several_people_are_stepped_together(bundle: Bundle) -> None:
    backend = create("onnx", bundle)
    frames = np.random.default_rng(0).normal(0, 0.3, (3, 15, 3)).astype(np.float32)
    together = backend.streams(3).step([0, 1, 2], frames)
    for person in range(3):
        alone = backend.streams(1).step([0], frames[person : person + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[person], b[0], atol=1e-5)


def test_weights_are_stored_once(bundle: Bundle) -> None:
    assert (
        set(bundle.read_graph("step.onnx").external)
        == set(bundle.read_graph("clip.onnx").external)
        == set(bundle.weights)
    )
    for name in ("step.onnx", "clip.onnx"):
        graph = onnx.load(bundle.path / name, load_external_data=False).graph
        constants = [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
        for tensor in (*graph.initializer, *constants):
            external = {entry.key: entry.value for entry in tensor.external_data}
            assert external == {"location": "weights.safetensors"} or np.prod(tensor.dims) <= INLINE
            assert not (external and tensor.raw_data)


def test_graphs_reveal_nothing_about_the_machine(bundle: Bundle, run: Path) -> None:
    for name in ("step.onnx", "clip.onnx"):
        content = (bundle.path / name).read_bytes()
        for text in (str(Path(__file__).parents[2]), str(run), str(Path.home()), "site-packages", ".py"):
            assert text.encode() not in content


def test_a_bundle_is_a_recognizer(bundle: Bundle, samples: list[Motion]) -> None:
    recognizer = Recognizer.load(bundle.path)
    assert recognizer.labels == tuple(LABELS) and recognizer.delay == 0
    assert recognizer.recognize(samples[0]).label in LABELS


def test_a_bundle_describes_its_run(bundle: Bundle, run: Path) -> None:
    manifest = bundle.manifest
    recipe = json.loads((run / "recipe.json").read_text())["recipe"]
    assert (manifest.name, manifest.layout, manifest.fps, manifest.none) == ("tiny", "core15", 20.0, "none")
    assert manifest.license == recipe["license"] and manifest.non_commercial
    assert manifest.frontend == Frontend(**recipe["frontend"])
    assert asdict(manifest.decision) == {"temperature": 1.0, "smooth_s": 0.2, "off": 0.3, "others": 1.0, **THRESHOLDS}
    assert manifest.reliability == {"wave": Reliability(loso=62.5, sets=("one", "two"))}
    assert manifest.metrics["validation"] == METRICS[-1]
    assert json.loads((bundle.path / "set_aside.json").read_text()) == ["0123456789ab"]
    assert "set_aside.json" in manifest.files
    card = (bundle.path / "MODEL_CARD.md").read_text()
    for fact in (recipe["license"], ", ".join(LABELS), "62.5", "37.5", "core15", "## Tried\nThis and that.\n\n## Lic"):
        assert fact in card


def test_a_bundle_has_the_bones_of_its_run(
    copy: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = {path.name: path.read_bytes() for path in bundle.path.glob("*.onnx")}
    monkeypatch.setattr(exporter, "graphs", lambda network: graphs)  # those of the same network
    about = json.loads((copy / "recipe.json").read_text())
    about["recipe"]["frontend"]["bones"] = [0.0, 0.5] + [0.25] * 13
    (copy / "recipe.json").write_text(json.dumps(about))
    boned = export_run(copy, tmp_path / "boned").manifest.frontend
    assert boned == Frontend(rate_hz=20.0, bones=(0.0, 0.5) + (0.25,) * 13)


def test_a_mismatch_between_graphs_and_network_is_noticed(bundle: Bundle, run: Path) -> None:
    network = load_network(run, json.loads((run / "recipe.json").read_text())["model"])
    check_parity(bundle, network)
    with torch.no_grad():
        network.head.bias[1] += 3e-4
    with pytest.raises(RuntimeError, match=r"clip\.onnx: logits differ from the network's by 3\.0e-04"):
        check_parity(bundle, network)


def test_an_unfinished_run_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such file; the run has not finished"):
        export_run(copy, tmp_path / "out")
    with pytest.raises(InputError, match=r"recipe\.json: no such file"):
        export_run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_runs_are_refused_in_one_line(copy: Path, run: Path, tmp_path: Path) -> None:
    def refuse(message: str) -> None:
        with pytest.raises(InputError, match=message) as refused:
            export_run(copy, tmp_path / "out")
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "out").exists()
        shutil.copytree(run, copy, dirs_exist_ok=True)

    about = json.loads((run / "recipe.json").read_text())
    (copy / "recipe.json").write_text(json.dumps(about)[:-9])
    refuse(r"recipe\.json: not JSON")
    about["model"]["channels"] = [16, 32]
    (copy / "recipe.json").write_text(json.dumps(about))
    refuse(r"model\.safetensors: not the weights of this run's network")
    (copy / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-100])
    refuse(r"model\.safetensors: not the weights of this run's network")
    (copy / "decision.json").write_text("{'on': 1}")
    refuse(r"decision\.json: not JSON")


def test_a_large_constant_that_is_not_a_weight_is_refused() -> None:
    """It would be stored in every graph."""
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "table"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [65])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [65])],
        initializer=[onnx.numpy_helper.from_array(np.zeros(65, np.float32), "table")],
    )

    def model() -> ir.Model:
        return ir.from_proto(onnx.helper.make_model(made))

    with pytest.raises(ValueError, match=r"constant table \[65\] is not a weight"):
        detach_weights(model(), {})
    with pytest.raises(ValueError, match="initializer table differs from the weight of that name"):
        detach_weights(model(), {"table": torch.ones(65)})
    detached = model()
    detach_weights(detached, {"table": torch.zeros(65)})
    assert isinstance(detached.graph.initializers["table"].const_value, ir.ExternalTensor)
