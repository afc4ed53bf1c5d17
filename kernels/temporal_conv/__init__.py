"""Causal convolutions over time of several dilations, each over a part of the channels: of clips, or a frame a call."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..dispatch import Cost, use_triton
from . import reference


def temporal_conv(
    x_NCTV: Tensor,
    weight_DWWL: Tensor,
    bias_DW: Tensor,
    dilations: Sequence[int],
    past_NP: Tensor | None = None,
    residual_NCTV: Tensor | None = None,
    *,
    relu: bool = False,
    out: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """y[n, dW + o, t, v] = sum_l sum_w W[d, o, w, l] x[n, dW + w, t - dilation_d (L - 1 - l), v] + b[d, o] + r, ReLU.

    Channels from D W on are left as they are, but for residual and ReLU.

    Args:
        x_NCTV: [N, C, T, V], fp32, fp16 or bf16.
        weight_DWWL: [D, W, W, L], of D dilations and L taps. bias_DW: [D, W]. Of one type with x.
        dilations: D of them, in frames.
        past_NP: what was there before the first frame: of every dilation the last dilation (L - 1) frames,
            [dilation (L - 1), V, W], one after the other in a row of P numbers; None: zeros.
        residual_NCTV: [N, C, T, V].
        out: where the result is written, [N, C, T, V]; by the reference too.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, C, T, V], its memory laid out as that of x.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    if use_triton(impl, x_NCTV, weight_DWWL, bias_DW, past_NP, residual_NCTV):
        from .triton import temporal_conv as kernel

        return kernel(x_NCTV, weight_DWWL, bias_DW, tuple(dilations), past_NP, residual_NCTV, relu, out)
    y_NCTV = reference.temporal_conv(x_NCTV, weight_DWWL, bias_DW, dilations, past_NP, residual_NCTV, relu)
    return y_NCTV if out is None else out.copy_(y_NCTV)


def temporal_step(
    x_MCV: Tensor,
    weight_DWWL: Tensor,
    bias_DW: Tensor,
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
    """The same for the next frame of M streams, each with a ring of the frames before: nothing is shifted.

    Args:
        x_MCV: [M, C, V]. weight_DWWL, bias_DW, dilations, relu: as in `temporal_conv`.
        ring_SP: [S, P], a row as `past_NP` for every stream there is, but frame t at place t modulo dilation (L - 1);
            the frame is written into it. Zeros for a stream that begins.
        place_S: [S] int64, how many frames a stream has had; not changed here, as other layers need it too.
        slot_M: [M] int64, the streams' rows, all different.
        residual_MCV: [M, C, V].
    Returns:
        [M, C, V].
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    if use_triton(impl, x_MCV, weight_DWWL, bias_DW, ring_SP, place_S, slot_M, residual_MCV):
        from .triton import temporal_step as kernel

        given = (x_MCV, weight_DWWL, bias_DW, tuple(dilations), ring_SP, place_S, slot_M, residual_MCV)
        return kernel(*given, relu, out)
    y_MCV = reference.temporal_step(
        x_MCV, weight_DWWL, bias_DW, dilations, ring_SP, place_S, slot_M, residual_MCV, relu
    )
    return y_MCV if out is None else out.copy_(y_MCV)


def cost(N: int, C: int, T: int, V: int, D: int, W: int, L: int, size: int, residual: bool = False) -> Cost:
    """Of a call whose numbers take `size` bytes each; every tensor is read or written once, the past not counted."""
    numbers = N * C * T * V * (3 if residual else 2) + D * W * (W * L + 1)
    return Cost(flops=2 * N * T * V * D * W * W * L, bytes=size * numbers)


def cost_of_step(M: int, C: int, V: int, D: int, W: int, L: int, size: int, residual: bool = False) -> Cost:
    """The same of a step, which reads L - 1 frames of each dilation from the rings and writes one."""
    of = cost(M, C, 1, V, D, W, L, size, residual)
    return Cost(flops=of.flops, bytes=of.bytes + size * M * D * W * V * L)
