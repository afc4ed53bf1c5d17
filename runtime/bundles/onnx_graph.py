"""Reads the graph of an ONNX model, without the onnx package and more strictly than ONNX Runtime.

A graph of a bundle is a list of nodes in the order of their execution. Subgraphs, local functions, sparse tensors,
texts and operators of other domains are refused. ONNX Runtime opens the files that a model names: it may name the
weights file only, for initializers, which are bound from the hash-checked buffer, so that no file is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import BundleError

MAX_NODES = 20_000
MAX_SIZE = 1 << 31  # of a dimension
OPSETS = range(18, 25)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1  # TensorProto.DataLocation

# TensorProto.DataType -> numpy dtype; BF16 as its bit pattern.
DTYPES = {
    number: np.dtype(name)
    for number, name in {
        1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 16: "<u2",
    }.items()
}  # fmt: skip

# Fields of messages in onnx.proto by number; a field that is not listed is refused. "*" can occur several times, and
# "-" is not read.
_MODEL = {1: "-", 2: "-", 3: "-", 4: "-", 5: "-", 6: "-", 7: "graph", 8: "opset*"}
_GRAPH = {1: "node*", 2: "-", 5: "tensor*", 10: "-", 11: "input*", 12: "output*"}
_NODE = {1: "input*", 2: "output*", 3: "name", 4: "operator", 5: "attribute*", 6: "-", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "float", 3: "int", 4: "text", 5: "tensor", 7: "floats*", 8: "ints*", 13: "-", 20: "type"}
_TENSOR = {
    1: "shape*", 2: "type", 4: "floats*", 5: "ints*", 7: "ints*", 8: "name", 9: "raw", 10: "doubles*", 12: "-",
    13: "external*", 14: "location",
}  # fmt: skip
_OPSET = {1: "domain", 2: "version"}
_ENTRY = {1: "key", 2: "value"}
_VALUE = {1: "name", 2: "-", 3: "-"}
_REFUSED = {
    ("model", 20): "a graph for training", ("model", 25): "local functions", ("attribute", 6): "subgraphs",
    ("attribute", 11): "subgraphs", ("attribute", 9): "texts", ("tensor", 6): "texts", ("graph", 15): "sparse tensors",
    ("attribute", 22): "sparse tensors",
}  # fmt: skip
_ATTRIBUTE_TYPES = {1: "float", 2: "int", 3: "text", 4: "tensor", 6: "floats*", 7: "ints*"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalTensor:
    """An initializer whose values are stored outside the graph. `onnx_type` is a TensorProto.DataType."""

    name: str
    onnx_type: int
    shape: tuple[int, ...]


class Node(NamedTuple):
    """A call of an operator. `attributes`: numbers, lists of numbers, texts and arrays by name."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxGraph:
    """The graph of a model.

    Attributes:
        external: initializers that are stored in the weights file, by name.
        constants: the other ones.
        inputs, outputs: names.
    """

    nodes: tuple[Node, ...]
    external: dict[str, ExternalTensor]
    constants: dict[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(data: bytes, weights_file: str, where: str) -> OnnxGraph:
    """Read a serialized ModelProto.

    Args:
        data: the model file.
        weights_file: the only external file that it may name.
        where: names the file in errors.
    Raises:
        BundleError: the file is not a model, or has something that graphs of bundles do not have.
    """
    reader = _Reader(data, weights_file, where)
    model = reader.message("model", _MODEL, 0, len(data))
    if "graph" not in model:
        raise BundleError(f"{where}: not an ONNX model (it holds no graph)")
    versions = [reader.message("opset", _OPSET, *span) for span in model["opset*"]]
    for opset in versions:
        domain, version = reader.text(opset.get("domain")), opset.get("version")
        if domain not in ("", "ai.onnx") or version not in OPSETS or len(versions) > 1:
            raise BundleError(
                f"{where}: operators of {domain or 'ONNX'!r}, version {version}, "
                f"expected those of ONNX, version {OPSETS[0]} to {OPSETS[-1]}"
            )
    if not versions:
        raise BundleError(f"{where}: has no version of its operators")
    return reader.graph(*model["graph"])


class _Reader:
    def __init__(self, data: bytes, weights_file: str, where: str) -> None:
        self._data = data
        self._weights_file = weights_file
        self._where = where

    def graph(self, start: int, end: int) -> OnnxGraph:
        fields = self.message("graph", _GRAPH, start, end)
        if len(fields["node*"]) > MAX_NODES:
            raise BundleError(f"{self._where}: {len(fields['node*'])} nodes, at most {MAX_NODES} are allowed")
        external: dict[str, ExternalTensor] = {}
        constants: dict[str, np.ndarray] = {}
        for span in fields["tensor*"]:
            name, tensor = self._tensor(span, external=True)
            if name in external or name in constants:
                raise BundleError(f"{self._where}: two initializers are named {name!r}")
            if isinstance(tensor, ExternalTensor):
                external[name] = tensor
            else:
                constants[name] = tensor
        return OnnxGraph(
            nodes=tuple(self._node(*span) for span in fields["node*"]),
            external=external,
            constants=constants,
            inputs=self._names(fields["input*"]),
            outputs=self._names(fields["output*"]),
        )

    def _names(self, spans: list[tuple[int, int]]) -> tuple[str, ...]:
        return tuple(self.text(self.message("value", _VALUE, *span).get("name")) for span in spans)

    def _node(self, start: int, end: int) -> Node:
        fields = self.message("node", _NODE, start, end)
        domain, operator = self.text(fields.get("domain")), self.text(fields.get("operator"))
        if domain not in ("", "ai.onnx"):
            raise BundleError(f"{self._where}: operator {operator!r} of {domain!r}, expected those of ONNX")
        attributes = dict(self._attribute(*span) for span in fields["attribute*"])
        self._expect(len(attributes) == len(fields["attribute*"]))
        return Node(
            name=self.text(fields.get("name")),
            operator=operator,
            inputs=tuple(self.text(span) for span in fields["input*"]),
            outputs=tuple(self.text(span) for span in fields["output*"]),
            attributes=attributes,
        )

    def _attribute(self, start: int, end: int) -> tuple[str, Any]:
        fields = self.message("attribute", _ATTRIBUTE, start, end)
        name, kind = self.text(fields.get("name")), _ATTRIBUTE_TYPES.get(fields.get("type", 0))
        if kind is None:
            raise BundleError(f"{self._where}: attribute {name!r} is not a number, a text or a tensor")
        value = fields.get(kind, 0)
        if kind == "text":
            return name, self.text(value or None)
        if kind == "tensor":
            self._expect(value != 0)
            return name, self._tensor(value, external=False)[1]
        if kind in ("float", "floats*"):
            values = self._numbers(value, "<f4") if kind == "floats*" else [value]
            return name, values if kind == "floats*" else float(values[0])
        return name, [_signed(one) for one in self._integers(value)] if kind == "ints*" else _signed(value)

    def _tensor(self, span: tuple[int, int], external: bool) -> tuple[str, ExternalTensor | np.ndarray]:
        """Name and value of a TensorProto. `external`: its values may be in the weights file."""
        fields = self.message("tensor", _TENSOR, *span)
        name, onnx_type = self.text(fields.get("name")), fields.get("type", 0)
        shape = tuple(self._integers(fields["shape*"]))
        if onnx_type not in DTYPES or any(size >= MAX_SIZE for size in shape) or len(shape) > 8:
            raise BundleError(f"{self._where}: tensor {name!r} is of type {onnx_type} and shape {list(shape)[:9]}")
        entries = [self.message("entry", _ENTRY, *span) for span in fields["external*"]]
        files = [self.text(entry.get("value")) for entry in entries if self.text(entry.get("key")) == "location"]
        self._check_files(name, files, external)
        if (fields.get("location", 0) == _EXTERNAL) != (len(files) == 1) or bool(entries) != bool(files):
            raise BundleError(
                f"{self._where}: tensor {name!r} must have one external location or be stored inside the graph"
            )
        if files:
            return name, ExternalTensor(name=name, onnx_type=onnx_type, shape=shape)
        array = self._array(fields, DTYPES[onnx_type])
        if array.size != math.prod(shape):
            raise BundleError(
                f"{self._where}: tensor {name!r} has {array.size} values, shape {list(shape)} needs others"
            )
        return name, array.reshape(shape)

    def _check_files(self, name: str, files: list[str], external: bool) -> None:
        for file in files:
            if file != self._weights_file:
                raise BundleError(
                    f"{self._where}: tensor {name!r} names the external file {file!r}, "
                    f"only {self._weights_file!r} is allowed"
                )
        if files and not external:
            raise BundleError(f"{self._where}: tensor {name!r} is external but not an initializer of the main graph")
        if files and not name:
            raise BundleError(f"{self._where}: an external initializer has no name")

    def _array(self, fields: dict[str, Any], dtype: np.dtype[Any]) -> np.ndarray:
        """Values of a tensor that is stored inside the graph."""
        raw, integers = fields.get("raw"), fields["ints*"]
        self._expect(sum(map(bool, (raw, integers, fields["floats*"], fields["doubles*"]))) <= 1)
        if raw:
            self._expect((raw[1] - raw[0]) % dtype.itemsize == 0)
            return np.frombuffer(self._data, dtype, (raw[1] - raw[0]) // dtype.itemsize, raw[0])
        if integers:
            bits = np.array(list(self._integers(integers)), np.uint64).astype(np.uint16 if dtype == "<f2" else np.int64)
            return bits.view(dtype) if dtype == "<f2" else bits.astype(dtype)
        kind = "floats*" if dtype == "<f4" else "doubles*"
        return np.array(self._numbers(fields[kind], dtype.str), dtype)

    def _integers(self, spans: list[Any]) -> Iterator[int]:
        """Values of a repeated integer, packed or not."""
        for span in spans:
            if isinstance(span, int):
                yield span
                continue
            position, end = span
            while position < end:
                value, position = self._varint(position, end, 10)
                yield value

    def _numbers(self, spans: list[Any], dtype: str) -> list[float]:
        """Values of a repeated floating-point number, packed or not."""
        found: list[float] = []
        for span in spans:
            if isinstance(span, tuple):
                start, end = span
                self._expect((end - start) % np.dtype(dtype).itemsize == 0)
                found += np.frombuffer(self._data[start:end], dtype).tolist()
            else:
                found.append(span)
        return found

    def text(self, span: tuple[int, int] | None) -> str:
        if span is None:
            return ""
        self._expect(isinstance(span, tuple))
        try:
            return self._data[span[0] : span[1]].decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{self._where}: not a well-formed ONNX model") from error

    def message(self, kind: str, known: Mapping[int, str], start: int, end: int) -> dict[str, Any]:
        """Fields of the message data[start:end] by name: numbers, and spans of what has a length."""
        found: dict[str, Any] = {name: [] for name in known.values() if name.endswith("*")}
        for number, value in self._fields(start, end):
            name = known.get(number)
            if name is None:
                what = _REFUSED.get((kind, number), f"field {number} of its {kind}")
                raise BundleError(f"{self._where}: has {what}, which the graph of a bundle may not have")
            if name.endswith("*"):
                found[name].append(value)
            elif name != "-":
                self._expect(name not in found)
                found[name] = value
        for name in ("graph", "tensor", "raw"):
            self._expect(name not in found or isinstance(found[name], tuple))
        for name in ("int", "type", "location", "version"):
            self._expect(isinstance(found.get(name, 0), int))
        for name in ("node*", "tensor*", "input*", "output*", "opset*", "attribute*", "external*"):
            self._expect(all(isinstance(span, tuple) for span in found.get(name, ())))
        return found

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, Any]]:
        """Number and value of each field: an integer, a float, or the span of what has a length."""
        position = start
        while position < end:
            tag, position = self._varint(position, end, 5)
            number, wire = tag >> 3, tag & 7
            self._expect(0 < number < 1 << 29)
            if wire == _VARINT:
                value, position = self._varint(position, end, 10)
                yield number, value
                continue
            if wire == _BYTES:
                size, position = self._varint(position, end, 5)
            else:
                self._expect(wire in (_FIXED64, _FIXED32))
                size = 8 if wire == _FIXED64 else 4
            self._expect(size <= end - position)
            span = position, position + size
            position += size
            yield number, span if wire == _BYTES else float(np.frombuffer(self._data, f"<f{size}", 1, span[0])[0])

    def _varint(self, position: int, end: int, max_bytes: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 7 * max_bytes, 7):
            self._expect(position < end)
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
        raise BundleError(f"{self._where}: not a well-formed ONNX model")

    def _expect(self, condition: bool) -> None:
        if not condition:
            raise BundleError(f"{self._where}: not a well-formed ONNX model")


def _signed(value: int) -> int:
    """The number that a varint stores in two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value
