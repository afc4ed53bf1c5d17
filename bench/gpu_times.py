"""Times of kernels on a GPU, compared with PyTorch and with the measured roofline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .kernels.case import Case

DTYPES = (torch.float32, torch.bfloat16)
QUANTILES = (0.5, 0.2, 0.8)
WARMUP_MS, REPEAT_MS = 10, 50
GIB = 2**30


def timed(call: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds by CUDA events, with a cold L2 cache: median, 20 % and 80 % quantiles."""
    from triton.testing import do_bench

    median, low, high = do_bench(call, warmup=WARMUP_MS, rep=REPEAT_MS, quantiles=QUANTILES)
    return {"ms": median, "low": low, "high": high}


def capture(call: Callable[[], Any]) -> Callable[[], None]:
    """Capture a call as a CUDA graph."""
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def measure_roofline(device: torch.device) -> dict[str, Any]:
    """Peaks of the GPU: bytes per second of a copy, operations per second of large matrix products."""
    source = torch.empty(GIB, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    peak: dict[str, Any] = {"bytes_s": 2 * GIB / (timed(lambda: target.copy_(source))["ms"] / 1e3), "flops_s": {}}
    for dtype in DTYPES:
        n = 8192
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        product = torch.empty_like(a)
        seconds = timed(partial(torch.mm, a, b, out=product))["ms"] / 1e3
        peak["flops_s"][str(dtype).removeprefix("torch.")] = 2 * n**3 / seconds
    return peak


@torch.no_grad()
def time_cases(operation: str, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Time each case: kernel and eager, launched and as CUDA graphs."""
    for case in cases:
        kernel, eager = partial(case, "triton"), partial(case, "reference")
        yield {
            **_about(operation, case),
            "flops": case.cost.flops,
            "bytes": case.cost.bytes,
            "times": {
                "kernel": timed(kernel),
                "eager": timed(eager),
                "eager_graph": timed(capture(eager)),
                "kernel_graph": timed(capture(kernel)),
            },
        }


@torch.no_grad()
def time_compiled(operation: str, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Time each case with torch.compile, which takes seconds to compile one."""
    for case in cases:
        torch._dynamo.reset()
        compiled = torch.compile(case.op, dynamic=False)
        call = partial(compiled, **case.tensors, **case.settings, impl="reference")
        yield {**_about(operation, case), "times": {"compiled": timed(call)}}


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
        (("eager", "eager"), ("compiled", "torch.compile"), ("eager_graph", "eager as a CUDA graph"))
    ):
        positions = [k + 0.25 * (offset - 1) for k in range(len(rows))]
        faster.barh(positions, [row["times_faster"].get(other, 0.0) for row in rows], 0.25, label=label)
    faster.set(yticks=range(len(rows)), yticklabels=names, xlabel="times as long as the kernel", xscale="log")
    faster.axvline(1, color="black", linewidth=0.8)
    faster.invert_yaxis()
    faster.legend(fontsize="small")
    share.barh(range(len(rows)), [100 * row.get("roofline", 0.0) for row in rows], color="tab:gray")
    share.set(xlabel="% of the measured roofline", xlim=(0, 100))
    figure.suptitle(f"{report['environment']['gpu']['name']}, PyTorch {report['environment']['torch']}, cold L2 cache")
    figure.savefig(path, dpi=150)
