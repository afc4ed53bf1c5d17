"""A thousand clients connect and leave, half of them without closing: memory, files and threads are released."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from wait import wait_until

for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from websockets.sync.client import connect  # noqa: E402

import motionrt.runtime  # noqa: E402
from motionrt import Recognizer  # noqa: E402
from motionrt.bench.fuzz.server import reset  # noqa: E402
from motionrt.bench.speed.serve import Player, Server, stream  # noqa: E402
from motionrt.bench.speed.server_process import ServerProcess  # noqa: E402

WAVE = Path(motionrt.runtime.__file__).parent / "samples" / "bandai_wave_right_hand.npz"
CLIENTS, WARM_UP = 1000, 200
GROWTH_MB = 16

pytestmark = pytest.mark.slow


def visit_often(process: ServerProcess, visit: Callable[[int], None]) -> float:
    """Growth in MB after the warm-up; files and threads must return to the number after it."""
    for number in range(WARM_UP):
        visit(number)
    time.sleep(0.5)
    before, start_mb = (process.files, process.threads), process.rss_mb
    for number in range(WARM_UP, CLIENTS):
        visit(number)
    files, threads = before
    wait_until(
        lambda: process.files <= files and process.threads <= threads, 30, f"{files} files and {threads} threads again"
    )
    return process.rss_mb - start_mb


def test_a_server_does_not_grow() -> None:
    message = Player(0, 30.0).message(0)
    with Server("live", 32) as server:

        def visit(number: int) -> None:
            address = f"127.0.1.{1 + number % 200}"  # the rate limit is per address
            with connect(f"{server.url}/recognize", compression=None, source_address=(address, 0)) as client:
                client.send(message)
                assert json.loads(client.recv(timeout=30))["frame"] == 0
                if number % 2:
                    client.socket.sendall(b"\x81\xfe\x40\x00" + message[:100].encode())  # header of a frame of 16 kB
                    reset(client.socket)

        assert visit_often(server, visit) < GROWTH_MB
        player, recognizer = Player(0, 200.0), Recognizer.load("live")
        record = asyncio.run(stream(server.url, player, 200.0, 200, 0.0))
        assert (record.lost, record.errors, player.wrong(recognizer, record)) == (0, 0, 0)
        assert record.decisions
        assert not any("Traceback" in line for line in server.output)


def test_a_viewer_does_not_grow() -> None:
    viser = pytest.importorskip("viser", reason="viser is not installed")
    with ServerProcess("view", str(WAVE), "--port", "0", "--model", "live") as viewer:

        def visit(number: int) -> None:
            with connect(
                viewer.url.replace("http", "ws"),
                subprotocols=[f"viser-v{viser.__version__}"],
                compression=None,
                max_size=None,
            ) as page:
                assert page.recv(timeout=30)
                if number % 2:
                    page.socket.sendall(b"\x82\xfe\x40\x00" + bytes(np.random.default_rng(number).bytes(100)))
                    reset(page.socket)

        growth_mb = visit_often(viewer, visit)
        assert growth_mb < GROWTH_MB
        assert viewer.is_up and not any("Traceback" in line for line in viewer.output)
