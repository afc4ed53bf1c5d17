"""The commands that the documentation shows run as written."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wait import wait_until

import motionrt
from motionrt import Motion
from motionrt.bench.speed import recognize
from motionrt.runtime.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/commands.md")
ALL_PAGES = "\n".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
TEXT = "\n".join((ROOT / page).read_text() for page in PAGES)
SAMPLE = Path(motionrt.__path__[0]) / "runtime" / "samples" / "cmu_walk.npz"
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
BLOCKS = [text for language, text in FENCED if language in ("", "sh")]
LINES = list(
    dict.fromkeys(re.sub(" +#.*", "", line) for block in BLOCKS for line in block.splitlines() if line.strip())
)
TESTED_ELSEWHERE = {"make test": ".ci/run", "pip install": ".ci/run"}  # by a command that CI runs itself
INTERRUPTED = {  # commands without an end: text they print before they are interrupted, and their exit status
    "motionrt recognize clip.npz --realtime --view": ("http://127.0.0.1:", 0),
    "motionrt view": ("http://127.0.0.1:", 0),
    "motionrt serve": ("serving at http://127.0.0.1:", 0),
    'motionrt generate "a person walks" --stream': ('"joints"', 0),
}
OPTIONAL = {  # commands that need what not every machine has: a pattern of their last line without it
    "motionrt recognize 0": "camera|cv2|ai_edge_litert|pose model",
    "motionrt fetch pose": "cannot be downloaded",
    "motionrt push": "cannot be reached|huggingface_hub",
    "motionrt export live --tensorrt": "TensorRT|tensorrt",
}
DATA_SETS = ("kinect20", "utdmhad20")
OUTPUT = "output.txt"
START_S = 120  # for a command to start
SHORT = " steps=2 batch=4"  # as written, a training takes hours
SHORT_LIVE = " choreography=1 channels=8 body=12 body_blocks=1"


def lookup(line: str, table: dict[str, Any]) -> Any:
    return next((value for start, value in table.items() if line.startswith(start)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording, in which all commands run."""
    path = tmp_path_factory.mktemp("commands")
    shutil.copy(SAMPLE, path / "clip.npz")
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("line", LINES)
def test_a_command_runs_as_written(
    line: str,
    folder: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    short = replace(recognize.quick(), parity_frames=200, warm_up=3, steps=20, runs=3, paced_frames=3, rounds=1)
    monkeypatch.setattr(recognize, "quick", lambda: short)

    def run(line: str) -> tuple[int, str]:
        capfd.readouterr()
        status = main(arguments(line))
        if accelerate := sys.modules.get("accelerate.state"):
            accelerate.AcceleratorState._reset_state(reset_partial_state=True)  # which keeps the precision
        return status, "".join(capfd.readouterr())

    needed = prerequisites(line, folder)
    if any("data" in command for command in (*needed, line)) and not (folder / "data").exists():
        link_data(request.getfixturevalue("shared"), folder / "data")
    for earlier in needed:
        status, output = run(earlier)
        assert status == 0, output
    if "official.pt" in line:
        write_official(folder / "official.pt")
    if script := lookup(line, TESTED_ELSEWHERE):
        assert (ROOT / script).is_file()
    elif line.startswith("make demo"):
        if subprocess.run(["make", "--question", ".venv/base"], cwd=ROOT, capture_output=True).returncode:
            pytest.skip("make has not built .venv from this source")
        subprocess.run(["make", "demo"], cwd=ROOT, check=True, capture_output=True)
        assert Motion.load(ROOT / "build" / "demo" / "turn.bvh").frames > 100
    elif expected := lookup(line, INTERRUPTED):
        status, output = interrupt(line, folder, expected[0])
        assert status == expected[1], output
    else:
        status, output = run(line)
        if pattern := lookup(line, OPTIONAL):
            last = output.splitlines()[-1]
            assert status == 0 or (status == 2 and last.startswith("motionrt: ") and re.search(pattern, last))
            if status == 2:
                pytest.skip(last)
        assert status == 0, output


def link_data(shared: Path, data: Path) -> None:
    """A folder with two subjects of a few data sets, since training on all of them takes long."""
    data.mkdir()
    for name in DATA_SETS:
        write_few(shared / name, data / name)


def write_few(source: Path, out: Path) -> None:
    """A copy of a data set with its first two subjects only."""
    about = json.loads(source.with_suffix(".json").read_text())
    kept = [record["subject"] in (1, 2) for record in about["clips"]]
    with np.load(source.with_suffix(".npz")) as arrays:
        content = dict(arrays)
    lengths = np.diff(content["start"])
    assert len(lengths) == len(kept)
    frames = np.repeat(kept, lengths)
    content |= {name: content[name][frames] for name in ("joints", "root_xz")}
    content["start"] = np.cumsum([0, *lengths[kept]]).astype(np.int32)
    np.savez(out.with_suffix(".npz"), **content)
    about["clips"] = [record for record, keep in zip(about["clips"], kept, strict=True) if keep]
    out.with_suffix(".json").write_text(json.dumps(about))


def prerequisites(line: str, folder: Path) -> list[str]:
    """Earlier lines, in order, that write files which this line reads and which do not exist yet."""
    found: list[str] = []
    for earlier in LINES[: LINES.index(line)]:
        out = re.search(r" (?:-o |run=)(\S+)", earlier)
        if out is not None and out[1] in line.split() and not (folder / out[1]).exists():
            found += [*prerequisites(earlier, folder), earlier]
    return found


def write_official(path: Path) -> None:
    """Write a checkpoint in the official form, with random weights."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from motionrt.export.official import official_state
    from motionrt.training.models.ctr_gcn import CTRGCN, CTRGCNConfig

    torch.save(official_state(CTRGCN(CTRGCNConfig(classes=60, channels=(16, 16, 32)))), path)


def interrupt(line: str, folder: Path, expected: str) -> tuple[int | None, str]:
    """The exit status, None if it goes on, and output of a command that is interrupted once it prints `expected`."""
    with start(line, folder) as process:

        def output() -> str:
            return (folder / OUTPUT).read_text()

        def printed() -> bool:
            assert process.poll() is None, output()
            return expected in output()

        wait_until(printed, START_S, lambda: f"{line} has not printed {expected}:\n{output()}")
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=START_S)
        return process.returncode, output()


def arguments(line: str) -> list[str]:
    line += SHORT if line.startswith("motionrt train") else ""
    line += SHORT_LIVE if line.startswith("motionrt train live") else ""
    return shlex.split(line)[1:]


@contextmanager
def start(line: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command whose output goes to a file."""
    paths = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    command = [sys.executable, "-m", "motionrt.runtime.cli", *arguments(line)]
    with open(folder / OUTPUT, "wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | paths, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`((?:make|python -m) [\w.]+)", ALL_PAGES))))
def test_a_command_in_a_sentence_exists(command: str) -> None:
    name = command.split()[-1]
    if command.startswith("make"):
        assert subprocess.run(["make", "--dry-run", name], cwd=ROOT, capture_output=True).returncode == 0
    else:
        assert find_spec(name) is not None


def test_every_command_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = set(re.findall(r"^│ ([a-z]+) ", capsys.readouterr().out, re.MULTILINE))
    assert listed and listed == {line.split()[1] for line in LINES if line.startswith("motionrt ")}
