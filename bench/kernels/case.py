"""One call of an operation, to be checked and timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...kernels.dispatch import Cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """An operation with its arguments.

    Attributes:
        name: the network that it is part of, with its shape.
        op: takes the arguments and `impl`; returns one or several tensors.
        tensors: tensor arguments, all floats of one dtype. settings: the other arguments.
        cost: cost of the call.
    """

    name: str
    op: Callable[..., Any]
    tensors: Mapping[str, Any]
    settings: Mapping[str, Any]
    cost: Cost

    def __call__(self, impl: str = "auto") -> tuple[Tensor, ...]:
        """Run the operation and return its tensors."""
        output = self.op(**self.tensors, **self.settings, impl=impl)
        return tuple(part for part in (output if isinstance(output, tuple) else (output,)) if isinstance(part, Tensor))

    def copy(self, dtype: torch.dtype | None = None) -> Case:
        """A copy that a call may modify, optionally with another float dtype."""
        return replace(self, tensors={name: _copy(value, dtype) for name, value in self.tensors.items()})


def _copy(value: Any, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype=dtype if dtype and value.is_floating_point() else value.dtype, copy=True)
    return [_copy(part, dtype) for part in value]
