"""Control characters in names and labels from elsewhere do not reach the terminal."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

import motionrt
from motionrt import InputError, Motion
from motionrt.runtime.cli import main
from motionrt.runtime.cli.report import Summary, TextReport
from motionrt.runtime.errors import printable
from motionrt.runtime.recognition.segments import Segment

from .. import tiny

ESCAPE = "\x1b]0;owned\x07 \x9b2J\u202e"
SHOWN = r"\u001b]0;owned\u0007 \u009b2J\u202e"


def test_a_printed_text_has_no_control_characters() -> None:
    assert printable(f"a{ESCAPE}\nb é 动") == f"a{SHOWN}\\u000ab é 动"
    assert json.loads(printable(json.dumps({"a": ESCAPE}, ensure_ascii=False))) == {"a": ESCAPE}


def test_an_error_has_no_control_characters() -> None:
    with pytest.raises(InputError, match="owned") as caught:
        Motion.load(f"{ESCAPE}.npz")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_the_name_of_a_file_is_printed_without_them(
    more: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, path = tiny.tiny_bundle(tmp_path / "tiny"), tmp_path / f"{ESCAPE}.npz"
    Motion(tiny.poses(20, "left"), tiny.FPS, tiny.LAYOUT).save(path)
    assert main(["recognize", str(path), str(path), "--model", str(model), *more]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines and all(line.isprintable() for line in lines) and any(SHOWN in line for line in lines)


def test_a_label_of_a_segment_is_printed_without_them(capfd: pytest.CaptureFixture[str]) -> None:
    report = TextReport()
    report.add(Segment(person=0, label=ESCAPE, start=0.0, end=1.0, score=0.5))
    report.summarize(Summary())
    out = capfd.readouterr().out
    assert SHOWN in out and all(line.isprintable() for line in out.splitlines())


def test_the_log_of_a_command_is_printed_without_them(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    record = logging.LogRecord("motionrt", logging.WARNING, "a.py", 1, "from %s", (ESCAPE,), None)
    assert logging.lastResort is not None
    assert logging.lastResort.format(record) == f"from {SHOWN}"


def test_texts_of_found_files_are_printed_without_them(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    walk = Motion.load(Path(motionrt.__file__).parent / "runtime" / "samples" / "cmu_walk.npz")
    replace(walk, meta={"text": f"walk {ESCAPE}"}).save(tmp_path / "a.npz")
    model = Path(__file__).parents[2] / "bundles" / "coamd-tiny"
    assert main(["search", "a person walks", "--library", str(tmp_path), "--model", str(model)]) == 0
    out = capfd.readouterr().out
    assert "walk" in out and all(line.isprintable() for line in out.splitlines())
