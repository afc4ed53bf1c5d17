"""Steadiness of a robot's references, and how soon they follow a new prompt.

    python -m motionrt.bench.speed.robot_stream [--seconds 600] [-o robot_stream.json]

Plays generated motion for a robot at 50 Hz, as `motionrt generate ... --stream --robot g1` does, and gives it a new
prompt every few seconds. `late_ms`: of a reference, after its time. `prompt_ms`: from a prompt to the first reference
that is sent after the new motion is there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from ...runtime.body.motion import Motion
from ...runtime.cli.robot import Player, feed_chunks
from ...runtime.generation.generator import Generator
from ...runtime.generation.stream import Stream
from ..report import print_report
from .environment import commit, cpu_model

PROMPTS = ("a person walks forward", "a person waves with the right hand", "a person kicks", "a person bows")
EVERY_S = 2.0  # a new prompt, at random times around it


class TimedStream:
    """A stream that remembers when a chunk of a new prompt was there."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.arrivals: list[float] = []
        self._changed = False

    def change(self, prompt: str, keep: int) -> None:
        self._stream.change(prompt, keep)
        self._changed = True

    def __iter__(self) -> Iterator[Motion]:
        for chunk in self._stream:
            if self._changed:
                self.arrivals.append(time.monotonic())
                self._changed = False
            yield chunk


def bench_robot_stream(seconds: float) -> dict[str, Any]:
    prompts: SimpleQueue[str] = SimpleQueue()
    asked: list[float] = []
    received: list[float] = []
    ended = threading.Event()
    order = random.Random(0)

    def ask() -> None:
        for text in itertools.cycle(PROMPTS[1:] + PROMPTS[:1]):
            if ended.wait(order.uniform(0.5, 1.5) * EVERY_S):
                return
            asked.append(time.monotonic())
            prompts.put(text)

    def receive(one: socket.socket) -> None:
        while not ended.is_set():
            try:
                one.recv(65_535)
                received.append(time.monotonic())
            except TimeoutError:
                continue

    load = os.getloadavg()[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(0.5)
        player = Player([f"udp://127.0.0.1:{one.getsockname()[1]}"], None)
        with Generator.load().stream(PROMPTS[0], seconds) as stream:
            chunks = TimedStream(stream)
            threads = [threading.Thread(target=ask), threading.Thread(target=receive, args=(one,))]
            for thread in threads:
                thread.start()
            summary = player.play(lambda player: feed_chunks(chunks, "g1", player, prompts))  # type: ignore[arg-type]
            ended.set()
            for thread in threads:
                thread.join()
    sent = np.array(received)
    first = np.searchsorted(sent, chunks.arrivals)
    count = int((first < len(sent)).sum())
    delays = 1000 * (sent[first[:count]] - np.array(asked[:count]))
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "load_average": [round(load, 2), round(os.getloadavg()[0], 2)],
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": seconds,
        **summary,
        "interval_ms": {f"p{p}": float(np.percentile(1000 * np.diff(sent), p)) for p in (1, 50, 99, 100)},
        "prompts": count,
        "prompt_ms": {f"p{p}": float(np.percentile(delays, p)) for p in (50, 95, 100)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    print_report(bench_robot_stream(args.seconds), args.out)


if __name__ == "__main__":
    main()
