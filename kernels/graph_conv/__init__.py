"""Graph convolution: K adjacency products, a 1x1 convolution, a shortcut and ReLU."""

from __future__ import annotations

from torch import Tensor

from ..dispatch import Cost, use_triton
from .reference import graph_conv as reference


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

    Batch-norm is expected in W and b. Tensors whose channels lie next to each other (channels-last) are the fastest.

    Args:
        x_NCTV: [N, C, T, V], fp32, fp16 or bf16; [N, C, V] is one frame, and so is the result then.
        A_RV: [V K, V], what joint u draws from joint v in subset k, in row u K + k.
        weight_OM11: [O, K C, 1, 1]. bias_O: [O]. residual_NOTV: [N, O, T, V]. All of one type with x.
        out: where the result is written, [N, O, T, V]; by the reference too.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, O, T, V], its memory laid out as that of x.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    if x_NCTV.dim() == 3:
        one = (None if tensor is None else tensor[:, :, None] for tensor in (residual_NOTV, out))
        residual, made = one
        return graph_conv(x_NCTV[:, :, None], A_RV, weight_OM11, bias_O, residual, relu=relu, out=made, impl=impl)[
            :, :, 0
        ]
    if use_triton(impl, x_NCTV, A_RV, weight_OM11, bias_O, residual_NOTV):
        from .triton import graph_conv as kernel

        return kernel(x_NCTV, A_RV, weight_OM11, bias_O, residual_NOTV, relu, out)
    y_NOTV = reference(x_NCTV, A_RV, weight_OM11, bias_O, residual_NOTV, relu)
    return y_NOTV if out is None else out.copy_(y_NOTV)


def cost(N: int, C: int, O: int, T: int, V: int, K: int, size: int, residual: bool = False) -> Cost:  # noqa: E741
    """Of a call whose numbers take `size` bytes each; every tensor is read or written once."""
    rows = N * T * V
    numbers = rows * (C + O * (2 if residual else 1)) + V * K * V + O * K * C + O
    return Cost(flops=2 * rows * K * (V * C + C * O), bytes=size * numbers)
