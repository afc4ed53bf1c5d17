"""Attention of one token and of a text's tokens to all of them, read where each stream's projection has put them."""

from __future__ import annotations

from torch import Tensor

from ..dispatch import Cost, use_triton
from .reference import joint_attention as reference


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
    """found[b, s] = sum_r softmax_r(q[b, s] . k[b, r] / sqrt(D)) v[b, r] over the valid positions r, in every head.

    Positions are that of x, then those of the text. D = E / heads.

    Args:
        qkv_B1M: [B, 1, 3E], queries, keys and values of x, each E = heads D wide; fp32, fp16 or bf16.
        qkv_text_BLM: [B, L, 3E], those of the text; without `text`, keys and values, [B, L, 2E], are enough.
        valid_BS: [B, S = 1 + L], bool, what may be attended to; x always may. None: all.
        text: whether the text asks too.
        out: where the results are written, [B, 1, E] and [B, L, E], or None without `text`; by the reference too.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        What x draws, [B, 1, E], and what the text draws, [B, L, E], or None.
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    Source: Do and Kim, "Bridging the Skeleton-Text Modality Gap" (TDSM), ICCV 2025, and its released code.
    """
    if use_triton(impl, qkv_B1M, qkv_text_BLM, valid_BS):
        from .triton import joint_attention as kernel

        return kernel(qkv_B1M, qkv_text_BLM, heads, valid_BS, text, out)
    found = reference(qkv_B1M, qkv_text_BLM, heads, valid_BS, text)
    if out is None:
        return found
    for made, part in zip(out, found, strict=True):
        if made is not None and part is not None:
            made.copy_(part)
    return out


def cost(B: int, L: int, E: int, size: int, text: bool = True, masked: bool = False) -> Cost:
    """Of a call whose numbers take `size` bytes each; every tensor is read or written once."""
    S, asking = 1 + L, 1 + L if text else 1
    numbers = B * E * (2 * S + 2 * asking)
    return Cost(flops=4 * B * asking * S * E, bytes=size * numbers + (B * S if masked else 0))
