"""Times of kernels on a GPU, compared with PyTorch and with the measured roofline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .gpu import cases
from .kernels.case import Case

DTYPES = (torch.float32, torch.bfloat16)
QUANTILES = (0.5, 0.2, 0.8)
GIB = 2**30


def timed(call: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds by CUDA events, with a cold L2 cache: median, 20 % and 80 % quantiles."""
    from triton.testing import do_bench

    median, low, high = do_bench(call, warmup=25, rep=100, quantiles=QUANTILES)
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
def time_kernels(device: torch.device, peak: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Time every case: kernel, eager, compiled, eager as a CUDA graph; and the kernel's fraction of the roofline."""
    rows = []
    for dtype in DTYPES:
        for name, case in cases(device, dtype):
            kind = str(dtype).removeprefix("torch.")
            times = {
                "kernel": timed(partial(case, "triton")),
                "eager": timed(partial(case, "reference")),
                "compiled": timed(_compiled(case)),
                "eager_graph": timed(capture(partial(case, "reference"))),
                "kernel_graph": timed(capture(partial(case, "triton"))),
            }
            seconds = times["kernel_graph"]["ms"] / 1e3
            floor = max(case.cost.bytes / peak["bytes_s"], case.cost.flops / peak["flops_s"][kind])
            rows.append(
                {
                    "operation": name,
                    "case": case.name,
                    "dtype": kind,
                    "flops": case.cost.flops,
                    "bytes": case.cost.bytes,
                    "times": times,
                    "times_faster": {other: time["ms"] / times["kernel"]["ms"] for other, time in times.items()},
                    "gb_s": case.cost.bytes / seconds / 1e9,
                    "roofline": floor / seconds,
                }
            )
    return rows


def _compiled(case: Case) -> Callable[[], Any]:
    torch._dynamo.reset()
    compiled = torch.compile(case.op, dynamic=False)
    return lambda: compiled(**case.tensors, **case.settings, impl="reference")


def draw(path: Path, report: Mapping[str, Any]) -> None:
    """Plot every kernel against the other implementations, and its fraction of the roofline."""
    from matplotlib.figure import Figure

    rows = report["kernels"]
    figure = Figure(figsize=(11, 1.5 + 0.28 * len(rows)), layout="constrained")
    faster, share = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    names = [f"{row['operation']} {row['case']} {row['dtype']}" for row in rows]
    for offset, (other, label) in enumerate(
        (("eager", "eager"), ("compiled", "torch.compile"), ("eager_graph", "eager as a CUDA graph"))
    ):
        positions = [k + 0.25 * (offset - 1) for k in range(len(rows))]
        faster.barh(positions, [row["times_faster"][other] for row in rows], 0.25, label=label)
    faster.set(yticks=range(len(rows)), yticklabels=names, xlabel="times as long as the kernel", xscale="log")
    faster.axvline(1, color="black", linewidth=0.8)
    faster.invert_yaxis()
    faster.legend(fontsize="small")
    share.barh(range(len(rows)), [100 * row["roofline"] for row in rows], color="tab:gray")
    share.set(xlabel="% of the measured roofline", xlim=(0, 100))
    figure.suptitle(f"{report['environment']['gpu']['name']}, PyTorch {report['environment']['torch']}, cold L2 cache")
    figure.savefig(path, dpi=150)
