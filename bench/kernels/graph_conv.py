"""Graph convolutions in the sizes of the bundled StreamGCN and of CTR-GCN, on clips and on single frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...kernels.graph_conv import cost, graph_conv
from .case import Case

SHAPES = [  # name, N, C, T, V, O
    ("clip", 1, 64, 64, 25, 64),
    ("clip", 8, 64, 64, 25, 64),
    ("clip", 8, 128, 64, 20, 128),
    ("clip", 1, 256, 16, 25, 256),
    ("step", 1, 64, 1, 20, 64),
    ("step", 8, 128, 1, 22, 128),
]
SUBSETS = 3


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Calls on random inputs in the sizes of the networks."""
    draw = torch.Generator(device).manual_seed(0)
    for name, N, C, T, V, O in SHAPES:  # noqa: E741

        def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
            return (scale * torch.randn(shape, generator=draw, device=device)).to(dtype)

        K = SUBSETS
        last = torch.channels_last
        yield Case(
            name=f"{name} N{N} C{C} T{T} V{V} O{O}",
            op=graph_conv,
            tensors={
                "x_NCTV": normal(N, C, T, V).contiguous(memory_format=last),
                "A_RV": normal(V * K, V, scale=V**-0.5),
                "weight_OM11": normal(O, K * C, 1, 1, scale=(K * C) ** -0.5),
                "bias_O": normal(O),
                "residual_NOTV": normal(N, O, T, V).contiguous(memory_format=last),
            },
            settings={"relu": True},
            cost=cost(N, C, O, T, V, K, dtype.itemsize, residual=True),
        )
