"""Temporal convolutions of the bundled StreamGCN: clips, and frames with ring buffers."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...kernels.temporal_conv import cost, cost_of_step, temporal_conv, temporal_step
from .case import Case

DILATIONS, TAPS = (1, 2, 4), 5
CLIPS = [(1, 64, 64, 20), (8, 128, 64, 25)]  # N, C, T, V
STEPS = [(1, 64, 20), (16, 128, 25)]  # M, C, V


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Calls on random inputs in the sizes of the networks."""
    draw = torch.Generator(device).manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return (scale * torch.randn(shape, generator=draw, device=device)).to(dtype)

    def weights(C: int) -> dict[str, torch.Tensor]:
        D, W = len(DILATIONS), C // (len(DILATIONS) + 1)
        return {"weights": normal(D, W, W, TAPS, 1, scale=(W * TAPS) ** -0.5), "biases": normal(D, W)}

    settings = {"dilations": DILATIONS, "relu": True}
    for N, C, T, V in CLIPS:
        x, residual = [normal(N, C, T, V).contiguous(memory_format=torch.channels_last) for _ in range(2)]
        yield Case(
            name=f"clip N{N} C{C} T{T} V{V}",
            op=temporal_conv,
            tensors={"x_NCTV": x, "residual_NCTV": residual, **weights(C)},
            settings=settings,
            cost=cost(N, C, T, V, len(DILATIONS), C // 4, TAPS, dtype.itemsize, residual=True),
        )
    for M, C, V in STEPS:
        streams = torch.arange(M, device=device)
        yield Case(
            name=f"step M{M} C{C} V{V}",
            op=temporal_step,
            tensors={
                "x_MCV": normal(M, C, V),
                "residual_MCV": normal(M, C, V),
                "ring_SP": normal(M, sum(DILATIONS) * (TAPS - 1) * V * (C // (len(DILATIONS) + 1))),
                "place_S": 7 * streams,
                "slot_M": streams,
                **weights(C),
            },
            settings=settings,
            cost=cost_of_step(M, C, V, len(DILATIONS), C // 4, TAPS, dtype.itemsize, residual=True),
        )
