"""The GPU benchmark: parity first, and no times without a GPU."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.bench import gpu, gpu_models
from motionrt.bench.kernels import guided_step
from motionrt.runtime.errors import MotionError

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="takes minutes on a GPU")

BARE = """
import sys
from importlib.abc import MetaPathFinder

class Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
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


@on_cpu
def test_without_a_gpu_parity_is_checked_and_nothing_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "OPERATIONS", ("guided_step",))
    monkeypatch.setattr("sys.argv", ["gpu", "-o", str(tmp_path / "gpu.json"), "--picture", str(tmp_path / "gpu.png")])
    gpu.main()
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not found["timed"] and "interpreter" in found["reason"] and "kernels" not in found
    assert len(found["parity"]) == 9 and all(row["error"] <= row["allowed"] for row in found["parity"])
    assert "9 kernel cases correct" in capsys.readouterr().out and not (tmp_path / "gpu.png").exists()


@on_cpu
@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_a_wrong_kernel_is_reported_and_nothing_is_timed(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(gpu, "OPERATIONS", ("guided_step",))
    with pytest.raises(MotionError, match="Heun's second half N49 D512 in float32: off by"):
        gpu.bench_gpu()


@on_cpu
def test_the_recognizer_is_checked_before_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_models, "STEPS", 40)
    found = gpu_models.time_steps(3, torch.device("cpu"))
    assert 0 < found["parity_max_abs"] <= gpu_models.LOGITS
    assert all(found[name]["p50_ms"] > 0 for name in ("graph", "graph_without_kernels", "launched", "eager"))
    monkeypatch.setattr(gpu_models, "LOGITS", 0.0)
    with pytest.raises(MotionError, match="live on the GPU is off by"):
        gpu_models.time_steps(3, torch.device("cpu"))
