"""The GPU benchmark: it starts on a GPU machine, survives what fails there, and keeps to its budget."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.bench import gpu, gpu_models, gpu_task, gpu_times
from motionrt.bench.kernels import guided_step
from motionrt.bench.kernels.case import Case
from motionrt.kernels.dispatch import Cost
from motionrt.runtime.errors import MotionError

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="takes minutes on a GPU")

BARE = """
import sys
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path

class Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        stub = Path(__file__).with_name("stubs") / f"{name.split('.')[-1]}.py"
        if name.startswith("motionrt.bench.kernels.") and stub.exists():
            return spec_from_file_location(name, stub)
        if name in ("motionrt.runtime._core", "av", "fastapi", "viser", "websockets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """Environment of a GPU machine: the source, PyTorch and ONNX Runtime, but nothing compiled, for every process."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(BARE)
    paths = [str(tmp_path / "bare"), str(Path(gpu.__file__).parents[2])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_it_starts_without_the_compiled_core(bare: dict[str, str]) -> None:
    code = """
import sys
from importlib.util import find_spec
try:
    find_spec("motionrt.runtime._core")
    sys.exit("the core is there")
except ModuleNotFoundError:
    pass
import motionrt.bench.gpu, motionrt.bench.gpu_models, motionrt.bench.gpu_times
from motionrt.runtime.backends.cuda import CudaBackend
from motionrt.runtime.bundles.bundle import Bundle
CudaBackend(Bundle.load("live"), "cpu")
"""
    subprocess.run([sys.executable, "-c", code], env=bare, check=True)


STUBS = {
    "graph_conv": "raise OSError('no such kernel')",
    "ctr_graph_conv": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "temporal_conv": "import time\nwhile True: time.sleep(1)",
    "joint_attention": """
import torch
from motionrt.bench.kernels.case import Case
from motionrt.kernels.dispatch import Cost

def op(x, impl):
    return 1.5 * x if impl == "triton" else 1.0 * x

def cases(device, dtype):
    yield Case(name="one", op=op, tensors={"x": torch.ones(9, dtype=dtype)}, settings={}, cost=Cost(1, 1))
""",
}


@pytest.fixture
def stubs(bare: dict[str, str], tmp_path: Path) -> None:
    """Operations that fail instead of ours, in every process with the environment `bare`."""
    (tmp_path / "bare" / "stubs").mkdir()
    for name, source in STUBS.items():
        (tmp_path / "bare" / "stubs" / f"{name}.py").write_text(source)


@pytest.mark.slow
@pytest.mark.usefixtures("stubs")
def test_an_operation_that_hangs_is_ended(
    bare: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", bare["PYTHONPATH"])
    tasks = ["temporal_conv", "ctr_graph_conv"]
    found = gpu.bench_gpu(tasks, tmp_path / "gpu.jsonl", dry_run=True, budget_s=24, timeout_s=6)["tasks"]
    assert (found["temporal_conv"]["status"], found["temporal_conv"]["reason"]) == ("hung", "took longer than 6 s")
    assert found["ctr_graph_conv"]["status"] == "skipped"


@on_cpu
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("stubs")
def test_it_survives_operations_that_raise_and_are_wrong(bare: dict[str, str], tmp_path: Path) -> None:
    tasks = ["graph_conv", "ctr_graph_conv", "joint_attention", "guided_step"]
    options = ["--dry-run", "--timeout", "90", "-o", str(tmp_path / "gpu.json"), *tasks]
    command = [sys.executable, "-m", "motionrt.bench.gpu", *options]
    done = subprocess.run(command, env=bare, capture_output=True, text=True)
    assert done.returncode == 1 and "failed: graph_conv, ctr_graph_conv, joint_attention" in done.stderr, done
    assert "ctr_graph_conv 40 s, guided_step 20 s, joint_attention 40 s; 170 s of 570 s" in done.stdout
    found = json.loads((tmp_path / "gpu.json").read_text())
    became = {name: (outcome["status"], outcome.get("reason", "")) for name, outcome in found["tasks"].items()}
    assert became["graph_conv"][0] == "failed" and "no such kernel" in became["graph_conv"][1]
    assert became["ctr_graph_conv"] == ("failed", "exit status -11")
    assert became["joint_attention"][0] == "failed" and "one in float16 is off by 0.5" in became["joint_attention"][1]
    assert became["guided_step"] == ("done", "")
    right = [row["operation"] for row in found["parity"] if row["error"] <= row["allowed"]]
    assert right == 9 * ["guided_step"] and len(found["parity"]) == 9 + 3
    assert not found["timed"] and "interpreter" in found["reason"] and "kernels" not in found


def test_the_plan_fits_the_budget() -> None:
    assert sum(gpu.PLAN_S.values()) <= gpu.BUDGET_S <= 570


def test_tasks_that_do_not_fit_what_is_left_are_skipped_and_listed(tmp_path: Path) -> None:
    found = gpu.bench_gpu(["live", "guided_step"], tmp_path / "gpu.jsonl", dry_run=True, budget_s=8)
    assert found["tasks"]["live"] == {"status": "skipped", "reason": "70 s are planned for it, 6 s left"}
    assert found["tasks"]["guided_step"]["status"] == "skipped"
    assert json.loads((tmp_path / "gpu.json").read_text()) == found


def test_what_was_not_captured_fails_after_its_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"part": "live", "people": 1, "not_captured": "an operation waited"}, {"part": "live", "people": 8}]
    monkeypatch.setitem(gpu_task.TASKS, "live", lambda device: iter(rows))
    with pytest.raises(MotionError, match="live was not captured as a CUDA graph: an operation waited"):
        gpu_task.run_task("live", tmp_path / "lines", torch.device("cuda"))
    assert [json.loads(line)["people"] for line in (tmp_path / "lines").read_text().splitlines()] == [1, 8]


def test_lines_become_a_report() -> None:
    def times(**ms: float) -> dict[str, dict[str, float]]:
        return {name: {"ms": value} for name, value in ms.items()}

    case = {"part": "times", "task": "graph_conv", "operation": "graph_conv", "case": "clip", "dtype": "float32"}
    cost, launched = {"flops": 4e9, "bytes": 1e9, "copies": 2}, {"kernel_launched": 2.0, "eager_launched": 5.0}
    found = gpu.collect(
        [
            {"part": "environment", "gpu": {"name": "H200"}},
            {**case, **cost, "chosen": "triton", "times": times(kernel=1.0, eager=3.0, **launched)},
            {**case, "times": times(compiled=1.5)},
            {**case, **cost, "case": "step", "chosen": "triton", "times": times(kernel=2.0, eager=1.5, **launched)},
            {"part": "roofline", "task": "roofline", "bytes_s": 4e12, "flops_s": {"float32": 8e12}},
            {"part": "live", "task": "live", "people": 8, "graph": {"p50_ms": 0.1}},
            {"part": "coamd_xl", "task": "coamd_xl", "ms": {"fp32": 1.0}, "tokens_max_abs": 0.1},
            {"part": "coamd_xl", "task": "coamd_xl", "ms": {"bf16": 2.0}},
            {"part": "batch", "task": "coamd_xl", "motions": 4, "motions_s": 100.0},
        ]
    )
    row, slower = found["kernels"]
    assert row["times_faster"] == {"eager": 3.0, "compiled": 1.5, "launched": 2.5}
    assert not row["lost"] and slower["lost"]
    assert row["gb_s"] == pytest.approx(1000) and row["roofline"] == pytest.approx(0.5)
    assert found["models"]["live"] == {"8": {"graph": {"p50_ms": 0.1}}}
    batches = {"4": {"motions_s": 100.0}}
    assert found["models"]["coamd_xl"] == {"ms": {"fp32": 1.0, "bf16": 2.0}, "tokens_max_abs": 0.1, "batches": batches}


def test_a_case_is_timed_on_copies_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def graph_ms(calls: list[Any]) -> list[float]:
        seen.append([call()[0].data_ptr() for call in calls])
        return [3.0, 1.0, 2.0]

    def op(x: torch.Tensor, impl: str) -> torch.Tensor:
        return x

    monkeypatch.setattr(gpu_times, "graph_ms", graph_ms)
    monkeypatch.setattr(gpu_times, "choose", lambda op, arguments: "reference")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    properties = SimpleNamespace(L2_cache_size=100)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    for size, copies in ((50, 6), (500, 2), (1, 32)):
        case = Case(name="x", op=op, tensors={"x": torch.zeros(9)}, settings={}, cost=Cost(2, size))
        (row,) = gpu_times.time_cases("op", [case])
        assert row["times"]["eager"]["ms"] == 2.0 and row["chosen"] == "reference"
        assert {"kernel", "eager", "kernel_launched", "eager_launched"} == row["times"].keys()
        assert len(seen[-1]) == 32 and len(set(seen[-1])) == row["copies"] == copies


@pytest.mark.slow
def test_shares_of_the_compilation_add_up(tmp_path: Path) -> None:
    code = """
from motionrt.bench import gpu_task
gpu_task.OPERATIONS = ("guided_step",)
print(*(gpu_task.compile_share(k, n, "cpu") for k, n in ((0, 2), (1, 2), (0, 1))))
"""
    variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    variables["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=variables, check=True, capture_output=True, text=True)
    one, other, both = map(int, done.stdout.split())
    assert one and other and one + other == both and len(list(tmp_path.rglob("*.cubin"))) == both


@on_cpu
@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_a_wrong_kernel_is_reported(wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = guided_step.cases

    def cases(*args: Any) -> Any:
        for case in right(*args):
            op = case.op

            def broken(*, impl: str, op: Any = op, **arguments: Any) -> Any:
                found = op(**arguments, impl=impl)
                scale = wrong if impl == "triton" else 1.0
                return tuple(scale * part for part in found) if isinstance(found, tuple) else scale * found

            yield replace(case, op=broken)

    monkeypatch.setattr(guided_step, "cases", cases)
    with pytest.raises(MotionError, match="Heun's second half N49 D512 in float32 is off by"):
        gpu_task.run_task("guided_step", tmp_path / "lines", torch.device("cpu"))
    assert len((tmp_path / "lines").read_text().splitlines()) == 9


@on_cpu
@pytest.mark.slow
def test_models_are_compared_before_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    (step,), (_, loop) = gpu_models.time_live(device), gpu_models.time_coamd_xl(device)
    assert 0 < step["parity_max_abs"] <= gpu_models.LOGITS
    assert 0 < loop["tokens_max_abs"] <= gpu_models.TOKENS * loop["tokens_deviation"]
    monkeypatch.setattr(gpu_models, "LOGITS", 0.0)
    with pytest.raises(MotionError, match="live on cpu is off by"):
        list(gpu_models.time_live(device))
