"""The gradient of a function of a network as explicit operations, so that it can be part of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

aten = torch.ops.aten


def slice_backward(gradient: Tensor, sizes: Sequence[int], dim: int, start: int, end: int, step: int) -> Tensor:
    """Pad the gradient with zeros; the default decomposition, a scatter into zeros, takes several operations."""
    assert step == 1, "only slices without gaps are supported"
    dim %= len(sizes)
    after = sizes[dim] - start - gradient.shape[dim]
    return aten.constant_pad_nd(gradient, [0, 0] * (len(sizes) - 1 - dim) + [start, after])


def select_backward(gradient: Tensor, sizes: Sequence[int], dim: int, index: int) -> Tensor:
    """Gradient of a slice of size one."""
    dim, index = dim % len(sizes), index % sizes[dim]
    return slice_backward(gradient.unsqueeze(dim), sizes, dim, index, index + 1, 1)


def layer_norm_backward(
    gradient: Tensor,
    x: Tensor,
    shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """Gradient of the input only."""
    assert len(shape) == 1 and not any(wanted[1:]), "only for one normalized dimension, and not for the weights"
    if weight is not None:
        gradient = gradient * weight
    normal = (x - mean) * rstd
    along = (gradient * normal).mean(-1, keepdim=True)
    return (gradient - gradient.mean(-1, keepdim=True) - normal * along) * rstd, None, None


def safe_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Softmax without the special case of rows that are masked completely, which do not occur."""
    return aten._softmax(x, dim, False)


DECOMPOSITIONS = core_aten_decompositions() | {
    aten.slice_backward.default: slice_backward,
    aten._safe_softmax.default: safe_softmax,
    aten.select_backward.default: select_backward,
    aten.native_layer_norm_backward.default: layer_norm_backward,
}


def with_gradient(network: nn.Module, value: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> GraphModule:
    """Module of `inputs` that returns the gradient of sum(`value`) with respect to the first input, and `value`.

    All sizes stay open: the sizes of `inputs` must differ from each other and from 1. Weights are named as in
    `network`.
    """

    def gradient_and_value(first: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = first.detach().requires_grad_()
            result = value(leaf, *others)
            (gradient,) = torch.autograd.grad(result.sum(), leaf)
        return gradient.detach(), result.detach()

    with sdpa_kernel(SDPBackend.MATH):  # the other backends have no decomposition
        traced = make_fx(
            gradient_and_value,
            decomposition_table=DECOMPOSITIONS,
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
