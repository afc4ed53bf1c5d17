"""Attention among one token and the tokens of a text, without concatenating the projections of the two streams."""

from __future__ import annotations

import torch
from torch import Tensor

from ..choice import faster
from ..dispatch import Cost, use_triton
from .reference import joint_attention as reference


@faster()
def joint_attention(
    qkv_B1M: Tensor,
    qkv_text_BLM: Tensor,
    heads: int,
    valid_BS: Tensor | None = None,
    *,
    text: bool = True,
    out: tuple[Tensor, Tensor | None] | None = None,
    impl: str = "auto",
) -> tuple[Tensor, Tensor | None]:
    """y[b, s] = sum_r softmax_r(q[b, s] . k[b, r] / sqrt(D)) v[b, r] over the valid positions r, in every head.

    Position 0 is x, the others are the text. D = E / heads.

    Args:
        qkv_B1M: [B, 1, 3E], queries, keys and values of x, each E = heads D wide; fp32, fp16 or bf16.
        qkv_text_BLM: [B, L, 3E], those of the text; without `text`, keys and values [B, L, 2E] are sufficient.
        valid_BS: [B, S = 1 + L], bool, positions to attend to; x is always attended to. None: all.
        text: also compute the attention of the text.
        out: tensors for the results, [B, 1, E] and [B, L, E] (None without `text`); also used by the reference.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        Attention of x, [B, 1, E], and of the text, [B, L, E] or None.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    Source: Do and Kim, "Bridging the Skeleton-Text Modality Gap" (TDSM), ICCV 2025, and its released code.
    """
    if use_triton(impl, qkv_B1M, qkv_text_BLM, valid_BS):
        from .triton import joint_attention as kernel

        with torch.cuda.device_of(qkv_B1M):
            return kernel(qkv_B1M, qkv_text_BLM, heads, valid_BS, text, out)
    result = reference(qkv_B1M, qkv_text_BLM, heads, valid_BS, text)
    if out is None:
        return result
    for target, part in zip(out, result, strict=True):
        if target is not None and part is not None:
            target.copy_(part)
    return out


def cost(B: int, L: int, E: int, size: int, text: bool = True, masked: bool = False) -> Cost:
    """Cost of a call with elements of `size` bytes; every tensor is read or written once."""
    S, queries = 1 + L, 1 + L if text else 1
    numbers = B * E * (2 * S + 2 * queries)
    return Cost(flops=4 * B * queries * S * E, bytes=size * numbers + (B * S if masked else 0))
