"""CTR-GCN's graph convolution with refined adjacencies that never leave the chip.

PyTorch computes the mean over time and the 1x1 convolutions of x. A program computes OUT channels of FRAMES frames at
TO joints. For every subset and every FROM joints it computes the adjacencies of these channels, [OUT, FROM, TO], as one
matrix product of W4 and the tanh of all differences, and multiplies the frames by them, channel by channel: with a
batch of matrix products or, if FROM is 1, on the scalar units, which needs fewer registers. h is
channels-last. Splitting TO repeats no work, splitting channels repeats the tanh, splitting frames the adjacencies.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from ..device import dot, relu
from ..dispatch import empty_like, precision_of, size_class, strides, tuned

CONFIGS = [
    triton.Config({"OUT": out, "FRAMES": frames, "FROM": source, "TO": to}, num_warps=warps, num_stages=2)
    for out, frames, source, to, warps in (
        (16, 16, 1, 32, 4),
        (16, 8, 1, 32, 2),
        (32, 16, 1, 32, 8),
        (16, 16, 16, 16, 4),
        (16, 32, 16, 16, 4),
        (32, 16, 16, 16, 8),
        (16, 32, 16, 32, 8),
    )
]


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
    residual_NOTV: Tensor | None,
    relu: bool,
    out: Tensor | None,
) -> Tensor:
    (N, _, T, V), (K, O, R) = x_NCTV.shape, w4_KOR.shape  # noqa: E741
    if out is None:
        out = empty_like(x_NCTV, O)
    mean_NVC = x_NCTV.mean(2).transpose(1, 2)
    p_NVM, q_NVM = (
        linear(mean_NVC, w.flatten(0, 1), b.flatten()).contiguous() for w, b in ((w1_KRC, b1_KR), (w2_KRC, b2_KR))
    )
    h_NTVM = linear(x_NCTV.permute(0, 2, 3, 1), w3_KOC.flatten(0, 1), b3_KO.flatten()).contiguous()

    def grid(of: dict[str, int]) -> tuple[int, int, int]:
        return N, triton.cdiv(T, of["FRAMES"]) * triton.cdiv(V, of["TO"]), triton.cdiv(O, of["OUT"])

    _ctr_graph_conv[grid](
        h_NTVM, p_NVM, q_NVM, A_KVV.contiguous(), alpha, w4_KOR.contiguous(), b4_KO.contiguous(),
        bias_O.contiguous(), residual_NOTV, out, size_class(N * T), T, *strides(residual_NOTV, 4), *out.stride(),
        O=O, R=R, V=V, K=K, HAS_RESIDUAL=residual_NOTV is not None, RELU=relu, PRECISION=precision_of(x_NCTV),
        R2=max(16, triton.next_power_of_2(R)),
    )  # fmt: skip
    return out


@tuned(CONFIGS, key=["size", "O", "R", "V", "PRECISION"], fits_fp32=lambda config: config.kwargs["FRAMES"] <= 16)
@triton.jit(do_not_specialize=["size", "T"])
def _ctr_graph_conv(
    h, p, q, A, alpha, w4, b4, bias, residual, y, size, T,  # size is only a key of the autotuner
    r_n, r_o, r_t, r_v, y_n, y_o, y_t, y_v,
    O: tl.constexpr, R: tl.constexpr, V: tl.constexpr, K: tl.constexpr,  # noqa: E741
    HAS_RESIDUAL: tl.constexpr, RELU: tl.constexpr, PRECISION: tl.constexpr,
    R2: tl.constexpr, OUT: tl.constexpr, FRAMES: tl.constexpr, FROM: tl.constexpr, TO: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64)  # a batch may have more than 2^31 elements, a sample has fewer
    h, p, q, y = h + n * (T * V * K * O), p + n * (V * K * R), q + n * (V * K * R), y + n * y_n
    blocks: tl.constexpr = (V + TO - 1) // TO
    t = tl.program_id(1) // blocks * FRAMES + tl.arange(0, FRAMES)
    u = tl.program_id(1) % blocks * TO + tl.arange(0, TO)
    o = tl.program_id(2) * OUT + tl.arange(0, OUT)
    r = tl.arange(0, R2)
    scale = tl.load(alpha).to(tl.float32)

    total_OTU = tl.zeros((OUT, FRAMES, TO), tl.float32)
    for k in range(K):
        at_RU = u[None] * (K * R) + k * R + r[:, None]
        p_RU = tl.load(p + at_RU, mask=(u < V)[None] & (r < R)[:, None], other=0.0).to(tl.float32)
        w_OR = tl.load(w4 + (k * O + o)[:, None] * R + r[None], mask=(o < O)[:, None] & (r < R)[None], other=0.0)
        b_O = tl.load(b4 + k * O + o, mask=o < O, other=0.0).to(tl.float32)
        for v0 in range(0, V, FROM):
            v = v0 + tl.arange(0, FROM)
            at_RV = v[None] * (K * R) + k * R + r[:, None]
            q_RV = tl.load(q + at_RV, mask=(v < V)[None] & (r < R)[:, None], other=0.0).to(tl.float32)
            relation_RVU = _tanh(p_RU[:, None] - q_RV[:, :, None]).to(w_OR.dtype)
            relation_RM = tl.reshape(relation_RVU, (R2, FROM * TO))
            refined_OM = dot(w_OR, relation_RM, tl.zeros((OUT, FROM * TO), tl.float32), PRECISION)
            at_VU = (k * V + u)[None] * V + v[:, None]
            A_VU = tl.load(A + at_VU, mask=(u < V)[None] & (v < V)[:, None], other=0.0).to(tl.float32)
            refined_OVU = tl.reshape(scale * (refined_OM + b_O[:, None]), (OUT, FROM, TO)) + A_VU[None]
            at_OTV = (t[None, :, None] * V + v[None, None]) * (K * O) + k * O + o[:, None, None]
            inside = (o < O)[:, None, None] & (t < T)[None, :, None] & (v < V)[None, None]
            h_OTV = tl.load(h + at_OTV, mask=inside, other=0.0)
            if FROM == 1:
                total_OTU += h_OTV.to(tl.float32) * refined_OVU
            else:
                total_OTU = dot(h_OTV, refined_OVU.to(h_OTV.dtype), total_OTU, PRECISION)

    total_OTU += tl.load(bias + o, mask=o < O, other=0.0).to(tl.float32)[:, None, None]
    wanted = (o < O)[:, None, None] & (t < T)[None, :, None] & (u < V)[None, None]
    if HAS_RESIDUAL:
        at = o[:, None, None] * r_o + t[None, :, None] * r_t + u[None, None] * r_v
        total_OTU += tl.load(residual + n * r_n + at, mask=wanted, other=0.0).to(tl.float32)
    if RELU:
        total_OTU = relu(total_OTU)
    at = o[:, None, None] * y_o + t[None, :, None] * y_t + u[None, None] * y_v
    tl.store(y + at, total_OTU.to(y.dtype.element_ty), mask=wanted)


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1
