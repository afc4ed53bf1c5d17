"""Kernels, backends and models on a GPU: `python -m motionrt.bench.gpu [-o gpu.json] [--picture gpu.png]`.

First every kernel's parity in every type; nothing is timed while one is wrong. Then each case with a cold L2 cache:
the kernel, PyTorch's operations (eager), those compiled, and those as a CUDA graph; then the recogniser's step and
CoAMD-XL.
Without a GPU, parity is tried in Triton's interpreter on the cases that are small enough, and nothing is timed.
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
INTERPRETED = 30_000_000  # floating-point operations of a case that the interpreter is given
ATOL = {torch.float32: 2e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}  # of the largest number


def bench_gpu() -> dict[str, Any]:
    """Parity of every kernel and, on a GPU, times.

    Raises:
        MotionError: a kernel is wrong; nothing was timed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False  # of which PyTorch's convolutions would make use in fp32
    found: dict[str, Any] = {"benchmark": "gpu", "environment": environment(device), "parity": parities(device)}
    if wrong := [of for of in found["parity"] if not of["error"] <= of["allowed"]]:
        raise MotionError("\n".join(f"{of['case']} in {of['dtype']}: off by {of['error']:.2g}" for of in wrong))
    if device.type == "cpu":
        return found | {"timed": False, "reason": "no GPU: kernels ran in Triton's interpreter"}
    from .gpu_models import models
    from .gpu_times import kernels, roofline

    peak = roofline(device)
    return found | {"timed": True, "roofline": peak, "kernels": kernels(device, peak), "models": models(device)}


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, Case]]:
    """Every case with the name of its operation."""
    for name in OPERATIONS:
        for case in import_module(f".kernels.{name}", __package__).cases(device, dtype):
            yield name, case


def parities(device: torch.device) -> list[dict[str, Any]]:
    """How far kernels are from the reference in fp32, and how far they may be: twice as far as PyTorch, and a bit."""
    found = []
    for dtype in DTYPES:
        for name, case in cases(device, dtype):
            if device.type == "cpu" and case.cost.flops > INTERPRETED:
                continue
            exact = case.copied(torch.float32)("reference")
            made, theirs = case.copied()("triton"), case.copied()("reference")
            largest = max(float(part.abs().max()) for part in exact)
            found.append(
                {
                    "operation": name,
                    "case": case.name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "error": _off(made, exact),
                    "allowed": 2 * _off(theirs, exact) + ATOL[dtype] * max(1.0, largest),
                }
            )
    return found


def _off(found: tuple[torch.Tensor, ...], exact: tuple[torch.Tensor, ...]) -> float:
    off = [float((part.float() - wanted).abs().max()) for part, wanted in zip(found, exact, strict=True)]
    return max(off) if all(value == value for value in off) else float("nan")


def environment(device: torch.device) -> dict[str, Any]:
    """Where it was measured."""
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
    found = bench_gpu()
    text = json.dumps(found, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    if args.picture and found["timed"]:
        from .gpu_times import draw

        draw(args.picture, found)
    print(text if found["timed"] else f"{len(found['parity'])} kernels' cases are right; {found['reason']}")


if __name__ == "__main__":
    main()
