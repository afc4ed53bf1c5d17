"""Prepares a bundle's graph for TensorRT: inlined weights, supported operators, casts for products in half precision.

Networks in TensorRT are strongly typed (always since 11, on request before), so casts determine the precision.
A change here requires a new `runtime.backends.tensorrt_cache.BUILDER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..runtime.backends.tensorrt_cache import check_precision
from ..runtime.bundles.bundle import Bundle
from ..runtime.errors import BundleError
from .tensorrt_operators import DOCUMENT, unsupported

# Numerical safety: matrix products can be in half precision; operators that only move values keep the type of their
# input; everything else, such as LayerNorm, softmax, exponentials, sums and residuals, stays in fp32. So does a product
# that is an output of the graph, possibly after operators of AFTER_HEAD with constants.
PRODUCTS = ("Conv", "Einsum", "Gemm", "MatMul")
MOVES = ("Concat", "Expand", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose")
CARRIERS = (*MOVES, "Relu", "Unsqueeze")
AFTER_HEAD = ("Add", "Div", "Identity", "Mul", "Reshape", "Squeeze", "Sub", "Transpose", "Unsqueeze")
FP32_GRAPHS = ("guide", "guide_lengths")  # gradients can be too small for half precision
_HALF = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def prepare(bundle: Bundle[Any], name: str, precision: str = "fp32") -> onnx.ModelProto:
    """Prepare one of a bundle's graphs for TensorRT.

    Args:
        bundle: a verified bundle.
        name: of the graph.
        precision: of its matrix products, "fp32", "fp16" or "bf16".
    Raises:
        BundleError: the graph uses something that TensorRT does not support according to its documentation.
        InputError: unknown precision.
    """
    check_precision(precision)
    model = lower(inline_weights(bundle, name))
    if precision != "fp32" and name not in FP32_GRAPHS:
        model = to_half(model, _HALF[precision])
    if problems := unsupported(model):
        where = bundle.path / bundle.manifest.graphs[name].file
        raise BundleError(f"{where}: not supported by TensorRT {DOCUMENT['tensorrt']}: {', '.join(problems)}")
    return model


def inline_weights(bundle: Bundle[Any], name: str) -> onnx.ModelProto:
    """The graph with its weights inside."""
    file = bundle.manifest.graphs[name].file
    external = bundle.read_graph(file).external
    model = onnx.load_model_from_string(bundle.files[file])
    for tensor in model.graph.initializer:
        if tensor.name in external:
            array = np.ascontiguousarray(bundle.weights[tensor.name])
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.DEFAULT
            tensor.raw_data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return model


def lower(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace operators that TensorRT does not support by others, where possible."""
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    lowering = _Lowering(model.graph)
    nodes = [new for node in model.graph.node for new in lowering.replace(node)]
    used = {name for node in nodes for name in node.input}
    _replace(model.graph.node, [n for n in nodes if n.op_type != "SplitToSequence" or n.output[0] in used])
    del model.graph.value_info[:]
    return model


