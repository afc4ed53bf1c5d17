"""Finds the tensors of an ONNX model that are stored outside its file, without the onnx package.

ONNX Runtime opens the files that a model names. A bundle's graph must name the weights file only, and only for
initializers of its main graph: those are bound from the hash-checked buffer, and no file is opened.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import BundleError

MAX_DEPTH = 100
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1  # TensorProto.DataLocation

# Message -> field number -> message of that field, for every path of onnx.proto that leads to a TensorProto.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_MAIN_INITIALIZER = ("model", "graph", "tensor")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalTensor:
    """An initializer whose values are stored outside the graph. `onnx_type` is a TensorProto.DataType."""

    name: str
    onnx_type: int
    shape: tuple[int, ...]


def external_tensors(data: bytes, weights_file: str, where: str) -> dict[str, ExternalTensor]:
    """Collect the external initializers of a serialized ModelProto.

    Args:
        data: the model file.
        weights_file: the only external location allowed.
        where: names the file in errors.
    Returns:
        name -> tensor, for the initializers of the main graph that are stored in `weights_file`.
    Raises:
        BundleError: the file is not a ModelProto, a tensor names another location, or external data is used
            outside the main graph's initializers (attributes, subgraphs, sparse tensors, functions).
    """
    tensors: dict[str, ExternalTensor] = {}
    has_graph = False
    stack: list[tuple[tuple[str, ...], int, int]] = [(("model",), 0, len(data))]
    while stack:
        path, start, end = stack.pop()
        if len(path) > MAX_DEPTH:
            raise BundleError(f"{where}: graphs nested deeper than {MAX_DEPTH} messages")
        if path[-1] == "tensor":
            tensor, locations = _tensor(data, start, end, where)
            _check_location(tensor, locations, path, weights_file, where)
            if locations:
                if tensor.name in tensors:
                    raise BundleError(f"{where}: two initializers are named {tensor.name!r}")
                tensors[tensor.name] = tensor
            continue
        children = _CHILDREN[path[-1]]
        for number, wire, value, stop in _fields(data, start, end, where):
            if number in children:
                _expect(wire == _BYTES, where)
                stack.append(((*path, children[number]), value, stop))
                has_graph |= path == ("model",) and number == 7
    if not has_graph:
        raise BundleError(f"{where}: not an ONNX model (it holds no graph)")
    return tensors


def _check_location(
    tensor: ExternalTensor, locations: list[str], path: tuple[str, ...], weights_file: str, where: str
) -> None:
    foreign = [location for location in locations if location != weights_file]
    if foreign:
        raise BundleError(
            f"{where}: tensor {tensor.name!r} names the external file {foreign[0]!r}, only {weights_file!r} is allowed"
        )
    if locations and path != _MAIN_INITIALIZER:
        raise BundleError(f"{where}: tensor {tensor.name!r} is external but not an initializer of the main graph")
    if locations and not tensor.name:
        raise BundleError(f"{where}: an external initializer has no name")


def _tensor(data: bytes, start: int, end: int, where: str) -> tuple[ExternalTensor, list[str]]:
    """TensorProto -> (tensor, locations); the locations are empty if it is not external."""
    name, onnx_type, shape, location_kind, locations, has_entries = "", 0, [], 0, [], False
    seen: set[int] = set()
    for number, wire, value, stop in _fields(data, start, end, where):
        if number in (2, 8, 14):
            _expect(number not in seen, where)
            seen.add(number)
        if number == 1 and wire == _VARINT:
            shape.append(value)
        elif number == 1:
            _expect(wire == _BYTES, where)
            shape.extend(_packed(data, value, stop, where))
        elif number == 2:
            _expect(wire == _VARINT, where)
            onnx_type = value
        elif number == 8:
            _expect(wire == _BYTES, where)
            name = _text(data, value, stop, where)
        elif number == 13:
            _expect(wire == _BYTES, where)
            has_entries = True
            key, text = _entry(data, value, stop, where)
            if key == "location":
                locations.append(text)
        elif number == 14:
            _expect(wire == _VARINT, where)
            location_kind = value
    if (location_kind == _EXTERNAL) != (len(locations) == 1) or has_entries != bool(locations):
        raise BundleError(f"{where}: tensor {name!r} must have one external location or be stored inside the graph")
    return ExternalTensor(name=name, onnx_type=onnx_type, shape=tuple(shape)), locations


def _entry(data: bytes, start: int, end: int, where: str) -> tuple[str, str]:
    """StringStringEntryProto -> (key, value)."""
    texts: dict[int, str] = {}
    for number, wire, value, stop in _fields(data, start, end, where):
        _expect(number in (1, 2) and number not in texts and wire == _BYTES, where)
        texts[number] = _text(data, value, stop, where)
    return texts.get(1, ""), texts.get(2, "")


def _fields(data: bytes, start: int, end: int, where: str) -> Iterator[tuple[int, int, int, int]]:
    """Fields of the message data[start:end]: (number, wire type, value, stop).

    For length-delimited fields the content is data[value:stop]; for varints `value` is the number.
    """
    position = start
    while position < end:
        tag, position = _varint(data, position, end, 5, where)
        number, wire = tag >> 3, tag & 7
        _expect(0 < number < 1 << 29, where)
        if wire == _VARINT:
            value, position = _varint(data, position, end, 10, where)
            yield number, wire, value, position
        elif wire == _BYTES:
            size, position = _varint(data, position, end, 5, where)
            _expect(size <= end - position, where)
            yield number, wire, position, position + size
            position += size
        else:
            _expect(wire in (_FIXED64, _FIXED32), where)
            size = 8 if wire == _FIXED64 else 4
            _expect(size <= end - position, where)
            yield number, wire, position, position + size
            position += size


def _varint(data: bytes, position: int, end: int, max_bytes: int, where: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * max_bytes, 7):
        _expect(position < end, where)
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise BundleError(f"{where}: not a well-formed ONNX model")


def _packed(data: bytes, position: int, end: int, where: str) -> Iterator[int]:
    while position < end:
        value, position = _varint(data, position, end, 10, where)
        yield value


def _text(data: bytes, start: int, end: int, where: str) -> str:
    try:
        return data[start:end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: not a well-formed ONNX model") from error


def _expect(condition: bool, where: str) -> None:
    if not condition:
        raise BundleError(f"{where}: not a well-formed ONNX model")
