"""A call of an operation, to be checked and timed."""

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
        name: of what it is a part, with its shape.
        op: takes the arguments and `impl`; gives a tensor or several.
        tensors: arguments that are tensors, of one type where they are floats. settings: the others.
        cost: of the call.
    """

    name: str
    op: Callable[..., Any]
    tensors: Mapping[str, Any]
    settings: Mapping[str, Any]
    cost: Cost

    def __call__(self, impl: str = "auto") -> tuple[Tensor, ...]:
        """What the operation gives."""
        found = self.op(**self.tensors, **self.settings, impl=impl)
        return tuple(part for part in (found if isinstance(found, tuple) else (found,)) if isinstance(part, Tensor))

    def copied(self, dtype: torch.dtype | None = None) -> Case:
        """The same numbers in memory of their own, which a call may change; floats in a type of choice."""
        return replace(self, tensors={name: _copied(value, dtype) for name, value in self.tensors.items()})


def _copied(value: Any, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype=dtype if dtype and value.is_floating_point() else value.dtype, copy=True)
    return [_copied(part, dtype) for part in value]
