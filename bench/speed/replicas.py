"""`python -m motionrt.bench.speed.replicas`: a server of several replicas, one of which is killed under load.

Clients play recordings at a camera's rate. How long is each without an answer, and is every label right, that is what
an offline recogniser says of the same frames since the last reset?
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import MotionError
from ...runtime.progress import ProgressBar
from ...runtime.recognition.recognizer import Recognizer
from ...runtime.serve.client import Client
from .environment import environment
from .serve import Server
from .timing import percentiles
from .workloads import samples

REPLICA = b"ray::ServeReplica:motionrt"  # how its process calls itself
LEAST, MOST = 1, 2  # replicas
ROOM = 1.5  # places of a replica for each client: one replica has room for all of them
WARM_UP_S = 5.0
SCALED_WITHIN_S = 60.0
TIMEOUT_S = 30.0  # of clients


@dataclass(slots=True)
class Said:
    """What a client was told: of frame `i`, `sent_s` and `came_s` on the same clock."""

    i: int
    sent_s: float
    came_s: float
    reply: dict[str, Any]


class Track:
    """A recording that one client plays over and over, and what it is told."""

    def __init__(self, number: int) -> None:
        motions = samples()
        motion = motions[number % len(motions)]
        self.layout, self._joints = motion.layout, motion.person(0).joints.astype(float).round(5)
        self._first = 7 * number
        self.said: list[Said] = []

    def joints(self, i: int) -> NDArray[np.float64]:
        return self._joints[(self._first + i) % len(self._joints)]

    def play(self, url: str, rate_hz: float, begin_s: float, end_s: float) -> None:
        """Sends the newest frame that is due; those that became due while an answer was waited for are left out."""
        i = -1
        with Client(url, timeout_s=TIMEOUT_S) as client:
            while (now_s := time.perf_counter()) < end_s:
                due = int((now_s - begin_s) * rate_hz)
                if due <= i:
                    time.sleep(max(0.0, begin_s + (i + 1) / rate_hz - now_s))
                    continue
                i = due
                reply = client.step(self.joints(i), i / rate_hz, layout=self.layout)
                self.said.append(Said(i, now_s, time.perf_counter(), reply))

    def wrong(self, recognizer: Recognizer, rate_hz: float) -> int:
        """How many decisions are not those of an offline recogniser, reset where the client was told of a reset."""
        recognizer.reset()
        wrong = 0
        for one in self.said:
            if one.reply["event"] == "reset":
                recognizer.reset()
            decision = recognizer.step(self.joints(one.i), one.i / rate_hz, layout=self.layout)
            event = one.reply["event"] if one.reply["event"] != "reset" else None
            expected = (decision.label, round(decision.score, 4), decision.event)
            wrong += expected != (one.reply["label"], one.reply["score"], event)
        return wrong

    def silent_s(self, then_s: float) -> float:
        """The longest time between two answers, of those that ended after `then_s`."""
        came_s = [one.came_s for one in self.said]
        return max(after - before for before, after in pairwise(came_s) if after > then_s)


def replicas() -> set[int]:
    """Processes on this machine that are replicas."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(REPLICA):
                found.add(int(path.parent.name))
        except OSError:  # it has ended
            pass
    return found


def wait_for(condition: Callable[[], bool], most_s: float, what: str) -> float:
    """Seconds until it holds. Raises MotionError where it does not in time."""
    began_s = time.perf_counter()
    while not condition():
        if time.perf_counter() - began_s > most_s:
            raise MotionError(f"{what}: not within {most_s:g} s")
        time.sleep(0.05)
    return time.perf_counter() - began_s


def play_and_kill(url: str, victim: int, clients: int, rate_hz: float, seconds: float) -> tuple[list[Track], float]:
    """All clients' tracks, and when in the middle of them a replica was killed."""
    begin_s = time.perf_counter() + 0.5
    tracks, killed = [Track(k) for k in range(clients)], []

    def kill() -> None:
        killed.append(time.perf_counter())
        os.kill(victim, signal.SIGKILL)

    killing = threading.Timer(begin_s + seconds / 2 - time.perf_counter(), kill)
    killing.start()
    with ThreadPoolExecutor(clients) as threads:
        playing = [
            threads.submit(track.play, url, rate_hz, begin_s + k / clients / rate_hz, begin_s + seconds)
            for k, track in enumerate(tracks)
        ]
        for one in playing:
            one.result()
    killing.join()
    return tracks, killed[0]


def summary(tracks: list[Track], killed_s: float, recognizer: Recognizer, rate_hz: float) -> dict[str, Any]:
    said = [one for track in tracks for one in track.said]
    before = [one for one in said if one.came_s < killed_s]
    silent_s = sorted(track.silent_s(killed_s) for track in tracks)
    reset = [sum(one.reply["event"] == "reset" for one in track.said) for track in tracks]
    return {
        "frames": len(said),
        "wrong": sum(track.wrong(recognizer, rate_hz) for track in tracks),
        "resets": sum(reset),
        "clients_reset": sum(map(bool, reset)),
        "silent_s": [round(one, 3) for one in silent_s],
        "longest_silence_s": silent_s[-1],
        "server": percentiles(np.array([one.reply["latency_ms"] for one in before])),
        "round_trip": percentiles(np.array([1e3 * (one.came_s - one.sent_s) for one in before])),
    }


def bench_replicas(model: str, clients: int, rate_hz: float, seconds: float) -> dict[str, Any]:
    """A JSON object: how soon a second replica came, and what clients met when one was killed."""
    recognizer, others = Recognizer.load(model), replicas()
    room = round(ROOM * clients)
    with Server(model, room, "--replicas", f"{LEAST}-{MOST}") as server, ProgressBar() as bar:
        bar.stage("replicas", 3)
        with ExitStack() as stack:
            for _ in range(room):
                stack.enter_context(Client(server.url)).reset()
            scaled_s = wait_for(lambda: len(replicas() - others) == MOST, SCALED_WITHIN_S, "a second replica")
        bar.advance()
        time.sleep(WARM_UP_S)
        victim = min(replicas() - others)
        tracks, killed_s = play_and_kill(server.url, victim, clients, rate_hz, seconds)
        bar.advance()
        replaced = wait_for(lambda: len(replicas() - others - {victim}) == MOST, SCALED_WITHIN_S, "another replica")
        bar.advance()
    return {
        "benchmark": "replicas",
        "model": recognizer.name,
        "clients": clients,
        "rate_hz": rate_hz,
        "seconds": seconds,
        "second_replica_s": scaled_s,
        "replaced": replaced >= 0,
        "killed": summary(tracks, killed_s, recognizer, rate_hz),
        "environment": environment(recognizer.bundle),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="live")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second of a client")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    text = json.dumps(bench_replicas(options.model, options.clients, options.rate, options.seconds), indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
