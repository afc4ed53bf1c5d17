"""Layers that several networks share."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention


def attention(
    q_BLE: Tensor, k_BLE: Tensor, v_BLE: Tensor, heads: int, valid_BL: Tensor | None, dropout: float
) -> Tensor:
    """Multi-head attention to the valid positions, or to all, [B, L, E]."""
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (q_BLE, k_BLE, v_BLE))
    mask = None if valid_BL is None else valid_BL[:, None, None]
    if torch.compiler.is_exporting():  # the exporter would compute the scale and the transpose from shapes, in 20 nodes
        scores = q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)
        scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2).flatten(2)


def layer_norm(x: Tensor) -> Tensor:
    """Layer normalization without weights, eps 1e-6."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6)


def sinusoids(t: Tensor, size: int) -> Tensor:
    """Features [..., size] of times [...]: cosines, then sines, of decreasing frequency."""
    rates = torch.exp(torch.arange(size // 2, device=t.device, dtype=torch.float32) * (-math.log(1e4) / (size // 2)))
    angles = t.float()[..., None] * rates
    return torch.cat([torch.cos(angles), torch.sin(angles)], -1)


def positions(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sinusoidal positions [length, width], sines and cosines interleaved (Vaswani et al. 2017)."""
    position = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(1e4) / width))
    return torch.stack([torch.sin(position * rates), torch.cos(position * rates)], 2).flatten(1)
