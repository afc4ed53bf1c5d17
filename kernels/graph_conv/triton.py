"""Graph convolution in one kernel.

A program computes ROWS rows (the joints of a frame, frame after frame, without padding for any V) by OUT channels. For
every subset and every IN channels it first mixes the joints and then multiplies by the weights; the mixed values never
leave the chip. The autotuner chooses between two ways of mixing: one joint at a time on the scalar units, without
wasted work; or, with DOT, one matrix product with a block-diagonal matrix of the adjacencies of the rows' frames.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..device import dot, relu
from ..dispatch import empty_like, precision_of, size_class, strides, tuned

CONFIGS = [
    triton.Config({"ROWS": rows, "OUT": out, "IN": 32, "DOT": dot}, num_warps=warps, num_stages=2)
    for rows, out, dot, warps in (
        (32, 64, False, 4),
        (64, 64, False, 4),
        (16, 32, False, 2),
        (32, 64, True, 4),
        (64, 64, True, 4),
        (64, 128, True, 8),
        (16, 32, True, 4),
        (32, 64, True, 8),
    )
]


def graph_conv(
    x_NCTV: Tensor,
    A_RV: Tensor,
    weight_OM11: Tensor,
    bias_O: Tensor | None,
    residual_NOTV: Tensor | None,
    relu: bool,
    out: Tensor | None,
) -> Tensor:
    N, C, T, V = x_NCTV.shape
    K, O = len(A_RV) // V, len(weight_OM11)  # noqa: E741
    out = empty_like(x_NCTV, O) if out is None else out
    rows = N * T * V

    def grid(of: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(rows, of["ROWS"]), triton.cdiv(O, of["OUT"])

    _graph_conv[grid](
        x_NCTV, A_RV.contiguous(), weight_OM11.contiguous(), bias_O, residual_NOTV, out, rows, T, size_class(rows),
        *x_NCTV.stride(), *strides(residual_NOTV, 4), *out.stride(),
        C=C, O=O, V=V, K=K, HAS_BIAS=bias_O is not None, HAS_RESIDUAL=residual_NOTV is not None, RELU=relu,
        PRECISION=precision_of(x_NCTV),
    )  # fmt: skip
    return out


def _fits_fp32(config: triton.Config) -> bool:
    return not config.kwargs["DOT"] or config.kwargs["ROWS"] * config.kwargs["OUT"] <= 256 * config.num_warps


@tuned(CONFIGS, key=["size", "C", "O", "V", "PRECISION"], fits_fp32=_fits_fp32)
@triton.jit(do_not_specialize=["rows", "T", "size"])
def _graph_conv(
    x, A, weight, bias, residual, y, rows, T, size,  # size is only a key of the autotuner
    x_n, x_c, x_t, x_v, r_n, r_c, r_t, r_v, y_n, y_c, y_t, y_v,
    C: tl.constexpr, O: tl.constexpr, V: tl.constexpr, K: tl.constexpr,  # noqa: E741
    HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, RELU: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, OUT: tl.constexpr, IN: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * ROWS
    row = first + tl.arange(0, ROWS)
    o = tl.program_id(1) * OUT + tl.arange(0, OUT)
    inside = row < rows
    frame, u = row // V, row % V
    n, t = (frame // T).to(tl.int64), frame % T  # a batch may have more than 2^31 elements
    at_frame = n * x_n + t * x_t  # [ROWS]
    # DOT: all joints of the rows' frames, at most ROWS + 2 V - 2
    FROM: tl.constexpr = triton.next_power_of_2(ROWS + 2 * V - 2)
    source = first // V * V + tl.arange(0, FROM)
    source_frame, source_v = source // V, source % V
    at_source = (source_frame // T).to(tl.int64) * x_n + source_frame % T * x_t + source_v * x_v  # [FROM]

    total = tl.zeros((ROWS, OUT), tl.float32)
    for c0 in range(0, C, IN):
        c = c0 + tl.arange(0, IN)
        if DOT:
            x_FI = tl.load(
                x + at_source[:, None] + c[None] * x_c, mask=(source < rows)[:, None] & (c < C)[None], other=0.0
            )
        for k in range(K):
            if DOT:
                same = (frame[:, None] == source_frame[None]) & inside[:, None]
                A_RF = tl.load(A + ((u * K + k) * V)[:, None] + source_v[None], mask=same, other=0.0)
                mixed_RI = dot(A_RF, x_FI, tl.zeros((ROWS, IN), tl.float32), PRECISION)
            else:
                mixed_RI = tl.zeros((ROWS, IN), tl.float32)
                for v in range(V):
                    A_R = tl.load(A + (u * K + k) * V + v, mask=inside, other=0.0).to(tl.float32)
                    x_RI = tl.load(
                        x + (at_frame + v * x_v)[:, None] + c[None] * x_c,
                        mask=inside[:, None] & (c < C)[None],
                        other=0.0,
                    )
                    mixed_RI += A_R[:, None] * x_RI
            w_IO = tl.load(
                weight + o[None] * (K * C) + (k * C + c)[:, None], mask=(c < C)[:, None] & (o < O)[None], other=0.0
            )
            total = dot(mixed_RI.to(w_IO.dtype), w_IO, total, PRECISION)

    if HAS_BIAS:
        total += tl.load(bias + o, mask=o < O, other=0.0)[None].to(tl.float32)
    wanted = inside[:, None] & (o < O)[None]
    if HAS_RESIDUAL:
        at = (n * r_n + t * r_t + u * r_v)[:, None] + o[None] * r_c
        total += tl.load(residual + at, mask=wanted, other=0.0).to(tl.float32)
    if RELU:
        total = relu(total)
    at = (n * y_n + t * y_t + u * y_v)[:, None] + o[None] * y_c
    tl.store(y + at, total.to(y.dtype.element_ty), mask=wanted)
