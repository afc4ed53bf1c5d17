"""Cameras that are unplugged and senders that are killed: recognition continues when they return."""

import json
import logging
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import running
from wait import wait_until

import motionrt.runtime
from motionrt import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.io import video

WAVE = Path(motionrt.runtime.__file__).parent / "samples" / "bandai_wave_right_hand.npz"
EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = [sys.executable, "-m", "motionrt.runtime.cli"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class Webcam:
    """Like OpenCV's: some images, then failures."""

    def __init__(self, images: int) -> None:
        self.images = images

    def read(self) -> tuple[bool, Any]:
        self.images -= 1
        return self.images >= 0, np.zeros((2, 2, 3), np.uint8)

    def release(self) -> None:
        self.images = 0


@pytest.mark.parametrize("comes_back", [True, False])
def test_an_unplugged_camera_is_reopened(
    comes_back: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    captures = iter([Webcam(2), *([Webcam(3)] if comes_back else [])])
    tries = []

    def open_camera(number: int) -> Webcam:
        tries.append(number)
        if len(tries) == 2 or (capture := next(captures, None)) is None:
            raise InputError(f"camera {number}: cannot be opened as a video")
        return capture

    monkeypatch.setattr(video, "_open", open_camera)
    monkeypatch.setattr(video, "PAUSES_S", (0.0, 0.01, 0.01))
    camera = video.Camera(0)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match="there was no image after 3 attempts"):
        for _ in camera:
            pass
    assert caplog.messages == ["the camera: interrupted, reopening it"] * (2 if comes_back else 1)
    assert camera.reopened == comes_back and set(tries) == {0}
    camera.close()


@contextmanager
def recognizing(source: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `motionrt recognize`; yields the process and its address."""
    command = [*COMMAND, "recognize", source, "--json"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with running(command, text=True, env=ENVIRONMENT, **pipes) as process:
        assert process.stderr is not None
        yield process, "" if source == "-" else process.stderr.readline().split()[-1]


def decisions_until(process: subprocess.Popen[str], expected: tuple[str, str | None]) -> list[dict[str, Any]]:
    """Decisions up to the first with this label and event."""
    decisions: list[dict[str, Any]] = []
    assert process.stdout is not None
    while not decisions or (decisions[-1]["label"], decisions[-1]["event"]) != expected:
        decisions.append(json.loads(process.stdout.readline()))
        assert "summary" not in decisions[-1], decisions[-1]
    return decisions


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["udp", "ws"])
def test_a_sender_that_is_killed_can_return(scheme: str, tmp_path: Path) -> None:
    if scheme == "ws":
        pytest.importorskip("websockets", reason="websockets is not installed")
    whole = Motion.load(WAVE)
    Motion(whole.joints[:60], whole.fps, whole.layout).save(tmp_path / "wave.npz")
    with recognizing(f"{scheme}://127.0.0.1:0") as (process, url):
        send = [sys.executable, str(EXAMPLES / "send.py"), str(tmp_path / "wave.npz"), url]
        with running([*send, "--loop"], env=ENVIRONMENT):
            decisions_until(process, ("wave", "onset"))
        gone = decisions_until(process, ("none", "offset"))[-1]
        time.sleep(0.2)
        with running([*send, "--end"], env=ENVIRONMENT):
            decisions_until(process, ("wave", "onset"))
            out, err = process.communicate(timeout=60)
    assert gone["event_label"] == "wave"
    assert process.returncode == 0 and "Traceback" not in err
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert summary["frames"] > 20 and "malformed" not in summary


def test_a_listener_without_file_descriptors_hears_again() -> None:
    sync = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    motion = Motion.load(WAVE)
    with recognizing("ws://127.0.0.1:0") as (process, url), ExitStack() as stack:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (64, 64))
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))))
        files = Path(f"/proc/{process.pid}/fd")
        wait_until(lambda: len(list(files.iterdir())) == 64, 30, "all file descriptors in use")
        with sync.connect(url, open_timeout=60, proxy=None) as sender:
            sender.send(json.dumps({"t": 0.0, "layout": motion.layout, "joints": motion.joints[0].tolist()}))
            sender.send('{"end": true}')
            out, err = process.communicate(timeout=60)
    assert json.loads(out.splitlines()[0])["t"] == 0.0
    assert "Traceback" not in err


def test_lines_before_a_writer_was_killed_are_processed() -> None:
    motion = Motion.load(WAVE)
    with recognizing("-") as (process, _):
        assert process.stdin is not None
        for t, joints in zip(motion.times[:10], motion.joints[:10].tolist(), strict=True):
            process.stdin.write(json.dumps({"t": t, "layout": motion.layout, "joints": joints}) + "\n")
        process.stdin.write('{"t": 0.5, "layout": ')
        out, err = process.communicate(timeout=60)
    *decisions, summary = map(json.loads, out.splitlines())
    assert [one["t"] for one in decisions] == pytest.approx(motion.times[:10])
    assert summary["summary"]["malformed"] == 1 and process.returncode == 0
    assert "stdin: ignored a message: is not a whole JSON message" in err and "(line 11)" in err
