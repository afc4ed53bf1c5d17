"""Graph convolutions of CTR-GCN: one clip of two people, and eight clips."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...kernels.ctr_graph_conv import cost, ctr_graph_conv
from .case import Case

SHAPES = [  # name, N (people of all clips), C, T, O
    ("8 frames", 1, 64, 8, 64),
    ("clip", 2, 3, 64, 64),
    ("clip", 2, 64, 64, 64),
    ("clip", 2, 64, 64, 128),
    ("clip", 2, 128, 32, 128),
    ("clip", 2, 128, 32, 256),
    ("clip", 2, 256, 16, 256),
    ("8 clips", 16, 64, 64, 64),
    ("8 clips", 16, 128, 32, 128),
    ("8 clips", 16, 256, 16, 256),
]
JOINTS, SUBSETS = 25, 3


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Calls on random inputs in the sizes of the networks."""
    draw = torch.Generator(device).manual_seed(0)
    for name, N, C, T, O in SHAPES:  # noqa: E741

        def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
            return (scale * torch.randn(shape, generator=draw, device=device)).to(dtype)

        V, K = JOINTS, SUBSETS
        R = 8 if C == 3 else C // 8
        last = torch.channels_last
        yield Case(
            name=f"{name} N{N} C{C} T{T} V{V} O{O}",
            op=ctr_graph_conv,
            tensors={
                "x_NCTV": normal(N, C, T, V).contiguous(memory_format=last),
                "A_KVV": normal(K, V, V, scale=V**-0.5),
                "alpha": torch.ones(1, dtype=dtype, device=device),
                "w1_KRC": normal(K, R, C, scale=C**-0.5),
                "b1_KR": normal(K, R),
                "w2_KRC": normal(K, R, C, scale=C**-0.5),
                "b2_KR": normal(K, R),
                "w3_KOC": normal(K, O, C, scale=C**-0.5),
                "b3_KO": normal(K, O),
                "w4_KOR": normal(K, O, R, scale=(R * V) ** -0.5),
                "b4_KO": normal(K, O, scale=V**-0.5),
                "bias_O": normal(O),
                "residual_NOTV": normal(N, O, T, V).contiguous(memory_format=last),
            },
            settings={"relu": True},
            cost=cost(N, C, O, T, V, K, R, dtype.itemsize, residual=True),
        )
