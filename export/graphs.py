"""Export of ONNX graphs whose weights are stored once, in the bundle's safetensors file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnxscript import ir
from torch import Tensor, nn
from torch.export import Dim

from ..runtime.bundles.schema import WEIGHTS
from ..runtime.bundles.signatures import SIGNATURES, OpenSize

INLINE = 64  # largest number of elements of a constant inside a graph


class Call(nn.Module):
    """Module that calls a method of a network, so that the method can be exported."""

    def __init__(self, network: nn.Module, method: Callable[..., tuple[Tensor, ...]]):
        super().__init__()
        self.network = network
        self.method = method

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.method(*inputs)


def to_onnx(
    network: nn.Module,
    method: Callable[..., tuple[Tensor, ...]],
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    dynamic: Sequence[dict[int, Any]],
    weights: dict[str, Tensor] | None = None,
) -> bytes:
    """ONNX graph of a method of a network.

    Its weights are external initializers, named as in `weights`, by default the network's state dict.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            Call(network, method),
            tuple(inputs.values()),
            dynamo=True,
            optimize=False,  # it would fold weights into constants; see `simplify`
            verbose=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=(tuple(dynamic),),
        )
    assert program is not None
    weights = dict(network.state_dict()) if weights is None else weights
    detach_weights(program.model, weights)
    model = program.model_proto
    strip_debug_text(model)
    rename_weights(model, weights)
    return simplify(model).SerializeToString()


def export_graph(
    network: nn.Module,
    method: Callable[..., tuple[Tensor, ...]],
    task: str,
    name: str,
    sizes: Mapping[str, int],
    *,
    weights: dict[str, Tensor] | None = None,
    largest: Mapping[str, int] = MappingProxyType({}),
) -> bytes:
    """`to_onnx` with the inputs, outputs and open sizes of one of a task's graphs.

    Args:
        sizes: of the model, see `signatures`.
        largest: limits of open sizes.
    """
    signature = SIGNATURES[task].graphs[name]
    open_sizes = SIGNATURES[task].open_sizes(name)
    axes = {size: _dimension(size, open_sizes, largest) for size in open_sizes}
    dynamic = [
        {axis: axes[size] for axis, size in enumerate(spec.shape) if size in axes} for spec in signature.inputs.values()
    ]
    inputs = example_inputs(task, name, sizes)
    return to_onnx(network, method, inputs, tuple(signature.outputs), dynamic, weights)


def example_inputs(task: str, name: str, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Inputs to trace one of a task's graphs with."""
    signature, open_sizes = SIGNATURES[task].graphs[name], SIGNATURES[task].open_sizes(name)
    known_sizes = {**sizes, **{size: about.example for size, about in open_sizes.items()}}
    inputs = {}
    for tensor, spec in signature.inputs.items():
        shape = [known_sizes[size] if isinstance(size, str) else size for size in spec.shape]
        inputs[tensor] = torch.ones(shape, dtype=torch.int64) if spec.dtype == "int64" else torch.randn(shape)
    return inputs


def _dimension(name: str, open_sizes: Mapping[str, OpenSize], largest: Mapping[str, int]) -> Any:
    about = open_sizes[name]
    if about.multiple is not None:
        factor, base = about.multiple
        return factor * _dimension(base, open_sizes, largest)
    smallest = about.engine[0] if about.engine is not None and about.engine[0] > 1 else None
    return Dim(name, min=smallest, max=largest.get(name))


def detach_weights(model: Any, weights: dict[str, Tensor]) -> None:
    """Turn every initializer of an `ir.Model` into a reference to the weights file, before it is copied.

    Raises:
        ValueError: a large constant that is not one of the weights; it would be stored in every graph.
    """
    for name, value in model.graph.initializers.items():
        tensor, key = value.const_value, name.removeprefix("network.")
        if key in weights:
            if not np.array_equal(tensor.numpy(), weights[key].numpy()):
                raise ValueError(f"initializer {name} differs from the weight of that name")
            value.const_value = ir.ExternalTensor(WEIGHTS, None, None, tensor.dtype, shape=tensor.shape, name=name)
        elif tensor.size > INLINE:
            raise ValueError(f"constant {name} {list(tensor.shape)} is not a weight of the network")


def rename_weights(model: onnx.ModelProto, weights: dict[str, Tensor]) -> None:
    """Give the weights their names in the file."""
    renamed = {}
    for tensor in model.graph.initializer:
        if (name := tensor.name.removeprefix("network.")) in weights:
            renamed[tensor.name] = tensor.name = name
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name.removeprefix("network."), renamed.get(name, name))


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold shapes and other small constants, so that the graph loads faster.

    Weights are treated as inputs meanwhile, so that nothing computed from them is folded.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.external_data}
    constants = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims) for name, tensor in weights.items()
    )
    _replace(model.graph.initializer, constants)
    model = onnxscript.optimizer.optimize(model, input_size_limit=INLINE, output_size_limit=INLINE)
    used = {name for node in model.graph.node for name in node.input}
    _replace(model.graph.input, [value for value in model.graph.input if value.name not in weights])
    model.graph.initializer.extend(tensor for name, tensor in weights.items() if name in used)
    strip_debug_text(model)
    return model


def _replace(field: Any, values: Sequence[Any]) -> None:
    del field[:]
    field.extend(values)


def strip_debug_text(model: onnx.ModelProto) -> None:
    """Remove the exporter's debug information, which contains paths of the machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.value_info[:]