class _Lowering:
    """Replaces nodes by supported ones; others are left unchanged."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        values = (*graph.input, *graph.value_info)
        self._types = {value.name: value.type.tensor_type for value in values}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
        self._sequences: dict[str, onnx.NodeProto] = {}
        self._count = 0

    def replace(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        if node.op_type == "SplitToSequence":
            self._sequences[node.output[0]] = node
        elif node.op_type == "SequenceAt":
            return self._lower_sequence_at(node)
        elif node.op_type == "LayerNormalization" and len(node.output) > 1:
            return self._lower_layer_norm(node)
        elif node.op_type == "ScatterND" and _attributes(node).get("reduction") == b"add":
            return self._lower_scatter(node)
        elif node.op_type == "Pad" and self._types[node.output[0]].elem_type == TensorProto.BOOL:
            return self._lower_bool_pad(node)
        return [node]

    def _lower_sequence_at(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """Part of a SplitToSequence, as a slice."""
        split = self._sequences[node.input[0]]
        index = int(self._value(node.input[1]).item())
        if len(split.input) < 2 or index < 0:
            return [node]
        sizes = self._value(split.input[1])
        begin, end = (int(sizes) * n if sizes.ndim == 0 else int(sizes[:n].sum()) for n in (index, index + 1))
        at = [self._constant([n]) for n in (begin, end, _attributes(split).get("axis", 0))]
        return [helper.make_node("Slice", [split.input[0], *at], node.output)]

    def _lower_layer_norm(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """y = (x - mean) / sqrt(variance + epsilon) * weight + bias; the mean and 1 / sqrt are outputs, too."""
        attributes = _attributes(node)
        x, weight, *bias = node.input
        y, mean, scale = (*node.output, self._name(), self._name())[:3]
        axis = self._constant([attributes.get("axis", -1)])
        centered, square, variance, sum_, root, unit, weighted = (self._name() for _ in range(7))
        epsilon = self._constant(attributes.get("epsilon", 1e-5), np.float32)
        steps = [
            ("ReduceMean", (x, axis), mean),
            ("Sub", (x, mean), centered),
            ("Mul", (centered, centered), square),
            ("ReduceMean", (square, axis), variance),
            ("Add", (variance, epsilon), sum_),
            ("Sqrt", (sum_,), root),
            ("Reciprocal", (root,), scale),
            ("Mul", (centered, scale), unit),
            ("Mul", (unit, weight), weighted if bias else y),
            *([("Add", (weighted, *bias), y)] if bias else []),
        ]
        return [helper.make_node(op, inputs, [output]) for op, inputs, output in steps]

    def _lower_scatter(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """Add rows at constant indices [K, 1], as a product with a matrix of ones and zeros."""
        data, indices, updates = node.input
        shape = self._types[data].shape.dim
        if indices not in self._constants or not shape or not shape[0].dim_value:
            return [node]
        index = self._value(indices)
        if index.ndim != 2 or index.shape[1] != 1:
            return [node]
        ones = np.zeros((shape[0].dim_value, len(index)), np.float32)
        ones[index[:, 0], np.arange(len(index))] = 1
        rows, product, sizes, added = (self._name() for _ in range(4))
        return [
            helper.make_node("Reshape", [updates, self._constant([len(index), -1])], [rows]),
            helper.make_node("MatMul", [self._constant(ones, np.float32), rows], [product]),
            helper.make_node("Shape", [data], [sizes]),
            helper.make_node("Reshape", [product, sizes], [added]),
            helper.make_node("Add", [data, added], node.output),
        ]

    def _lower_bool_pad(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """Pad booleans as integers."""
        integers, value, padded = (self._name() for _ in range(3))
        inputs = list(node.input)
        casts = [helper.make_node("Cast", [inputs[0]], [integers], to=TensorProto.INT32)]
        inputs[0] = integers
        if len(inputs) > 2 and inputs[2]:
            casts.append(helper.make_node("Cast", [inputs[2]], [value], to=TensorProto.INT32))
            inputs[2] = value
        pad = helper.make_node("Pad", inputs, [padded])
        pad.attribute.extend(node.attribute)
        return [*casts, pad, helper.make_node("Cast", [padded], node.output, to=TensorProto.BOOL)]

    def _value(self, name: str) -> np.ndarray:
        array: np.ndarray = numpy_helper.to_array(self._constants[name])
        return array

    def _constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def _name(self) -> str:
        self._count += 1
        return f"lowered.{self._count}"


def to_half(model: onnx.ModelProto, half: int) -> onnx.ModelProto:
    """Convert matrix products to another type, FLOAT16 or BFLOAT16; inputs and outputs of the graph keep theirs."""
    typed = onnx.shape_inference.infer_shapes(model).graph
    values = (*typed.input, *typed.output, *typed.value_info)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    floats |= weights.keys()
    heads, results = _heads(model.graph), {value.name for value in model.graph.output}
    types: dict[str, int] = dict.fromkeys(floats, TensorProto.FLOAT)  # value -> its type
    casts: dict[str, str] = {}  # value -> its copy in the other type
    nodes: list[onnx.NodeProto] = []

    def as_type(name: str, kind: int) -> str:
        if name not in types or types[name] == kind:
            return name
        if name not in casts:
            casts[name] = f"{name}.{TensorProto.DataType.Name(kind)}"
            if name in weights:
                model.graph.initializer.append(_in_half(weights[name], casts[name], half))
            else:
                nodes.append(helper.make_node("Cast", [name], [casts[name]], to=kind))
        return casts[name]

    for node in model.graph.node:
        inputs = [name for name in node.input if name in floats]
        carried = node.op_type in CARRIERS and inputs and all(types[name] == half for name in inputs)
        product = node.op_type in PRODUCTS and node.output[0] not in heads
        in_half = (carried or product) and _supports(node.op_type, model.opset_import[0].version, half)
        kind = half if in_half else TensorProto.FLOAT
        _replace(node.input, [as_type(name, kind) for name in node.input])
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in floats and in_half:
                types[name] = half
                if name in results:  # outputs stay in fp32
                    casts[name] = node.output[i] = f"{name}.{TensorProto.DataType.Name(half)}"
                    nodes.append(helper.make_node("Cast", [casts[name]], [name], to=TensorProto.FLOAT))
                    types[name] = TensorProto.FLOAT
    used = {name for node in nodes for name in node.input}
    _replace(model.graph.node, nodes)
    _replace(model.graph.initializer, [tensor for tensor in model.graph.initializer if tensor.name in used])
    del model.graph.value_info[:]
    return model


def _heads(graph: onnx.GraphProto) -> set[str]:
    """Products that are outputs of the graph, up to a bias, a scale and a change of shape."""
    weights = {tensor.name for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    names, heads = [value.name for value in graph.output], set()
    while names:
        node = producers.get(names.pop())
        if node is not None and node.op_type in PRODUCTS:
            heads.add(node.output[0])
        elif node is not None and node.op_type in AFTER_HEAD:
            computed = [name for name in node.input if name not in weights]
            names += computed[:1] if len(computed) == 1 or node.op_type == "Reshape" else []
    return heads


def _supports(operator: str, opset: int, kind: int) -> bool:
    """True if ONNX defines an operator for a type, such as Conv for BFLOAT16 since opset 22."""
    schema = onnx.defs.get_schema(operator, opset)
    return f"tensor({TensorProto.DataType.Name(kind).lower()})" in schema.inputs[0].types


def _in_half(tensor: TensorProto, name: str, half: int) -> TensorProto:
    array = numpy_helper.to_array(tensor).astype("<f4")
    if half == TensorProto.FLOAT16:
        data = array.astype("<f2").tobytes()
    else:  # rounds to the nearest, ties to even
        bits = array.view("<u4")
        data = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return helper.make_tensor(name, half, tensor.dims, data, raw=True)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _replace(field: Any, values: Sequence[Any]) -> None:
    del field[:]
    field.extend(values)
