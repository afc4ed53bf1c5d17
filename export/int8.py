"""Conversion of graphs to 8-bit matrix products, with the integers that a bundle stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from ..runtime.bundles.int8 import INTEGERS, SCALE
from ..runtime.bundles.schema import WEIGHTS


def to_int8(graph: bytes, stored: Mapping[str, np.ndarray]) -> bytes:
    """Convert a graph so that products with matrices stored in 8 bits are computed in 8 bits.

    The other operand is quantized at run time with one scale for the whole tensor, so a result depends slightly on the
    rest of its batch.

    Args:
        graph: from `graphs.to_onnx`.
        stored: weights as in the bundle's file.
    """
    model = onnx.load_from_string(graph)
    producers = {output: node for node in model.graph.node for output in node.output}
    nodes: list[NodeProto] = []
    quantized: list[str] = []
    for node in model.graph.node:
        matrix = _matrix(node, producers)
        if matrix + INTEGERS not in stored:
            nodes.append(node)
            continue
        nodes += _product(node, matrix)
        quantized.append(matrix)
    used = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    nodes = [node for node in nodes if set(node.output) & used]  # drops transposed weights without a reader
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)
    for matrix in quantized:
        for name, kind in ((matrix + INTEGERS, TensorProto.INT8), (matrix + SCALE, TensorProto.FLOAT)):
            tensor = TensorProto(name=name, data_type=kind, dims=stored[name].shape)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=WEIGHTS)
            model.graph.initializer.append(tensor)
    return model.SerializeToString()


def _matrix(node: NodeProto, producers: Mapping[str, NodeProto]) -> str:
    """Name of the weight [F, E] of a node that computes x [..., E] -> [..., F]; "" for other nodes."""
    if node.op_type == "Gemm":
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = settings.get("transB", 0) == 1 and not settings.get("transA", 0)
        return node.input[1] if plain and settings.get("alpha", 1) == settings.get("beta", 1) == 1 else ""
    if node.op_type == "MatMul" and node.input[1] in producers:
        transposed = producers[node.input[1]]
        return transposed.input[0] if transposed.op_type == "Transpose" else ""
    return ""


def _product(node: NodeProto, matrix: str) -> Iterator[NodeProto]:
    """Nodes that replace a product of x [..., E] and a matrix [F, E] -> [..., F]."""
    x, name = node.input[0], node.output[0]
    bias = node.input[2] if len(node.input) > 2 else None
    scaled = f"{name}.scaled" if bias else name
    yield helper.make_node("DynamicQuantizeLinear", [x], [f"{name}.x", f"{name}.x_scale", f"{name}.x_zero"])
    yield helper.make_node("Transpose", [matrix + INTEGERS], [f"{name}.matrix"], perm=[1, 0])
    yield helper.make_node("MatMulInteger", [f"{name}.x", f"{name}.matrix", f"{name}.x_zero"], [f"{name}.sums"])
    yield helper.make_node("Cast", [f"{name}.sums"], [f"{name}.wide"], to=TensorProto.FLOAT)
    yield helper.make_node("Transpose", [matrix + SCALE], [f"{name}.rows"], perm=[1, 0])
    yield helper.make_node("Mul", [f"{name}.x_scale", f"{name}.rows"], [f"{name}.scale"])
    yield helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [scaled])
    if bias:
        yield helper.make_node("Add", [scaled, bias], [name])
