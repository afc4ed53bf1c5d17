"""Streams through a real server: lost, wrong and late replies. `python -m motionrt.bench.speed.serve`

First, clients play recordings at a camera's rate, and every reply is compared with the decision of an offline
recognizer on the same frames. Then additional clients send several times the server's capacity at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ...runtime.io.jsonl import parse_message
from ...runtime.progress import ProgressBar
from ...runtime.recognition.recognizer import Recognizer
from ..report import print_report
from .environment import environment
from .server_process import ServerProcess
from .timing import percentiles
from .workloads import samples

WARM_UP_S = 10.0
CAPACITY_S = 5.0
OVERLOAD_S = 30.0
PATIENCE_S = 10.0  # for outstanding replies at the end
FLOODERS = 2  # per client at camera rate
MAX_RATE_HZ = 900.0  # of a flooder, below the server's limit
IN_FLIGHT = 8  # frames per client while capacity is measured


@dataclass(slots=True)
class Record:
    """Replies to one client. `decisions`: (frame, label, score) of every frame that was not dropped."""

    sent: int = 0
    replies: int = 0
    dropped: int = 0
    errors: int = 0
    closed: str = ""  # reason, if the connection ended before all replies had arrived
    decisions: list[tuple[int, str, float]] = field(default_factory=list)
    server_ms: array[float] = field(default_factory=lambda: array("d"))
    round_trip_ms: array[float] = field(default_factory=lambda: array("d"))

    @property
    def lost(self) -> int:
        return self.sent - self.replies

    def add(self, text: str | bytes, sent_s: Sequence[float]) -> None:
        now_s, reply = time.perf_counter(), json.loads(text)
        if "frame" not in reply:
            return
        self.replies += 1
        if "error" in reply:
            self.errors += 1
        elif "dropped" in reply:
            self.dropped += 1
        else:
            self.decisions.append((reply["frame"], sys.intern(reply["label"]), reply["score"]))
            self.server_ms.append(reply["latency_ms"])
            self.round_trip_ms.append(1e3 * (now_s - sent_s[reply["frame"]]))


class Player:
    """Messages of one client: a looped recording, at a fixed rate."""

    def __init__(self, number: int, rate_hz: float) -> None:
        motions = samples()
        motion = motions[number % len(motions)]
        joints = motion.person(0).joints.astype(float).round(5).tolist()
        self._ends = [f'"layout": "{motion.layout}", "joints": {json.dumps(pose)}}}' for pose in joints]
        self._first, self._rate_hz = 7 * number, rate_hz

    def message(self, i: int) -> str:
        return f'{{"t": {i / self._rate_hz:.6f}, ' + self._ends[(self._first + i) % len(self._ends)]

    def wrong(self, recognizer: Recognizer, record: Record) -> int:
        """Number of decisions that differ from those of an offline recognizer on the same frames."""
        recognizer.reset()
        wrong = 0
        for i, label, score in record.decisions:
            frame = parse_message(self.message(i))
            decision = recognizer.step(frame.joints, frame.t, layout=frame.layout)
            wrong += (decision.label, round(decision.score, 4)) != (label, score)
        return wrong


async def stream(url: str, player: Player, rate_hz: float, frames: int, delay_s: float) -> Record:
    """Send frames on schedule, and wait for all replies."""
    record, sent_s = Record(), array("d", bytes(8 * frames))

    async def listen(socket: ClientConnection) -> None:
        async for text in socket:
            record.add(text, sent_s)
            if record.replies == frames:
                return

    async with connect(f"{url}/recognize", compression=None, max_queue=None, ping_interval=None) as socket:
        listening = asyncio.create_task(listen(socket))
        start_s = time.perf_counter() + delay_s
        try:
            for i in range(frames):
                if (wait_s := start_s + i / rate_hz - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                sent_s[i] = time.perf_counter()
                await socket.send(player.message(i))
                record.sent += 1
        except ConnectionClosed:  # `listen` raises it as well
            pass
        replies = -1
        while record.replies > replies and not listening.done():
            replies = record.replies
            await asyncio.wait({listening}, timeout=PATIENCE_S)
        if listening.cancel() or listening.exception() is not None:
            record.closed = socket.close_reason or "replies stopped"
    return record


async def play(url: str, clients: int, rate_hz: float, seconds: float) -> list[Record]:
    players = [Player(k, rate_hz) for k in range(clients)]
    frames = max(1, round(rate_hz * seconds))
    return await asyncio.gather(
        *(stream(url, player, rate_hz, frames, k / clients / rate_hz) for k, player in enumerate(players))
    )


async def saturate(url: str, clients: int, seconds: float) -> float:
    """Frames per second that the server handles when each client always has a few in flight."""

    async def client(number: int) -> int:
        player, count = Player(number, 30.0), 0
        async with connect(f"{url}/recognize", compression=None) as socket:
            end_s = time.perf_counter() + seconds
            while time.perf_counter() < end_s:
                # one person per frame, so that no frame supersedes another
                for person in range(IN_FLIGHT):
                    await socket.send(f'{{"person": {person}, ' + player.message(count)[1:])
                for _ in range(IN_FLIGHT):
                    await socket.recv()
                count += 1
        return IN_FLIGHT * count

    return sum(await asyncio.gather(*map(client, range(clients)))) / seconds


def flood(url: str, clients: int, rate_hz: float, seconds: float) -> dict[str, Any]:
    """Overload the server; runs in a separate process."""
    records = asyncio.run(play(url, clients, rate_hz, seconds))
    return {
        "sent": sum(record.sent for record in records),
        "decided": sum(len(record.decisions) for record in records),
        "reported_dropped": sum(record.dropped for record in records),
        "lost": sum(record.lost for record in records),
        "ended": dict(Counter(record.closed for record in records if record.closed)),
    }


class Server(ServerProcess):
    """A server process with further options; a context manager."""

    def __init__(self, model: str, clients: int, *options: str) -> None:
        super().__init__("serve", "--port", "0", "--model", model, "--clients", str(clients), *options)
        self.url = self.url.replace("http://", "ws://")


def bench_serve(
    model: str, seconds: float, clients: int, rate_hz: float, overload: float, overload_s: float = OVERLOAD_S
) -> dict[str, Any]:
    """A JSON object: replies under normal load, and under `overload` times the server's capacity."""
    recognizer = Recognizer.load(model)
    with Server(model, (1 + FLOODERS) * clients) as server, ProgressBar() as bar:
        bar.stage("serve", 4)
        asyncio.run(play(server.url, clients, rate_hz, WARM_UP_S))
        bar.advance()
        start_mb = server.rss_mb
        records = asyncio.run(play(server.url, clients, rate_hz, seconds))
        steady = {**summarize(recognizer, records, rate_hz), "rss_start_mb": start_mb, "rss_end_mb": server.rss_mb}
        steady["growth_mb"] = steady["rss_end_mb"] - start_mb
        bar.advance()
        capacity_hz = asyncio.run(saturate(server.url, clients, CAPACITY_S))
        bar.advance()
        overloaded = overload_server(server, recognizer, clients, rate_hz, overload * capacity_hz, overload_s)
        bar.advance()
        up = server.is_up
    return {
        "benchmark": "serve",
        "model": recognizer.name,
        "clients": clients,
        "rate_hz": rate_hz,
        "seconds": seconds,
        "steady": steady,
        "capacity_hz": capacity_hz,
        "overload": {
            "seconds": overload_s,
            **overloaded,
            "times_capacity": overloaded["offered_hz"] / capacity_hz,
            "up": up,
        },
        "environment": environment(recognizer.bundle),
    }


