"""Graphs that are damaged in their meaning do no harm, and the fuzzer finds those that do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="graphs are damaged with the onnx package")

from motionrt.bench.fuzz import graphs


@pytest.mark.slow
def test_damaged_graphs_are_refused_or_run() -> None:
    found = graphs.fuzz(40, seed=10**6)
    assert found["findings"] == [] and found["outcomes"]["refused"] > 10


def test_a_run_goes_on_after_the_cases_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fuzz(count: int, seed: int, *others: object) -> dict[str, object]:
        assert (count, seed) == (4, 7 + 6)
        return {"graphs": 3, "outcomes": {"ran": 1, "not run": 2}, "peak_mb": 9, "findings": [{"seed": 14}]}

    out = tmp_path / "graphs.json"
    out.write_text(json.dumps({"graphs": 6, "outcomes": {"ran": 6}, "peak_mb": 40, "findings": []}))
    monkeypatch.setattr(graphs, "fuzz", fuzz)
    monkeypatch.setattr(sys, "argv", ["graphs", "--count", "10", "--seed", "7", "--more", "-o", str(out)])
    with pytest.raises(SystemExit, match="True"):
        graphs.main()
    assert json.loads(out.read_text()) == {
        "graphs": 9,
        "outcomes": {"ran": 7, "not run": 2},
        "peak_mb": 40,
        "findings": [{"seed": 14}],
    }


def hang() -> int:
    time.sleep(60)
    return 0


def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def fail() -> int:
    raise ValueError


@pytest.mark.parametrize(
    ("call", "outcome"), [(hang, "hung for 0.5 s"), (die, "ended by SIGKILL"), (fail, "another error")]
)
def test_what_a_case_does_wrong_is_found(
    call: Callable[[], int], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "HUNG_S", 0.5)
    assert graphs.in_child(call)[0] == outcome


def test_the_memory_of_a_case_is_measured() -> None:
    """In a new process: one that ran other tests may have freed memory at hand, which a case then does not take."""
    megabytes_408 = 51_000_000  # resident memory is counted in steps of up to half a megabyte
    code = f"""
import numpy as np
from motionrt.bench.fuzz import graphs
print(graphs.in_child(lambda: len(np.ones({megabytes_408})) * 0)[1], graphs.in_child(lambda: 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    large, none = map(float, done.stdout.split())
    assert large > 400e6 > none
