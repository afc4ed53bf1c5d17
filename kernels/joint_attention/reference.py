"""Reference implementation. B batch, L text tokens, S = 1 + L positions, x first, E width, M = 3E or 2E."""

from __future__ import annotations

from torch import Tensor, cat
from torch.nn.functional import scaled_dot_product_attention


def joint_attention(
    qkv_B1M: Tensor, qkv_text_BLM: Tensor, heads: int, valid_BS: Tensor | None = None, text: bool = True
) -> tuple[Tensor, Tensor | None]:
    B, L, M = qkv_text_BLM.shape
    E = qkv_B1M.shape[2] // 3
    assert qkv_B1M.shape == (B, 1, 3 * E) and E % heads == 0
    assert M == 3 * E or (M == 2 * E and not text)
    assert valid_BS is None or valid_BS.shape == (B, 1 + L)
    q, k, v = qkv_B1M.chunk(3, 2)
    q = cat([q, qkv_text_BLM[:, :, :E]], 1) if text else q
    k = cat([k, qkv_text_BLM[:, :, M - 2 * E : M - E]], 1)
    v = cat([v, qkv_text_BLM[:, :, M - E :]], 1)
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    mask = None if valid_BS is None else valid_BS[:, None, None]
    y_BSE = scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    return y_BSE[:, :1], y_BSE[:, 1:] if text else None
