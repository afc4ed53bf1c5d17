"""`motionrt serve` as a process: startup and shutdown."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from wait import wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus

from motionrt import Generator, Motion
from motionrt.runtime.cli import main
from motionrt.runtime.errors import MotionError
from motionrt.runtime.serve import protocols, server
from motionrt.runtime.serve.client import Client

from .messages import connect, frame_message, receive, request, send


@contextmanager
def process(
    *arguments: str, max_files: int | str = "", **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and its URL."""
    command = ["sh", "-c", f'ulimit -n {max_files}; exec "$0" "$@"']
    command += [sys.executable, "-m", "motionrt.runtime.cli", "serve", "--port=0", *arguments]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | paths | environment)
    assert running.stderr is not None
    try:
        lines = []
        while not (lines or [""])[-1].startswith("serving at "):
            lines.append(running.stderr.readline())
            assert lines[-1], lines
        yield running, lines[-1].split()[-1]
    finally:
        running.kill()
        running.communicate()


def failure(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one-line error of a server that does not start."""
    assert main(["serve", "--port", "0", *arguments]) == 2
    return capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_its_clients_learn_why(motion: Motion, number: int) -> None:
    with process() as (running, url):
        with connect(url) as client, connect(url, "generate") as other:
            send(client, frame_message(motion, 0))
            assert "label" in receive(client)
            send(other, {"prompt": "a person walks"})
            assert "joints" in receive(other)
            running.send_signal(number)
            for one in (client, other):
                with pytest.raises(ConnectionClosed) as caught:
                    while True:
                        receive(one)
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "the server is shutting down")
        assert running.wait(timeout=60) == 0
        assert running.stderr is not None and running.stderr.read() == ""
        with pytest.raises(OSError, match="refused"):
            request(f"{url}/healthz")


def hold_generation(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Make every generation wait for the second event; it sets the first one."""
    is_running, may_end, generate = threading.Event(), threading.Event(), Generator.generate

    def generate_later(*arguments: Any, **options: Any) -> Any:
        is_running.set()
        assert may_end.wait(60)
        return generate(*arguments, **options)

    monkeypatch.setattr(Generator, "generate", generate_later)
    return is_running, may_end


def test_a_running_request_is_answered_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from .conftest import running

    is_running, may_end = hold_generation(monkeypatch)
    monkeypatch.setattr(server, "GRACE_S", 60)
    replies = []
    with running() as running_server:
        prompt = {"prompt": "a person walks", "seconds": 6}
        asking = threading.Thread(target=lambda: replies.append(request(f"{running_server.url}/generate", prompt)))
        asking.start()
        assert is_running.wait(60)
        running_server.should_exit = True
        wait_until(lambda: not is_listening(running_server.url), 30, "the shutdown has started")
        may_end.set()
        asking.join(60)
    assert replies[0].status == 200 and len(replies[0].json["joints"]) == 120


def test_a_request_that_takes_too_long_for_the_shutdown_learns_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from .conftest import running

    is_running, may_end = hold_generation(monkeypatch)
    monkeypatch.setattr(server, "GRACE_S", 0.1)
    replies = []
    with running() as running_server:
        prompt = {"prompt": "a person walks", "seconds": 6}
        asking = threading.Thread(target=lambda: replies.append(request(f"{running_server.url}/generate", prompt)))
        asking.start()
        assert is_running.wait(60)
        running_server.should_exit = True
        asking.join(60)
        may_end.set()
    assert (replies[0].status, replies[0].json) == (503, {"detail": "the server is shutting down"})
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def is_listening(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def test_received_frames_are_answered_before_it_ends(motion: Motion) -> None:
    with process() as (running, url), connect(url) as client:
        send(client, frame_message(motion, 0))
        receive(client)
        numbers = []
        stop = threading.Timer(0.2, running.terminate)
        stop.start()
        sent = 1
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                send(client, frame_message(motion, 0, t=float(sent)))
                sent += 1
                numbers.append(receive(client)["frame"])
        assert caught.value.rcvd.code == 1001
        assert numbers == list(range(1, len(numbers) + 1)) and sent - len(numbers) <= 2


def test_beyond_this_machine_it_requires_a_token(capfd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOTIONRT_TOKEN", raising=False)
    line = failure(capfd, "--host", "0.0.0.0")
    assert "needs a token (--token-file or MOTIONRT_TOKEN)" in line
    (tmp_path / "token").write_text("s3cret\nand a remark\n")
    with process("--host", "0.0.0.0", "--token-file", str(tmp_path / "token")) as (_, url):
        here = url.replace("0.0.0.0", "127.0.0.1")
        assert request(f"{here}/models").status == 401
        assert request(f"{here}/models", headers={"Authorization": "Bearer s3cret"}).status == 200


def test_a_token_from_the_environment_is_never_printed() -> None:
    with process(MOTIONRT_TOKEN="s3cret") as (running, url):
        assert request(f"{url}/models").status == 401
        for token in ("guess", "s3cret"):
            headers = {"Authorization": f"Bearer {token}"}
            assert request(f"{url}/models?token={token}", headers=headers).status == (401 if token == "guess" else 200)
            with suppress(InvalidStatus), connect(url, additional_headers=headers):
                pass
        running.terminate()
        _, err = running.communicate(timeout=60)
        assert err == ""


def raw_socket(url: str, *headers: str) -> socket.socket:
    """A socket after the request for a WebSocket; the server's answer has not been read."""
    host, _, port = url.removeprefix("http://").partition(":")
    lines = [
        "GET /recognize HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *(headers or ("Sec-WebSocket-Version: 13",)),
        *("", ""),
    ]
    client = socket.create_connection((host, int(port)), timeout=60)
    client.sendall("\r\n".join(lines).encode("latin-1"))
    return client


@pytest.mark.parametrize("frames", [b"\x89\xfd" + bytes(129), b"\x00\x80" + bytes(4)], ids=["pings", "empty fragments"])
def test_a_client_that_fills_the_memory_without_messages_is_dropped(url: str, frames: bytes) -> None:
    """No limit of messages counts unread pongs, or the fragments of one endless message."""
    with raw_socket(url) as client:
        assert client.recv(12) == b"HTTP/1.1 101"
        client.sendall(b"\x01\x80" + bytes(4))  # a message starts
        with pytest.raises(OSError, match="reset|Broken pipe"):
            for _ in range(2000):  # 260 MB of pings, 12 MB of fragments
                client.sendall(frames * 1000)


def test_a_header_that_is_not_ascii_is_refused(url: str) -> None:
    with raw_socket(url, "Sec-WebSocket-Version: \xff13") as client:
        assert client.recv(12) == b"HTTP/1.1 400"
    with connect(url):  # others are accepted
        pass


def test_connections_without_requests_do_not_lock_others_out(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "REQUEST_S", 0.3)
    url = serve(clients=1).url
    host, _, port = url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(40)]
        for one in silent[:20]:
            one.sendall(b"POST /recognize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        for one in silent:  # is dropped, or refused because there are too many
            one.settimeout(10)
            with suppress(ConnectionError):
                while one.recv(1000):
                    pass
        assert request(f"{url}/readyz").status == 200


def test_silent_connections_give_way_to_others(serve) -> None:
    """They are dropped at once, not after a time, and no probe, request or client is refused."""
    url = serve(clients=1).url
    address = url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((address[0], int(address[1])))) for _ in range(200)]
        for one in silent:
            with suppress(ConnectionError):
                one.sendall(b"GET /models HTTP/1.1\r\n")
        for path in ("healthz", "readyz", "models"):
            assert request(f"{url}/{path}").status == 200
        with connect(url):
            pass


def test_silent_connections_give_way_where_few_files_may_be_open() -> None:
    with process(max_files=64) as (running, url), ExitStack() as stack:
        host, _, port = url.removeprefix("http://").partition(":")
        for _ in range(200):
            stack.enter_context(socket.create_connection((host, int(port))))
        for path in ("healthz", "models"):
            assert request(f"{url}/{path}").status == 200
        for _ in range(20):
            stack.enter_context(connect(url))
        running.terminate()
        assert running.communicate(timeout=60)[1] == ""


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: 127.0.0.1", "Host: evil.example"],
        ["Host: 127.0.0.1", "X: " + "x" * 1_000_000],
        ["Host: 127.0.0.1", *["X: x"] * 10_000],
        ["Host: 127.0.0.1", "Content-Length: 1", "Content-Length: 2"],
        ["Host: 127.0.0.1", "Content-Length: 1", "Transfer-Encoding: chunked"],
        ["Host: 127.0.0.1", "Content-Length: -1"],
        ["Host: 127.0.0.1", "X : x"],
    ],
    ids=[
        "two hosts",
        "a header of 1 MB",
        "10,000 headers",
        "two lengths",
        "a length and chunks",
        "a negative length",
        "a space in a name",
    ],
)
def test_malformed_headers_are_refused_and_end_the_connection(url: str, lines: list[str]) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        reply = b""
        with suppress(ConnectionError):  # it may be closed before everything is sent
            client.sendall("\r\n".join(["GET /models HTTP/1.1", *lines, "", ""]).encode())
            while part := client.recv(1 << 16):
                reply += part
    assert reply.startswith(b"HTTP/1.1 4") or not reply


