"""Checks graphs against the operators and types that TensorRT documents as supported, listed in the JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

DOCUMENT = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_NAMES = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64"}  # other names are the same


def unsupported(model: onnx.ModelProto) -> list[str]:
    """Operators, types and attributes of a graph that are not in TensorRT's support matrix, one line each.

    Types are checked where an operator supports several: the BOOL output of Less is not listed.
    """
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    first, last = DOCUMENT["opsets"]
    problems = set() if first <= opset <= last else {f"opset {opset}, expected {first} to {last}"}
    typed = onnx.shape_inference.infer_shapes(model)
    problems.update(_check_graph(typed.graph, opset, {}, set()))
    return sorted(problems)


def _check_graph(graph: onnx.GraphProto, opset: int, types: dict[str, int], constants: set[str]) -> Iterator[str]:
    values = (*graph.input, *graph.output, *graph.value_info)
    types = types | {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    constants = constants | {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        yield from _check_node(node, opset, types, constants)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _check_graph(inner, opset, types, constants)


def _check_node(node: onnx.NodeProto, opset: int, types: dict[str, int], constants: set[str]) -> Iterator[str]:
    known: dict[str, Any] | None = DOCUMENT["operators"].get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if known is None:
        yield f"{node.domain}{'.' if node.domain else ''}{node.op_type}"
        return
    schema = onnx.defs.get_schema(node.op_type, opset)
    choices = {c.type_param_str for c in schema.type_constraints if len(c.allowed_type_strs) > 1}
    for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for i, name in enumerate(names):
            kind = onnx.TensorProto.DataType.Name(types.get(name, 0))
            kind = _NAMES.get(kind, kind)
            if name and formal[min(i, len(formal) - 1)].type_str in choices and kind not in known["types"]:
                yield f"{node.op_type} of {kind}"
    if len([name for name in node.output if name]) > known.get("outputs", len(node.output)):
        yield f"{node.op_type} with {len(node.output)} outputs"
    for i in known.get("constant", ()):
        if i < len(node.input) and node.input[i] and node.input[i] not in constants:
            yield f"{node.op_type} whose input {i} is computed"
    for attribute in node.attribute:
        supported = known.get("attributes", {}).get(attribute.name)
        if supported is not None and attribute.s.decode() != supported:
            yield f"{node.op_type} with {attribute.name} {attribute.s.decode()}"
