"""The README's numbers are those of bench/results, its code runs, and its commands are there."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motionrt
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


LINES = [line for block in blocks("") for line in block.splitlines() if line.startswith("motionrt ")]


@pytest.mark.parametrize("line", LINES)
def test_its_commands_and_their_options_are_there(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = line.split("    ")[0]
    command, benchmarks = shown.split()[1], re.findall(r"bench \{(.*)\}", shown)
    for name in benchmarks[0].split(",") if benchmarks else [""]:
        assert main([part for part in (command, name, "--help") if part]) == 0
        helped = capsys.readouterr().out
        for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", helped), f"{command} {name} has no {option}"


def test_every_command_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = set(re.findall(r"^│ ([a-z]+) ", capsys.readouterr().out, re.MULTILINE))
    assert listed and listed == {line.split()[1] for line in LINES}
