"""No external file but the weights file gets past the graph check, wherever in the model it hides."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from motionrt import BundleError
from motionrt.runtime.bundles.onnx_external import external_tensors

from .. import tiny

onnx = tiny.onnx
helper = onnx.helper
FOREIGN = "secret.bin"


def check(model: Any) -> dict[str, Any]:
    return external_tensors(model.SerializeToString(), tiny.WEIGHTS, "some/step.onnx")


def model(*nodes: Any, **fields: Any) -> Any:
    return helper.make_model(helper.make_graph(list(nodes), "g", [], [], **fields))


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
    found = external_tensors(tiny.step_graph(), tiny.WEIGHTS, "step.onnx")
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
def test_a_foreign_location_is_refused_anywhere(place: str) -> None:
    with pytest.raises(BundleError, match=f"'w'.*'{FOREIGN}'"):
        check(ANYWHERE[place](tiny.external("w", [2], FOREIGN)))


@pytest.mark.parametrize("place", ANYWHERE)
def test_even_the_weights_file_is_refused_outside_the_main_initializers(place: str) -> None:
    with pytest.raises(BundleError, match="'w' is external but not an initializer of the main graph"):
        check(ANYWHERE[place](tiny.external("w", [2])))


def test_a_second_location_of_a_tensor_is_refused() -> None:
    tensor = tiny.external("w", [2])
    tensor.external_data.add(key="location", value=tiny.WEIGHTS)
    with pytest.raises(BundleError, match="one external location"):
        check(model(initializer=[tensor]))


def test_a_duplicate_key_in_an_entry_is_refused() -> None:
    entry = field(1, b"location") * 2 + field(2, tiny.WEIGHTS.encode())
    with pytest.raises(BundleError, match="well-formed"):
        check_raw_tensor(field(8, b"w") + b"\x70\x01" + field(13, entry))


def test_external_data_without_its_location_type_is_refused() -> None:
    tensor = tiny.external("w", [2])
    tensor.ClearField("data_location")
    with pytest.raises(BundleError, match="one external location"):
        check(model(initializer=[tensor]))


def test_the_location_type_without_a_location_is_refused() -> None:
    with pytest.raises(BundleError, match="one external location"):
        check(model(initializer=[onnx.TensorProto(name="w", data_location=onnx.TensorProto.EXTERNAL)]))


def test_initializers_with_the_same_name_are_refused() -> None:
    with pytest.raises(BundleError, match="two initializers are named 'w'"):
        check(model(initializer=[tiny.external("w", [2]), tiny.external("w", [2])]))


def test_a_second_graph_field_does_not_hide_the_first() -> None:
    bad = model(initializer=[tiny.external("w", [2], FOREIGN)]).SerializeToString()
    good = model().SerializeToString()
    for data in (bad + good, good + bad):
        with pytest.raises(BundleError, match=FOREIGN):
            external_tensors(data, tiny.WEIGHTS, "step.onnx")


def test_unpacked_shapes_are_supported() -> None:
    tensor = tiny.external("w", []).SerializeToString()
    found = check_raw_tensor(b"\x08\x02\x08\x03" + tensor)
    assert found["w"].shape == (2, 3)


def test_deep_nesting_is_refused() -> None:
    graph = branch(tiny.external("w", [2])).SerializeToString()
    for _ in range(40):
        for number in (6, 5, 1):  # a graph in an attribute, in a node, in a graph
            graph = field(number, graph)
    with pytest.raises(BundleError, match="nested deeper"):
        external_tensors(field(7, graph), tiny.WEIGHTS, "step.onnx")


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
    with pytest.raises(BundleError, match="some/step.onnx: not a"):
        external_tensors(NOT_MODELS[name], tiny.WEIGHTS, "some/step.onnx")


def test_any_damage_gives_a_bundle_error_or_a_result() -> None:
    generator = np.random.default_rng(0)
    data = tiny.step_graph()
    for _ in range(1000):
        damaged = bytearray(data)
        for position in generator.integers(0, len(data), 3):
            damaged[position] = generator.integers(0, 256)
        with contextlib.suppress(BundleError):
            external_tensors(bytes(damaged), tiny.WEIGHTS, "step.onnx")


def check_raw_tensor(tensor: bytes) -> dict[str, Any]:
    """The check of a model whose only initializer is this serialized TensorProto."""
    return external_tensors(field(7, field(5, tensor)), tiny.WEIGHTS, "some/step.onnx")


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    size, encoded = len(content), b""
    while size >= 0x80:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + content
