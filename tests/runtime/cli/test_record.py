"""`motionrt record`: its files, and when it stops."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from processes import running
from wait import wait_until

import motionrt.runtime
from motionrt import Motion, Recognizer
from motionrt.runtime.cli import main, record
from motionrt.runtime.io.source import Source, open_source

SAMPLES = Path(motionrt.runtime.__file__).parent / "samples"
POSE = np.random.default_rng(0).normal(size=(15, 3)).astype(np.float32)


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def run(*arguments: Any) -> Result:
        status = main(["record", *map(str, arguments)])
        return Result(status, *capfd.readouterr())

    return run


def line(t: float, person: int = 0, **changes: Any) -> str:
    return json.dumps({"t": t, "person": person, "layout": "core15", "joints": (POSE + t).tolist()} | changes)


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def recordings(folder: Path) -> list[Motion]:
    return [Motion.load(path) for path in sorted(folder.iterdir())]


def test_a_recording_is_one_labeled_file_per_person(run: Any, tmp_path: Path) -> None:
    source = write_lines(
        tmp_path / "two.jsonl",
        *(line(5 + k / 25, person) for k in range(10) for person in (7, 3) if (k, person) != (4, 3)),
    )
    result = run(source, "--label", "Wave, right hand!", "-o", tmp_path / "out")
    assert result.status == 0 and result.err == ""
    paths = sorted((tmp_path / "out").iterdir())
    assert [re.sub(r"\d{8}-\d{6}", "*", path.name) for path in paths] == [
        "wave-right-hand-*-1.npz",
        "wave-right-hand-*-2.npz",
    ]
    assert all(str(path) in result.out for path in paths) and "10 frames at 25.0 Hz, core15" in result.out
    first, second = recordings(tmp_path / "out")
    assert first.meta == {"label": "Wave, right hand!", "source": str(source), "person": 7}
    assert (first.layout, first.frames) == ("core15", 10) and first.fps == pytest.approx(25)
    np.testing.assert_allclose(first.times, np.arange(10) / 25, atol=1e-9)
    np.testing.assert_allclose(first.joints, POSE + (5 + first.times)[:, None, None], atol=1e-5)
    assert first.confidence is None
    np.testing.assert_allclose(second.times, [k / 25 for k in range(10) if k != 4], atol=1e-9)


def test_confidence_is_kept_and_defaults_to_one(run: Any, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "s.jsonl", line(0), line(0.1, confidence=[0.5] * 15))
    assert run(source, "--label", "x", "-o", tmp_path / "out").status == 0
    (motion,) = recordings(tmp_path / "out")
    assert motion.confidence is not None
    np.testing.assert_array_equal(motion.confidence, [[1] * 15, [0.5] * 15])


def test_nothing_is_overwritten(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-000000")
    source = write_lines(tmp_path / "s.jsonl", line(0), line(0.1))
    for _ in range(3):
        assert run(source, "--label", "x", "-o", tmp_path / "out").status == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"x-20260101-000000-{n}.npz" for n in (1, 2, 3)]


def test_seconds_end_a_recording(run: Any, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "s.jsonl", *(line(3 + k / 10) for k in range(40)))
    assert run(source, "--label", "x", "-o", tmp_path / "out", "--seconds", "1.05").status == 0
    (motion,) = recordings(tmp_path / "out")
    assert motion.frames == 11


def test_a_recording_ends_after_ten_minutes(run: Any, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "s.jsonl", *(line(k * 200.0) for k in range(5)))
    result = run(source, "--label", "x", "-o", tmp_path / "out")
    assert result.status == 0 and "stopped: a recording lasts at most 10 minutes" in result.out
    assert recordings(tmp_path / "out")[0].frames == 3


def test_a_recording_has_a_maximum_size(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_BYTES", 10 * POSE.nbytes)
    source = write_lines(tmp_path / "s.jsonl", *(line(k / 10) for k in range(40)))
    result = run(source, "--label", "x", "-o", tmp_path / "out")
    assert result.status == 0 and "stopped: a recording holds at most" in result.out
    assert recordings(tmp_path / "out")[0].frames == 11


def test_late_frames_and_people_over_the_limit_are_ignored_and_reported(run: Any, tmp_path: Path) -> None:
    crowd = [line(t, person) for t in (0, 1) for person in range(18)]
    source = write_lines(tmp_path / "s.jsonl", *crowd, line(0.5), line(2))
    result = run(source, "--label", "x", "-o", tmp_path / "out")
    assert result.status == 0
    assert "1 frames or messages ignored because they arrived late" in result.out
    assert "4 frames or messages ignored because there were more than 16 people" in result.out
    motions = recordings(tmp_path / "out")
    assert sorted(motion.frames for motion in motions) == [2] * 15 + [3]


def assert_error(result: Result, part: str) -> None:
    assert result.status == 2 and result.err.count("\n") == 1
    assert part in result.err


@pytest.mark.parametrize("messages", [[], [line(0)]], ids=["nobody", "one frame"])
def test_an_empty_recording_writes_nothing_and_says_so(run: Any, tmp_path: Path, messages: list[str]) -> None:
    source = write_lines(tmp_path / "s.jsonl", "\n", *messages)
    assert_error(run(source, "--label", "x", "-o", tmp_path / "out"), "nothing was recorded")
    assert list((tmp_path / "out").iterdir()) == []


def test_times_in_another_unit_are_reported(run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_lines(tmp_path / "s.jsonl", *(line(k * 33.0) for k in range(40)))
    assert run(source, "--label", "x", "-o", tmp_path / "out").status == 0
    assert caplog.messages == [f"{source}: the frames are 33 s apart, which looks like milliseconds, expected seconds"]


def test_a_broken_line_is_skipped(run: Any, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "s.jsonl", line(0), line(0.1), line(0.2)[:50], line(0.3))
    result = run(source, "--label", "x", "-o", tmp_path / "out")
    assert result.status == 0 and "1 frames or messages malformed" in result.out
    assert recordings(tmp_path / "out")[0].frames == 3


def test_frames_before_an_error_are_kept(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "s.jsonl", line(0), line(0.1), *["stray"] * 100, line(0.2))
    result = run(source, "--label", "x", "-o", tmp_path / "out")
    assert result.status == 2 and "s.jsonl: line 3 is not a whole JSON message" in result.err.splitlines()[-1]
    assert recordings(tmp_path / "out")[0].frames == 2


def test_a_recording_is_kept_if_the_terminal_is_gone(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "s.jsonl", *(line(k / 10, person) for k in range(3) for person in (1, 2)))

    def fail(self: Any, *arguments: Any, **options: Any) -> None:
        if arguments[:1] != (str(source),):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("rich.console.Console.print", fail)
    monkeypatch.setattr("rich.live.Live.__exit__", fail)
    assert run(source, "--label", "x", "-o", tmp_path / "out").status == 1
    assert [motion.frames for motion in recordings(tmp_path / "out")] == [3, 3]


def test_bad_folders_labels_and_durations_are_errors(run: Any, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "s.jsonl", line(0), line(0.1))
    assert_error(run(source, "--label", "x", "-o", source), "s.jsonl: not a folder, expected one for the recordings")
    assert_error(run(source, "--label", "?!", "-o", tmp_path / "out"), "label '?!' has no letters or digits")
    assert_error(run(source, "--label", "x", "-o", tmp_path / "out", "--seconds", "601"), "--seconds")
    assert_error(run("udp://0.0.0.0:0", "--label", "x", "-o", tmp_path / "out"), "needs a token")
    (tmp_path / "token").touch(0o600)
    empty = run("udp://0.0.0.0:0", "--label", "x", "-o", tmp_path / "out", "--token-file", tmp_path / "token")
    assert_error(empty, "token: the first line is empty, expected a token")


def test_a_token_that_others_can_read_is_warned_of(run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = tmp_path / "missing.npz", "--label", "x", "-o", tmp_path / "out"
    run(*arguments, "--token", "s3cret")
    assert "others can read --token in the list of processes" in caplog.text
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "token").chmod(0o644)
    run(*arguments, "--token-file", tmp_path / "token")
    assert "token: others may use it (mode 644" in caplog.text


def play(motion: Motion, send: Callable[[dict[str, Any]], object]) -> None:
    """Send a clip as messages, slowly enough for each to be received, and the end message."""
    pause = threading.Event()
    for t, pose in zip(motion.times, motion.joints, strict=True):
        send({"t": float(t), "layout": motion.layout, "joints": pose.tolist()})
        pause.wait(0.004)
    send({"end": True})


def labels(motion: Motion) -> list[str]:
    recognizer = Recognizer.load("live")
    return [
        recognizer.step(pose, float(t), layout=motion.layout).label
        for t, pose in zip(motion.times, motion.joints, strict=True)
    ]


@pytest.mark.parametrize("name", ["bandai_wave_right_hand", "cmu_walk"])
def test_a_recording_of_a_stream_gives_the_same_labels_as_the_stream(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sent = Motion.load(SAMPLES / f"{name}.npz")

    def listening(*arguments: Any, **options: Any) -> Source:
        source = open_source(*arguments, **options)
        threading.Thread(target=send, args=(source.address,), daemon=True).start()
        return source

    def send(address: tuple[str, int]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            play(sent, lambda message: udp.sendto(json.dumps(message | {"token": "s3cret"}).encode(), address))

    monkeypatch.setattr("motionrt.runtime.io.source.open_source", listening)
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("s3cret\n")
    result = run("udp://127.0.0.1:0", "--label", "x", "-o", tmp_path / "out", "--token-file", token)
    assert result.status == 0
    (recorded,) = recordings(tmp_path / "out")
    dropped = re.search(r"(\d+) frames or messages dropped", result.out)
    assert recorded.frames == sent.frames - (int(dropped[1]) if dropped else 0)
    first = np.abs(sent.joints - recorded.joints[0]).max(axis=(1, 2)).argmin()
    rows = np.abs(recorded.times[:, None] - (sent.times - sent.times[first])).argmin(axis=1)
    np.testing.assert_allclose(recorded.joints, sent.joints[rows], atol=1e-6)
    np.testing.assert_allclose(recorded.times, sent.times[rows] - sent.times[first], atol=1e-9)
    taken = Motion(sent.joints[rows], sent.fps, sent.layout, timestamps=sent.times[rows])
    assert labels(recorded) == labels(taken)
    assert len(set(labels(taken))) > 1


def unread(port: int) -> int:
    """Bytes that wait in a UDP socket, see `man 5 proc`."""
    rows = map(str.split, Path("/proc/net/udp").read_text().splitlines()[1:])
    [queues] = [row[4] for row in rows if row[1].endswith(f":{port:04X}")]
    return int(queues.partition(":")[2], 16)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_recording_and_keeps_it(number: signal.Signals, tmp_path: Path) -> None:
    code = "import sys; from motionrt.runtime.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "record", "udp://127.0.0.1:0", "--label", "x", "-o", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "MOTIONRT_TOKEN"}
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        name = process.stdout.readline().strip()
        address = ("127.0.0.1", int(name.rpartition(":")[2]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for k in range(20):
                udp.sendto(line(k / 10).encode(), address)
                threading.Event().wait(0.02)
        wait_until(lambda: unread(address[1]) == 0, 60, "the messages are read")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    (motion,) = recordings(tmp_path)
    assert motion.frames > 1 and motion.meta["source"] == name
    shift_T = (motion.joints - POSE).mean((1, 2))  # a busy machine may not have taken the last messages yet
    np.testing.assert_allclose(motion.joints, POSE + shift_T[:, None, None], atol=1e-6)
    assert shift_T.min() >= -1e-6 and shift_T.max() <= 1.9 + 1e-6 and (np.diff(shift_T) > 0).all()
