"""Arithmetic of a guided sampler between network calls: solver steps, and steps along the reward's gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..choice import faster
from ..dispatch import Cost, use_triton
from . import reference

NORMS = ("sampled", "token", "all")


@faster()
def guided_step(
    x_ND: Tensor,
    cond_ND: Tensor,
    uncond_ND: Tensor | None = None,
    before_ND: Tensor | None = None,
    *,
    cfg: float = 1.0,
    step: float,
    carry: float = 0.0,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """v = u + cfg (c - u), x' = x + step (v + carry v_before): classifier-free guidance and a solver's update.

    Args:
        x_ND: [N, D], fp32, fp16 or bf16.
        cond_ND, uncond_ND: velocities c and u with and without the description; None: v is c.
        before_ND: an earlier velocity, weighted by `carry`; Heun's second half adds the first with weight 1.
        step: step size in time.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        x' and v, [N, D] each.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    tensors = (x_ND, cond_ND, uncond_ND, before_ND)
    if use_triton(impl, *tensors):
        from .triton import guided_step as kernel

        with torch.cuda.device_of(tensors[0]):
            return kernel(*tensors, cfg, step, carry)
    return reference.guided_step(*tensors, cfg, step, carry)


@faster()
def cosine_gradient(
    features: Sequence[Tensor], target_BF: Tensor, weights: Sequence[float], *, impl: str = "auto"
) -> tuple[Tensor, ...]:
    """g_i = w_i (t / |t| - cos(f_i, t) f_i / |f_i|) / |f_i|: the gradient of sum_i w_i cos(f_i, t) with respect to f_i.

    Args:
        features: f_i, each [B, F], fp32, fp16 or bf16, none of them zero.
        target_BF: t, [B, F].
        weights: w_i.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        g_i, each [B, F].
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    if use_triton(impl, *features, target_BF):
        from .triton import cosine_gradient as kernel

        with torch.cuda.device_of(features[0]):
            return kernel(features, target_BF, weights)
    return reference.cosine_gradient(features, target_BF, weights)


@faster()
def masked_step(
    tokens_BLD: Tensor,
    gradient_BLD: Tensor,
    sampled_BL: Tensor,
    *,
    step: float,
    norm: str = "sampled",
    impl: str = "auto",
) -> Tensor:
    """x' = x + step m g / |m g|, with the length over the tokens of a sample.

    Args:
        tokens_BLD, gradient_BLD: x and g, [B, L, D], fp32, fp16 or bf16.
        sampled_BL: m, [B, L] bool, the tokens to update.
        step: step size.
        norm: part of g that is normalized to length 1: "sampled" tokens, each of them ("token") on average, or "all".
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        x', [B, L, D].
    Raises:
        ValueError, RuntimeError: another norm; see `use_triton`.
    """
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}, expected {', '.join(NORMS)}")
    if use_triton(impl, tokens_BLD, gradient_BLD, sampled_BL):
        from .triton import masked_step as kernel

        with torch.cuda.device_of(tokens_BLD):
            return kernel(tokens_BLD, gradient_BLD, sampled_BL, step, norm)
    return reference.masked_step(tokens_BLD, gradient_BLD, sampled_BL, step, norm)


def cost_of_step(N: int, D: int, size: int, guided: bool = True, carried: bool = False) -> Cost:
    """Cost of `guided_step` with elements of `size` bytes."""
    return Cost(flops=N * D * (2 + 3 * guided + 2 * carried), bytes=size * N * D * (4 + guided + carried))


def cost_of_gradient(B: int, F: int, features: int, size: int) -> Cost:
    """Cost of `cosine_gradient`: three inner products and their combination."""
    return Cost(flops=B * F * features * 9, bytes=size * B * F * (2 * features + 1))


def cost_of_move(B: int, L: int, D: int, size: int) -> Cost:
    """Cost of `masked_step`."""
    return Cost(flops=4 * B * L * D, bytes=3 * size * B * L * D + B * L)
