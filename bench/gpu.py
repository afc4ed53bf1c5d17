"""Kernels, backends and models on a GPU: `python -m motionrt.bench.gpu [-o gpu.json] [--picture gpu.png] [TASK ...]`.

First all kernels are compiled on all cores; then come the models (the recognizer's step and CoAMD-XL), then, operation
by operation, the parity of its kernels in every type, and their times: kernel and PyTorch eager, as CUDA graphs of many
calls and launched one by one, and which of them is chosen. Every task is a process with a timeout: one that fails or
hangs costs the others nothing. Results are appended to gpu.jsonl as they come and collected in gpu.json after every
task.

Without a GPU, or with --dry-run, parity is checked in Triton's interpreter on small cases and models, in the same
processes, and nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..runtime.io.atomic_write import atomic_write
from .kernels import OPERATIONS
from .speed.environment import commit, package_version

PLAN_S = {  # expected seconds of each task, the start of its process included
    "compile": 80,
    "live": 70,
    "coamd_xl": 130,
    "roofline": 20,
    "graph_conv": 70,
    "ctr_graph_conv": 40,
    "temporal_conv": 30,
    "adaln_mlp": 60,
    "guided_step": 20,
    "joint_attention": 40,
}
DRY = ("live", "coamd_xl", *OPERATIONS)
BUDGET_S = 570
PATIENCE, DRY_PATIENCE = 1.5, 3.0  # a task may take this many times what is expected
NOISE = 0.1  # part of a time by which two measurements may differ
LEAST = 0.5  # part of the expected time that must be left for a task to start


def bench_gpu(
    tasks: Sequence[str], lines: Path, *, dry_run: bool, budget_s: float = BUDGET_S, timeout_s: float | None = None
) -> dict[str, Any]:
    """Run tasks one after another and collect their results.

    Args:
        tasks: names in `PLAN_S`.
        lines: file for the results as they come; the report is written next to it as .json.
        dry_run: on the CPU, in Triton's interpreter.
        budget_s: seconds for everything; tasks that no longer fit are left out.
        timeout_s: seconds for a task, a multiple of the plan if None.
    Returns:
        The report; `tasks` says what became of each.
    """
    started = time.monotonic()
    lines.write_text(json.dumps({"part": "environment", **environment(dry_run)}) + "\n")
    report = _write_report(lines)
    for task in tasks:
        left = budget_s - 2 - (time.monotonic() - started)
        if left < LEAST * PLAN_S[task]:
            outcome = {"status": "skipped", "reason": f"{PLAN_S[task]} s are planned for it, {max(left, 0):.0f} s left"}
        else:
            limit = timeout_s or (DRY_PATIENCE if dry_run else PATIENCE) * PLAN_S[task]
            outcome = _run(task, lines, dry_run, min(left, limit))
        with lines.open("a") as file:
            file.write(json.dumps({"part": "task", "task": task, **outcome}) + "\n")
        print(f"{task}: {outcome['status']}{': ' * bool(outcome.get('reason'))}{outcome.get('reason', '')}", flush=True)
        report = _write_report(lines)
    return report


def _write_report(lines: Path) -> dict[str, Any]:
    report = collect(map(json.loads, lines.read_text().splitlines()))
    with atomic_write(lines.with_suffix(".json")) as file:
        file.write((json.dumps(report, indent=1) + "\n").encode())
    return report


def _run(task: str, lines: Path, dry_run: bool, timeout_s: float) -> dict[str, Any]:
    """Run a task in a process of its own, which is killed with all its children if it takes too long."""
    command = [sys.executable, "-m", f"{__package__}.gpu_task", task, str(lines)]
    command += ["--timeout", str(0.95 * timeout_s), "--device", "cpu" if dry_run else "cuda"]
    variables = {**os.environ, **({"TRITON_INTERPRET": "1"} if dry_run else {})}
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, start_new_session=True)
        try:
            status = "done" if process.wait(timeout_s) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "hung"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
        log.seek(0)
        output = log.read().strip().splitlines()
    outcome: dict[str, Any] = {"status": status, "seconds": round(time.monotonic() - started, 1)}
    if status == "failed":
        has_reason = process.returncode == 1 and bool(output)  # it was not killed by a signal
        outcome |= {"reason": output[-1] if has_reason else f"exit status {process.returncode}", "log": output[-40:]}
    if status == "hung":
        outcome |= {"reason": f"took longer than {timeout_s:.0f} s", "log": output[-40:]}
    return outcome


def collect(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The report of result lines."""
    report: dict[str, Any] = {"benchmark": "gpu", "environment": {}, "tasks": {}, "parity": []}
    kernels: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in rows:
        row = dict(line)
        part, task = row.pop("part"), row.pop("task", None)
        if part == "environment":
            report["environment"] = row
        elif part == "task":
            report["tasks"][task] = row
        elif part == "parity":
            report["parity"].append(row)
        elif part == "times":
            own = kernels.setdefault((row["operation"], row["case"], row["dtype"]), {"times": {}})
            own |= row | {"times": own["times"] | row["times"]}
        elif part == "live":
            report.setdefault("models", {}).setdefault("live", {})[str(row.pop("people"))] = row
        elif part == "batch":
            model = report.setdefault("models", {}).setdefault("coamd_xl", {"ms": {}})
            model.setdefault("batches", {})[str(row.pop("motions"))] = row
        elif part == "coamd_xl":
            model = report.setdefault("models", {}).setdefault("coamd_xl", {"ms": {}})
            model |= row | {"ms": model["ms"] | row.get("ms", {})}
        else:
            report[part] = row
    report["timed"] = report["environment"].get("gpu") is not None
    if not report["timed"]:
        report["reason"] = "no GPU: kernels ran in Triton's interpreter"
    elif kernels:
        report["kernels"] = [_compared(row, report.get("roofline")) for row in kernels.values()]
    return report


