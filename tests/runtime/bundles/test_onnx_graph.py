"""No external file but the weights file gets past the graph check, wherever in the model it hides."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from motionrt import BundleError
from motionrt.runtime.bundles.onnx_graph import read_graph

from .. import tiny

onnx = tiny.onnx
helper = onnx.helper
FOREIGN = "secret.bin"


def check(model: Any) -> dict[str, Any]:
    return read_graph(model.SerializeToString(), tiny.WEIGHTS, "some/step.onnx").external


def model(*nodes: Any, **fields: Any) -> Any:
    graph = helper.make_graph(list(nodes), "g", [], [], **fields)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def sparse(values: Any, indices: Any) -> Any:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])


def constant(tensor: Any) -> Any:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def branch(tensor: Any) -> Any:
    return helper.make_graph([], "branch", [], [], initializer=[tensor])


def function(node: Any = None, attribute: Any = None) -> Any:
    made = helper.make_function("d", "f", [], [], [node] if node else [], [helper.make_opsetid("", 18)])
    if attribute:
        made.attribute_proto.append(attribute)
    return made


def with_training(tensor: Any) -> Any:
    made = model()
    made.training_info.add().algorithm.CopyFrom(branch(tensor))
    return made


def with_functions(*functions: Any) -> Any:
    made = model()
    made.functions.extend(functions)
    return made


ANYWHERE: dict[str, Callable[[Any], Any]] = {
    "sparse values": lambda t: model(sparse_initializer=[sparse(t, onnx.TensorProto())]),
    "sparse indices": lambda t: model(sparse_initializer=[sparse(onnx.TensorProto(), t)]),
    "attribute": lambda t: model(constant(t)),
    "attribute of tensors": lambda t: model(helper.make_node("X", [], ["c"], values=[t])),
    "sparse attribute": lambda t: model(helper.make_node("Constant", [], ["c"], sparse_value=sparse(t, t))),
    "sparse attributes": lambda t: model(helper.make_node("X", [], ["c"], values=[sparse(t, t)])),
    "subgraph": lambda t: model(helper.make_node("If", ["c"], ["y"], then_branch=branch(t))),
    "subgraphs": lambda t: model(helper.make_node("X", ["c"], ["y"], bodies=[branch(t)])),
    "subgraph of a subgraph": lambda t: model(
        helper.make_node(
            "If",
            ["c"],
            ["y"],
            then_branch=helper.make_graph([helper.make_node("If", ["c"], ["y"], a=branch(t))], "b", [], []),
        )
    ),
    "function": lambda t: with_functions(function(constant(t))),
    "default of a function's attribute": lambda t: with_functions(function(attribute=helper.make_attribute("a", t))),
    "training graph": with_training,
}


def test_external_initializers_are_found_with_type_and_shape() -> None:
    found = read_graph(tiny.step_graph(), tiny.WEIGHTS, "step.onnx").external
    assert {name: (tensor.onnx_type, tensor.shape) for name, tensor in found.items()} == {
        name: (tiny.FLOAT, array.shape) for name, array in tiny.weights().items()
    }


def test_a_graph_without_external_data_is_accepted() -> None:
    assert check(model(constant(onnx.numpy_helper.from_array(np.zeros(2, np.float32))))) == {}


@pytest.mark.parametrize("location", [FOREIGN, "../weights.safetensors", "/etc/passwd", "", "*/_ORT_MEM_ADDR_/*"])
def test_a_foreign_location_is_refused_by_name(location: str) -> None:
    with pytest.raises(BundleError) as caught:
        check(model(initializer=[tiny.external("w", [2], location)]))
    assert str(caught.value).startswith("some/step.onnx: ") and repr(location) in str(caught.value)


@pytest.mark.parametrize("place", ANYWHERE)
@pytest.mark.parametrize("location", [FOREIGN, tiny.WEIGHTS])
def test_tensors_are_external_in_initializers_only(place: str, location: str) -> None:
    with pytest.raises(BundleError, match=f"'w'.*'{FOREIGN}'|'w' is external but not|not a number|may not have"):
        check(ANYWHERE[place](tiny.external("w", [2], location)))


def test_a_second_location_of_a_tensor_is_refused() -> None:
    tensor = tiny.external("w", [2])
    tensor.external_data.add(key="location", value=tiny.WEIGHTS)
    with pytest.raises(BundleError, match="one external location"):
        check(model(initializer=[tensor]))


def test_a_duplicate_key_in_an_entry_is_refused() -> None:
    entry = field(1, b"location") * 2 + field(2, tiny.WEIGHTS.encode())
    with pytest.raises(BundleError, match="well-formed"):
        check_raw_tensor(b"\x10\x01" + field(8, b"w") + b"\x70\x01" + field(13, entry))


def test_external_data_without_its_location_type_is_refused() -> None:
    tensor = tiny.external("w", [2])
    tensor.ClearField("data_location")
    with pytest.raises(BundleError, match="one external location"):
        check(model(initializer=[tensor]))


def test_the_location_type_without_a_location_is_refused() -> None:
    with pytest.raises(BundleError, match="one external location"):
        check(model(initializer=[onnx.TensorProto(name="w", data_type=1, data_location=onnx.TensorProto.EXTERNAL)]))


def test_initializers_with_the_same_name_are_refused() -> None:
    with pytest.raises(BundleError, match="two initializers are named 'w'"):
        check(model(initializer=[tiny.external("w", [2]), tiny.external("w", [2])]))


def test_a_second_graph_is_refused() -> None:
    with pytest.raises(BundleError, match="well-formed"):
        read_graph(model().SerializeToString() * 2, tiny.WEIGHTS, "step.onnx")


def test_unpacked_shapes_are_supported() -> None:
    tensor = tiny.external("w", []).SerializeToString()
    found = check_raw_tensor(b"\x08\x02\x08\x03" + tensor)
    assert found["w"].shape == (2, 3)


NOT_MODELS = {
    "empty": b"",
    "text": b"this is not a model",
    "zeros": bytes(64),
    "no graph": b"\x08\x0a",
    "group": b"\x3b\x3c",
    "length beyond the end": b"\x3a\x7f\x00",
    "endless varint": b"\x3a" + b"\xff" * 12,
    "tag above 32 bits": b"\xba\x80\x80\x80\x10\x00",
    "graph as a number": b"\x38\x01",
}


@pytest.mark.parametrize("name", NOT_MODELS)
def test_data_that_is_not_a_model_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="some/step.onnx: (not a|tensor)"):
        read_graph(NOT_MODELS[name], tiny.WEIGHTS, "some/step.onnx")


ODD: dict[str, tuple[Callable[[], Any], str]] = {
    "operator of another domain": (
        lambda: model(helper.make_node("Gelu", [], ["c"], domain="com.microsoft")),
        "'Gelu'",
    ),
    "another version of the operators": (
        lambda: helper.make_model(model().graph, opset_imports=[helper.make_opsetid("", 7)]),
        "version 7, expected those of ONNX, version 18 to",
    ),
    "operators of two domains": (
        lambda: helper.make_model(model().graph, opset_imports=[helper.make_opsetid(d, 18) for d in ("", "a")]),
        "operators of 'a'|operators of 'ONNX'",
    ),
    "texts": (
        lambda: model(initializer=[helper.make_tensor("t", onnx.TensorProto.STRING, [1], [b"a"])]),
        "has texts",
    ),
    "too few values": (
        lambda: model(initializer=[onnx.TensorProto(name="t", data_type=1, dims=[3], raw_data=bytes(8))]),
        "tensor 't' has 2 values",
    ),
    "a size of 2^40": (
        lambda: model(initializer=[onnx.TensorProto(name="t", data_type=1, dims=[1 << 40, 0])]),
        "tensor 't' is of type 1 and shape",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_graphs_of_bundles_do_not_have_is_refused(name: str) -> None:
    build, problem = ODD[name]
    with pytest.raises(BundleError, match=problem):
        check(build())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"])
@pytest.mark.parametrize("raw", [True, False])
def test_constants_are_read_like_the_onnx_package(dtype: str, raw: bool) -> None:
    values = np.array([[0, 1, 2], [1, 0, 3]]).astype(dtype) * (np.array(-1).astype(dtype) if dtype != "bool" else True)
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = helper.make_tensor("t", kind, [2, 3], values.tobytes() if raw else values.reshape(-1).tolist(), raw=raw)
    found = read_graph(model(initializer=[tensor]).SerializeToString(), tiny.WEIGHTS, "step.onnx").constants["t"]
    np.testing.assert_array_equal(found, onnx.numpy_helper.to_array(tensor))
    assert found.dtype == values.dtype


def test_any_damage_gives_a_bundle_error_or_a_result() -> None:
    generator = np.random.default_rng(0)
    data = tiny.step_graph()
    for _ in range(1000):
        damaged = bytearray(data)
        for position in generator.integers(0, len(data), 3):
            damaged[position] = generator.integers(0, 256)
        with contextlib.suppress(BundleError):
            read_graph(bytes(damaged), tiny.WEIGHTS, "step.onnx")


def check_raw_tensor(tensor: bytes) -> dict[str, Any]:
    """The check of a model whose only initializer is this serialized TensorProto."""
    opset = field(8, b"\x10\x12")
    return read_graph(field(7, field(5, tensor)) + opset, tiny.WEIGHTS, "some/step.onnx").external


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    size, encoded = len(content), b""
    while size >= 0x80:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + content
