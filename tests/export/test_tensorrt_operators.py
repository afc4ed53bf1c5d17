"""The prepared graphs of all bundles only use operators and types that TensorRT documents as supported."""

from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("torch", reason="torch is not installed")

from onnx import TensorProto, helper  # noqa: E402

from motionrt.export.tensorrt_graph import inline_weights, lower, prepare  # noqa: E402
from motionrt.export.tensorrt_operators import DOCUMENT, unsupported  # noqa: E402
from motionrt.runtime.backends.tensorrt_cache import PRECISIONS, engine_graphs  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle, bundled  # noqa: E402
from motionrt.runtime.bundles.schema import Manifest  # noqa: E402
from motionrt.runtime.errors import BundleError  # noqa: E402

BUNDLES = {name: Bundle.load(name, Manifest) for name in bundled()}
ALL = [(name, graph) for name, bundle in BUNDLES.items() for graph in bundle.manifest.graphs]
TAKEN = [(name, graph) for name, bundle in BUNDLES.items() for graph in engine_graphs(bundle.manifest)]
LOWERED = {"SplitToSequence", "SequenceAt", "Pad of BOOL", "LayerNormalization with 3 outputs"}
LOWERED |= {"ScatterND with reduction add"}


def test_the_document_is_named() -> None:
    assert DOCUMENT["tensorrt"].startswith("10.") and DOCUMENT["url"].startswith(
        "https://github.com/onnx/onnx-tensorrt"
    )
    assert DOCUMENT["operators"]["MatMul"]["types"] == ["FP32", "FP16", "BF16"]


@pytest.mark.parametrize("name, graph", TAKEN)
def test_tensorrt_supports_the_graph(name: str, graph: str) -> None:
    bundle = BUNDLES[name]
    assert set(unsupported(inline_weights(bundle, graph))) <= LOWERED, "as exported"
    for precision in PRECISIONS:
        model = prepare(bundle, graph, precision)
        assert unsupported(model) == []
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


@pytest.mark.parametrize("name, graph", sorted(set(ALL) - set(TAKEN)))
def test_integer_graphs_are_unsupported_and_never_handed_over(name: str, graph: str) -> None:
    assert graph.endswith(".int8") or name == "text"
    problems = unsupported(lower(inline_weights(BUNDLES[name], graph)))
    assert ("Cast of INT8" if name == "text" else "MatMulInteger") in problems
    with pytest.raises(BundleError, match="not supported by TensorRT 10.15: .*(Cast of INT8|MatMulInteger)"):
        prepare(BUNDLES[name], graph)


def model(nodes: list[onnx.NodeProto], kind: int = TensorProto.FLOAT, opset: int = 20) -> onnx.ModelProto:
    """x [2, 3] -> y."""
    x, y = (helper.make_tensor_value_info(name, kind, [2, 3]) for name in "xy")
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "graph", [x], [y], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.x", 1)])


def inside(node: onnx.NodeProto) -> onnx.NodeProto:
    """An If with the node in both branches."""
    branches = {
        name: helper.make_graph([node], name, [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])])
        for name in ("then_branch", "else_branch")
    }
    return helper.make_node("If", ["true"], ["y"], **branches)


TRUE = helper.make_node("Constant", [], ["true"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))
UNIQUE, RELU = helper.make_node("Unique", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["y"])
SUM = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)
SHAPE = helper.make_node("Shape", ["x"], ["shape"])
CASES = {
    "supported": (model([RELU]), []),
    "an operator": (model([UNIQUE]), ["Unique"]),
    "an operator in a subgraph": (model([TRUE, inside(UNIQUE)]), ["Unique"]),
    "a type": (model([RELU], TensorProto.DOUBLE), ["Relu of FP64"]),
    "another domain": (model([helper.make_node("Relu", ["x"], ["y"], domain="com.x")]), ["com.x.Relu"]),
    "an opset": (model([RELU], opset=8), ["opset 8, expected 9 to 24"]),
    "known axes": (model([SUM]), []),
    "computed axes": (
        model([SHAPE, helper.make_node("ReduceSum", ["x", "shape"], ["y"])]),
        ["ReduceSum whose input 1 is computed"],
    ),
    "further outputs": (
        model([helper.make_node("LayerNormalization", ["x", "x"], ["y", "mean"])]),
        ["LayerNormalization with 2 outputs"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_unsupported_operators_and_types_are_named(case: str) -> None:
    found, expected = CASES[case]
    assert unsupported(found) == expected


def test_all_bundled_graphs_are_tested() -> None:
    files = {path for bundle in BUNDLES.values() for path in Path(bundle.path).glob("*.onnx")}
    assert files == {BUNDLES[name].path / BUNDLES[name].manifest.graphs[graph].file for name, graph in ALL}