def test_an_idle_client_gives_its_place_to_another(serve, motion: Motion) -> None:
    url = serve(clients=2, idle_s=0.0).url
    with connect(url) as first, connect(url) as second:
        for one in (first, second):
            send(one, frame_message(motion, 0))
            receive(one)
        with connect(url) as third:
            send(third, frame_message(motion, 0))
            assert "label" in receive(third)
            with pytest.raises(ConnectionClosed) as caught:
                receive(first)
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
                1013,
                "no message for 0 s, and others need this place",
            )
            send(second, frame_message(motion, 1))
            assert "label" in receive(second)


def test_an_endless_stream_ends_when_another_client_needs_it(serve) -> None:
    url = serve(stream_s=0.0).url
    with connect(url, "generate") as first, connect(url, "generate") as second:
        send(first, {"prompt": "a person walks"})
        assert "joints" in receive(first)
        send(second, {"prompt": "a person bows", "seconds": 1})
        while receive(first) != {"end": True}:
            pass
        assert receive(second)["prompt"] == "a person bows"


def test_an_error_at_startup_is_one_line(capfd, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"http://127.0.0.1:{port}: cannot listen there: Address already in use" in failure(capfd, "--port", port)
    assert "the first line is empty, expected a token" in failure(capfd, "--token-file", str(tmp_path / "empty"))
    assert "none: cannot be read" in failure(capfd, "--token-file", str(tmp_path / "none"))
    (tmp_path / "token").write_text("short")
    (tmp_path / "token").chmod(0o644)
    failure(capfd, "--token-file", str(tmp_path / "token"), "--labels", "waving")
    assert "token: others may use it (mode 644, expected 600)" in caplog.text
    assert "the token has 5 characters, fewer than 16 can be guessed" in caplog.text
    assert "label 'waving' is not one of model 'live'" in failure(capfd, "--labels", "waving")
    assert "alarms_per_minute is 1000" in failure(capfd, "--alarms-per-minute", "1000")
    assert "none" in failure(capfd, "--model", "none")
    assert f"{tmp_path}: cannot be written (Is a directory)" in failure(capfd, "--access-log", str(tmp_path))
    assert "no.such.host.invalid is not an address" in failure(capfd, "--host", "no.such.host.invalid")


def test_a_missing_package_names_its_extra(capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    line = failure(capfd)
    assert "motionrt serve needs uvicorn" in line and "pip install '.[serve]' in motionrt's checkout" in line


def test_labels_are_chosen_at_startup() -> None:
    with process("--model", "zero-shot", "--labels", "wave,jump") as (_, url):
        recognizer, _ = request(f"{url}/models").json
        assert (recognizer["labels"], recognizer["any_labels"]) == (["wave", "jump", "none"], True)


def test_a_client_reconnects_after_its_server_was_killed(motion: Motion) -> None:
    """The next server does not know its people, and gets its labels."""
    chosen = ["a person waves a hand", "a person sits down"]
    options = ("--model", "zero-shot", "--labels", "walk")
    with process(*options) as (running, url), Client(url, timeout_s=60) as client:
        labels = client.set_labels(chosen)
        assert client.step(motion.joints[0], 0.0, person=3, layout=motion.layout)["event"] is None
        assert client.step(motion.joints[1], 0.1, person=4, layout=motion.layout)["event"] is None
        running.kill()
        running.wait()
        with process("--port", url.rpartition(":")[2], *options):
            first = client.step(motion.joints[2], 0.2, person=3, layout=motion.layout)
            assert first["event"] == "reset"
            assert {label for label, _ in first["top"]} <= set(labels)
            assert client.step(motion.joints[3], 0.3, person=3, layout=motion.layout)["event"] is None
            assert client.step(motion.joints[3], 0.3, person=5, layout=motion.layout)["event"] is None
            assert client.step(motion.joints[3], 0.3, person=4, layout=motion.layout)["event"] == "reset"
            client.close()  # the server forgets its people, too
            client.reset(4)
            assert client.step(motion.joints[4], 0.4, person=3, layout=motion.layout)["event"] == "reset"
            assert client.step(motion.joints[4], 0.4, person=4, layout=motion.layout)["event"] is None


def test_a_client_gives_up_on_a_server_that_stays_down(motion: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    with process() as (running, url), Client(url, timeout_s=60) as client:
        client.step(motion.joints[0], 0.0, layout=motion.layout)
        running.kill()
        running.wait()
        monkeypatch.setattr(client, "_timeout_s", 0.5)
        for _ in range(2):
            with pytest.raises(MotionError, match="recognize: cannot be reached"):
                client.step(motion.joints[1], 0.1, layout=motion.layout)
