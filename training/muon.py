"""AdamW whose weight matrices are updated by Muon."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of the quintic that pulls all singular values toward 1
ITERATIONS = 5


class Muon(torch.optim.AdamW):
    """Updates the parameters of groups with `"muon": True` along their orthogonalized momentum, the others by AdamW.

    A convolution's weight counts as a matrix with a row for each output channel; weights decay as by AdamW.
    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        matrices = [group for group in self.param_groups if group.get("muon")]
        others = [group for group in self.param_groups if not group.get("muon")]
        for group in matrices:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["weight_decay"])
        every, self.param_groups = self.param_groups, others
        try:
            return super().step(closure)
        finally:
            self.param_groups = every

    def _update(self, weight: Tensor, lr: float, weight_decay: float) -> None:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        momentum = state.setdefault("momentum", torch.zeros_like(weight))
        state.setdefault("step", torch.zeros(()))  # AdamW expects one when it loads a state
        momentum.lerp_(gradient, 1 - MOMENTUM)
        update = orthogonalize(gradient.lerp(momentum, MOMENTUM).flatten(1))
        rows, columns = update.shape
        weight.mul_(1 - lr * weight_decay)
        weight.add_(update.view_as(weight), alpha=-lr * max(1, rows / columns) ** 0.5)


def orthogonalize(matrix: Tensor) -> Tensor:
    """The matrix with all singular values near 1, by Newton-Schulz iterations; of zeros, zeros."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    X = (matrix.T if is_tall else matrix) / (matrix.norm() + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if is_tall else X
