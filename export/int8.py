"""Graphs whose matrix products are of 8-bit integers, over the integers that a bundle stores anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from ..runtime.bundles.int8 import INTEGERS, SCALE
from ..runtime.bundles.schema import WEIGHTS


def to_int8(graph: bytes, stored: Mapping[str, np.ndarray]) -> bytes:
    """The same graph; products with a matrix that is stored in 8 bits are computed so.

    What a matrix is multiplied with is brought to 8 bits when it is there, with one scale for all of it, so a result
    depends a little on what is computed together with it.

    Args:
        graph: made by `graphs.to_onnx`.
        stored: weights as in the bundle's file.
    """
    model = onnx.load_from_string(graph)
    made = {output: node for node in model.graph.node for output in node.output}
    nodes: list[NodeProto] = []
    used: list[str] = []
    for node in model.graph.node:
        matrix = _matrix(node, made)
        if matrix + INTEGERS not in stored:
            nodes.append(node)
            continue
        nodes += _product(node, matrix)
        used.append(matrix)
    read = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    nodes = [node for node in nodes if set(node.output) & read]  # transposed weights that nobody reads any more
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for matrix in used:
        for name, kind in ((matrix + INTEGERS, TensorProto.INT8), (matrix + SCALE, TensorProto.FLOAT)):
            tensor = TensorProto(name=name, data_type=kind, dims=stored[name].shape)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=WEIGHTS)
            model.graph.initializer.append(tensor)
    return model.SerializeToString()


def _matrix(node: NodeProto, made: Mapping[str, NodeProto]) -> str:
    """The weight [F, E] whose rows a node's rows [..., E] are multiplied with; "" where it does nothing like that."""
    if node.op_type == "Gemm":
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = settings.get("transB", 0) == 1 and not settings.get("transA", 0)
        return node.input[1] if plain and settings.get("alpha", 1) == settings.get("beta", 1) == 1 else ""
    if node.op_type == "MatMul" and node.input[1] in made:
        transposed = made[node.input[1]]
        return transposed.input[0] if transposed.op_type == "Transpose" else ""
    return ""


def _product(node: NodeProto, matrix: str) -> Iterator[NodeProto]:
    """What stands in for a product: x [..., E] and a matrix [F, E] -> [..., F]."""
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
