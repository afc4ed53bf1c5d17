"""Clocks that are set back: that of a sender, and the local clock, which nothing depends on."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wait import wait_until

import motionrt
from motionrt import Motion, Recognizer
from motionrt.runtime.cli import main
from motionrt.runtime.io.net import Inbox
from motionrt.runtime.io.source import open_source
from motionrt.runtime.view import SourcePlayer

ROOT = Path(motionrt.__path__[0])
WAVE = ROOT / "runtime" / "samples" / "bandai_wave_right_hand.npz"
HOUR_S = 3600.0


def messages(motion: Motion, later_s: float, person: int = 0, first: int = 0) -> Iterator[str]:
    for t, joints in zip(motion.times[first:], motion.joints[first:].round(5).tolist(), strict=True):
        yield json.dumps({"t": later_s + t, "person": person, "layout": motion.layout, "joints": joints})


def outcomes(decisions: list[dict[str, Any]]) -> list[tuple[str, float, str | None]]:
    return [(one["label"], one["score"], one["event"]) for one in decisions]


def test_after_a_clock_was_set_back_labels_are_those_of_a_new_stream(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Regression test: every frame was dropped until the clock caught up."""
    motion, found = Motion.load(WAVE), []
    for name, lines in {
        "twice": [*messages(motion, HOUR_S), *messages(motion, 0)],
        "once": [*messages(motion, 0, first=1)],
    }.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(lines) + "\n")
        assert main(["recognize", str(path), "--json"]) == 0
        found.append([json.loads(line) for line in capfd.readouterr().out.splitlines()])
    (*twice, summary), (*once, _) = found
    assert summary["summary"]["frames"] == 2 * motion.frames and summary["summary"]["dropped"] == 1
    assert outcomes(twice[motion.frames :]) == outcomes(once) and {"onset", "offset"} <= {one["event"] for one in once}


def test_tracking_continues_after_the_clock_was_set_back() -> None:
    recognizer, motion = Recognizer.load("live"), Motion.load(WAVE)
    people = motion.joints[:40, None] + np.float32([[[0, 0, 0]], [[2, 0, 0]]])  # [T, 2, V, 3]
    for later_s in (HOUR_S, 0.0):
        for t, joints in zip(motion.times, people, strict=False):
            decisions = recognizer.step_people(joints, later_s + t, layout=motion.layout)
        assert [(one.person, one.status) for one in decisions] == [(0, "ok"), (1, "ok")]


def test_newcomers_replace_people_of_another_time() -> None:
    inbox, motion = Inbox("here"), Motion.load(WAVE)
    for person in range(16):
        inbox.receive(next(messages(motion, HOUR_S, person)))
    for person in range(16, 32):
        inbox.receive(next(messages(motion, 0.0, person)))
    assert inbox.malformed == 0
    inbox.receive(next(messages(motion, 0.0, 32)))
    assert inbox.malformed == 1, "at most sixteen people of the same time"


def test_the_viewer_keeps_frames_of_one_clock_only(tmp_path: Path) -> None:
    motion = Motion.load(WAVE)
    (tmp_path / "twice.jsonl").write_text("\n".join([*messages(motion, HOUR_S), *messages(motion, 0)]))
    player = SourcePlayer(Recognizer.load("live"), [str(tmp_path / "twice.jsonl")], open_source)
    player.start()
    wait_until(lambda: player.observations.take(10) is None, 60, "the recording ends")
    recent = player.recent_motion(0, 3.0)
    player.close()
    np.testing.assert_allclose(recent.joints, motion.joints[-recent.frames :], atol=1e-5)
    assert recent.seconds == pytest.approx(3.0, abs=0.1)


def test_nothing_depends_on_the_time_of_day() -> None:
    """`time.time` can go backwards; code that measures or waits uses `monotonic` or `perf_counter`."""
    folders = ("runtime", "kernels", "training", "export", "bench", "examples")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 100
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                stamps = path == ROOT / "runtime" / "io" / "ros.py"  # ROS stamps messages with the time of day
                assert stamps or node.attr not in ("time", "time_ns"), where
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert not {"time", "time_ns"} & {alias.name for alias in node.names}, where
