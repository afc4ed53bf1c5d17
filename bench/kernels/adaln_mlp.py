"""Blocks of the flow heads of CoAMD's two sizes: one block, and all blocks in one launch."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature

import torch

from ...kernels.adaln_mlp import adaln_mlp, adaln_mlp_blocks, cost
from .case import Case

HEADS = [("small", 256, 6), ("xl", 1792, 16)]  # E, K
ROWS = [2, 8, 24, 98]


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Calls on random inputs in the sizes of the heads."""
    draw = torch.Generator(device).manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return (scale * torch.randn(shape, generator=draw, device=device)).to(dtype)

    for size, E, K in HEADS:
        norm = [normal(K, E), normal(K, E)]
        layers = [number for _ in range(2) for number in (normal(K, E, E, scale=E**-0.5), normal(K, E))]
        for N in ROWS:
            h_NE, blocks = normal(N, E), [normal(K, N, 3 * E, scale=0.2), *norm, *layers]
            block = [array[0] for array in blocks]
            for op, arrays, count in ((adaln_mlp, block, 1), (adaln_mlp_blocks, blocks, K)):
                yield Case(
                    name=f"{size} N{N} E{E} K{count}",
                    op=op,
                    tensors=dict(zip(signature(op).parameters, (h_NE, *arrays), strict=False)),
                    settings={},
                    cost=cost(N, E, dtype.itemsize, count),
                )
