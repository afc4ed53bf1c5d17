"""Causal convolutions over time of several dilations, each over a part of the channels: of clips, or a frame a call."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..dispatch import Cost, use_triton
from . import reference

Weights = Tensor | Sequence[Tensor]


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

    Channels from D W on are left as they are, but for residual and ReLU.

    Args:
        x_NCTV: [N, C, T, V], fp32, fp16 or bf16.
        weights, biases: [W, W, L, 1] and [W] of each of D dilations and L taps, stacked or not; of one type with x.
        dilations: D of them, in frames.
        past: the dilation (L - 1) frames before the first that each dilation sees, [N, dilation (L - 1), V, W]; None:
            zeros.
        residual_NCTV: [N, C, T, V].
        out: where the result is written, [N, C, T, V]; by the reference too.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, C, T, V], its memory laid out as that of x; and the past of what follows.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    if use_triton(impl, x_NCTV, *weights, *biases, *(past or ()), residual_NCTV):
        from .triton import temporal_conv as kernel

        return kernel(x_NCTV, weights, biases, tuple(dilations), past, residual_NCTV, relu, out)
    y_NCTV, kept = reference.temporal_conv(x_NCTV, weights, biases, dilations, past, residual_NCTV, relu)
    return y_NCTV if out is None else out.copy_(y_NCTV), kept


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
    """The same for the next frame of M streams, each with a ring of the frames before: nothing is shifted.

    Args:
        x_MCV: [M, C, V]. weights, biases, dilations, relu: as in `temporal_conv`.
        ring_SP: [S, P], a row for every stream there is: the past of all dilations one after the other, but frame t at
            place t modulo dilation (L - 1); the frame is written into it. Zeros for a stream that begins.
        place_S: [S] int64, how many frames a stream has had; not changed here, as other layers need it too.
        slot_M: [M] int64, the streams' rows, all different.
        residual_MCV: [M, C, V].
    Returns:
        [M, C, V].
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    given = (x_MCV, weights, biases, tuple(dilations), ring_SP, place_S, slot_M, residual_MCV, relu)
    if use_triton(impl, x_MCV, *weights, *biases, ring_SP, place_S, slot_M, residual_MCV):
        from .triton import temporal_step as kernel

        return kernel(*given, out)
    y_MCV = reference.temporal_step(*given)
    return y_MCV if out is None else out.copy_(y_MCV)


def cost(N: int, C: int, T: int, V: int, D: int, W: int, L: int, size: int, residual: bool = False) -> Cost:
    """Of a call whose numbers take `size` bytes each; every tensor is read or written once, the past not counted."""
    numbers = N * C * T * V * (3 if residual else 2) + D * W * (W * L + 1)
    return Cost(flops=2 * N * T * V * D * W * W * L, bytes=size * numbers)


def cost_of_step(M: int, C: int, V: int, D: int, W: int, L: int, size: int, residual: bool = False) -> Cost:
    """The same of a step, which reads L - 1 frames of each dilation from the rings and writes one."""
    of = cost(M, C, 1, V, D, W, L, size, residual)
    return Cost(flops=of.flops, bytes=of.bytes + size * M * D * W * V * L)
