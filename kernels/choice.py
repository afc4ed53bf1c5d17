"""Times of calls on a GPU, and the choice of the faster implementation by them. Not yet run on hardware."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, wraps
from hashlib import sha256
from inspect import getfile, signature, unwrap
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from .dispatch import auto_impl, size_class, use_triton

CALLS = 20  # in the CUDA graph that is timed
Operation = TypeVar("Operation", bound=Callable[..., Any])
_choices: dict[str, str] = {}


def faster(*modified: str) -> Callable[[Operation], Operation]:
    """Decorator of an operation: for "auto" on a GPU, run the kernel only where it is faster than the reference.

    Both are timed as CUDA graphs at the first call with these types and sizes (up to the next power of two) that is not
    captured itself. The choice is stored on disk, next to the kernels. If MOTIONRT_FIRST_CONFIG is 1, nothing is timed,
    and the kernel runs.

    Args:
        modified: names of the arguments, apart from `out`, that the operation writes to.
    """

    def decorate(op: Operation) -> Operation:
        parameters = signature(op)

        @wraps(op)
        def call(*args: Any, **settings: Any) -> Any:
            is_auto = settings.get("impl", "auto") == "auto" and not torch.compiler.is_compiling()
            if is_auto and auto_impl() == "auto":
                arguments = parameters.bind(*args, **settings).arguments
                if use_triton("auto", *_tensors(arguments.values())):
                    settings["impl"] = choose(op, arguments, modified)
            return op(*args, **settings)

        return call  # type: ignore[return-value]

    return decorate


def choose(op: Callable[..., Any], arguments: Mapping[str, Any], modified: Sequence[str] = ()) -> str:
    """The faster implementation of a call, "triton" or "reference"; "triton" if that can no longer be measured."""
    if os.environ.get("MOTIONRT_FIRST_CONFIG") == "1":
        return "triton"
    arguments = {name: value for name, value in arguments.items() if name != "out"}
    tensors = list(_tensors(arguments.values()))
    sizes = [f"{tensor.dtype} {size_class(tensor.numel())}" for tensor in tensors]
    switches = [f"{name}={value}" for name, value in arguments.items() if isinstance(value, bool)]
    key = ", ".join([op.__name__, str(tensors[0].device), *sizes, *switches])
    if key not in _choices:
        if torch.cuda.is_current_stream_capturing():
            return "triton"
        _choices[key] = _stored(key, op, tensors[0].device, lambda: _measure(op, arguments, modified))
    return _choices[key]


def graph_ms(calls: Sequence[Callable[[], Any]], replays: int = 10) -> list[float]:
    """Milliseconds per call of a CUDA graph that consists of these calls, for each of several replays."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # kernels are compiled and tuned
            calls[0]()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        for call in calls:
            call()
    times = []
    with torch.cuda.stream(stream):
        for _ in range(replays + 1):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / len(calls))
    return times[1:]


def _measure(op: Callable[..., Any], arguments: Mapping[str, Any], modified: Sequence[str]) -> str:
    own = {name: value.clone() if name in modified else value for name, value in arguments.items()}

    def ms(impl: str) -> float:
        return median(graph_ms([lambda: op(**own | {"impl": impl})] * CALLS))

    with torch.cuda.device_of(next(_tensors(own.values()))):
        return "triton" if ms("triton") <= ms("reference") else "reference"


def _stored(key: str, op: Callable[..., Any], device: torch.device, measure: Callable[[], str]) -> str:
    """The choice on disk for this GPU, PyTorch and kernel; measured and stored if there is none."""
    from triton.runtime.cache import get_cache_manager

    gpu = torch.cuda.get_device_name(device)
    manager = get_cache_manager(sha256("\n".join([key, gpu, torch.__version__, _kernel(op)]).encode()).hexdigest())
    if path := manager.get_file("choice.txt"):
        return Path(path).read_text()
    found = measure()
    manager.put(found, "choice.txt", binary=False)
    return found


@cache
def _kernel(op: Callable[..., Any]) -> str:
    """Source of an operation's kernel."""
    return Path(getfile(unwrap(op))).with_name("triton.py").read_text(encoding="utf-8")


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
