"""Servers with the bundled models, on free ports."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from motionrt import Generator, Motion, Recognizer

for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from motionrt.runtime.serve.server import Server  # noqa: E402
from motionrt.runtime.serve.settings import Settings  # noqa: E402

UNLIMITED = {"requests_per_s": 1e6}


@contextmanager
def running(**settings: Any) -> Iterator[Server]:
    started = threading.Event()
    server = Server(Settings(**UNLIMITED | settings), "127.0.0.1", 0, lambda url: started.set())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(60)
        yield server
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """http:// address of a server with the default settings, except for the rate."""
    with running() as server:
        yield server.url


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """A function that starts a server with some settings; it is shut down after the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(**settings))


@pytest.fixture(scope="session")
def live() -> Recognizer:
    return Recognizer.load("live")


@pytest.fixture(scope="session")
def generator() -> Generator:
    return Generator.load("default")


@pytest.fixture(scope="session")
def motion(samples: list[Motion]) -> Motion:
    """A motion in which actions start and end."""
    return max(samples, key=lambda motion: motion.frames)
