"""The TensorRT backend without TensorRT: its errors, its keys, and which graphs run in engines."""

import ctypes
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

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

torch = pytest.importorskip("torch", reason="torch is not installed")


class OnnxEngine:
    """An engine that is a session of ONNX Runtime; outputs that stay on the GPU are tensors."""

    tensors: ClassVar[set[str]] = set()  # inputs that were tensors

    def __init__(self, bundle: Bundle[Any], name: str) -> None:
        self.session, self.resident = open_session(bundle, name, 1), tensorrt.RESIDENT.get(name, ())

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        self.tensors |= {name for name, x in inputs.items() if not isinstance(x, np.ndarray)}
        arrays = {name: x if isinstance(x, np.ndarray) else x.contiguous().numpy() for name, x in inputs.items()}
        found = zip(outputs, self.session.run(outputs, arrays), strict=True)
        return [torch.from_numpy(array) if name in self.resident else array for name, array in found]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names and precisions of the engines that are opened; ONNX Runtime replaces them."""
    opened = []

    def open_engine(bundle: Bundle[Any], name: str, precision: str) -> Any:
        opened.append((name, precision))
        return OnnxEngine(bundle, name)

    monkeypatch.setattr(factory, "_unavailable", lambda name: None)
    monkeypatch.setattr(tensorrt, "open_engine", open_engine)
    monkeypatch.setattr(tensorrt, "DEVICE", "cpu")
    OnnxEngine.tensors.clear()
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
    assert OnnxEngine.tensors == {"state"}


def test_a_generator_and_a_retriever_run_in_engines(engines: list[tuple[str, str]]) -> None:
    plain = Generator.load("default", precision="fp32").generate("a person waves", seconds=1, guidance=0.5)
    found = Generator.load("default", backend="tensorrt").generate("a person waves", seconds=1, guidance=0.5)
    np.testing.assert_array_equal(found.joints, plain.joints)
    assert OnnxEngine.tensors == {"told"}, "the head's modulations"
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
            self.engine = OnnxEngine(bundle, name)
            self.profiles = profiles("generation", name, bundle.manifest.graphs[name])

        def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
            for name, array in inputs.items():
                low, _, high = self.profiles[name]
                assert all(a <= size <= b for a, size, b in zip(low, array.shape, high, strict=True)), name
                largest[name] = max(largest.get(name, 0), len(array))
            return self.engine.run(outputs, inputs)

    monkeypatch.setattr(factory, "_unavailable", lambda name: None)
    monkeypatch.setattr(tensorrt, "open_engine", Session)
    texts = ["a person waves", "a person bows", "a person walks", "a person runs"]
    plain, found = (Generator(bundle, TextEncoder.load("text"), 1, "fp32", name) for name in ("onnx", "tensorrt"))
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
    monkeypatch.setattr(factory, "installed", lambda module: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert factory.available()["tensorrt"] == "torch finds no GPU"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The parts of TensorRT and torch that an engine's key needs, and an empty cache."""
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
        device_memory_size_v2=4096,
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
    captured, memory = [], set()

    class Captured:
        def __init__(
            self, engine: Any, types: Any, shapes: dict[str, tuple[int, ...]], where: str, scratch: Any
        ) -> None:
            assert types == {"counts": np.int64, "y": np.float32}
            captured.append(shapes["counts"][0])
            memory.add(scratch.data_ptr())
            assert scratch.numel() == 4096

        def run(self, outputs: list[str], inputs: dict[str, np.ndarray], resident: list[str]) -> list[np.ndarray]:
            return [inputs["counts"]]

    monkeypatch.setattr(tensorrt, "Captured", Captured)
    monkeypatch.setattr(tensorrt, "MAX_SHAPES", 2)
    monkeypatch.setattr(tensorrt, "DEVICE", "cpu")
    engine = engine_of(monkeypatch)
    for size in (1, 2, 1, 3, 1, 2):
        assert engine.run(["y"], {"counts": np.zeros(size, np.int64)})[0].shape == (size,)
    assert captured == [1, 2, 3, 2]
    assert len(memory) == 1, "one memory for intermediate results"


class Context:
    """A fake context that computes y = 2 x + 1 on the addresses that it is given, when it is run or replayed."""

    recording: list[Any] | None = None

    def __init__(self, strategy: str) -> None:
        assert strategy == "user managed"
        self.addresses: dict[str, int] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        self.memory = address, size

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return len(shape) == 2

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert self.memory[1] == 4096
        if Context.recording is not None:
            Context.recording.append(self._compute)
        else:
            self._compute()
        return True

    def _compute(self) -> None:
        n = int(np.prod(self.shape))
        x, y = ((ctypes.c_float * n).from_address(self.addresses[name]) for name in ("x", "y"))
        y[:] = [2 * value + 1 for value in x]


class Graph:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def replay(self) -> None:
        for call in self.calls:
            call()


@contextmanager
def recorded(graph: Graph, stream: Any, capture_error_mode: str) -> Iterator[None]:
    Context.recording = graph.calls
    yield
    Context.recording = None


def test_an_engine_runs_on_arrays_and_on_tensors_and_keeps_outputs_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = types.SimpleNamespace(USER_MANAGED="user managed")
    library: Any = types.SimpleNamespace(ExecutionContextAllocationStrategy=strategies)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setattr(tensorrt, "DEVICE", "cpu")
    stream = types.SimpleNamespace(cuda_stream=0, synchronize=lambda: None, wait_stream=lambda stream: None)
    for name, fake in (("Stream", lambda: stream), ("CUDAGraph", Graph), ("graph", recorded)):
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    engine = types.SimpleNamespace(create_execution_context=Context)
    scratch, kinds = torch.empty(4096, dtype=torch.uint8), {"x": np.dtype("f4"), "y": np.dtype("f4")}
    captured = tensorrt.Captured(engine, kinds, {"x": (2, 3)}, "step.onnx", scratch)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (first,) = captured.run(["y"], {"x": x}, [])
    np.testing.assert_array_equal(first, 2 * x + 1)
    (resident,) = captured.run(["y"], {"x": torch.from_numpy(x + 1)}, ["y"])
    captured.run(["y"], {"x": x}, [])  # does not change it
    torch.testing.assert_close(resident, torch.from_numpy(2 * x + 3))
    np.testing.assert_array_equal(first, 2 * x + 1)
    with pytest.raises(TypeError):
        captured.run(["y"], {"x": x.astype(np.float64)}, [])
    with pytest.raises(InputError, match="step.onnx: x is .3., the engine was not built for that shape"):
        tensorrt.Captured(engine, kinds, {"x": (3,)}, "step.onnx", scratch)
