"""`python -m motionrt.bench.speed.serve`: streams through a real server; is every reply there, right and in time?

First, clients play recordings at a camera's rate, and every reply is compared with what a recogniser says offline of
the same frames. Then others send several times as much as the server can decide on, beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ...runtime.io.jsonl import parse_message
from ...runtime.progress import ProgressBar
from ...runtime.recognition.recognizer import Recognizer
from .environment import environment
from .server_process import Process
from .timing import percentiles
from .workloads import samples

WARM_UP_S = 10.0
CAPACITY_S = 5.0
OVERLOAD_S = 30.0
PATIENCE_S = 10.0  # for replies that are still to come at the end
FLOODERS = 2  # for each client at a camera's rate
MOST_RATE_HZ = 900.0  # of a flooder, less than the server's limit
AT_ONCE = 8  # frames of a client that are on their way while capacity is measured


@dataclass(slots=True)
class Record:
    """Replies to one client. `said`: of the frames that were decided on, (frame, label, score)."""

    sent: int = 0
    replies: int = 0
    overtaken: int = 0
    errors: int = 0
    ended: str = ""  # why the connection was, before all replies had come
    said: list[tuple[int, str, float]] = field(default_factory=list)
    server_ms: array[float] = field(default_factory=lambda: array("d"))
    round_trip_ms: array[float] = field(default_factory=lambda: array("d"))

    @property
    def lost(self) -> int:
        return self.sent - self.replies

    def take(self, text: str | bytes, sent_s: Sequence[float]) -> None:
        now_s, reply = time.perf_counter(), json.loads(text)
        if "frame" not in reply:
            return
        self.replies += 1
        if "error" in reply:
            self.errors += 1
        elif "dropped" in reply:
            self.overtaken += 1
        else:
            self.said.append((reply["frame"], sys.intern(reply["label"]), reply["score"]))
            self.server_ms.append(reply["latency_ms"])
            self.round_trip_ms.append(1e3 * (now_s - sent_s[reply["frame"]]))


class Player:
    """Messages of one client: a recording over and over, at a rate."""

    def __init__(self, number: int, rate_hz: float) -> None:
        motions = samples()
        motion = motions[number % len(motions)]
        joints = motion.person(0).joints.astype(float).round(5).tolist()
        self._ends = [f'"layout": "{motion.layout}", "joints": {json.dumps(pose)}}}' for pose in joints]
        self._first, self._rate_hz = 7 * number, rate_hz

    def message(self, i: int) -> str:
        return f'{{"t": {i / self._rate_hz:.6f}, ' + self._ends[(self._first + i) % len(self._ends)]

    def wrong(self, recognizer: Recognizer, record: Record) -> int:
        """How many decisions are not those of an offline recogniser that is given the frames that were decided on."""
        recognizer.reset()
        wrong = 0
        for i, label, score in record.said:
            frame = parse_message(self.message(i))
            decision = recognizer.step(frame.joints, frame.t, layout=frame.layout)
            wrong += (decision.label, round(decision.score, 4)) != (label, score)
        return wrong


async def stream(url: str, player: Player, rate_hz: float, frames: int, delay_s: float) -> Record:
    """Sends frames when they are due, and waits for all replies."""
    record, sent_s = Record(), array("d", bytes(8 * frames))

    async def listen(socket: ClientConnection) -> None:
        async for text in socket:
            record.take(text, sent_s)
            if record.replies == frames:
                return

    async with connect(f"{url}/recognize", compression=None, max_queue=None, ping_interval=None) as socket:
        listening = asyncio.create_task(listen(socket))
        began_s = time.perf_counter() + delay_s
        try:
            for i in range(frames):
                if (wait_s := began_s + i / rate_hz - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                sent_s[i] = time.perf_counter()
                await socket.send(player.message(i))
                record.sent += 1
        except ConnectionClosed:  # `listen` finds out, too
            pass
        replies = -1
        while record.replies > replies and not listening.done():
            replies = record.replies
            await asyncio.wait({listening}, timeout=PATIENCE_S)
        if listening.cancel() or listening.exception() is not None:
            record.ended = socket.close_reason or "no reply for a while"
    return record


async def play(url: str, clients: int, rate_hz: float, seconds: float) -> list[Record]:
    players = [Player(k, rate_hz) for k in range(clients)]
    frames = max(1, round(rate_hz * seconds))
    return await asyncio.gather(
        *(stream(url, player, rate_hz, frames, k / clients / rate_hz) for k, player in enumerate(players))
    )


async def saturate(url: str, clients: int, seconds: float) -> float:
    """Frames a second that the server decides on when each client has a few on their way at any time."""

    async def client(number: int) -> int:
        player, count = Player(number, 30.0), 0
        async with connect(f"{url}/recognize", compression=None) as socket:
            end_s = time.perf_counter() + seconds
            while time.perf_counter() < end_s:
                # a person each, so that none overtakes another
                for person in range(AT_ONCE):
                    await socket.send(f'{{"person": {person}, ' + player.message(count)[1:])
                for _ in range(AT_ONCE):
                    await socket.recv()
                count += 1
        return AT_ONCE * count

    return sum(await asyncio.gather(*map(client, range(clients)))) / seconds


def flood(url: str, clients: int, rate_hz: float, seconds: float) -> dict[str, Any]:
    """On a process of its own."""
    records = asyncio.run(play(url, clients, rate_hz, seconds))
    return {
        "sent": sum(record.sent for record in records),
        "decided": sum(len(record.said) for record in records),
        "told_dropped": sum(record.overtaken for record in records),
        "lost": sum(record.lost for record in records),
        "ended": dict(Counter(record.ended for record in records if record.ended)),
    }


class Server(Process):
    """A server in a process of its own, with further options; a context manager."""

    def __init__(self, model: str, clients: int, *options: str) -> None:
        super().__init__("serve", "--port", "0", "--model", model, "--clients", str(clients), *options)
        self.url = self.url.replace("http://", "ws://")


def bench_serve(
    model: str, seconds: float, clients: int, rate_hz: float, overload: float, overload_s: float = OVERLOAD_S
) -> dict[str, Any]:
    """A JSON object: replies at the given load, and with `overload` times the server's capacity besides."""
    recognizer = Recognizer.load(model)
    with Server(model, (1 + FLOODERS) * clients) as server, ProgressBar() as bar:
        bar.stage("serve", 4)
        asyncio.run(play(server.url, clients, rate_hz, WARM_UP_S))
        bar.advance()
        start_mb = server.rss_mb
        records = asyncio.run(play(server.url, clients, rate_hz, seconds))
        steady = {**summary(recognizer, records, rate_hz), "rss_start_mb": start_mb, "rss_end_mb": server.rss_mb}
        steady["growth_mb"] = steady["rss_end_mb"] - start_mb
        bar.advance()
        capacity_hz = asyncio.run(saturate(server.url, clients, CAPACITY_S))
        bar.advance()
        flooded = overloaded(server, recognizer, clients, rate_hz, overload * capacity_hz, overload_s)
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
        "overload": {"seconds": overload_s, **flooded, "times_capacity": flooded["offered_hz"] / capacity_hz, "up": up},
        "environment": environment(recognizer.bundle),
    }


