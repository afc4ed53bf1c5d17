"""Arithmetic of a guided sampler, one kernel per operation.

A program computes a block of elements of a solver's step, one feature of the reward's gradient, or one sample of a
masked step, which reads the gradient twice, the second time from the cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .reference import EPS

BLOCK = 1024


def guided_step(
    x_ND: Tensor,
    cond_ND: Tensor,
    uncond_ND: Tensor | None,
    before_ND: Tensor | None,
    cfg: float,
    step: float,
    carry: float,
) -> tuple[Tensor, Tensor]:
    x, cond = x_ND.contiguous(), cond_ND.contiguous()
    uncond, before = (None if part is None else part.contiguous() for part in (uncond_ND, before_ND))
    out, v = torch.empty_like(x), torch.empty_like(x)
    n = x.numel()
    _step[(triton.cdiv(n, BLOCK),)](
        x, cond, uncond, before, out, v, n, cfg, step, carry,
        HAS_UNCOND=uncond is not None, HAS_BEFORE=before is not None, BLOCK=BLOCK,
    )  # fmt: skip
    return out, v


def cosine_gradient(features: Sequence[Tensor], target_BF: Tensor, weights: Sequence[float]) -> tuple[Tensor, ...]:
    B, F = target_BF.shape
    target = target_BF.contiguous()
    gradients = tuple(torch.empty_like(f, memory_format=torch.contiguous_format) for f in features)
    for f_BF, g_BF, weight in zip(features, gradients, weights, strict=True):
        _cosine[(B,)](f_BF.contiguous(), target, g_BF, float(weight), F=F, WIDE=triton.next_power_of_2(F))
    return gradients


def masked_step(tokens_BLD: Tensor, gradient_BLD: Tensor, sampled_BL: Tensor, step: float, norm: str) -> Tensor:
    B, L, D = tokens_BLD.shape
    tokens, gradient, sampled = tokens_BLD.contiguous(), gradient_BLD.contiguous(), sampled_BL.contiguous()
    out = torch.empty_like(tokens)
    _masked_step[(B,)](tokens, gradient, sampled, out, step, L, D=D, NORM=norm, EPS=EPS, BLOCK=BLOCK)
    return out


@triton.jit
def _step(
    x, cond, uncond, before, out, v, n, cfg, step, carry,
    HAS_UNCOND: tl.constexpr, HAS_BEFORE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    v_K = tl.load(cond + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_UNCOND:
        u_K = tl.load(uncond + at, mask=inside, other=0.0).to(tl.float32)
        v_K = u_K + cfg * (v_K - u_K)
    tl.store(v + at, v_K.to(v.dtype.element_ty), mask=inside)
    if HAS_BEFORE:
        v_K += carry * tl.load(before + at, mask=inside, other=0.0).to(tl.float32)
    x_K = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, (x_K + step * v_K).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _cosine(feature, target, gradient, weight, F: tl.constexpr, WIDE: tl.constexpr):
    b, k = tl.program_id(0).to(tl.int64), tl.arange(0, WIDE)
    f_K = tl.load(feature + b * F + k, mask=k < F, other=0.0).to(tl.float32)
    t_K = tl.load(target + b * F + k, mask=k < F, other=0.0).to(tl.float32)
    length = tl.sqrt(tl.sum(f_K * f_K))
    t_K = t_K / tl.sqrt(tl.sum(t_K * t_K))
    f_K = f_K / length
    g_K = weight * (t_K - tl.sum(f_K * t_K) * f_K) / length
    tl.store(gradient + b * F + k, g_K.to(gradient.dtype.element_ty), mask=k < F)


@triton.jit
def _masked_step(
    tokens, gradient, sampled, out, step, L,
    D: tl.constexpr, NORM: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, k = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    squares_K, count_K = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for k0 in range(0, L * D, BLOCK):
        at = k0 + k
        inside = at < L * D
        own_K = tl.load(sampled + b * L + at // D, mask=inside, other=0).to(tl.float32)
        g_K = tl.load(gradient + b * L * D + at, mask=inside, other=0.0).to(tl.float32)
        if NORM != "all":
            g_K *= own_K
        squares_K += g_K * g_K
        count_K += own_K
    length = tl.sqrt(tl.sum(squares_K)) + EPS
    if NORM == "token":
        length = length / tl.sqrt(tl.maximum(tl.sum(count_K) / D, 1.0))
    for k0 in range(0, L * D, BLOCK):
        at = k0 + k
        inside = at < L * D
        own_K = tl.load(sampled + b * L + at // D, mask=inside, other=0).to(tl.float32)
        g_K = tl.load(gradient + b * L * D + at, mask=inside, other=0.0).to(tl.float32)
        x_K = tl.load(tokens + b * L * D + at, mask=inside, other=0.0).to(tl.float32)
        x_K += step * own_K * g_K / length
        tl.store(out + b * L * D + at, x_K.to(out.dtype.element_ty), mask=inside)
