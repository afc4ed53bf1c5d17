"""The TensorRT backend without TensorRT: its errors, its keys, and which graphs run in engines."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import Generator, Recognizer, Retriever
from motionrt.runtime.backends import factory, tensorrt
from motionrt.runtime.backends.onnx_session import open_session
from motionrt.runtime.backends.tensorrt_cache import profiles
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.bundles.schema import GenerationManifest, ZeroShotManifest
from motionrt.runtime.errors import BundleError, InputError
from motionrt.runtime.recognition.open_labels import encoder_bundle
from motionrt.runtime.text_encoder import TextEncoder

from .. import tiny


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names and precisions of the engines that are opened; ONNX Runtime replaces them."""
    opened = []

    def open_engine(bundle: Bundle[Any], name: str, precision: str) -> Any:
        opened.append((name, precision))
        return open_session(bundle, name, 1)

    monkeypatch.setattr(factory, "_unavailable", lambda name: None)
    monkeypatch.setattr(tensorrt, "open_engine", open_engine)
    return opened


def test_a_recognizer_runs_steps_and_clips_in_engines(tmp_path: Path, engines: list[tuple[str, str]]) -> None:
    path = tiny.tiny_bundle(tmp_path / "tiny")
    poses = tiny.poses(30, "left")
    plain, found = Recognizer.load(path, "onnx"), Recognizer.load(path, "tensorrt", precision="fp16")
    assert found.backend == "tensorrt"
    for pose in poses:
        np.testing.assert_array_equal(found.step(pose).probs, plain.step(pose).probs)
    both = [factory.create(name, Bundle.load(path)).clip(poses) for name in ("onnx", "tensorrt")]
    for plain_output, output in zip(*both, strict=True):
        np.testing.assert_array_equal(output, plain_output)
    assert engines == [("step", "fp16"), ("step", "fp32"), ("clip", "fp32")]


def test_a_generator_and_a_retriever_run_in_engines(engines: list[tuple[str, str]]) -> None:
    plain = Generator.load("default").generate("a person waves", seconds=1, guidance=0.5)
    found = Generator.load("default", backend="tensorrt").generate("a person waves", seconds=1, guidance=0.5)
    np.testing.assert_array_equal(found.joints, plain.joints)
    made = {"condition", "trunk", "times", "velocity", "describe", "guide", "decode"}
    assert {name for name, _ in engines} == made and len(engines) == len(made), "each is opened once"
    retriever = Retriever.load("default", backend="tensorrt")
    retriever.add(plain, "waves")
    assert retriever.search("waving")[0].text == "waves" and ("motion", "fp32") in engines[len(made) :]


def test_engines_get_the_shapes_that_they_were_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load("default", GenerationManifest)
    largest: dict[str, int] = {}

    class Session:
        def __init__(self, bundle: Bundle[Any], name: str, precision: str) -> None:
            self.session = open_session(bundle, name, 1)
            self.profiles = profiles("generation", name, bundle.manifest.graphs[name])

        def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            for name, array in inputs.items():
                low, _, high = self.profiles[name]
                assert all(a <= size <= b for a, size, b in zip(low, array.shape, high, strict=True)), name
                largest[name] = max(largest.get(name, 0), len(array))
            return self.session.run(outputs, inputs)

    monkeypatch.setattr(factory, "_unavailable", lambda name: None)
    monkeypatch.setattr(tensorrt, "open_engine", Session)
    texts = ["a person waves", "a person bows", "a person walks", "a person runs"]
    plain, found = (Generator(bundle, TextEncoder.load("text"), backend=name) for name in ("onnx", "tensorrt"))
    for options in ({"guidance": 1.0}, {"guidance": 0.5, "cfg": 1.0}):
        for motion, wanted in zip(*(one.generate(texts, 9.8, **options) for one in (found, plain)), strict=True):
            np.testing.assert_allclose(motion.joints, wanted.joints, atol=1e-5)
    assert largest["tokens"] == 4 and 49 < largest["z"] <= 98


