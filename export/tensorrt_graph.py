"""A bundle's graph as TensorRT takes it: weights inside, operators that it knows, casts where products are in half.

Networks in TensorRT are strongly typed (since 11 always, before that if asked for), so precision is a matter of casts.
What changes here changes `runtime.plans.BUILDER`.
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

# Layer safety: products may be in half; what carries values is in what they come in; all else, LayerNorm, softmax,
# exponentials, sums and residuals, stays in fp32. So does a product that is a result but for what AFTER_HEAD does with
# constants.
PRODUCTS = ("Conv", "Einsum", "Gemm", "MatMul")
MOVES = ("Concat", "Expand", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose")
CARRIERS = (*MOVES, "Relu", "Unsqueeze")
AFTER_HEAD = ("Add", "Div", "Identity", "Mul", "Reshape", "Squeeze", "Sub", "Transpose", "Unsqueeze")
FP32_GRAPHS = ("guide",)  # gradients may be too small for half
_HALF = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def prepared(bundle: Bundle[Any], name: str, precision: str = "fp32") -> onnx.ModelProto:
    """One of a bundle's graphs for TensorRT.

    Args:
        bundle: a verified bundle.
        name: of the graph.
        precision: of its products, "fp32", "fp16" or "bf16".
    Raises:
        BundleError: the graph has something that TensorRT is not documented to take.
        InputError: no such precision.
    """
    check_precision(precision)
    model = lowered(inlined(bundle, name))
    if precision != "fp32" and name not in FP32_GRAPHS:
        model = halved(model, _HALF[precision])
    if problems := unsupported(model):
        where = bundle.path / bundle.manifest.graphs[name].file
        raise BundleError(f"{where}: not for TensorRT {DOCUMENT['tensorrt']}: {', '.join(problems)}")
    return model


def inlined(bundle: Bundle[Any], name: str) -> onnx.ModelProto:
    """The graph with its weights in it."""
    file = bundle.manifest.graphs[name].file
    external = bundle.initializers(file)
    model = onnx.load_model_from_string(bundle.files[file])
    for tensor in model.graph.initializer:
        if tensor.name in external:
            array = np.ascontiguousarray(bundle.weights[tensor.name])
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.DEFAULT
            tensor.raw_data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return model


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same in operators that TensorRT takes, where a few that it does not take are written in others."""
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    lowering = _Lowering(model.graph)
    nodes = [made for node in model.graph.node for made in lowering.of(node)]
    used = {name for node in nodes for name in node.input}
    _replace(model.graph.node, [n for n in nodes if n.op_type != "SplitToSequence" or n.output[0] in used])
    del model.graph.value_info[:]
    return model


