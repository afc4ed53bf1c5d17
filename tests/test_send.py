"""examples/send.py, the reference sender."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wait import wait_until

from motionrt import Motion
from motionrt.runtime.io.source import open_source

SEND = Path(__file__).resolve().parents[1] / "examples" / "send.py"


def send(*arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SEND), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two people, one of them away for a while; one joint is always missing."""
    joints = np.random.default_rng(0).normal(size=(12, 2, 15, 3)).astype(np.float32)
    joints[4:8, 1] = joints[:, :, 3] = np.nan
    path = tmp_path / "clip.npz"
    Motion(joints, 30, "core15", np.full((12, 2, 15), 0.5, np.float32)).save(path)
    return path


@pytest.mark.parametrize("scheme", ["udp", "ws"])
def test_a_clip_is_sent_unchanged(clip: Path, scheme: str) -> None:
    if scheme == "ws":
        pytest.importorskip("websockets")
    motion = Motion.load(clip)
    token = clip.with_name("token")
    token.write_text("s3cret\n")
    with open_source(f"{scheme}://127.0.0.1:0", token="s3cret") as source:
        sender = send(clip, source.name, "--person", 5, "--token-file", token, "--end")
        frames = list(source)
        assert sender.wait(timeout=60) == 0
        assert (source.malformed, source.rejected) == (0, 0)
    assert len(frames) == 20 - source.dropped and {frame.person for frame in frames} == {5, 6}
    start = frames[0].t
    for frame in frames:
        row = round((frame.t - start) * 30)
        assert motion.confidence is not None and frame.confidence is not None
        np.testing.assert_allclose(frame.joints, motion.joints[row, frame.person - 5], atol=1e-6)
        np.testing.assert_array_equal(frame.confidence, motion.confidence[row, frame.person - 5])


def test_a_loop_continues_with_increasing_times(clip: Path) -> None:
    with open_source("udp://127.0.0.1:0") as source:
        sender = send(clip, source.name, "--loop", "--speed", 10)
        times = [next(source).t for _ in range(60)]
        sender.terminate()
        sender.communicate(timeout=60)
    assert times == sorted(times)
    assert times[-1] - times[0] > 12 / 300  # longer than the clip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_connection(clip: Path, number: int) -> None:
    server = pytest.importorskip("websockets.sync.server")
    closed: list[int] = []
    received = threading.Event()

    def receive(connection: Any) -> None:
        for _ in connection:
            received.set()
        closed.append(connection.close_code)

    with server.serve(receive, "127.0.0.1", 0) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        sender = send(clip, f"ws://127.0.0.1:{listener.socket.getsockname()[1]}", "--loop")
        assert received.wait(60)
        sender.send_signal(number)
        _, err = sender.communicate(timeout=60)
        assert sender.returncode == 0 and "Traceback" not in err
        wait_until(lambda: bool(closed), 30, "the connection is closed")
    assert closed == [1000]  # normally


def test_an_error_is_one_line(tmp_path: Path) -> None:
    sender = send(tmp_path / "none.npz", "udp://127.0.0.1:9")
    _, err = sender.communicate(timeout=60)
    assert sender.returncode == 1 and err == f"send.py: {tmp_path / 'none.npz'}: no such file\n"


def test_the_sender_is_short() -> None:
    assert len(SEND.read_text().splitlines()) < 85
