"""Attention in TDSM's published size and in the bundled size: one text, or all classes in one batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...kernels.dispatch import interpreted
from ...kernels.joint_attention import cost, joint_attention
from .case import Case

SHAPES = [  # name, B, L, E, heads, whether text tokens are queries as well
    ("one text", 1, 35, 768, 12, True),
    ("one text, last block", 1, 35, 768, 12, False),
    ("60 classes, 3 noises", 180, 35, 768, 12, True),
    ("60 classes, 3 noises, last block", 180, 35, 768, 12, False),
    ("60 classes, cross", 60, 8, 128, 4, False),
]


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Calls on random inputs in the sizes of the networks."""
    draw = torch.Generator(device).manual_seed(0)
    for name, B, L, E, heads, text in SHAPES:
        B = min(B, 4) if interpreted() else B  # the interpreter runs programs one after the other
        yield Case(
            name=f"{name} B{B} L{L} E{E} heads{heads}",
            op=joint_attention,
            tensors={
                "qkv_B1M": torch.randn(B, 1, 3 * E, generator=draw, device=device).to(dtype),
                "qkv_text_BLM": torch.randn(B, L, 3 * E, generator=draw, device=device).to(dtype),
            },
            settings={"heads": heads, "text": text},
            cost=cost(B, L, E, dtype.itemsize, text),
        )