class _Lowering:
    """Writes nodes in others; those that it cannot are left as they are."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        values = (*graph.input, *graph.value_info)
        self._types = {value.name: value.type.tensor_type for value in values}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
        self._sequences: dict[str, onnx.NodeProto] = {}
        self._made = 0

    def of(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        if node.op_type == "SplitToSequence":
            self._sequences[node.output[0]] = node
        elif node.op_type == "SequenceAt":
            return self._part(node)
        elif node.op_type == "LayerNormalization" and len(node.output) > 1:
            return self._layer_norm(node)
        elif node.op_type == "ScatterND" and _attributes(node).get("reduction") == b"add":
            return self._scattered(node)
        elif node.op_type == "Pad" and self._types[node.output[0]].elem_type == TensorProto.BOOL:
            return self._padded(node)
        return [node]

    def _part(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """One of the parts that SplitToSequence makes: a slice."""
        split = self._sequences[node.input[0]]
        index = int(self._value(node.input[1]).item())
        if len(split.input) < 2 or index < 0:
            return [node]
        sizes = self._value(split.input[1])
        begin, end = (int(sizes) * n if sizes.ndim == 0 else int(sizes[:n].sum()) for n in (index, index + 1))
        at = [self._constant([n]) for n in (begin, end, _attributes(split).get("axis", 0))]
        return [helper.make_node("Slice", [split.input[0], *at], node.output)]

    def _layer_norm(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """y = (x - mean) / sqrt(variance + epsilon) * weight + bias, of which the mean and 1 / sqrt are given, too."""
        about = _attributes(node)
        x, weight, *bias = node.input
        y, mean, scale = (*node.output, self._name(), self._name())[:3]
        axis = self._constant([about.get("axis", -1)])
        centred, square, variance, sum_, root, unit, weighted = (self._name() for _ in range(7))
        epsilon = self._constant(about.get("epsilon", 1e-5), np.float32)
        steps = [
            ("ReduceMean", (x, axis), mean),
            ("Sub", (x, mean), centred),
            ("Mul", (centred, centred), square),
            ("ReduceMean", (square, axis), variance),
            ("Add", (variance, epsilon), sum_),
            ("Sqrt", (sum_,), root),
            ("Reciprocal", (root,), scale),
            ("Mul", (centred, scale), unit),
            ("Mul", (unit, weight), weighted if bias else y),
            *([("Add", (weighted, *bias), y)] if bias else []),
        ]
        return [helper.make_node(op, inputs, [output]) for op, inputs, output in steps]

    def _scattered(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """Rows added to those of constant numbers, [K, 1]: a product with a matrix of ones and zeros."""
        data, indices, updates = node.input
        shape = self._types[data].shape.dim
        if indices not in self._constants or not shape or not shape[0].dim_value:
            return [node]
        numbers = self._value(indices)
        if numbers.ndim != 2 or numbers.shape[1] != 1:
            return [node]
        ones = np.zeros((shape[0].dim_value, len(numbers)), np.float32)
        ones[numbers[:, 0], np.arange(len(numbers))] = 1
        rows, product, sizes, added = (self._name() for _ in range(4))
        return [
            helper.make_node("Reshape", [updates, self._constant([len(numbers), -1])], [rows]),
            helper.make_node("MatMul", [self._constant(ones, np.float32), rows], [product]),
            helper.make_node("Shape", [data], [sizes]),
            helper.make_node("Reshape", [product, sizes], [added]),
            helper.make_node("Add", [data, added], node.output),
        ]

    def _padded(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """Truth padded as whole numbers."""
        whole, value, padded = (self._name() for _ in range(3))
        given = list(node.input)
        casts = [helper.make_node("Cast", [given[0]], [whole], to=TensorProto.INT32)]
        given[0] = whole
        if len(given) > 2 and given[2]:
            casts.append(helper.make_node("Cast", [given[2]], [value], to=TensorProto.INT32))
            given[2] = value
        pad = helper.make_node("Pad", given, [padded])
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
        self._made += 1
        return f"lowered.{self._made}"


def halved(model: onnx.ModelProto, half: int) -> onnx.ModelProto:
    """The same with products in another type, FLOAT16 or BFLOAT16; inputs and outputs stay as they are."""
    typed = onnx.shape_inference.infer_shapes(model).graph
    values = (*typed.input, *typed.output, *typed.value_info)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    floats |= weights.keys()
    heads, results = _heads(model.graph), {value.name for value in model.graph.output}
    now: dict[str, int] = dict.fromkeys(floats, TensorProto.FLOAT)  # value -> its type
    others: dict[str, str] = {}  # value -> the same in the other type
    nodes: list[onnx.NodeProto] = []

    def as_type(name: str, kind: int) -> str:
        if name not in now or now[name] == kind:
            return name
        if name not in others:
            others[name] = f"{name}.{TensorProto.DataType.Name(kind)}"
            if name in weights:
                model.graph.initializer.append(_in_half(weights[name], others[name], half))
            else:
                nodes.append(helper.make_node("Cast", [name], [others[name]], to=kind))
        return others[name]

    for node in model.graph.node:
        given = [name for name in node.input if name in floats]
        carried = node.op_type in CARRIERS and given and all(now[name] == half for name in given)
        product = node.op_type in PRODUCTS and node.output[0] not in heads
        in_half = (carried or product) and _takes(node.op_type, model.opset_import[0].version, half)
        kind = half if in_half else TensorProto.FLOAT
        _replace(node.input, [as_type(name, kind) for name in node.input])
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in floats and in_half:
                now[name] = half
                if name in results:  # in fp32 under its own name
                    others[name] = node.output[i] = f"{name}.{TensorProto.DataType.Name(half)}"
                    nodes.append(helper.make_node("Cast", [others[name]], [name], to=TensorProto.FLOAT))
                    now[name] = TensorProto.FLOAT
    used = {name for node in nodes for name in node.input}
    _replace(model.graph.node, nodes)
    _replace(model.graph.initializer, [tensor for tensor in model.graph.initializer if tensor.name in used])
    del model.graph.value_info[:]
    return model


def _heads(graph: onnx.GraphProto) -> set[str]:
    """Results of the products that are an output, but for a bias, a scale and the shape."""
    weights = {tensor.name for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    look, found = [value.name for value in graph.output], set()
    while look:
        node = made.get(look.pop())
        if node is not None and node.op_type in PRODUCTS:
            found.add(node.output[0])
        elif node is not None and node.op_type in AFTER_HEAD:
            computed = [name for name in node.input if name not in weights]
            look += computed[:1] if len(computed) == 1 or node.op_type == "Reshape" else []
    return found


def _takes(operator: str, opset: int, kind: int) -> bool:
    """Whether ONNX has an operator in a type: Conv in BFLOAT16 it has from opset 22 on only."""
    schema = onnx.defs.get_schema(operator, opset)
    return f"tensor({TensorProto.DataType.Name(kind).lower()})" in schema.inputs[0].types


def _in_half(tensor: TensorProto, name: str, half: int) -> TensorProto:
    array = numpy_helper.to_array(tensor).astype("<f4")
    if half == TensorProto.FLOAT16:
        data = array.astype("<f2").tobytes()
    else:  # rounded to the nearest, ties to even
        bits = array.view("<u4")
        data = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return helper.make_tensor(name, half, tensor.dims, data, raw=True)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _replace(field: Any, values: Sequence[Any]) -> None:
    del field[:]
    field.extend(values)