def bench_busy(model: str, seconds: float, clients: int, rate_hz: float, busy: int) -> dict[str, Any]:
    """A JSON object: replies while so many other processes take the CPUs."""
    recognizer = Recognizer.load(model)
    with Server(model, clients) as server, busy_processes(busy):
        asyncio.run(play(server.url, clients, rate_hz, WARM_UP_S))
        records = asyncio.run(play(server.url, clients, rate_hz, seconds))
        about = environment(recognizer.bundle)
    return {
        "benchmark": "serve busy",
        "model": recognizer.name,
        "clients": clients,
        "rate_hz": rate_hz,
        "seconds": seconds,
        "busy": busy,
        **summarize(recognizer, records, rate_hz),
        "environment": about,
    }


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that compute without a pause."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def overload_server(
    server: Server, recognizer: Recognizer, clients: int, rate_hz: float, offered_hz: float, seconds: float
) -> dict[str, Any]:
    """Replies to clients at camera rate while other clients flood the server, and afterwards."""
    each_hz = min(MAX_RATE_HZ, max(rate_hz, (offered_hz / clients - rate_hz) / FLOODERS))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, os.nice, (5,)) as pool:
        flooding = pool.submit(flood, server.url, FLOODERS * clients, each_hz, seconds)
        camera_clients = asyncio.run(play(server.url, clients, rate_hz, seconds))
        flooders = flooding.result()
    after = asyncio.run(play(server.url, clients, rate_hz, WARM_UP_S))
    return {
        "offered_hz": flooders["sent"] / seconds + clients * rate_hz,
        "flooders": flooders,
        "camera_clients": summarize(recognizer, camera_clients, rate_hz),
        "after": summarize(recognizer, after, rate_hz),
        "rss_mb": server.rss_mb,
    }


def summarize(recognizer: Recognizer, records: Sequence[Record], rate_hz: float) -> dict[str, Any]:
    return {
        "frames": sum(record.sent for record in records),
        "lost": sum(record.lost for record in records),
        "wrong": sum(Player(k, rate_hz).wrong(recognizer, record) for k, record in enumerate(records)),
        "reported_dropped": sum(record.dropped for record in records),
        "errors": sum(record.errors for record in records),
        "server": percentiles(np.concatenate([record.server_ms for record in records])),
        "round_trip": percentiles(np.concatenate([record.round_trip_ms for record in records])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="live")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second of a client")
    parser.add_argument("--overload", type=float, default=4.0, help="multiple of the server's capacity")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--busy", type=int, help="only the replies while so many other processes take the CPUs")
    options = parser.parse_args()
    model, seconds, clients, rate_hz = options.model, options.seconds, options.clients, options.rate
    if options.busy is not None:
        report = bench_busy(model, seconds, clients, rate_hz, options.busy)
    else:
        report = bench_serve(model, seconds, clients, rate_hz, options.overload)
    print_report(report, options.out)


if __name__ == "__main__":
    main()
