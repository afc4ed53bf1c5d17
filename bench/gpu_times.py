"""Times of kernels on a GPU, compared with PyTorch and with the measured roofline.

What counts is the time of a call in a CUDA graph of many, on several copies of its tensors, so that the weights are not
in the cache more than they would be in a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..kernels.choice import choose, graph_ms
from .kernels.case import Case

DTYPES = (torch.float32, torch.bfloat16)
CALLS = 32  # in a CUDA graph
GIB = 2**30


def graph_time(calls: Sequence[Callable[[], Any]], count: int = CALLS) -> dict[str, float]:
    """Milliseconds of a call in a CUDA graph of `count` calls, the given ones in turn."""
    return _quantiles(graph_ms(list(islice(cycle(calls), count))))


def launched_time(calls: Sequence[Callable[[], Any]], rounds: int = 10) -> dict[str, float]:
    """Milliseconds of wall-clock time of a call, launched without a graph: the host's share included."""
    times_ms = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for call in islice(cycle(calls), CALLS):
            call()
        torch.cuda.synchronize()
        times_ms.append(1e3 * (time.perf_counter() - started) / CALLS)
    return _quantiles(times_ms[1:])


def _quantiles(times_ms: Sequence[float]) -> dict[str, float]:
    median, low, high = np.quantile(times_ms, [0.5, 0.2, 0.8])
    return {"ms": float(median), "low": float(low), "high": float(high)}


def measure_roofline(device: torch.device) -> dict[str, Any]:
    """Peaks of the GPU: bytes per second of a copy, operations per second of large matrix products."""
    source = torch.empty(GIB, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = graph_time([lambda: target.copy_(source)], 4)["ms"] / 1e3
    peak: dict[str, Any] = {"bytes_s": 2 * GIB / seconds, "flops_s": {}}
    for dtype in DTYPES:
        n = 8192
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        product = torch.empty_like(a)
        seconds = graph_time([partial(torch.mm, a, b, out=product)], 4)["ms"] / 1e3
        peak["flops_s"][str(dtype).removeprefix("torch.")] = 2 * n**3 / seconds
    return peak


@torch.no_grad()
def time_cases(operation: str, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Time each case with kernel and eager, as CUDA graphs and launched, and say which of them is chosen."""
    for case in cases:
        copies = rotated(case)
        kernel, eager = ([partial(copy, impl) for copy in copies] for impl in ("triton", "reference"))
        yield {
            **_about(operation, case),
            "flops": case.cost.flops,
            "bytes": case.cost.bytes,
            "copies": len(copies),
            "chosen": choose(case.op, {**case.tensors, **case.settings}),
            "times": {
                "kernel": graph_time(kernel),
                "eager": graph_time(eager),
                "kernel_launched": launched_time(kernel),
                "eager_launched": launched_time(eager),
            },
        }


@torch.no_grad()
def time_compiled(operation: str, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Time each case with torch.compile, which takes seconds to compile one, as a CUDA graph."""
    for case in cases:
        torch._dynamo.reset()
        compiled = torch.compile(case.op, dynamic=False)
        calls = [partial(compiled, **copy.tensors, **copy.settings, impl="reference") for copy in rotated(case)]
        yield {**_about(operation, case), "times": {"compiled": graph_time(calls)}}


def rotated(case: Case) -> list[Case]:
    """Copies of a case, together twice as large as the L2 cache, if at most `CALLS` of them are."""
    cache = torch.cuda.get_device_properties("cuda").L2_cache_size
    return [case.copy() for _ in range(min(CALLS, 2 + 2 * cache // case.cost.bytes))]


def _about(operation: str, case: Case) -> dict[str, Any]:
    dtype = next(tensor.dtype for tensor in case.tensors.values() if isinstance(tensor, torch.Tensor))
    return {"part": "times", "operation": operation, "case": case.name, "dtype": str(dtype).removeprefix("torch.")}


def draw(path: Path, report: Mapping[str, Any]) -> None:
    """Plot every kernel against the other implementations, and its fraction of the roofline."""
    from matplotlib.figure import Figure

    rows = [row for row in report["kernels"] if "times_faster" in row]
    figure = Figure(figsize=(11, 1.5 + 0.28 * len(rows)), layout="constrained")
    faster, share = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    names = [f"{row['operation']} {row['case']} {row['dtype']}" for row in rows]
    for offset, (other, label) in enumerate(
        (("eager", "eager"), ("compiled", "torch.compile"), ("launched", "eager, both without a CUDA graph"))
    ):
        positions = [k + 0.25 * (offset - 1) for k in range(len(rows))]
        faster.barh(positions, [row["times_faster"].get(other, 0.0) for row in rows], 0.25, label=label)
    faster.set(yticks=range(len(rows)), yticklabels=names, xlabel="times as long as the kernel", xscale="log")
    faster.axvline(1, color="black", linewidth=0.8)
    faster.invert_yaxis()
    faster.legend(fontsize="small")
    share.barh(range(len(rows)), [100 * row.get("roofline", 0.0) for row in rows], color="tab:gray")
    share.set(xlabel="% of the measured roofline", xlim=(0, 100))
    figure.suptitle(f"{report['environment']['gpu']['name']}, PyTorch {report['environment']['torch']}, CUDA graphs")
    figure.savefig(path, dpi=150)
