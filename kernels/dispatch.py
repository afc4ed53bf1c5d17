"""Selection of reference or kernel, and helpers that kernels share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

TRITON = (3, 6)  # oldest version: cooperative launches, tuning cached on disk
IMPLS = ("auto", "reference", "triton")
_auto = ContextVar("auto", default="auto")


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations of a call (a multiply-add counts as two), and bytes that must be read or written."""

    flops: int
    bytes: int


def use_triton(impl: str, *tensors: Tensor | None) -> bool:
    """Decide whether to run the kernel; "auto" does so on CUDA tensors that need no gradient.

    Raises:
        ValueError: an unknown `impl`, or tensors on several devices.
        RuntimeError: `impl` is "triton" and the kernel cannot run; the message says why.
    """
    if impl not in IMPLS:
        raise ValueError(f"impl is {impl!r}, expected {', '.join(IMPLS)}")
    impl = _auto.get() if impl == "auto" else impl
    if impl == "reference":
        return False
    present = [tensor for tensor in tensors if tensor is not None]
    reason = _unavailable(present)
    if reason and impl == "triton":
        raise RuntimeError(f"the Triton kernel cannot run: {reason}")
    return reason is None and (impl == "triton" or present[0].is_cuda)


@contextmanager
def use_impl(impl: str) -> Iterator[None]:
    """Context in which "auto" means this implementation, to compare models with and without kernels."""
    token = _auto.set(impl)
    try:
        yield
    finally:
        _auto.reset(token)


def auto_impl() -> str:
    """Meaning of "auto" here, see `use_impl`."""
    return _auto.get()


def _unavailable(tensors: Sequence[Tensor]) -> str | None:
    if torch.compiler.is_compiling():  # exported and compiled graphs consist of PyTorch operations
        return "the call is being compiled"
    if len({tensor.device for tensor in tensors}) > 1:
        raise ValueError(f"tensors are on {sorted({str(tensor.device) for tensor in tensors})}, expected one device")
    if not tensors[0].is_cuda and not interpreted():
        return f"tensors are on {tensors[0].device}, and TRITON_INTERPRET is not 1"
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return "a gradient is needed"
    return triton_problem()


@cache
def triton_problem() -> str | None:
    """Reason why no kernel can run with the installed Triton; None if they can."""
    if find_spec("triton") is None:
        return "triton is not installed"
    found = version("triton")
    if tuple(int(part) for part in found.split(".")[:2]) >= TRITON:
        return None
    return f"triton {found} is too old, expected {TRITON[0]}.{TRITON[1]} or newer"


def interpreted() -> bool:
    """True if kernels run in Triton's interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def precision_of(x: Tensor) -> str:
    """Precision of `device.dot` for this type; for fp32, that of PyTorch's matmul setting.

    Full precision is that of three TF32 products (of the rounded factors and of each with the other's rest): matrix
    units do not multiply fp32, and scalar units take several times as long.
    """
    if interpreted() and x.dtype == torch.bfloat16:
        return "upcast"
    if x.dtype != torch.float32:
        return "ieee"
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def tuned(
    configs: Sequence[Any],
    key: Sequence[str],
    restore: Sequence[str] = (),
    fits_fp32: Callable[[Any], bool] = lambda config: True,
) -> Any:
    """Triton's autotuner over a fixed set of configurations; its choice is cached on disk, next to the kernels.

    The interpreter uses the first configuration, and so does everything if MOTIONRT_FIRST_CONFIG is 1.

    Args:
        restore: arguments that the kernel modifies.
        fits_fp32: whether the registers of a configuration also suffice for fp32 in full precision, see `precision_of`.
    """
    import triton

    def fitting(configs: Sequence[Any], named: Mapping[str, Any], **settings: Any) -> Sequence[Any]:
        full = settings.get("PRECISION") == "tf32x3" and not interpreted()
        return [config for config in configs if fits_fp32(config)] if full else configs

    return triton.autotune(
        list(configs[:1] if interpreted() or os.environ.get("MOTIONRT_FIRST_CONFIG") == "1" else configs),
        key=list(key),
        restore_value=list(restore) or None,
        prune_configs_by={"early_config_prune": fitting},
        do_bench=_do_bench,
        cache_results=True,
    )


def size_class(size: int) -> int:
    """Power of two that stands for a size in the autotuner's key: sizes of one class share a configuration."""
    return max(16, 1 << (size - 1).bit_length())


def _do_bench(call: Callable[[], Any], quantiles: Sequence[float]) -> Any:
    """Time a configuration in a third of the time that Triton would take."""
    from triton.testing import do_bench

    return do_bench(call, warmup=10, rep=30, quantiles=quantiles)


def empty_like(x_NCTV: Tensor, channels: int | None = None) -> Tensor:
    """Uninitialized tensor with the memory format of x (channels-last or not), and `channels` channels if set."""
    N, C, T, V = x_NCTV.shape
    last = x_NCTV.stride(1) == 1 and C > 1
    shape = (N, C if channels is None else channels, T, V)
    memory = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=x_NCTV.dtype, device=x_NCTV.device, memory_format=memory)


def strides(tensor: Tensor | None, dims: int) -> tuple[int, ...]:
    """Strides of a tensor; zeros if there is none."""
    return (0,) * dims if tensor is None else tensor.stride()
