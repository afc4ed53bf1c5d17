"""Causal temporal convolutions of several dilations, each over a part of the channels: of clips, or frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..choice import faster
from ..dispatch import Cost, use_triton
from . import reference

Weights = Tensor | Sequence[Tensor]


@faster()
def temporal_conv(
    x_NCTV: Tensor,
    weights: Weights,
    biases: Weights,
    dilations: Sequence[int],
    past: Sequence[Tensor] | None = None,
    residual_NCTV: Tensor | None = None,
    *,
    relu: bool = False,
    out: Tensor | None = None,
    impl: str = "auto",
) -> tuple[Tensor, list[Tensor]]:
    """y[n, dW + o, t, v] = sum_l sum_w W[d, o, w, l] x[n, dW + w, t - dilation_d (L - 1 - l), v] + b[d, o] + r, ReLU.

    Channels from D W on are not convolved; residual and ReLU apply to them, too.

    Args:
        x_NCTV: [N, C, T, V], fp32, fp16 or bf16.
        weights, biases: [W, W, L, 1] and [W] for each of D dilations and L taps, stacked or not; of the type of x.
        dilations: D of them, in frames.
        past: inputs of each dilation for the dilation (L - 1) frames before the first, [N, dilation (L - 1), V, W];
            None: zeros.
        residual_NCTV: [N, C, T, V].
        out: tensor for the result, [N, C, T, V]; also used by the reference.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, C, T, V], in the memory format of x; and the past for the frames that follow.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    if use_triton(impl, x_NCTV, *weights, *biases, *(past or ()), residual_NCTV):
        from .triton import temporal_conv as kernel

        with torch.cuda.device_of(x_NCTV):
            return kernel(x_NCTV, weights, biases, tuple(dilations), past, residual_NCTV, relu, out)
    y_NCTV, kept = reference.temporal_conv(x_NCTV, weights, biases, dilations, past, residual_NCTV, relu)
    return y_NCTV if out is None else out.copy_(y_NCTV), kept


@faster("ring_SP")
def temporal_step(
    x_MCV: Tensor,
    weights: Weights,
    biases: Weights,
    dilations: Sequence[int],
    ring_SP: Tensor,
    place_S: Tensor,
    slot_M: Tensor,
    residual_MCV: Tensor | None = None,
    *,
    relu: bool = False,
    out: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """`temporal_conv` for the next frame of M streams, each with a ring buffer of previous frames.

    Args:
        x_MCV: [M, C, V]. weights, biases, dilations, relu: as in `temporal_conv`.
        ring_SP: [S, P], one row per stream: the past of all dilations, concatenated, with frame t at index t modulo
            dilation (L - 1). The new frame is written to it. Zeros for a new stream.
        place_S: [S] int64, number of previous frames of each stream; not modified, because other layers need it, too.
        slot_M: [M] int64, rows of the streams, all different.
        residual_MCV: [M, C, V].
    Returns:
        [M, C, V].
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    arguments = (x_MCV, weights, biases, tuple(dilations), ring_SP, place_S, slot_M, residual_MCV, relu)
    if use_triton(impl, x_MCV, *weights, *biases, ring_SP, place_S, slot_M, residual_MCV):
        from .triton import temporal_step as kernel

        with torch.cuda.device_of(x_MCV):
            return kernel(*arguments, out)
    y_MCV = reference.temporal_step(*arguments)
    return y_MCV if out is None else out.copy_(y_MCV)


def cost(N: int, C: int, T: int, V: int, D: int, W: int, L: int, size: int, residual: bool = False) -> Cost:
    """Cost of a call with elements of `size` bytes; every tensor is read or written once, not counting the past."""
    numbers = N * C * T * V * (3 if residual else 2) + D * W * (W * L + 1)
    return Cost(flops=2 * N * T * V * D * W * W * L, bytes=size * numbers)


def cost_of_step(M: int, C: int, V: int, D: int, W: int, L: int, size: int, residual: bool = False) -> Cost:
    """Cost of a step, which reads L - 1 frames of each dilation from the rings and writes one."""
    conv = cost(M, C, 1, V, D, W, L, size, residual)
    return Cost(flops=conv.flops, bytes=conv.bytes + size * M * D * W * V * L)
