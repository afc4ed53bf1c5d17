"""What several processes that train one network know of each other; one process has nobody to ask.

Each takes its share of every batch, and their gradients are averaged. With a loss whose denominators are `averaged` and
whose samples meet those of all processes by `gathered`, that average is the gradient of the whole batch. Where no
gradient is asked for, the main process validates alone and waits for nobody.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def place() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share() -> slice:
    """Which samples of a batch are this process's."""
    return slice(place()[0], None, place()[1])


def averaged(amount: Tensor) -> Tensor:
    """The mean over the processes of what a loss is divided by; without gradient."""
    count, amount = place()[1], amount.detach()
    if count == 1 or not torch.is_grad_enabled():
        return amount
    total = amount.float().clone()
    distributed.all_reduce(total)
    return total / count


def gathered(x_B: Tensor) -> Tensor:
    """The rows of all processes, equally many each; the gradient goes on from the own ones."""
    return x_B if place()[1] == 1 or not torch.is_grad_enabled() else _Gathered.apply(x_B)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_B: Tensor) -> Tensor:
        parts = [torch.empty_like(x_B, memory_format=torch.contiguous_format) for _ in range(place()[1])]
        distributed.all_gather(parts, x_B.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """That of the own rows, times the processes: each has the whole loss, and their gradients are averaged."""
        number, count = place()
        return count * gradients[0].chunk(count)[number]
