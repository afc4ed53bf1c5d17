"""Motion from prompts, over real sockets."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from wait import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from motionrt import Generator, InputError, Motion
from motionrt.runtime.serve.client import Client
from motionrt.runtime.serve.connection import Connection, Message
from motionrt.runtime.serve.generation import GenerationSession
from motionrt.runtime.serve.server import Server

from .conftest import running
from .messages import connect, receive, request, send

WALK = {"prompt": "a person walks", "seconds": 0.2}


def chunk_of(reply: dict) -> np.ndarray:
    return np.array(reply["joints"], np.float32)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, atol=2e-5))


def start(client: ClientConnection, **prompt: object) -> dict:
    """Request a stream and receive its first chunk."""
    send(client, prompt)
    return receive(client)


def wait_until_free(url: str) -> None:
    """Wait until the stream of a client that has just left is closed."""
    wait_until(lambda: request(f"{url}/generate", WALK).status != 503, 30, "the stream before is closed")


@pytest.fixture(autouse=True)
def free(url: str) -> None:
    wait_until_free(url)


def test_a_stream_is_that_of_the_generator(url: str, generator: Generator) -> None:
    with generator.stream("a person walks", 2.4, seed=3, guidance=1.0) as chunks:
        expected = list(chunks)
    with connect(url, "generate") as client:
        reply = start(client, prompt="a person walks", seconds=2.4, seed=3, guidance=1.0)
        for k, chunk in enumerate(expected):
            reply = receive(client) if k else reply
            assert same(chunk_of(reply), chunk.joints)
            assert (reply["t"], reply["fps"], reply["layout"]) == (chunk.meta["start"], 20, "smpl22")
            assert reply["prompt"] == "a person walks"
        assert receive(client) == {"end": True}
        send(client, {"prompt": "a person bows", "seconds": 0.2})  # a second stream
        assert receive(client)["prompt"] == "a person bows" and receive(client) == {"end": True}


def test_another_prompt_takes_effect_with_the_next_chunk(
    url: str, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_steered, send_message, handle = asyncio.Event(), Connection.send, GenerationSession._handle

    async def send_and_wait(connection: Connection, message: dict) -> None:  # for the next prompt
        await send_message(connection, message)
        if message.get("t") == 1:
            await is_steered.wait()

    def handle_and_set(session: GenerationSession, message: Message) -> None:
        handle(session, message)
        if message.content == {"prompt": "a person bows"}:
            is_steered.set()

    monkeypatch.setattr(Connection, "send", send_and_wait)
    monkeypatch.setattr(GenerationSession, "_handle", handle_and_set)
    expected: list[Motion] = []
    with generator.stream("a person walks", 3) as chunks:
        expected.append(next(chunks))
        expected.append(next(chunks))
        chunks.prompt = "a person bows"
        expected.append(next(chunks))
    with Client(url) as client, client.generate("a person walks", 3) as stream:
        found = [next(stream), next(stream)]
        stream.prompt = "a person bows"
        found += list(stream)
    assert [chunk.meta["text"] for chunk in found] == ["a person walks", "a person walks", "a person bows"]
    assert [chunk.meta["start"] for chunk in found] == [0, 1, 2]
    assert all(same(a.joints, b.joints) for a, b in zip(found, expected, strict=True))


def test_stop_ends_an_endless_stream(url: str) -> None:
    with connect(url, "generate") as client:
        assert start(client, prompt="a person walks")["t"] == 0
        send(client, {"stop": True})
        while (reply := receive(client)) != {"end": True}:
            assert "joints" in reply
        send(client, {"prompt": "a person walks"})
        assert receive(client)["t"] == 0


def test_one_stream_at_a_time_until_its_client_leaves(serve: Callable[..., Server]) -> None:
    url = serve(queue_s=0.1).url
    with connect(url, "generate") as other:
        with connect(url, "generate") as client:
            start(client, prompt="a person walks")
            send(other, {"prompt": "a person bows"})
            assert receive(other) == {
                "frame": 0,
                "error": "another client is generating motion; try again later",
            }
            busy = request(f"{url}/generate", {"prompt": "a person bows"})
            assert busy.status == 503 and busy.headers["Retry-After"] == "1"
        wait_until_free(url)
        assert start(other, prompt="a person bows", seconds=1)["prompt"] == "a person bows"


@pytest.fixture(scope="module")
def patient() -> Iterator[Server]:
    """A server whose clients wait for their turn as long as a test takes."""
    with running(queue_s=60.0) as server:
        yield server


@contextmanager
def endless_stream(server: Server) -> Iterator[ClientConnection]:
    """A client whose stream takes the only place."""
    wait_until_free(server.url)
    with connect(server.url, "generate") as client:
        start(client, prompt="a person walks")
        yield client


def wait_for_queue(server: Server, count: int) -> None:
    wait_until(lambda: len(server._service.generations._turns) == count, 30, f"{count} wait")


def test_requests_and_streams_that_wait_have_their_turns_in_order(patient: Server) -> None:
    order: list[str] = []

    def ask(prompt: str) -> None:
        assert request(f"{patient.url}/generate", WALK | {"prompt": prompt}).status == 200
        order.append(prompt)

    with ThreadPoolExecutor() as pool, connect(patient.url, "generate") as other, endless_stream(patient) as client:
        asking = [pool.submit(ask, "a person walks")]
        wait_for_queue(patient, 1)
        send(other, WALK)
        wait_for_queue(patient, 2)
        send(other, {"prompt": "a person bows"})  # changes it before it starts
        asking.append(pool.submit(ask, "a person jumps"))
        wait_for_queue(patient, 3)
        send(client, {"stop": True})
        assert receive(other)["prompt"] == "a person bows" and order == ["a person walks"]
        assert receive(other) == {"end": True}
        for one in asking:
            one.result(30)


def test_those_who_wait_may_leave(patient: Server) -> None:
    host, _, port = patient.url.removeprefix("http://").partition(":")
    body = json.dumps(WALK).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with endless_stream(patient), connect(patient.url, "generate") as other:
        with socket.create_connection((host, int(port))) as asking:
            asking.sendall(head + body)
            wait_for_queue(patient, 1)
        wait_for_queue(patient, 0)
        with connect(patient.url, "generate") as third:
            send(third, WALK)
            wait_for_queue(patient, 1)
        wait_for_queue(patient, 0)
        send(other, WALK)
        wait_for_queue(patient, 1)
        send(other, {"stop": True})
        assert receive(other) == {"end": True}
        wait_for_queue(patient, 0)


def test_no_more_than_a_number_wait(patient: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient._service.generations, "_places", 1)
    with ThreadPoolExecutor() as pool, connect(patient.url, "generate") as other, endless_stream(patient) as client:
        waiting = pool.submit(request, f"{patient.url}/generate", WALK)
        wait_for_queue(patient, 1)
        busy = request(f"{patient.url}/generate", WALK)
        assert busy.status == 503 and busy.headers["Retry-After"] == "1"
        send(other, WALK)
        assert "another client is generating motion" in receive(other)["error"]
        send(client, {"stop": True})
        assert waiting.result(30).status == 200


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("{", "is not a whole JSON message"),
        ({"seconds": 3}, "prompt: Field required"),
        ({"prompt": " "}, "prompt: String should match"),
        ({"prompt": "x" * 513}, "prompt: String should have at most 512"),
        ({"prompt": "walk", "seconds": 0}, "seconds: Input should be greater than or equal to 0.2"),
        ({"prompt": "walk", "seconds": 1e9}, "seconds is"),
        ({"prompt": "walk", "seed": -1}, "seed: Input should be greater"),
        ({"prompt": "walk", "seed": True}, "seed: Input should be a valid integer"),
        ({"prompt": "walk", "style": "drunk"}, "style: Extra inputs are not permitted"),
        ({"stop": 1}, "stop: Extra inputs are not permitted"),
    ],
)
def test_an_error_is_answered_and_the_session_continues(url: str, message: object, why: str) -> None:
    with connect(url, "generate") as client:
        send(client, message)
        reply = receive(client)
        assert reply["frame"] == 0 and why in reply["error"] and "\n" not in reply["error"]
        assert len(start(client, prompt="a person walks", seconds=0.2)["joints"]) == 4


def test_a_bad_prompt_does_not_end_the_stream(url: str) -> None:
    with Client(url) as client, client.generate("a person walks", 3) as stream:
        stream.prompt = " "
        with pytest.raises(InputError, match="prompt: String should match"):
            while True:
                next(stream)
        assert next(stream).meta["text"] == "a person walks"


def test_a_motion_in_one_piece_is_that_of_the_generator(url: str, generator: Generator) -> None:
    asked = {"prompt": "a person waves", "seconds": 2, "seed": 5, "guidance": 1.0}
    made = request(f"{url}/generate", asked)
    assert made.status == 200 and made.headers["Content-Type"] == "application/json"
    motion = generator.generate("a person waves", 2, seed=5, guidance=1.0)
    assert same(chunk_of(made.json), motion.joints)
    assert (made.json["layout"], made.json["fps"]) == ("smpl22", 20)
    label = request(f"{url}/recognize", made.json).json["label"]
    assert label in ("wave", "raise right hand", "raise left hand", "none")


def test_a_shutdown_ends_a_stream_and_those_who_wait() -> None:
    with running(queue_s=60.0) as server, ThreadPoolExecutor() as pool:
        client, other = (connect(server.url, "generate").__enter__() for _ in range(2))
        send(client, {"prompt": "a person walks"})
        assert "joints" in receive(client)
        send(other, WALK)
        asking = pool.submit(request, f"{server.url}/generate", WALK)
        wait_for_queue(server, 2)
        server.should_exit = True
        assert (asking.result(30).status, asking.result().json["detail"]) == (503, "the server is shutting down")
    for one in (client, other):
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                json.loads(one.recv(timeout=30))
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "the server is shutting down")
