"""ONNX graphs whose weights live outside them, once, in the bundle's safetensors file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..runtime.manifest import WEIGHTS

INLINE = 64  # elements of a constant that may stay inside a graph


class Call(nn.Module):
    """A method of a network as a module of its own, so that it can be exported."""

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
    """A graph of `network`'s `method`; its weights are external initialisers, named as in the network's state dict or,
    if given, in `weights`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            Call(network, method),
            tuple(inputs.values()),
            dynamo=True,
            optimize=False,  # folding constants would put copies of weights into the graph; the runtime does it at load
            verbose=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=(tuple(dynamic),),
        )
    assert program is not None
    model = program.model_proto
    strip_debug_text(model)
    bind_weights(model, dict(network.state_dict()) if weights is None else weights)
    return model.SerializeToString()


def bind_weights(model: onnx.ModelProto, weights: dict[str, Tensor]) -> None:
    """Turn every initialiser into a reference to the weights file, under its name there.

    Raises:
        ValueError: a large constant that is not one of the weights; it would be stored in every graph.
    """
    renamed = {}
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("network.")
        if name in weights:
            array = onnx.numpy_helper.to_array(tensor)
            if not np.array_equal(array, weights[name].numpy()):
                raise ValueError(f"initialiser {tensor.name} differs from the weight of that name")
            renamed[tensor.name] = tensor.name = name
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=WEIGHTS)
        elif np.prod(tensor.dims) > INLINE:
            raise ValueError(f"constant {tensor.name} {list(tensor.dims)} is not a weight of the network")
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name.removeprefix("network."), renamed.get(name, name))


def strip_debug_text(model: onnx.ModelProto) -> None:
    """Drop what the exporter wrote down about its own stack, paths of this machine among it."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.value_info[:]
