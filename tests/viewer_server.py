from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def viewer_server() -> Iterator[Any]:
    """Start an empty viser server; wait for the end of its thread, which prints a last line."""
    viser = pytest.importorskip("viser", reason="viser is not installed")
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    thread = server._websock_server._server_thread
    try:
        yield server
    finally:
        server.stop()
        thread.join()
