"""Requests for motion that wait are generated together, by a generator for batches."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from wait import wait_until

from motionrt import Generator
from motionrt.runtime.serve import service
from motionrt.runtime.serve.server import Server

from .conftest import running
from .messages import Response, connect, receive, request, send

BATCH = 4


class Gate:
    """Records the calls of `Generator.generate`; they wait until the gate is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[list[str]] = []
        self.open = threading.Event()
        generate = Generator.generate

        def gated(generator: Generator, text: Any, *args: Any, **options: Any) -> Any:
            self.texts.append(text)
            assert self.open.wait(60)
            return generate(generator, text, *args, **options)

        monkeypatch.setattr(Generator, "generate", gated)


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Generator:
    load = Generator.load
    monkeypatch.setattr(Generator, "load", lambda name, **options: load(name, precision="fp32", **options))
    return Generator.load("default")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, generator: Generator) -> Gate:
    return Gate(monkeypatch)


@contextmanager
def batching() -> Iterator[Server]:
    """A server whose generator is for batches of float32, as on a GPU."""
    with running() as server:
        server._service.generator.batch = BATCH
        yield server


@contextmanager
def asked(server: Server, gate: Gate, prompts: list[dict]) -> Iterator[list[Callable[[], Response]]]:
    """Post prompts in turn: the first is being generated while the others wait, until the gate opens."""
    with ThreadPoolExecutor(len(prompts)) as clients:
        replies = []
        for k, prompt in enumerate(prompts):
            replies.append(clients.submit(request, f"{server.url}/generate", prompt).result)
            wait_until(lambda k=k: server._service.waiting.in_use == k + 1, 30, "the request is there")  # type: ignore[misc]
            if k == 0:
                wait_until(lambda: gate.texts, 30, "the first one is being generated")
        try:
            yield replies
        finally:
            gate.open.set()


def test_requests_that_wait_are_one_batch_with_the_motions_of_single_calls(gate: Gate, generator: Generator) -> None:
    prompts: list[dict] = [
        {"prompt": "a person walks", "seconds": 1.0, "seed": 1},
        {"prompt": "a person bows", "seconds": 2.0, "seed": 2},
        {"prompt": "a person waves", "seconds": None, "seed": 3},
        {"prompt": "a person walks", "seconds": 11.0, "seed": 4},
        {"prompt": "a person bows", "seconds": 12.0, "seed": 5},
    ]
    with batching() as server, asked(server, gate, prompts) as replies:
        gate.open.set()
        found = [reply() for reply in replies]
    texts = [prompt["prompt"] for prompt in prompts]
    assert gate.texts == [texts[:1], texts[1:]]
    for reply, prompt in zip(found, prompts, strict=True):
        alone = generator.generate(prompt["prompt"], prompt["seconds"], seed=prompt["seed"])
        np.testing.assert_allclose(np.array(reply.json["joints"]), alone.joints, atol=2e-5)


def test_the_oldest_request_is_in_the_next_batch(gate: Gate) -> None:
    def prompt(name: str, guidance: float = 0.0) -> dict:
        return {"prompt": f"a person walks {name}", "seconds": 0.2, "guidance": guidance}

    prompts = [prompt("first"), prompt("guided", 1.0), *(prompt(str(k)) for k in range(5)), prompt("again", 1.0)]
    with batching() as server, asked(server, gate, prompts) as replies:
        gate.open.set()
        assert [reply().status for reply in replies] == [200] * len(prompts)
    words = [[text.rsplit(" ", 1)[1] for text in texts] for texts in gate.texts]
    assert words == [["first"], ["guided", "again"], ["0", "1", "2", "3"], ["4"]]


def test_an_unsuitable_prompt_is_refused_alone(gate: Gate) -> None:
    walk = {"prompt": "a person walks", "seconds": 0.2}
    with batching() as server, asked(server, gate, [walk, walk]) as replies:
        refused = request(f"{server.url}/generate", walk | {"prompt": "\u6325\u624b"})
        assert refused.status == 422 and "has no word that the text encoder knows" in refused.json["detail"]
        gate.open.set()
        assert [reply().status for reply in replies] == [200, 200]


def test_a_failure_is_that_of_its_batch_alone(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        assert gate.open.wait(60)
        if args[1] == ["a person walks"]:
            raise MemoryError
        return generate(*args, **options)

    generate = Generator.generate
    monkeypatch.setattr(Generator, "generate", fail)
    gate.texts.append([])
    prompts = [{"prompt": f"a person {action}", "seconds": 0.2} for action in ("walks", "bows", "waves")]
    with batching() as server, asked(server, gate, prompts) as replies:
        gate.open.set()
        assert [reply().status for reply in replies] == [500, 200, 200]


def test_no_more_than_a_number_of_requests_wait(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WAITING", 2)
    walk = {"prompt": "a person walks", "seconds": 0.2}
    with batching() as server, asked(server, gate, [walk, walk]) as replies:
        busy = request(f"{server.url}/generate", walk)
        assert busy.status == 503 and busy.headers["Retry-After"] == "1"
        gate.open.set()
        assert [reply().status for reply in replies] == [200, 200]


def test_batches_do_not_end_a_stream(gate: Gate) -> None:
    gate.open.set()
    with batching() as server, connect(server.url, "generate") as client:
        send(client, {"prompt": "a person walks", "seconds": 3})
        assert receive(client)["t"] == 0
        assert request(f"{server.url}/generate", {"prompt": "a person bows", "seconds": 0.2}).status == 200
        assert [receive(client).get("t") for _ in range(3)] == [1, 2, None]


def test_a_shutdown_answers_requests_that_wait(gate: Gate) -> None:
    walk = {"prompt": "a person walks", "seconds": 0.2}
    with batching() as server, asked(server, gate, [walk, walk]) as replies:
        server.should_exit = True
        for reply in replies:
            assert reply().status == 503 and reply().json["detail"] == service.ENDING
        gate.open.set()  # the thread of the first one
