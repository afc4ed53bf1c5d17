"""Elementwise arithmetic of the guided sampler, for a motion of 49 tokens of width 512."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...kernels.guided_step import (
    cosine_gradient,
    cost_of_gradient,
    cost_of_move,
    cost_of_step,
    guided_step,
    masked_step,
)
from .case import Case

B, L, D = 1, 49, 512
WEIGHTS = (0.7, 0.1, 0.1, 0.1)


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Calls on random inputs in the sizes of the networks."""
    draw = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, device=device).to(dtype)

    size = dtype.itemsize
    yield Case(
        name=f"Heun's second half N{L} D{D}",
        op=guided_step,
        tensors={name: normal(L, D) for name in ("x_ND", "cond_ND", "uncond_ND", "before_ND")},
        settings={"cfg": 4.5, "step": 0.125, "carry": 1.0},
        cost=cost_of_step(L, D, size, carried=True),
    )
    yield Case(
        name=f"cosines B{B} F{D}",
        op=cosine_gradient,
        tensors={"features": [normal(B, D) for _ in WEIGHTS], "target_BF": normal(B, D)},
        settings={"weights": WEIGHTS},
        cost=cost_of_gradient(B, D, len(WEIGHTS), size),
    )
    yield Case(
        name=f"move B{B} L{L} D{D}",
        op=masked_step,
        tensors={
            "tokens_BLD": normal(B, L, D),
            "gradient_BLD": normal(B, L, D),
            "sampled_BL": torch.arange(L, device=device).expand(B, L) % 2 == 0,
        },
        settings={"step": 1.0},
        cost=cost_of_move(B, L, D, size),
    )
