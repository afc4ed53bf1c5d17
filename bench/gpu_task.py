"""One task of the GPU benchmark, in a process of its own: `python -m motionrt.bench.gpu_task TASK LINES`.

Every result is appended to LINES as one JSON object as soon as it is there, so that whatever happens next, it is kept.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from ..runtime.errors import MotionError
from .kernels import OPERATIONS
from .kernels.case import Case

Rows = Iterator[dict[str, Any]]

TIMED = (torch.bfloat16, torch.float32)
DTYPES = (*TIMED, torch.float16)
MAX_INTERPRETED_FLOPS = 30_000_000  # of a case in the interpreter
ATOL = {torch.float32: 2e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}  # relative to the largest value


def operation(name: str, device: torch.device) -> Rows:
    """Parity of an operation's cases, then, on a GPU, their times; a type in which parity fails is not timed.

    Raises:
        MotionError: after all other results, those that are wrong.
    """
    problems = []
    for dtype in DTYPES:
        try:
            yield from _one_dtype(name, device, dtype)
        except Exception as error:  # the other types are independent
            traceback.print_exc()
            problems.append(str(error))
    if device.type == "cuda" and name == "graph_conv":
        from .gpu_times import time_compiled

        for dtype in TIMED:
            yield from time_compiled(name, cases(name, device, dtype))
    if problems:
        raise MotionError("; ".join(problems))


def _one_dtype(name: str, device: torch.device, dtype: torch.dtype) -> Rows:
    wrong = []
    for case in cases(name, device, dtype):
        if device.type == "cuda" or case.cost.flops <= MAX_INTERPRETED_FLOPS:
            row = parity(case, dtype)
            yield {"part": "parity", "operation": name, **row}
            if not row["error"] <= row["allowed"]:
                wrong.append(f"{row['case']} in {row['dtype']} is off by {row['error']:.2g}")
    if wrong:
        raise MotionError("; ".join(wrong))
    if device.type == "cuda" and dtype in TIMED:
        from .gpu_times import time_cases

        yield from time_cases(name, cases(name, device, dtype))


def cases(name: str, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Cases of an operation."""
    found: Iterator[Case] = import_module(f".kernels.{name}", __package__).cases(device, dtype)
    return found


@torch.no_grad()
def parity(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    """Error of a kernel against the fp32 reference, and the allowed error: twice PyTorch's plus a tolerance."""
    exact = case.copy(torch.float32)("reference")
    kernel, torch_output = case.copy()("triton"), case.copy()("reference")
    largest = max(float(part.abs().max()) for part in exact)
    return {
        "case": case.name,
        "dtype": str(dtype).removeprefix("torch."),
        "error": _max_error(kernel, exact),
        "allowed": 2 * _max_error(torch_output, exact) + ATOL[dtype] * max(1.0, largest),
    }


def _max_error(output: tuple[torch.Tensor, ...], exact: tuple[torch.Tensor, ...]) -> float:
    errors = [float((part.float() - expected).abs().max()) for part, expected in zip(output, exact, strict=True)]
    return max(errors) if all(error == error for error in errors) else float("nan")


def compile_kernels(device: torch.device) -> Rows:
    """Compile all kernels of cases and models into Triton's cache on disk, on all cores."""
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        counts = list(pool.map(compile_share, range(workers), [workers] * workers, [str(device)] * workers))
    yield {"part": "compiled_kernels", "workers": workers, "kernels": sum(counts)}


def compile_share(k: int, workers: int, device_name: str) -> int:
    """Compile share k of the kernels; returns their number."""
    from ..kernels.dispatch import use_impl
    from .kernels.compiled import compile_only

    device = torch.device(device_name)
    with compile_only(share=(k, workers)) as kernels, torch.no_grad(), use_impl("triton"):
        if device.type == "cuda":
            from .gpu_models import launch_all

            launch_all(device)
        for name in OPERATIONS:
            for dtype in DTYPES:
                for case in cases(name, device, dtype):
                    case("triton")
        return len({kernel.hash for kernel, _ in kernels})


def _live(device: torch.device) -> Rows:
    from .gpu_models import time_live

    return time_live(device)


def _coamd_xl(device: torch.device) -> Rows:
    from .gpu_models import time_coamd_xl

    return time_coamd_xl(device)


def _roofline(device: torch.device) -> Rows:
    from .gpu_times import measure_roofline

    yield {"part": "roofline", **measure_roofline(device)}


TASKS: dict[str, Callable[[torch.device], Rows]] = {
    "compile": compile_kernels,
    "live": _live,
    "coamd_xl": _coamd_xl,
    "roofline": _roofline,
}


def run_task(name: str, lines: Path, device: torch.device) -> None:
    """Run a task and append its results.

    Raises:
        MotionError: a result is wrong, or something that should be a CUDA graph was not captured.
    """
    torch.backends.cudnn.allow_tf32 = False  # else PyTorch's fp32 convolutions use it
    rows = TASKS[name](device) if name in TASKS else operation(name, device)
    uncaptured = []
    for row in rows:
        with lines.open("a") as file:
            file.write(json.dumps({"task": name, **row}) + "\n")
        if device.type == "cuda" and row.get("not_captured"):
            uncaptured.append(f"{row['part']} was not captured as a CUDA graph: {row['not_captured']}")
    if uncaptured:
        raise MotionError("; ".join(uncaptured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("lines", type=Path)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--timeout", type=float, help="seconds after which the stack is printed")
    args = parser.parse_args()
    if args.timeout:
        faulthandler.dump_traceback_later(args.timeout)
    try:
        run_task(args.task, args.lines, args.device)
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
