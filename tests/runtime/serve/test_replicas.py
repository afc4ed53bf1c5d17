"""`motionrt serve --replicas`: a server in several processes, run by Ray."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from motionrt import Motion, Recognizer
from motionrt.bench.speed.replicas import play_and_kill, replicas, summarize
from motionrt.runtime.cli import main

from .messages import connect, frame_message, receive, request, send
from .test_server import failure, process

pytest.importorskip("ray.serve", reason="ray is not installed")

CLIENTS, RATE_HZ = 6, 15.0

pytestmark = pytest.mark.timeout(300)  # Ray takes its time to start


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Two replicas, each with slots for all clients."""
    with until(signal.SIGINT, "2") as url:
        yield url


@contextmanager
def until(number: int, count: str) -> Iterator[str]:
    """Replicas that a signal ends."""
    others = replicas()
    with process("--replicas", count, "--clients", str(CLIENTS)) as (running, url):
        yield url
        running.send_signal(number)
        assert running.wait(timeout=60) == 0
        assert not replicas() - others


def test_sigterm_ends_them_like_ctrl_c(motion: Motion) -> None:
    with until(signal.SIGTERM, "1") as url, connect(url) as client:
        send(client, frame_message(motion, 0))
        assert "label" in receive(client)


def test_replicas_answer_like_one_server(url: str, motion: Motion, live: Recognizer) -> None:
    assert request(f"{url}/readyz").json == {"status": "ready"}
    assert request(f"{url}/models").json[0]["name"] == "live"
    assert request(f"{url}/recognize", {"fps": 30}).status == 422
    live.reset()
    with connect(url) as client:
        for i in range(30):
            send(client, frame_message(motion, i))
            decision = live.step(motion.joints[i].round(4), float(motion.times[i]), layout=motion.layout)
            reply = receive(client)
            assert (reply["frame"], reply["label"]) == (i, decision.label)
            assert reply["score"] == pytest.approx(decision.score, abs=1e-3)


def test_limits_hold(url: str) -> None:
    with connect(url) as client:
        send(client, " " * ((1 << 16) + 1))
        with pytest.raises(ConnectionClosed) as caught:
            receive(client)
        assert caught.value.rcvd.code == 1009
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers={"Origin": "https://example.org"}):
        pass
    assert refused.value.response.status_code == 403


def test_metrics_are_labeled_with_their_replica(url: str) -> None:
    lines = request(f"{url}/metrics").body.decode().splitlines()
    assert all('replica="' in line for line in lines if not line.startswith("#"))


def test_clients_of_a_killed_replica_start_over_at_another(url: str, live: Recognizer) -> None:
    tracks, killed_s = play_and_kill(url, min(replicas()), CLIENTS, RATE_HZ, seconds=8.0)
    found = summarize(tracks, killed_s, live, RATE_HZ)
    assert found["wrong"] == 0 and found["frames"] > 0
    assert 1 <= found["clients_reset"] <= CLIENTS and found["resets"] == found["clients_reset"]
    for track in tracks:
        assert track.replies[-1].received_s > killed_s + 1


@pytest.mark.parametrize("replicas", ["0", "2-1", "-1", "1-", "two", "1-2-3", "12345"])
def test_an_invalid_number_of_replicas_is_refused(replicas: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"--replicas={replicas}"]) == 2
    line = f"--replicas {replicas}: expected a number such as 2, or a range such as 1-8"
    assert line in " ".join(capsys.readouterr().err.split())


def test_more_replicas_than_cores_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert "--replicas 1000: this machine has" in failure(capfd, "--replicas", "1000")