def _compared(row: dict[str, Any], peak: Mapping[str, Any] | None) -> dict[str, Any]:
    """Times relative to the kernel's, and to the roofline if that was measured."""
    ms = {name: time["ms"] for name, time in row["times"].items()}
    if "kernel" not in ms:
        return row
    seconds = ms["kernel"] / 1e3
    row["times_faster"] = {other: ms[other] / ms["kernel"] for other in ("eager", "compiled") if other in ms}
    row["times_faster"]["launched"] = ms["eager_launched"] / ms["kernel_launched"]
    row["lost"] = min(ms["kernel"], ms["eager"]) / ms["kernel" if row["chosen"] == "triton" else "eager"] < 1 - NOISE
    row["gb_s"] = row["bytes"] / seconds / 1e9
    if peak:
        row["roofline"] = max(row["bytes"] / peak["bytes_s"], row["flops"] / peak["flops_s"][row["dtype"]]) / seconds
    return row


def environment(dry_run: bool) -> dict[str, Any]:
    """GPU, versions and commit of the measurement."""
    gpu = None if dry_run else torch.cuda.get_device_properties("cuda")
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
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"some of {', '.join(PLAN_S)}; all by default")
    parser.add_argument("-o", "--out", type=Path, default=Path("gpu.json"), help="report; lines go next to it, .jsonl")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--budget", type=float, default=BUDGET_S, metavar="S", help="seconds for everything")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds for a task; otherwise by plan")
    parser.add_argument("--first-config", action="store_true", help="no tuning: the first configuration of each kernel")
    parser.add_argument("--dry-run", action="store_true", help="parity on the CPU, in the same processes")
    args = parser.parse_args()
    dry_run = args.dry_run or not torch.cuda.is_available()
    if unknown := sorted(set(args.tasks) - set(PLAN_S)):
        parser.error(f"unknown task {unknown[0]!r}, expected some of {', '.join(PLAN_S)}")
    tasks = [name for name in PLAN_S if name in (args.tasks or PLAN_S) and (not dry_run or name in DRY)]
    if args.first_config:
        os.environ["MOTIONRT_FIRST_CONFIG"] = "1"
    print(f"plan: {', '.join(f'{name} {PLAN_S[name]} s' for name in tasks)}", end="; ")
    print(f"{sum(PLAN_S[name] for name in tasks)} s of {args.budget:.0f} s", flush=True)
    report = bench_gpu(
        tasks, args.out.with_suffix(".jsonl"), dry_run=dry_run, budget_s=args.budget, timeout_s=args.timeout
    )
    if args.picture and report.get("kernels"):
        from .gpu_times import draw

        draw(args.picture, report)
    right = sum(row["error"] <= row["allowed"] for row in report["parity"])
    print(f"{right} of {len(report['parity'])} kernel cases correct{'; ' + report['reason'] if dry_run else ''}")
    if lost := [
        f"{row['operation']} {row['case']} {row['dtype']}" for row in report.get("kernels", ()) if row.get("lost")
    ]:
        print(f"slower than the alternative: {', '.join(lost)}")
    bad = [name for name, outcome in report["tasks"].items() if outcome["status"] in ("failed", "hung")]
    if bad:
        sys.exit(f"failed: {', '.join(bad)}")


if __name__ == "__main__":
    main()
