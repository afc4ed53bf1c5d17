"""A robot that follows a live person or generated motion: steady references, held poses, outputs."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

import motionrt
from motionrt import InputError, Motion
from motionrt.runtime.cli import main
from motionrt.runtime.cli.robot import Player, feed_chunks
from motionrt.runtime.robots.live import BLEND_S, LiveRobot, Reference

SAMPLES = Path(motionrt.__file__).parent / "runtime" / "samples"
RATE_HZ = 50
WALK = Motion.load(SAMPLES / "cmu_walk.npz")


def play(times: np.ndarray, seconds: float, joints: np.ndarray = WALK.joints, ahead: float = 0.11) -> list[Reference]:
    """References at 50 Hz from poses at the given times, each of which comes `ahead` seconds before it is due."""
    robot = LiveRobot("g1", WALK.layout)
    found, sent = [], 0
    for tick in range(round(seconds * RATE_HZ)):
        t = tick / RATE_HZ
        while sent < len(times) and times[sent] <= t + ahead:
            robot.put(times[sent], joints[sent])
            sent += 1
        found.append(robot.reference(t))
    return found


def largest_step(found: list[Reference]) -> float:
    return float(np.abs(np.diff([one.angles for one in found], axis=0)).max())


def test_the_motion_is_blended_in_from_rest_at_the_origin() -> None:
    found = play(1 + WALK.times[:60], 3.5)
    assert [one.status for one in found[:50]] == ["waiting"] * 50
    assert (found[0].position[:2] == 0).all() and found[0].quaternion[0] == 1
    statuses = [one.status for one in found[50:]]
    assert statuses == ["blending"] * round(BLEND_S * RATE_HZ) + ["following"] * (len(statuses) - 50)
    assert largest_step(found) <= 10 / RATE_HZ + 1e-9
    assert np.abs(found[51].angles - found[50].angles).max() < 0.01
    steps = np.diff([one.position for one in found], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 0.06
    forward = found[-1].position - found[100].position
    assert forward[0] > 0.5 and abs(forward[1]) < 0.5 * forward[0]  # it faces x at the start


def test_references_between_poses_are_those_of_a_faster_source() -> None:
    fast = play(WALK.times, 3.0)
    slow = play(WALK.times[::2], 3.0, WALK.joints[::2], ahead=0.21)
    apart = np.abs([a.angles - b.angles for a, b in zip(fast, slow, strict=True)][60:])
    assert np.percentile(apart, 95) < 0.06


def test_a_lost_person_holds_the_pose_and_comes_back_without_a_jump() -> None:
    times = WALK.times[:80].copy()
    times[40:] += 1.5
    joints = WALK.joints.copy()
    joints[40:] += [1.0, 0, 2.0]  # elsewhere
    found = play(times, times[-1], joints)
    lost = [one for one in found if one.status == "holding" and times[39] < one.t < times[40]]
    assert len(lost) > 65
    assert all((one.angles == lost[0].angles).all() and not one.velocities.any() for one in lost)
    back = next(i for i, one in enumerate(found) if one.t > lost[-1].t and one.status == "blending")
    assert largest_step(found) <= 10 / RATE_HZ + 1e-9
    steps = np.linalg.norm(np.diff([one.position for one in found], axis=0), axis=1)
    assert steps.max() < 0.06 and steps[back] < 0.01
    assert found[-1].status == "following"


def test_a_short_gap_is_no_loss() -> None:
    times = np.delete(WALK.times[:60], [40, 41])
    found = play(times, times[-1], np.delete(WALK.joints[:60], [40, 41], axis=0))
    statuses = [one.status for one in found[60:]]
    assert statuses.count("holding") <= 3 and "blending" not in statuses
    assert largest_step(found) <= 10 / RATE_HZ + 1e-9


def test_forgotten_poses_are_replaced() -> None:
    robot = LiveRobot("g1", WALK.layout)
    for t, joints in zip(WALK.times[:40], WALK.joints[:40], strict=True):
        robot.put(t, joints)
    robot.forget(WALK.times[30])
    robot.put(WALK.times[30], WALK.joints[29])  # the person stops
    robot.put(WALK.times[39], WALK.joints[29])
    found = [robot.reference(t) for t in np.arange(0, WALK.times[39], 1 / RATE_HZ)]
    expected = play(WALK.times[:40], WALK.times[39])
    before = sum(one.t < WALK.times[29] for one in found)
    for a, b in zip(found[: before - 2], expected, strict=False):
        np.testing.assert_allclose(a.angles, b.angles, atol=1e-6)
    assert np.abs(found[-1].angles - expected[-1].angles).max() > 0.05


def test_poses_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"joints has shape \[3, 3\], expected \[22, 3\]"):
        LiveRobot("g1").put(0, np.zeros((3, 3)))


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.npz"
    Motion(joints=WALK.joints[:24], fps=WALK.fps, layout=WALK.layout).save(path)
    return path


def check_messages(messages: list[dict[str, Any]]) -> None:
    assert len(messages) > 20
    assert all(len(one["angles"]) == len(one["velocities"]) == 29 for one in messages)
    assert len(messages[0]["root_position"]) == 3 and len(messages[0]["root_quaternion"]) == 4
    steps = np.diff([one["t"] for one in messages])
    assert (steps > 0).all()
    assert messages[-1]["status"] in ("blending", "following", "holding")


def test_a_file_is_played_to_udp_and_written(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        messages: list[dict[str, Any]] = []
        out = tmp_path / "robot.npz"
        arguments = ["--to", f"udp://127.0.0.1:{receiver.getsockname()[1]}", "-o", str(out), "--json"]
        main(["retarget", str(short), *arguments])
        summary = json.loads(capsys.readouterr().out)["summary"]
        for _ in range(summary["references"] - summary["dropped"]):
            messages.append(json.loads(receiver.recv(65_535)))
    check_messages(messages)
    with np.load(out) as file:
        assert len(file["angles"]) == summary["references"]
        np.testing.assert_allclose(file["angles"], [one["angles"] for one in messages], atol=1e-5)


def test_a_file_is_played_to_a_websocket(short: Path) -> None:
    from websockets.sync.server import ServerConnection, serve

    received: list[dict[str, Any]] = []
    ended = threading.Event()

    def take(connection: ServerConnection) -> None:
        received.extend(json.loads(text) for text in connection)
        ended.set()

    with serve(take, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        main(["retarget", str(short), "--to", f"ws://127.0.0.1:{server.socket.getsockname()[1]}"])
        assert ended.wait(10)
        server.shutdown()
        thread.join()
    check_messages(received)


def test_a_file_is_played_to_zeromq(short: Path) -> None:
    zmq = pytest.importorskip("zmq")
    with zmq.Context() as context, context.socket(zmq.SUB) as plain, context.socket(zmq.SUB) as ros:
        arguments = []
        for prefix, subscriber in (("", plain), ("ros+", ros)):
            subscriber.subscribe(b"")
            port = free_port()
            subscriber.connect(f"tcp://127.0.0.1:{port}")
            arguments += ["--to", f"{prefix}zmq://*:{port}"]
        main(["retarget", str(short), *arguments])
        messages, states = drain(plain), drain(ros)
    check_messages([json.loads(message) for message in messages])
    assert len(states) > 20 and all(b"left_hip_pitch_joint\0" in state for state in states)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def drain(subscriber: Any) -> list[bytes]:
    found = []
    while subscriber.poll(500):
        found.append(subscriber.recv())
    return found


def test_json_lines_are_followed_as_they_come(short: Path) -> None:
    lines = "".join(
        json.dumps({"t": float(t), "layout": WALK.layout, "joints": joints.tolist()}) + "\n"
        for t, joints in zip(WALK.times[:24], WALK.joints[:24], strict=True)
    )
    command = [sys.executable, "-m", "motionrt.runtime.cli", "retarget", "-", "--robot", "g1"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=True)
    check_messages([json.loads(line) for line in done.stdout.splitlines()])
    assert "references late by" in done.stderr


def test_a_new_prompt_changes_what_is_playing(capsys: pytest.CaptureFixture[str]) -> None:
    chunks: SimpleQueue[Motion | None] = SimpleQueue()
    prompts: SimpleQueue[str] = SimpleQueue()
    changes = []

    class Chunks:
        def __iter__(self) -> Iterator[Motion]:
            return iter(chunks.get, None)

        def change(self, prompt: str, keep: int) -> None:
            if not prompt:
                raise InputError("the description is empty")
            changes.append((prompt, keep))
            still = np.repeat(WALK.joints[keep : keep + 1], 20, axis=0)
            chunks.put(Motion(still, 20, WALK.layout, meta={"start": keep / 20}))
            chunks.put(None)

    chunks.put(Motion(WALK.joints[:20], 20, WALK.layout, meta={"start": 0.0}))
    prompts.put("")
    prompts.put("a person stands")
    summary = Player([], None).play(lambda player: feed_chunks(Chunks(), "g1", player, prompts))  # type: ignore[arg-type]
    assert capsys.readouterr().err == "motionrt: the description is empty\n"
    ((prompt, keep),) = changes
    assert prompt == "a person stands" and keep < 20
    assert summary["references"] < (1 + 1) * RATE_HZ, "what was not played is replaced"


def test_generated_motion_moves_the_robot() -> None:
    arguments = ["generate", "a person walks forward", "--seconds", "2", "--stream", "--robot", "g1"]
    command = [sys.executable, "-m", "motionrt.runtime.cli", *arguments]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    check_messages(messages)
    assert np.ptp([one["angles"] for one in messages], axis=0).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["retarget", "SHORT", "--to", "tcp://x:1"],
            "tcp://x:1: expected - for standard output, udp://HOST:PORT, ws",
        ),
        (["retarget", "SHORT", "--to", "udp://x"], "udp://x: expected udp://HOST:PORT"),
        (["retarget", "-", "--person", "1"], "--person is for files"),
        (["retarget", "udp://127.0.0.1:0", "--robot", "x1"], "unknown robot 'x1'; known are g1"),
        (["view", "--robot", "x1"], "unknown robot 'x1'; known are g1"),
        (["generate", "a person walks", "--robot", "g1"], "--robot is for --stream"),
        (["generate", "a person walks", "--stream", "--to", "-"], "--to sends the references of a robot"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, short: Path) -> None:
    command = [sys.executable, "-m", "motionrt.runtime.cli", *(str(short) if a == "SHORT" else a for a in arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
