"""Graph convolution: K adjacency products, a 1x1 convolution, a shortcut and ReLU."""

from __future__ import annotations

import torch
from torch import Tensor

from ..choice import faster
from ..dispatch import Cost, use_triton
from .reference import graph_conv as reference


@faster()
def graph_conv(
    x_NCTV: Tensor,
    A_RV: Tensor,
    weight_OM11: Tensor,
    bias_O: Tensor | None = None,
    residual_NOTV: Tensor | None = None,
    *,
    relu: bool = False,
    out: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """y[n, o, t, u] = sum_k sum_c W[o, kC + c] sum_v A[uK + k, v] x[n, c, t, v] + b[o] + r[n, o, t, u], then ReLU.

    Batch norm must be folded into W and b. Channels-last tensors are the fastest.

    Args:
        x_NCTV: [N, C, T, V], fp32, fp16 or bf16; [N, C, V] for one frame, then also the result.
        A_RV: [V K, V], weight of joint v for joint u in subset k, in row u K + k.
        weight_OM11: [O, K C, 1, 1]. bias_O: [O]. residual_NOTV: [N, O, T, V]. All have the type of x.
        out: tensor for the result, [N, O, T, V]; also used by the reference.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, O, T, V], in the memory format of x.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    if x_NCTV.dim() == 3:
        residual, out = (None if tensor is None else tensor[:, :, None] for tensor in (residual_NOTV, out))
        y_NO1V = graph_conv(x_NCTV[:, :, None], A_RV, weight_OM11, bias_O, residual, relu=relu, out=out, impl=impl)
        return y_NO1V[:, :, 0]
    if use_triton(impl, x_NCTV, A_RV, weight_OM11, bias_O, residual_NOTV):
        from .triton import graph_conv as kernel

        with torch.cuda.device_of(x_NCTV):
            return kernel(x_NCTV, A_RV, weight_OM11, bias_O, residual_NOTV, relu, out)
    y_NOTV = reference(x_NCTV, A_RV, weight_OM11, bias_O, residual_NOTV, relu)
    return y_NOTV if out is None else out.copy_(y_NOTV)


def cost(N: int, C: int, O: int, T: int, V: int, K: int, size: int, residual: bool = False) -> Cost:  # noqa: E741
    """Cost of a call with elements of `size` bytes; every tensor is read or written once."""
    rows = N * T * V
    numbers = rows * (C + O * (2 if residual else 1)) + V * K * V + O * K * C + O
    return Cost(flops=2 * rows * K * (V * C + C * O), bytes=size * numbers)
