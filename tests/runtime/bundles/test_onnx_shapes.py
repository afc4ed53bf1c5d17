"""What a graph takes is known before it runs, and a graph that takes too much is not opened."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from motionrt import BundleError
from motionrt.runtime.backends.onnx_session import example_inputs, open_session
from motionrt.runtime.bundles.bundle import Bundle, bundled
from motionrt.runtime.bundles.onnx_graph import read_graph
from motionrt.runtime.bundles.onnx_shapes import OPERATORS, Tensor, check_cost, check_operators
from motionrt.runtime.bundles.schema import WEIGHTS, Manifest

from .. import tiny

onnx, helper = tiny.onnx, tiny.helper
MODELS = (*bundled(), str(Path(__file__).parents[2] / "bundles" / "coamd-tiny"))


def all_shapes(bundle: Bundle[Any], name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors in a run of ONNX Runtime."""
    file = bundle.manifest.graphs[name].file
    model = onnx.load_from_string(bundle.files[file])
    sequences = {o for n in model.graph.node if n.op_type == "SplitToSequence" for o in n.output}
    names = [o for node in model.graph.node for o in node.output if o and o not in sequences]
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    external = bundle.read_graph(file).external
    options.add_external_initializers(
        list(external), [ort.OrtValue.ortvalue_from_numpy(bundle.weights[name]) for name in external]
    )
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {name: array.shape for name, array in zip(names, session.run(names, dict(inputs)), strict=True)}


@pytest.mark.parametrize("model", MODELS)
def test_shapes_are_those_of_onnx_runtime(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load(model, Manifest)
    for name, graph in bundle.manifest.graphs.items():
        sizes = example_inputs(bundle.manifest.task, name, graph)
        inputs = {key: np.ones(tensor.shape, tensor.dtype) for key, tensor in sizes.items()}
        onnx_graph, found = bundle.read_graph(graph.file), {}
        run = check_cost.__globals__["_run"]

        def record(node: Any, arguments: Any, where: str, run: Any = run, found: Any = found) -> Any:
            outputs, products = run(node, arguments, where)
            found.update({k: o.shape for k, o in zip(node.outputs, outputs, strict=True) if isinstance(o, Tensor)})
            return outputs, products

        with monkeypatch.context() as patch:
            patch.setitem(check_cost.__globals__, "_run", record)
            cost = check_cost(onnx_graph, sizes, graph.file)
        expected = all_shapes(bundle, name, inputs)
        assert {key: found[key] for key in expected} == expected and 0 < cost.bytes < cost.work


def graph_of(
    nodes: Sequence[Any], constants: Mapping[str, Any] | None = None, inputs: Sequence[str] = ("x",)
) -> Callable[[tuple[int, ...]], Any]:
    """Function that checks a graph with inputs x of a shape."""
    values = {name: np.asarray(value) for name, value in (constants or {}).items()}
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    infos = [helper.make_tensor_value_info(name, tiny.FLOAT, None) for name in (*inputs, "y")]
    made = helper.make_graph(list(nodes), "g", infos[:-1], infos[-1:], initializer=initializers)
    data = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()

    def check(*shape: int) -> Any:
        graph = read_graph(data, WEIGHTS, "a.onnx")
        check_operators(graph, "a.onnx")
        return check_cost(graph, {name: Tensor(shape, np.dtype("f4")) for name in inputs}, "a.onnx")

    return check


def node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), name="n", **attributes)


