"""Every kernel compiles for a Hopper GPU, though there may be none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.bench.kernels import OPERATIONS
from motionrt.bench.kernels.compiled import SHARED_MEMORY

SPILLED = 32  # bytes of a thread that the first configuration may keep in memory


@pytest.mark.slow
def test_kernels_fit_a_hopper_gpu(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "motionrt.bench.kernels.compiled", "--first", "-o", str(tmp_path / "found.json")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    found = json.loads((tmp_path / "found.json").read_text())["kernels"]
    assert {of["operation"] for of in found} == set(OPERATIONS)
    assert {of["dtype"] for of in found} == {"float32", "bfloat16"}
    for of in found:
        assert of["spilled_bytes"] <= SPILLED and of["shared_bytes"] <= SHARED_MEMORY, of
