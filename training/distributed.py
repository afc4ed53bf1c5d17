"""Collective operations of data-parallel training; without a process group they do nothing.

Every process trains on its slice of each batch, and gradients are averaged. If a loss divides by `mean_over_ranks` and
compares samples across processes with `all_gather`, that average is the gradient of the whole batch. With gradients
disabled neither communicates, so the main process can validate alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def rank_and_world() -> tuple[int, int]:
    """Rank of this process, and the number of processes."""
    if not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def rank_slice() -> slice:
    """The samples of a batch that this process trains on."""
    rank, world = rank_and_world()
    return slice(rank, None, world)


def mean_over_ranks(value: Tensor) -> Tensor:
    """Mean of a loss's denominator over all processes, without gradient."""
    _, world = rank_and_world()
    value = value.detach()
    if world == 1 or not torch.is_grad_enabled():
        return value
    total = value.float().clone()
    distributed.all_reduce(total)
    return total / world


def all_gather(x_B: Tensor) -> Tensor:
    """Concatenated rows of all processes, the same number from each; gradients flow to this process's rows.

    `torch.distributed.nn.functional.all_gather` is deprecated, and its backward pass communicates once more.
    """
    _, world = rank_and_world()
    return x_B if world == 1 or not torch.is_grad_enabled() else _AllGather.apply(x_B)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_B: Tensor) -> Tensor:
        _, world = rank_and_world()
        parts = [torch.empty_like(x_B, memory_format=torch.contiguous_format) for _ in range(world)]
        distributed.all_gather(parts, x_B.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Scaled by the number of processes: each computes the whole loss, and gradients are averaged afterwards."""
        rank, world = rank_and_world()
        return world * gradients[0].chunk(world)[rank]
