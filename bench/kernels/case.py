"""A call of an operation, to be checked and timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

    def exact(self) -> tuple[Tensor, ...]:
        """The reference in fp32, of the same numbers."""
        return Case(
            name=self.name,
            op=self.op,
            tensors=cast(self.tensors, torch.float32),
            settings=self.settings,
            cost=self.cost,
        )("reference")


def cast(tensors: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The same arguments, floats in another type."""

    def one(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        return [one(part) for part in value] if isinstance(value, list) else value

    return {name: one(value) for name, value in tensors.items()}
