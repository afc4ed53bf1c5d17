"""Graphs for TensorRT match the bundle's graphs; plans are built as its documentation says."""

import logging
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from motionrt.export import build_engines  # noqa: E402
from motionrt.export.tensorrt import build_plan  # noqa: E402
from motionrt.export.tensorrt_graph import FP32_GRAPHS, PRODUCTS, inline_weights, lower, prepare, to_half  # noqa: E402
from motionrt.runtime.backends import factory  # noqa: E402
from motionrt.runtime.backends import tensorrt as backend  # noqa: E402
from motionrt.runtime.backends.onnx_session import open_session  # noqa: E402
from motionrt.runtime.backends.tensorrt_cache import engine_graphs, load_plan  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle, bundled  # noqa: E402
from motionrt.runtime.bundles.schema import Manifest, TextManifest  # noqa: E402
from motionrt.runtime.errors import BundleError, InputError  # noqa: E402

SIZES = {"M": 3, "T": 8, "B": 2, "L": 2, "G": 2, "Q": 2, "N": 5, "S": 3, "K": 4}
INTEGERS = {"counts": 2, "frames": 8, "places": 1, "quality": 1}  # of a generator's graphs, all the same value
GRAPHS = [(name, graph) for name in bundled() for graph in engine_graphs(Bundle.load(name, Manifest).manifest)]
HALF_ERROR = {"fp16": 1e-2, "bf16": 3e-2}  # of the largest value


def load(name: str) -> Bundle[Any]:
    return Bundle.load(name, Manifest)


def inputs_of(bundle: Bundle[Any], graph: str) -> dict[str, np.ndarray]:
    random, found = np.random.default_rng(0), {}
    integers = INTEGERS if bundle.manifest.task == "generation" else {}
    for name, shape in bundle.manifest.graphs[graph].inputs.items():
        sizes = [SIZES[size] if isinstance(size, str) else size for size in shape]
        ones = name == "mask"
        random_values = np.ones(sizes, np.float32) if ones else random.normal(0, 0.5, sizes).astype(np.float32)
        found[name] = np.full(sizes, integers[name]) if name in integers else random_values
    return found


def in_onnx_runtime(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        None, inputs
    )


@pytest.mark.parametrize("name, graph", GRAPHS)
def test_inlined_weights_and_lowered_operators_change_no_result(name: str, graph: str) -> None:
    bundle = load(name)
    inputs = inputs_of(bundle, graph)
    wanted = open_session(bundle, graph, 1).run(None, inputs)
    whole = inline_weights(bundle, graph)
    assert not any(tensor.external_data for tensor in whole.graph.initializer)
    for made, found in zip(wanted, in_onnx_runtime(whole, inputs), strict=True):
        np.testing.assert_array_equal(found, made)
    for made, found in zip(wanted, in_onnx_runtime(lower(whole), inputs), strict=True):
        np.testing.assert_allclose(found, made, rtol=1e-4, atol=1e-5 * np.abs(made).max())


@pytest.mark.parametrize("precision", HALF_ERROR)
@pytest.mark.parametrize("graph", ["trunk", "velocity", "decode", "motion"])
def test_half_precision_changes_results_a_little(graph: str, precision: str) -> None:
    bundle = load("default")
    inputs = inputs_of(bundle, graph)
    wanted = ReferenceEvaluator(prepare(bundle, graph)).run(None, inputs)
    found = ReferenceEvaluator(prepare(bundle, graph, precision)).run(None, inputs)
    for made, half in zip(wanted, found, strict=True):
        assert half.dtype == np.float32
        assert 0 < np.abs(half - made).max() < HALF_ERROR[precision] * np.abs(made).max()


@pytest.mark.parametrize("graph", [graph for name, graph in GRAPHS if name == "default" and graph in FP32_GRAPHS])
def test_gradients_stay_in_fp32(graph: str) -> None:
    assert prepare(load("default"), graph, "fp16") == prepare(load("default"), graph)


@pytest.mark.parametrize("name, graph", [pair for pair in GRAPHS if pair[1] not in FP32_GRAPHS])
@pytest.mark.parametrize("precision", HALF_ERROR)
def test_only_safe_operators_are_in_half_precision(name: str, graph: str, precision: str) -> None:
    half = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    model = onnx.shape_inference.infer_shapes(prepare(load(name), graph, precision))
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    in_half = {node.op_type for node in model.graph.node if half in map(types.get, (*node.input, *node.output))}
    assert in_half & set(PRODUCTS)
    unsafe = "Add Sub Mul Div Exp Erf Gelu LayerNormalization Pow ReduceL2 ReduceMean ReduceSum Sigmoid Softmax Sqrt"
    assert not in_half & set(unsafe.split())
    assert all(types[value.name] != half for value in (*model.graph.input, *model.graph.output))


