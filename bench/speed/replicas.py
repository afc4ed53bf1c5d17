"""A server of several replicas, one of which is killed under load: `python -m motionrt.bench.speed.replicas`.

Clients play recordings at a camera's rate. Measured are the longest silence per client, and labels that differ from
those of an offline recognizer on the same frames since the last reset.
"""

from __future__ import annotations

import argparse
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
from ..report import print_report
from .environment import environment
from .serve import Server
from .timing import percentiles
from .workloads import samples

REPLICA = b"ray::ServeReplica:motionrt"  # title of its process
MIN_REPLICAS, MAX_REPLICAS = 1, 2
SLOTS_PER_CLIENT = 1.5  # of a replica: one replica can serve all clients
WARM_UP_S = 5.0
MAX_SCALING_S = 60.0
TIMEOUT_S = 30.0  # of clients


@dataclass(slots=True)
class Reply:
    """The reply to frame `i`; `sent_s` and `received_s` are on the same clock."""

    i: int
    sent_s: float
    received_s: float
    decision: dict[str, Any]


class Track:
    """A recording that one client plays in a loop, and the replies."""

    def __init__(self, number: int) -> None:
        motions = samples()
        motion = motions[number % len(motions)]
        self.layout, self._joints = motion.layout, motion.person(0).joints.astype(float).round(5)
        self._first = 7 * number
        self.replies: list[Reply] = []

    def joints(self, i: int) -> NDArray[np.float64]:
        return self._joints[(self._first + i) % len(self._joints)]

    def play(self, url: str, rate_hz: float, begin_s: float, end_s: float) -> None:
        """Send the newest due frame; frames that became due while waiting for a reply are skipped."""
        i = -1
        with Client(url, timeout_s=TIMEOUT_S) as client:
            while (now_s := time.perf_counter()) < end_s:
                due = int((now_s - begin_s) * rate_hz)
                if due <= i:
                    time.sleep(max(0.0, begin_s + (i + 1) / rate_hz - now_s))
                    continue
                i = due
                decision = client.step(self.joints(i), i / rate_hz, layout=self.layout)
                self.replies.append(Reply(i, now_s, time.perf_counter(), decision))

    def wrong(self, recognizer: Recognizer, rate_hz: float) -> int:
        """Number of decisions that differ from an offline recognizer that is reset at every reported reset."""
        recognizer.reset()
        wrong = 0
        for reply in self.replies:
            if reply.decision["event"] == "reset":
                recognizer.reset()
            decision = recognizer.step(self.joints(reply.i), reply.i / rate_hz, layout=self.layout)
            event = reply.decision["event"] if reply.decision["event"] != "reset" else None
            expected = (decision.label, round(decision.score, 4), decision.event)
            wrong += expected != (reply.decision["label"], reply.decision["score"], event)
        return wrong

    def silent_s(self, then_s: float) -> float:
        """The longest gap between two replies, of the gaps that ended after `then_s`."""
        received_s = [reply.received_s for reply in self.replies]
        return max(after - before for before, after in pairwise(received_s) if after > then_s)


def replicas() -> set[int]:
    """Process IDs of the replicas on this machine."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(REPLICA):
                found.add(int(path.parent.name))
        except OSError:  # the process has ended
            pass
    return found


def wait_for(condition: Callable[[], bool], max_s: float, what: str) -> float:
    """Seconds until the condition holds. Raises MotionError after `max_s`."""
    start_s = time.perf_counter()
    while not condition():
        if time.perf_counter() - start_s > max_s:
            raise MotionError(f"{what}: expected within {max_s:g} s")
        time.sleep(0.05)
    return time.perf_counter() - start_s


def play_and_kill(url: str, victim: int, clients: int, rate_hz: float, seconds: float) -> tuple[list[Track], float]:
    """All clients' tracks, and the time at which a replica was killed halfway."""
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
        for future in playing:
            future.result()
    killing.join()
    return tracks, killed[0]


def summarize(tracks: list[Track], killed_s: float, recognizer: Recognizer, rate_hz: float) -> dict[str, Any]:
    replies = [reply for track in tracks for reply in track.replies]
    before = [reply for reply in replies if reply.received_s < killed_s]
    silent_s = sorted(track.silent_s(killed_s) for track in tracks)
    resets = [sum(reply.decision["event"] == "reset" for reply in track.replies) for track in tracks]
    return {
        "frames": len(replies),
        "wrong": sum(track.wrong(recognizer, rate_hz) for track in tracks),
        "resets": sum(resets),
        "clients_reset": sum(map(bool, resets)),
        "silent_s": [round(silence_s, 3) for silence_s in silent_s],
        "longest_silence_s": silent_s[-1],
        "server": percentiles(np.array([reply.decision["latency_ms"] for reply in before])),
        "round_trip": percentiles(np.array([1e3 * (reply.received_s - reply.sent_s) for reply in before])),
    }


def bench_replicas(model: str, clients: int, rate_hz: float, seconds: float) -> dict[str, Any]:
    """A JSON object: delay of the second replica, and the effect on clients of killing one."""
    recognizer, others = Recognizer.load(model), replicas()
    slots = round(SLOTS_PER_CLIENT * clients)
    with Server(model, slots, "--replicas", f"{MIN_REPLICAS}-{MAX_REPLICAS}") as server, ProgressBar() as bar:
        bar.stage("replicas", 3)
        with ExitStack() as stack:
            for _ in range(slots):
                stack.enter_context(Client(server.url)).reset()
            scaled_s = wait_for(lambda: len(replicas() - others) == MAX_REPLICAS, MAX_SCALING_S, "a second replica")
        bar.advance()
        time.sleep(WARM_UP_S)
        victim = min(replicas() - others)
        tracks, killed_s = play_and_kill(server.url, victim, clients, rate_hz, seconds)
        bar.advance()
        replaced = wait_for(
            lambda: len(replicas() - others - {victim}) == MAX_REPLICAS, MAX_SCALING_S, "another replica"
        )
        bar.advance()
    return {
        "benchmark": "replicas",
        "model": recognizer.name,
        "clients": clients,
        "rate_hz": rate_hz,
        "seconds": seconds,
        "second_replica_s": scaled_s,
        "replaced": replaced >= 0,
        "killed": summarize(tracks, killed_s, recognizer, rate_hz),
        "environment": environment(recognizer.bundle),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="live")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second of a client")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print_report(bench_replicas(options.model, options.clients, options.rate, options.seconds), options.out)


if __name__ == "__main__":
    main()
