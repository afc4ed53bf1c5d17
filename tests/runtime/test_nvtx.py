"""Profiler ranges, recorded by a fake nvtx package."""

import subprocess
import sys
from pathlib import Path

import motionrt

NVTX = """
from contextlib import contextmanager
def push_range(name): print("push", name)
def pop_range(): print("pop")
@contextmanager
def annotate(name):
    push_range(name)
    yield
    pop_range()
"""
STEP = """
import sys
sys.path[:0] = sys.argv[1:]
import motionrt
from motionrt.runtime.io.jsonl import parse_message
recognizer = motionrt.Recognizer.load("live")
frame = parse_message('{"t": 0, "layout": "core15", "joints": %s}' % [[0.1 * i, 1, 0] for i in range(15)])
recognizer.step(frame.joints, frame.t)
"""


def output(*folders: Path) -> list[str]:
    package = Path(motionrt.__path__[0]).parent
    command = [sys.executable, "-c", STEP, *map(str, folders), str(package)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_decode_map_step_and_decide_are_ranges_if_nvtx_is_installed(tmp_path: Path) -> None:
    (tmp_path / "nvtx.py").write_text(NVTX)
    expected = [line for name in ("decode", "map", "step", "decide") for line in (f"push {name}", "pop")]
    assert output(tmp_path) == expected
    assert output() == []