def tiny(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    """x [3, 4] -> y [3, 4]."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 4]) for name in "xy")
    values = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(helper.make_graph(list(nodes), "tiny", [x], [y], values), opset_imports=opset)


def test_the_last_product_stays_in_fp32_and_weights_are_rounded() -> None:
    random = np.random.default_rng(0)
    first, last = (random.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    model = to_half(
        tiny(
            helper.make_node("MatMul", ["x", "first"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "last"], ["c"]),
            helper.make_node("Add", ["c", "bias"], ["y"]),
            first=first,
            last=last,
            bias=np.ones(4, np.float32),
        ),
        TensorProto.BFLOAT16,
    )
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds == {"first.BFLOAT16": TensorProto.BFLOAT16, "last": TensorProto.FLOAT, "bias": TensorProto.FLOAT}
    (stored,) = (tensor for tensor in model.graph.initializer if tensor.name == "first.BFLOAT16")
    rounded = torch.from_numpy(first).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(numpy_helper.to_array(stored).astype(np.float32), rounded)
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMul", "Relu", "Cast", "MatMul", "Add"]


def test_an_output_with_further_uses_is_in_fp32() -> None:
    square = np.eye(4, dtype=np.float32)
    model = tiny(
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
        helper.make_node("MatMul", ["y", "w"], ["b"]),
        helper.make_node("Softmax", ["b"], ["z"]),
        w=square,
    )
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [3, 4]))
    model = to_half(model, TensorProto.FLOAT16)
    onnx.checker.check_model(model)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    y, z = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(y, np.maximum(x, 0), atol=1e-3)
    np.testing.assert_allclose(z.sum(1), 1, atol=1e-6)


class Library(types.ModuleType):
    """A fake `tensorrt` that records calls, with `errors` of the parser and the resulting `plan`."""

    def __init__(self, errors: list[str], plan: bytes | None) -> None:
        super().__init__("tensorrt")
        self.__version__ = "10.15.1"
        self.asked: list[tuple[Any, ...]] = []
        self.ILogger = object
        self.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
        self.BuilderFlag = types.SimpleNamespace(TF32="TF32")
        note = self.asked.append

        class Builder:
            def __init__(self, logger: Any) -> None: ...

            def create_network(self, flags: int) -> str:
                note(("network", flags))
                return "network"

            def create_builder_config(self) -> Any:
                return types.SimpleNamespace(
                    add_optimization_profile=lambda profile: note(("profile",)),
                    clear_flag=lambda flag: note(("without", flag)),
                )

            def create_optimization_profile(self) -> Any:
                return types.SimpleNamespace(set_shape=lambda *shapes: note(("shape", *shapes)))

            def build_serialized_network(self, network: str, config: Any) -> bytes | None:
                note(("build",))
                return plan

        class OnnxParser:
            num_errors = len(errors)

            def __init__(self, network: str, logger: Any) -> None: ...

            def parse(self, model: bytes) -> bool:
                note(("parse", model))
                return not errors

            def get_error(self, i: int) -> Any:
                return types.SimpleNamespace(desc=lambda: errors[i])

        self.Builder, self.OnnxParser = Builder, OnnxParser


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def put(errors: list[str], plan: bytes | None) -> Library:
        made = Library(errors, plan)
        monkeypatch.setitem(sys.modules, "tensorrt", made)
        return made

    properties = types.SimpleNamespace(name="NVIDIA Test", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    backend.logger.cache_clear()
    yield put
    backend.logger.cache_clear()


def test_engines_are_strongly_typed_have_profiles_and_are_stored(library: Any) -> None:
    asked = library([], b"plan").asked
    bundle = load("live")
    paths = build_engines(bundle, "fp16")
    assert len(paths) == 2 and all(path.is_file() for path in paths)
    for graph in ("step", "clip"):
        assert load_plan(backend.plan_key(bundle.manifest, graph, "fp16"), bundle.path) == b"plan"
    verbs = [verb for verb, *_ in asked]
    assert verbs == ["network", "parse", "shape", "shape", "profile", "without", "build"] + [
        *("network", "parse", "shape", "profile", "without", "build")
    ]
    assert asked[0] == ("network", 1 << 1) and ("without", "TF32") in asked
    assert asked[2] == ("shape", "frame", (1, 15, 3), (4, 15, 3), (16, 15, 3))
    parsed = onnx.load_from_string(asked[1][1])
    assert any(tensor.data_type == TensorProto.FLOAT16 for tensor in parsed.graph.initializer)
    assert not any(tensor.external_data for tensor in parsed.graph.initializer)


def test_a_tensorrt_parser_error_is_one_line(library: Any) -> None:
    library(["no such\noperator", "nor that"], b"")
    with pytest.raises(BundleError, match="step.onnx: TensorRT rejects it .no such operator; nor that.$"):
        build_plan(b"", {}, "step.onnx")
    library([], None)
    with pytest.raises(BundleError, match="step.onnx: TensorRT cannot build an engine from it"):
        build_plan(b"", {}, "step.onnx")


def test_tensorrt_logs_with_logging(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    made = library([], None)
    made.ILogger = type("ILogger", (), {})
    with caplog.at_level(logging.DEBUG):
        for severity in ("ERROR", "WARNING", "INFO"):
            backend.logger().log(types.SimpleNamespace(name=severity), f"of {severity}")
    assert [(r.levelno, r.message) for r in caplog.records] == [
        (logging.ERROR, "of ERROR"),
        (logging.WARNING, "of WARNING"),
        (logging.DEBUG, "of INFO"),
    ]


def test_a_text_encoder_and_int8_are_refused(library: Any) -> None:
    library([], b"plan")
    with pytest.raises(InputError, match="task 'text' runs in ONNX Runtime on every backend"):
        build_engines(Bundle.load("text", TextManifest))
    with pytest.raises(InputError, match="precision 'int8' needs MatMulInteger"):
        build_engines(load("live"), "int8")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("name", ["live", "default"])
def test_engines_compute_what_onnx_runtime_computes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (reason := factory.available()["tensorrt"]) is not None:
        pytest.skip(reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = load(name)
    build_engines(bundle)
    for graph in engine_graphs(bundle.manifest):
        inputs, outputs = inputs_of(bundle, graph), list(bundle.manifest.graphs[graph].outputs)
        wanted = open_session(bundle, graph, 1).run(outputs, inputs)
        engine = backend.open_engine(bundle, graph, "fp32")
        for _ in range(2):  # captured, and replayed
            for made, found in zip(wanted, engine.run(outputs, inputs), strict=True):
                np.testing.assert_allclose(found, made, rtol=1e-3, atol=1e-4 * np.abs(made).max())
