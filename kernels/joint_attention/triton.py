"""Joint attention in one kernel, without concatenating the two streams.

A program computes ROWS queries of one head. x's key is always valid, so the softmax starts from it and is always
finite; the text's keys follow, KEYS at a time, which wastes little for 1 + 35 positions. The keys and values of a head
are a few KB, so programs of the same head find them in the cache.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..device import dot
from ..dispatch import precision_of, size_class, strides, tuned

CONFIGS = [
    triton.Config({"ROWS": rows, "KEYS": keys}, num_warps=warps, num_stages=stages)
    for rows, keys, warps, stages in (
        (16, 16, 1, 2),
        (16, 16, 1, 3),
        (16, 32, 2, 2),
        (32, 16, 2, 2),
        (64, 16, 4, 2),
    )
]


def joint_attention(
    qkv_B1M: Tensor,
    qkv_text_BLM: Tensor,
    heads: int,
    valid_BS: Tensor | None,
    text: bool,
    out: tuple[Tensor, Tensor | None] | None,
) -> tuple[Tensor, Tensor | None]:
    B, L, M = qkv_text_BLM.shape
    E = qkv_B1M.shape[2] // 3
    D = E // heads
    found_B1E, found_text_BLE = out or (qkv_B1M.new_empty(B, 1, E), qkv_B1M.new_empty(B, L, E) if text else None)

    def grid(of: dict[str, int]) -> tuple[int, int]:
        return B * heads, triton.cdiv(1 + L if text else 1, of["ROWS"])

    _joint_attention[grid](
        qkv_B1M, qkv_text_BLM, valid_BS, found_B1E, found_text_BLE, size_class(B),
        qkv_B1M.stride(0), qkv_B1M.stride(2), *qkv_text_BLM.stride(), *strides(valid_BS, 2),
        found_B1E.stride(0), found_B1E.stride(2), *strides(found_text_BLE, 3), D**-0.5,
        L=L, HEADS=heads, D=D, D2=max(16, triton.next_power_of_2(D)), AT_KEYS=M - 2 * E, TEXT=text,
        MASKED=valid_BS is not None, PRECISION=precision_of(qkv_B1M),
    )  # fmt: skip
    return found_B1E, found_text_BLE


@tuned(CONFIGS, key=["size", "L", "HEADS", "D", "TEXT", "PRECISION"])
@triton.jit(do_not_specialize=["size"])
def _joint_attention(
    x, text, valid, y, y_text, size,  # size is only a key of the autotuner
    x_b, x_m, t_b, t_l, t_m, m_b, m_s, y_b, y_m, z_b, z_l, z_m, scale,
    L: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, D2: tl.constexpr, AT_KEYS: tl.constexpr,
    TEXT: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    b, head = (tl.program_id(0) // HEADS).to(tl.int64), tl.program_id(0) % HEADS  # more than 2^31 elements are possible
    s = tl.program_id(1) * ROWS + tl.arange(0, ROWS)  # query positions; s - 1 is the index of a text token
    d = tl.arange(0, D2)
    within = d < D
    m = head * D + d
    E: tl.constexpr = HEADS * D

    at_x = x + b * x_b + m * x_m
    at_text = text + b * t_b + m * t_m
    q_RD = tl.load(at_x[None] + s[:, None] * 0, mask=(s == 0)[:, None] & within[None], other=0.0)
    if TEXT:
        asking = (s > 0) & (s <= L)
        q_text_RD = tl.load(at_text[None] + (s - 1)[:, None] * t_l, mask=asking[:, None] & within[None], other=0.0)
        q_RD = tl.where((s == 0)[:, None], q_RD, q_text_RD)
    k_D = tl.load(at_x + E * x_m, mask=within, other=0.0).to(tl.float32)
    v_D = tl.load(at_x + 2 * E * x_m, mask=within, other=0.0).to(tl.float32)

    scale *= 1.4426950408889634  # exp(a) = 2^(a log2 e)
    most_R = tl.sum(q_RD.to(tl.float32) * k_D[None], 1) * scale
    sum_R = tl.full((ROWS,), 1.0, tl.float32)
    total_RD = tl.zeros((ROWS, D2), tl.float32) + v_D[None]
    for first in range(0, L, KEYS):
        r = first + tl.arange(0, KEYS)
        at_KD = at_text[None] + r[:, None] * t_l + AT_KEYS * t_m
        there = (r < L)[:, None] & within[None]
        k_KD = tl.load(at_KD, mask=there, other=0.0)
        v_KD = tl.load(at_KD + E * t_m, mask=there, other=0.0)
        attended = r < L
        if MASKED:
            attended &= tl.load(valid + b * m_b + (1 + r) * m_s, mask=attended, other=0) != 0
        logits_RK = dot(q_RD, tl.trans(k_KD), tl.zeros((ROWS, KEYS), tl.float32), PRECISION) * scale
        logits_RK = tl.where(attended[None], logits_RK, float("-inf"))
        new_R = tl.maximum(most_R, tl.max(logits_RK, 1))
        less_R = tl.exp2(most_R - new_R)
        weight_RK = tl.exp2(logits_RK - new_R[:, None])
        sum_R = sum_R * less_R + tl.sum(weight_RK, 1)
        total_RD = dot(weight_RK.to(v_KD.dtype), v_KD, total_RD * less_R[:, None], PRECISION)
        most_R = new_R

    found_RD = total_RD / sum_R[:, None]
    at_y = y + b * y_b + m[None] * y_m + s[:, None] * 0
    tl.store(at_y, found_RD.to(y.dtype.element_ty), mask=(s == 0)[:, None] & within[None])
    if TEXT:
        at_y = y_text + b * z_b + (s - 1)[:, None] * z_l + m[None] * z_m
        tl.store(at_y, found_RD.to(y.dtype.element_ty), mask=asking[:, None] & within[None])
