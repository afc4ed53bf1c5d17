"""CTR-GCN's graph convolution: adjacencies refined for every clip and channel, their products, a shortcut and ReLU."""

from __future__ import annotations

import torch
from torch import Tensor

from ..choice import faster
from ..dispatch import Cost, use_triton
from .reference import ctr_graph_conv as reference


@faster()
def ctr_graph_conv(
    x_NCTV: Tensor,
    A_KVV: Tensor,
    alpha: Tensor,
    w1_KRC: Tensor,
    b1_KR: Tensor,
    w2_KRC: Tensor,
    b2_KR: Tensor,
    w3_KOC: Tensor,
    b3_KO: Tensor,
    w4_KOR: Tensor,
    b4_KO: Tensor,
    bias_O: Tensor,
    residual_NOTV: Tensor | None = None,
    *,
    relu: bool = False,
    out: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """y[n, o, t, u] = sum_k sum_v (alpha Q[n, k, o, u, v] + A[k, u, v]) h[n, k, o, t, v] + b[o] + r[n, o, t, u].

    ReLU follows. h = W3 x + b3, Q[u, v] = W4 tanh(W1 m[u] + b1 - W2 m[v] - b2) + b4 and m is the mean of x over T.
    Batch norm y' = s y + c must be folded: s into W3 and b3, c into b. The kernel keeps Q on the chip. Channels-last
    tensors are the fastest.

    Args:
        x_NCTV: [N, C, T, V], fp32, fp16 or bf16; all others have the same type.
        A_KVV: [K, V, V], weight of joint v for joint u (first) in subset k. alpha: one element, of any shape.
        w1_KRC, w2_KRC: [K, R, C]. b1_KR, b2_KR: [K, R]. w3_KOC: [K, O, C]. w4_KOR: [K, O, R]. b3_KO, b4_KO: [K, O].
        bias_O: [O]. residual_NOTV: [N, O, T, V].
        out: tensor for the result, [N, O, T, V]; also used by the reference.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, O, T, V]; from the kernel, in the memory format of x.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    Source: Chen et al., Channel-wise Topology Refinement Graph Convolution for Skeleton-Based Action Recognition, ICCV
    2021.
    """
    tensors = (x_NCTV, A_KVV, alpha, w1_KRC, b1_KR, w2_KRC, b2_KR, w3_KOC, b3_KO, w4_KOR, b4_KO, bias_O, residual_NOTV)
    if use_triton(impl, *tensors):
        from .triton import ctr_graph_conv as kernel

        with torch.cuda.device_of(tensors[0]):
            return kernel(*tensors, relu, out)
    y_NOTV = reference(*tensors, relu)
    return y_NOTV if out is None else out.copy_(y_NOTV)


def cost(N: int, C: int, O: int, T: int, V: int, K: int, R: int, size: int, residual: bool = False) -> Cost:  # noqa: E741
    """Cost of a call with elements of `size` bytes; every tensor is read or written once."""
    weights = K * (V * V + 2 * R * (C + 1) + O * (C + 1) + O * (R + 1)) + 1 + O
    relations = V * 2 * K * R * C + V * V * K * O * R
    frames = T * V * K * O * (C + V)
    numbers = N * T * V * (C + O * (2 if residual else 1)) + weights
    return Cost(flops=2 * N * (relations + frames), bytes=size * numbers)