def overloaded(
    server: Server, recognizer: Recognizer, clients: int, rate_hz: float, offered_hz: float, seconds: float
) -> dict[str, Any]:
    """Other clients flood the server; what becomes of those at a camera's rate, then and thereafter?"""
    each_hz = min(MOST_RATE_HZ, max(rate_hz, (offered_hz / clients - rate_hz) / FLOODERS))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, os.nice, (5,)) as apart:
        flooding = apart.submit(flood, server.url, FLOODERS * clients, each_hz, seconds)
        beside = asyncio.run(play(server.url, clients, rate_hz, seconds))
        flooders = flooding.result()
    after = asyncio.run(play(server.url, clients, rate_hz, WARM_UP_S))
    return {
        "offered_hz": flooders["sent"] / seconds + clients * rate_hz,
        "flooders": flooders,
        "beside": summary(recognizer, beside, rate_hz),
        "after": summary(recognizer, after, rate_hz),
        "rss_mb": server.rss_mb,
    }


def summary(recognizer: Recognizer, records: Sequence[Record], rate_hz: float) -> dict[str, Any]:
    return {
        "frames": sum(record.sent for record in records),
        "lost": sum(record.lost for record in records),
        "wrong": sum(Player(k, rate_hz).wrong(recognizer, record) for k, record in enumerate(records)),
        "told_dropped": sum(record.overtaken for record in records),
        "errors": sum(record.errors for record in records),
        "server": percentiles(np.concatenate([record.server_ms for record in records])),
        "round_trip": percentiles(np.concatenate([record.round_trip_ms for record in records])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="live")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second of a client")
    parser.add_argument("--overload", type=float, default=4.0, help="times what the server can decide on")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    report = bench_serve(options.model, options.seconds, options.clients, options.rate, options.overload)
    text = json.dumps(report, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
