"""The README's numbers are those of bench/results, and its code and its commands run."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wait import wait_until

import motionrt
from motionrt import Motion
from motionrt.bench.readme import with_tables
from motionrt.runtime.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SAMPLE = Path(motionrt.__path__[0]) / "runtime" / "samples" / "cmu_walk.npz"


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for of, text in found if of == language]


def test_the_tables_are_made_from_the_results() -> None:
    assert with_tables(README, ROOT / "bench" / "results") == README


class Enough(Exception):
    """A stream without end has played for long enough."""


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, "clip.npz")
    played: list[Any] = []

    def play(joints: Any) -> None:
        played.append(joints)
        if len(played) == 3:
            raise Enough

    names: dict[str, Any] = {"play": play, "tired": True}
    for source in blocks("python"):
        if "serve.client" in source:  # it needs a server, as do the tests in runtime/serve
            continue
        if "step_people" in source:  # the frame of one person, two of them
            names["joints"] = np.stack([names["joints"]] * 2)
            names["recognizer"].reset()
        try:
            exec(compile(source, "README.md", "exec"), names)
        except Enough:
            continue
    assert len(played) == 3 and Path("walk.bvh").is_file() and Path("mine.npz").is_file()
    assert names["hit"].text == "a walk with a bow"


LINES = [re.sub(" +#.*", "", line) for block in blocks("") for line in block.splitlines() if line[:1].strip()]
ELSEWHERE = {  # lines that are run by CI itself, or as they are written by a test of their own
    "make test": ".ci/run",
    "cmake ": "tests/runtime/test_c_example.py",
}
UNTIL = {  # lines that go on until they are interrupted: what they have said by then, and their exit status
    "motionrt recognize clip.npz --realtime --view": ("http://127.0.0.1:", 0),
    "motionrt view": ("http://127.0.0.1:", 0),
    "motionrt serve": ("serving at http://127.0.0.1:", 0),
    'motionrt generate "a person walks" --stream': ('"joints"', 0),
    "motionrt train": ("tensorboard", 1),
}
LACKING = {  # what not every machine has: what the line says there
    "motionrt recognize 0": "camera|cv2|mediapipe",
    "motionrt export live --tensorrt": "TensorRT|tensorrt",
}
SAID = "said.txt"
SHORT = " steps=2 batch=4"  # a training that ends soon


def of(line: str, table: dict[str, Any]) -> Any:
    return next((value for begin, value in table.items() if line.startswith(begin)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is: beside a recording."""
    path = tmp_path_factory.mktemp("readme")
    shutil.copy(SAMPLE, path / "clip.npz")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_its_commands_run(line: str, folder: Path, request: pytest.FixtureRequest) -> None:
    """Each line as it is written, after what it takes from the lines before it."""
    needed = [*inputs(line, folder), line]
    if any("data" in one for one in needed) and not (folder / "data").exists():
        (folder / "data").symlink_to(request.getfixturevalue("shared"))
    if "official.pt" in line:
        write_official(folder / "official.pt")
    for earlier in needed[:-1]:
        status, said = run_it(earlier + (SHORT if earlier.startswith("motionrt train") else ""), folder)
        assert status == 0, said
    if where := of(line, ELSEWHERE):
        assert (ROOT / where).is_file()
    elif line.startswith("make demo"):
        if subprocess.run(["make", "--question", ".venv/base"], cwd=ROOT, capture_output=True).returncode:
            pytest.skip("make has made no .venv of this source")
        subprocess.run(["make", "demo"], cwd=ROOT, check=True, capture_output=True)
        assert Motion.load(ROOT / "build" / "demo" / "turn.bvh").frames > 100
    elif until := of(line, UNTIL):
        assert interrupted(line, folder, *until)
        shutil.rmtree(folder / "runs", ignore_errors=True)  # of a training that was interrupted
    else:
        status, said = run_it(line, folder)
        if lacking := of(line, LACKING):
            last = said.splitlines()[-1]
            assert status == 0 or (status == 2 and last.startswith("motionrt: ") and re.search(lacking, last))
            if status == 2:
                pytest.skip(last)
        assert status == 0, said


def inputs(line: str, folder: Path) -> list[str]:
    """Earlier lines that write what this one reads and is not there yet, the first one first."""
    found: list[str] = []
    for earlier in LINES[: LINES.index(line)]:
        out = re.search(r" (?:-o |run=)(\S+)", earlier)
        if out is not None and out[1] in line.split() and not (folder / out[1]).exists():
            found += [*inputs(earlier, folder), earlier]
    return found


def write_official(path: Path) -> None:
    """A checkpoint of the official form; theirs may not be passed on."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from motionrt.export.official import official
    from motionrt.training.models.ctr_gcn import CTRGCN, CTRGCNConfig

    torch.save(official(CTRGCN(CTRGCNConfig(classes=5, channels=(16, 16, 32)))), path)


def interrupted(line: str, folder: Path, said: str, status: int) -> bool:
    """Whether it ends well when it is interrupted once it has said, or written a file named, what it should."""
    with running(line, folder) as process:

        def is_there() -> bool:
            assert process.poll() is None, (folder / SAID).read_text()
            return said in (folder / SAID).read_text() or any(folder.glob(f"runs/*/{said}"))

        wait_until(is_there, 60, said)
        process.send_signal(signal.SIGINT)
        return process.wait(timeout=60) == status


def run_it(line: str, folder: Path) -> tuple[int, str]:
    with running(line, folder) as process:
        return process.wait(), (folder / SAID).read_text()


@contextmanager
def running(line: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What it prints goes to a file."""
    paths = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    command = [sys.executable, "-m", "motionrt.runtime.cli", *shlex.split(line)[1:]]
    with open(folder / SAID, "wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | paths, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`((?:make|python -m) [\w.]+)", README))))
def test_what_its_sentences_name_is_there(command: str) -> None:
    name = command.split()[-1]
    if command.startswith("make"):
        assert subprocess.run(["make", "--dry-run", name], cwd=ROOT, capture_output=True).returncode == 0
    else:
        assert find_spec(name) is not None


def test_every_command_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = set(re.findall(r"^│ ([a-z]+) ", capsys.readouterr().out, re.MULTILINE))
    assert listed and listed == {line.split()[1] for line in LINES if line.startswith("motionrt ")}
