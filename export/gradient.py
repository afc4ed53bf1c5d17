"""The gradient of a function of a network, written out as operations, so that it can be part of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel


def with_gradient(network: nn.Module, value: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> GraphModule:
    """A module of `inputs` that gives the gradient of sum(`value`) with respect to the first, and `value`.

    Sizes stay open, as in `inputs`: use sizes that differ from each other and from 1. Its weights have the names that
    they have in `network`.
    """

    def both(first: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = first.detach().requires_grad_()
            found = value(leaf, *others)
            (gradient,) = torch.autograd.grad(found.sum(), leaf)
        return gradient.detach(), found.detach()

    with sdpa_kernel(SDPBackend.MATH):  # others have no decomposition
        traced = make_fx(
            both,
            decomposition_table=dict(core_aten_decompositions()),
            tracing_mode="symbolic",
            _allow_non_fake_inputs=True,  # the weights
        )(*inputs)
    names = {id(tensor): name for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    tensors = {}
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            tensor = getattr(traced, node.target)
            node.target = names.get(id(tensor), node.target)
            tensors[node.target] = tensor
    return GraphModule(tensors, traced.graph)