def test_precisions_that_a_backend_does_not_have_are_refused(
    tmp_path: Path, engines: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny.tiny_bundle(tmp_path / "tiny")
    for load in (Recognizer.load, Generator.load):
        with pytest.raises(InputError, match="precision 'int8' needs MatMulInteger, which TensorRT does not support"):
            load("default" if load == Generator.load else path, backend="tensorrt", precision="int8")
    with pytest.raises(InputError, match="precision is 'fp16', expected fp32 or int8"):
        Generator.load("default", backend="onnx", precision="fp16")
    assert engines == []


def test_unsupported_backends_of_generators_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for load in (Generator.load, Retriever.load):
        with pytest.raises(InputError, match="the native backend runs recognizers only, expected auto, onnx, tensorrt"):
            load("default", backend="native")
        with pytest.raises(InputError, match="'tensorrt' cannot be used here: tensorrt not installed"):
            load("default", backend="tensorrt")
        with pytest.raises(InputError, match="unknown backend 'tpu'"):
            load("default", backend="tpu")


def test_a_missing_gpu_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(factory, "installed", lambda module: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert factory.available()["tensorrt"] == "torch finds no GPU"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The parts of TensorRT and torch that an engine's key needs, and an empty cache."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    properties = types.SimpleNamespace(name="NVIDIA Test", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    library: Any = types.SimpleNamespace(__version__="10.15.1")
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_an_engines_key_holds_all_that_it_depends_on(gpu: None) -> None:
    bundle = Bundle.load("default", GenerationManifest)
    files = bundle.manifest.files
    key = tensorrt.plan_key(bundle.manifest, "trunk", "fp16")
    assert (key.graph, key.weights) == (files["trunk.onnx"].sha256, files["weights.safetensors"].sha256)
    assert (key.tensorrt, key.gpu, key.precision) == ("10.15.1", "NVIDIA Test 9.0", "fp16")
    assert key.profiles["tokens"] == ((1, 1, 64), (1, 25, 64), (4, 49, 64))
    with pytest.raises(BundleError, match="default: has no TensorRT engine yet .fp16, TensorRT 10.15.1, NVIDIA Test"):
        tensorrt.open_engine(bundle, "trunk", "fp16")


@pytest.mark.parametrize("graph", ["step", "clip"])
def test_the_encoder_of_a_zero_shot_bundle_finds_the_engines_of_the_bundle(gpu: None, graph: str) -> None:
    whole = Bundle.load("zero-shot", ZeroShotManifest)
    built, wanted = (tensorrt.plan_key(b.manifest, graph, "fp32") for b in (whole, encoder_bundle(whole)))
    assert built == wanted


def engine_of(
    monkeypatch: pytest.MonkeyPatch, shape_inputs: tuple[str, ...] = (), taken: bool = True
) -> tensorrt.Engine:
    """An engine with an input `counts` and an output `y`, with a fake library."""
    made = types.SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda i: ("counts", "y")[i],
        get_tensor_dtype=lambda name: {"counts": "int64", "y": "float32"}[name],
        is_shape_inference_io=lambda name: name in shape_inputs,
    )
    runtime = types.SimpleNamespace(deserialize_cuda_engine=lambda plan: made if taken else None)
    library: Any = types.SimpleNamespace(Runtime=lambda logger: runtime, nptype=np.dtype)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setattr(tensorrt, "logger", lambda: None)
    return tensorrt.Engine(b"plan", "step.onnx")


def test_an_engine_that_cannot_be_captured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match="step.onnx: shapes depend on values of counts"):
        engine_of(monkeypatch, shape_inputs=("counts",))
    with pytest.raises(BundleError, match="step.onnx: TensorRT rejects the engine"):
        engine_of(monkeypatch, taken=False)


def test_shapes_are_captured_once_and_the_least_recently_used_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = []

    class Captured:
        def __init__(self, engine: Any, types: Any, shapes: dict[str, tuple[int, ...]], where: str) -> None:
            assert types == {"counts": np.int64, "y": np.float32}
            captured.append(shapes["counts"][0])

        def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [inputs["counts"]]

    monkeypatch.setattr(tensorrt, "Captured", Captured)
    monkeypatch.setattr(tensorrt, "MAX_SHAPES", 2)
    engine = engine_of(monkeypatch)
    for size in (1, 2, 1, 3, 1, 2):
        assert engine.run(["y"], {"counts": np.zeros(size, np.int64)})[0].shape == (size,)
    assert captured == [1, 2, 3, 2]
