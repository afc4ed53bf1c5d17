"""Causal convolutions of all dilations in one kernel, for clips or for single frames with ring buffers.

A program computes ROWS rows (the joints of a frame, frame after frame) of one dilation's channels, one tap at a time,
each a product of [ROWS, W] with [W, W]; the last programs copy the channels that have no dilation. In a step only the
newest frame is an input: the others are read from the ring, and the newest overwrites the oldest after that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..device import dot, relu
from ..dispatch import empty_like, precision_of, size_class, strides, tuned

CONFIGS = [
    triton.Config({"ROWS": rows}, num_warps=warps, num_stages=stages)
    for rows, warps, stages in ((32, 2, 2), (16, 1, 2), (64, 4, 2), (128, 4, 3))
]


def temporal_conv(
    x_NCTV: Tensor,
    weights: Tensor | Sequence[Tensor],
    biases: Tensor | Sequence[Tensor],
    dilations: tuple[int, ...],
    past: Sequence[Tensor] | None,
    residual_NCTV: Tensor | None,
    relu: bool,
    out: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    (N, C, T, V), (W, _, L, _), D = x_NCTV.shape, weights[0].shape, len(dilations)
    out = empty_like(x_NCTV) if out is None else out
    past_NP = None if past is None else torch.cat([part.flatten(1) for part in past], 1)
    rows = N * T * V
    _conv[lambda of: (triton.cdiv(rows, of["ROWS"]), D + (C > D * W))](
        x_NCTV, _stacked(weights), _stacked(biases), past_NP, residual_NCTV, out, rows, T, size_class(rows),
        *x_NCTV.stride(), *strides(residual_NCTV, 4), *out.stride(), strides(past_NP, 2)[0],
        C=C, V=V, D=D, W=W, L=L, DILATIONS=dilations, WIDE=max(16, triton.next_power_of_2(W)),
        HAS_PAST=past is not None, HAS_RESIDUAL=residual_NCTV is not None, RELU=relu,
        PRECISION=precision_of(x_NCTV),
    )  # fmt: skip
    kept = []
    for d, reach in enumerate(dilation * (L - 1) for dilation in dilations):
        seen = x_NCTV[:, d * W : (d + 1) * W, -reach:].permute(0, 2, 3, 1)
        if reach > T:
            before = seen.new_zeros(N, reach, V, W) if past is None else past[d].to(seen.dtype)
            seen = torch.cat([before[:, T:], seen], 1)
        kept.append(seen)
    return out, kept


def temporal_step(
    x_MCV: Tensor,
    weights: Tensor | Sequence[Tensor],
    biases: Tensor | Sequence[Tensor],
    dilations: tuple[int, ...],
    ring_SP: Tensor,
    place_S: Tensor,
    slot_M: Tensor,
    residual_MCV: Tensor | None,
    relu: bool,
    out: Tensor | None,
) -> Tensor:
    (M, C, V), (W, _, L, _), D = x_MCV.shape, weights[0].shape, len(dilations)
    out = torch.empty_like(x_MCV) if out is None else out
    rows = M * V
    _step[lambda of: (triton.cdiv(rows, of["ROWS"]), D + (C > D * W))](
        x_MCV, _stacked(weights), _stacked(biases), ring_SP, place_S, slot_M, residual_MCV, out, rows, size_class(rows),
        *x_MCV.stride(), *strides(residual_MCV, 3), *out.stride(), ring_SP.stride(0),
        C=C, V=V, D=D, W=W, L=L, DILATIONS=dilations, WIDE=max(16, triton.next_power_of_2(W)),
        HAS_RESIDUAL=residual_MCV is not None, RELU=relu, PRECISION=precision_of(x_MCV),
    )  # fmt: skip
    return out


def _stacked(parts: Tensor | Sequence[Tensor]) -> Tensor:
    return parts.contiguous() if isinstance(parts, Tensor) else torch.stack(list(parts))


@triton.jit
def _dilation(d, V: tl.constexpr, W: tl.constexpr, L: tl.constexpr, DILATIONS: tl.constexpr):
    """Dilation d, and the offset of its frames in the concatenated past."""
    dilation, before = 0, 0
    for k in tl.static_range(len(DILATIONS)):
        dilation += tl.where(d == k, DILATIONS[k], 0)
        before += tl.where(k < d, DILATIONS[k], 0)
    return dilation, before * ((L - 1) * V * W)


@triton.jit
def _finish(y_RW, residual, at_residual, y, at_y, wanted, HAS_RESIDUAL: tl.constexpr, RELU: tl.constexpr):
    if HAS_RESIDUAL:
        y_RW += tl.load(residual + at_residual, mask=wanted, other=0.0).to(tl.float32)
    if RELU:
        y_RW = relu(y_RW)
    tl.store(y + at_y, y_RW.to(y.dtype.element_ty), mask=wanted)


@tuned(CONFIGS, key=["size", "C", "V", "PRECISION"])
@triton.jit(do_not_specialize=["rows", "T", "size"])
def _conv(
    x, weight, bias, past, residual, y, rows, T, size,  # size is only a key of the autotuner
    x_n, x_c, x_t, x_v, r_n, r_c, r_t, r_v, y_n, y_c, y_t, y_v, p_n,
    C: tl.constexpr, V: tl.constexpr, D: tl.constexpr, W: tl.constexpr, L: tl.constexpr, DILATIONS: tl.constexpr,
    WIDE: tl.constexpr, HAS_PAST: tl.constexpr, HAS_RESIDUAL: tl.constexpr, RELU: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    row, w, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDE), tl.program_id(1)
    inside = row < rows
    n, t, v = (row // (T * V)).to(tl.int64), row // V % T, row % V  # a batch may have more than 2^31 elements
    at_x, at_residual, at_y = n * x_n + v * x_v, n * r_n + t * r_t + v * r_v, n * y_n + t * y_t + v * y_v
    if d < D:
        dilation, begin = _dilation(d, V, W, L, DILATIONS)
        y_RW = tl.zeros((ROWS, WIDE), tl.float32)
        for l in range(L):  # noqa: E741
            then = t - dilation * (L - 1 - l)
            x_RW = tl.load(
                x + (at_x + then * x_t)[:, None] + ((d * W + w) * x_c)[None],
                mask=(inside & (then >= 0))[:, None] & (w < W)[None],
                other=0.0,
            )
            if HAS_PAST:
                at = n * p_n + begin + ((dilation * (L - 1) + then) * V + v) * W
                old_RW = tl.load(
                    past + at[:, None] + w[None], mask=(inside & (then < 0))[:, None] & (w < W)[None], other=0.0
                )
                x_RW += old_RW.to(x_RW.dtype)
            w_IO = tl.load(
                weight + ((d * W + w) * (W * L))[None] + (w * L + l)[:, None],
                mask=(w < W)[:, None] & (w < W)[None],
                other=0.0,
            )
            y_RW = dot(x_RW, w_IO, y_RW, PRECISION)
        y_RW += tl.load(bias + d * W + w, mask=w < W, other=0.0).to(tl.float32)[None]
        c, wanted = d * W + w, inside[:, None] & (w < W)[None]
        _finish(
            y_RW, residual, at_residual[:, None] + (c * r_c)[None], y, at_y[:, None] + (c * y_c)[None],
            wanted, HAS_RESIDUAL, RELU,
        )  # fmt: skip
    else:
        for c0 in range(D * W, C, WIDE):
            c = c0 + w
            wanted = inside[:, None] & (c < C)[None]
            rest_RW = tl.load(x + (at_x + t * x_t)[:, None] + (c * x_c)[None], mask=wanted, other=0.0).to(tl.float32)
            _finish(
                rest_RW, residual, at_residual[:, None] + (c * r_c)[None], y, at_y[:, None] + (c * y_c)[None],
                wanted, HAS_RESIDUAL, RELU,
            )  # fmt: skip


@tuned(CONFIGS, key=["size", "C", "V", "PRECISION"], restore=["ring"])
@triton.jit(do_not_specialize=["rows", "size"])
def _step(
    x, weight, bias, ring, place, slot, residual, y, rows, size,
    x_n, x_c, x_v, r_n, r_c, r_v, y_n, y_c, y_v, p_n,
    C: tl.constexpr, V: tl.constexpr, D: tl.constexpr, W: tl.constexpr, L: tl.constexpr, DILATIONS: tl.constexpr,
    WIDE: tl.constexpr, HAS_RESIDUAL: tl.constexpr, RELU: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    row, w, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDE), tl.program_id(1)
    inside = row < rows
    m, v = row // V, row % V
    at_x, at_residual, at_y = m * x_n + v * x_v, m * r_n + v * r_v, m * y_n + v * y_v
    if d < D:
        dilation, begin = _dilation(d, V, W, L, DILATIONS)
        reach = dilation * (L - 1)
        own = tl.load(slot + m, mask=inside, other=0)
        now = tl.load(place + own, mask=inside, other=0)
        at_ring = own * p_n + begin + v * W
        c, wanted = d * W + w, inside[:, None] & (w < W)[None]
        newest_RW = tl.load(x + at_x[:, None] + (c * x_c)[None], mask=wanted, other=0.0)
        y_RW = tl.zeros((ROWS, WIDE), tl.float32)
        for l in range(L):  # noqa: E741
            place_then = (
                now + reach - dilation * (L - 1 - l)
            ) % reach  # for the first tap, the index of the newest frame
            x_RW = newest_RW
            if l < L - 1:
                at = at_ring + place_then * (V * W)
                x_RW = tl.load(ring + at[:, None] + w[None], mask=wanted, other=0.0).to(newest_RW.dtype)
            w_IO = tl.load(
                weight + (c * (W * L))[None] + (w * L + l)[:, None], mask=(w < W)[:, None] & (w < W)[None], other=0.0
            )
            y_RW = dot(x_RW, w_IO, y_RW, PRECISION)
        y_RW += tl.load(bias + c, mask=w < W, other=0.0).to(tl.float32)[None]
        _finish(
            y_RW, residual, at_residual[:, None] + (c * r_c)[None], y, at_y[:, None] + (c * y_c)[None],
            wanted, HAS_RESIDUAL, RELU,
        )  # fmt: skip
        tl.debug_barrier()  # all threads of the program have read the oldest frame
        at = at_ring + now % reach * (V * W)
        tl.store(ring + at[:, None] + w[None], newest_RW.to(ring.dtype.element_ty), mask=wanted)
    else:
        for c0 in range(D * W, C, WIDE):
            c = c0 + w
            wanted = inside[:, None] & (c < C)[None]
            rest_RW = tl.load(x + at_x[:, None] + (c * x_c)[None], mask=wanted, other=0.0).to(tl.float32)
            _finish(
                rest_RW, residual, at_residual[:, None] + (c * r_c)[None], y, at_y[:, None] + (c * y_c)[None],
                wanted, HAS_RESIDUAL, RELU,
            )  # fmt: skip