def doubled(times: int) -> list[Any]:
    names = ["x", *(f"v{i}" for i in range(times)), "y"]
    return [node("Concat", f"{a} {a}", b, axis=0) for a, b in zip(names, names[1:], strict=False)]


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "Loop": (graph_of([node("Loop", "x", body=helper.make_graph([], "b", [], []))]), "has subgraphs"),
    "an unknown operator": (graph_of([node("TreeEnsemble", "x")]), "operator 'TreeEnsemble' is not one"),
    "Size": (graph_of([node("Resize", "x")]), "operator 'Resize' is not one"),
    "an output too many": (graph_of([node("Split", "x", "y z w", num_outputs=2)]), "3 outputs, expected num_outputs"),
    "an output too many of Relu": (graph_of([node("Relu", "x", "y z")]), "2 outputs, expected 1 to 1"),
    "no input": (graph_of([node("Relu", "")]), "0 inputs"),
    "an input that is left out": (graph_of([helper.make_node("Relu", [""], ["y"], name="n")]), "1 inputs"),
    "an input that is computed later": (
        graph_of([node("Relu", "z"), node("Relu", "x", "z")]),
        "'z' is not computed before it",
    ),
    "the same name twice": (graph_of([node("Relu", "x"), node("Relu", "x")]), "name of an output is taken"),
    "a missing output": (graph_of([node("Relu", "x", "z")]), "output 'y' is not computed"),
    "doubled 30 times": (graph_of(doubled(30)), "the limits are"),
    "Expand": (graph_of([node("Expand", "x n")], {"n": [1 << 20, 1 << 20]}), "the limits are"),
    "Tile": (graph_of([node("Tile", "x n")], {"n": [1 << 30, 1 << 30]}), "the limits are"),
    "Pad": (graph_of([node("Pad", "x n")], {"n": [0, 0, 0, 1 << 60]}), "the limits are"),
    "ConstantOfShape": (graph_of([node("ConstantOfShape", "n")], {"n": [1 << 40]}), "the limits are"),
    "Range": (graph_of([node("Range", "a b c")], {"a": 0, "b": 1 << 40, "c": 1}), "the limits are"),
    "Range of nothing": (graph_of([node("Range", "a b c")], {"a": 0, "b": 1, "c": 0}), "do not fit"),
    "a shape from values of an input": (graph_of([node("Expand", "x x")]), "depends on values"),
    "a size from values of an input": (
        graph_of([node("Cast", "x", "n", to=7), node("ConstantOfShape", "n")]),
        "depends on values",
    ),
    "a product of large matrices": (
        graph_of([node("Expand", "x n", "e"), node("MatMul", "e e")], {"n": [15_000, 15_000]}),
        "2e\\+09|3e\\+12|the limits are",
    ),
    "a Conv with large pads": (
        graph_of([node("Unsqueeze", "x a", "i"), node("Conv", "i w", pads=[1 << 40] * 2)],
                 {"a": [0], "w": np.ones((1, 1, 1), np.float32)}),
        "takes|limits|do not fit",
    ),
    "a Reshape to another size": (graph_of([node("Reshape", "x n")], {"n": [5, -1]}), r"\[1, 1\] to"),
    "parts of another size": (
        graph_of([node("Split", "x n", "y z", axis=1)], {"n": [1, 1]}),
        r"\[1, 1\] of 1",
    ),
    "an axis beyond": (graph_of([node("Softmax", "x", axis=7)]), "axis 7 of 2"),
    "an index beyond": (
        graph_of([node("SplitToSequence", "x n", "s"), node("SequenceAt", "s n")], {"n": 1}),
        "do not fit",
    ),
    "no attribute": (graph_of([node("Concat", "x x")]), "do not fit"),
    "an attribute of another type": (graph_of([node("Transpose", "x", perm="ab")]), "do not fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_takes_too_much_or_does_not_fit_is_refused(name: str) -> None:
    check, problem = REFUSED[name]
    with pytest.raises(BundleError, match=problem) as caught:
        check(1, 1)
    assert str(caught.value).startswith("a.onnx: ") and str(caught.value).isprintable()


def test_a_graph_that_grows_with_its_input_is_checked_for_each_input() -> None:
    check = graph_of([node("MatMul", "x z"), node("Transpose", "x", "z")][::-1])
    assert check(1000, 1).bytes < 5_000_000
    with pytest.raises(BundleError, match="the limits are"):
        check(40_000, 1)


def test_a_session_refuses_inputs_that_take_too_much(tmp_path: Path) -> None:
    """The graph squares the number of people; its sizes are tame while there are few of them."""
    grow = helper.make_node("Expand", ["frame", "many"], ["grown"])
    constant = onnx.numpy_helper.from_array(np.array([1, tiny.V, 3]), "same")
    parts = [
        helper.make_node("Shape", ["frame"], ["m"], start=0, end=1),
        helper.make_node("Mul", ["m", "m"], ["square"]),
        helper.make_node("Mul", ["square", "square"], ["fourth"]),
        helper.make_node("Concat", ["fourth", "one", "same"], ["many"], axis=0),
        grow,
        helper.make_node("ReduceSum", ["grown", "zero"], ["sum"], keepdims=0),
    ]
    model = onnx.load_from_string(
        tiny.step_graph(extra=[constant, onnx.numpy_helper.from_array(np.array([0]), "zero")])
    )
    model.graph.node.extend(parts)
    files = tiny.files() | {"step.onnx": model.SerializeToString()}
    session = open_session(Bundle.load(tiny.write_bundle(tmp_path / "b", tiny.manifest(), files)), "step", 1)
    outputs = ["logits", "features", "state_out"]

    def run(people: int) -> Any:
        frame, state = np.zeros((people, tiny.V, 3), np.float32), np.zeros((people, tiny.S), np.float32)
        return session.run(outputs, {"frame": frame, "state": state})

    assert run(3)[0].shape == (3, tiny.C)
    with pytest.raises(BundleError, match="the limits are"):
        run(100)


def test_operators_that_run_graphs_or_read_files_are_not_allowed() -> None:
    assert not {"If", "Loop", "Scan", "SequenceMap", "StringNormalizer", "NonZero", "Optional"} & set(OPERATORS)
