"""Kernels, backends and models on a GPU: `python -m motionrt.bench.gpu [-o gpu.json] [--picture gpu.png]`.

Parity of every kernel in every dtype comes first; nothing is timed if one fails. Then each case is timed with a cold L2
cache: the kernel, PyTorch eager, compiled, and as a CUDA graph; then the recognizer's step and CoAMD-XL. Without a GPU,
parity is checked in Triton's interpreter on the small cases, and nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported

from ..runtime.errors import MotionError
from .kernels import OPERATIONS
from .kernels.case import Case
from .speed.environment import commit, package_version

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_INTERPRETED_FLOPS = 30_000_000  # of a case in the interpreter
ATOL = {torch.float32: 2e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}  # relative to the largest value


def bench_gpu() -> dict[str, Any]:
    """Check the parity of every kernel and, on a GPU, measure times.

    Raises:
        MotionError: a kernel exceeds the allowed error; nothing was timed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False  # else PyTorch's fp32 convolutions use it
    report: dict[str, Any] = {"benchmark": "gpu", "environment": environment(device), "parity": check_parity(device)}
    if failed := [row for row in report["parity"] if not row["error"] <= row["allowed"]]:
        raise MotionError("\n".join(f"{row['case']} in {row['dtype']}: off by {row['error']:.2g}" for row in failed))
    if device.type == "cpu":
        return report | {"timed": False, "reason": "no GPU: kernels ran in Triton's interpreter"}
    from .gpu_models import time_models
    from .gpu_times import measure_roofline, time_kernels

    peak = measure_roofline(device)
    return report | {
        "timed": True,
        "roofline": peak,
        "kernels": time_kernels(device, peak),
        "models": time_models(device),
    }


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, Case]]:
    """Every case with the name of its operation."""
    for name in OPERATIONS:
        for case in import_module(f".kernels.{name}", __package__).cases(device, dtype):
            yield name, case


def check_parity(device: torch.device) -> list[dict[str, Any]]:
    """Error of each kernel against the fp32 reference, and the allowed error: twice PyTorch's plus a tolerance."""
    rows = []
    for dtype in DTYPES:
        for name, case in cases(device, dtype):
            if device.type == "cpu" and case.cost.flops > MAX_INTERPRETED_FLOPS:
                continue
            exact = case.copy(torch.float32)("reference")
            kernel, torch_output = case.copy()("triton"), case.copy()("reference")
            largest = max(float(part.abs().max()) for part in exact)
            rows.append(
                {
                    "operation": name,
                    "case": case.name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "error": _max_error(kernel, exact),
                    "allowed": 2 * _max_error(torch_output, exact) + ATOL[dtype] * max(1.0, largest),
                }
            )
    return rows


def _max_error(output: tuple[torch.Tensor, ...], exact: tuple[torch.Tensor, ...]) -> float:
    errors = [float((part.float() - expected).abs().max()) for part, expected in zip(output, exact, strict=True)]
    return max(errors) if all(error == error for error in errors) else float("nan")


def environment(device: torch.device) -> dict[str, Any]:
    """GPU, versions and commit of the measurement."""
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "gpu": gpu
        and {"name": gpu.name, "capability": f"{gpu.major}.{gpu.minor}", "memory_gb": gpu.total_memory / 1e9},
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{name: package_version(name) for name in ("torch", "triton", "onnxruntime")},
        "commit": commit(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    report = bench_gpu()
    text = json.dumps(report, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    if args.picture and report["timed"]:
        from .gpu_times import draw

        draw(args.picture, report)
    print(text if report["timed"] else f"{len(report['parity'])} kernel cases correct; {report['reason']}")


if __name__ == "__main__":
    main()
