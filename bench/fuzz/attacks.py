"""A stream beside attacks on its server: `python -m motionrt.bench.fuzz.attacks [--seconds 20] [-o attacks.json]`.

One client streams at a camera's rate while others attack the server from several threads. Reported for each attack:
frames of the client that were lost or dropped, wrong replies, times of its replies, and the server's memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from ...runtime.recognition.recognizer import Recognizer
from ..report import print_report
from ..speed.environment import commit
from ..speed.serve import Server, summarize
from .server import RATE_HZ, watch

ATTACKER = "127.0.0.2", 0  # another address than the client's, whose rate is limited apart
THREADS = 4
BODY_BYTES = 4_000_000
SILENT = 500  # connections of each thread
CLIENTS = 32


def post(body: bytes) -> Callable[[str, threading.Event], None]:
    """An attack that posts a clip again and again."""

    def attack(url: str, ended: threading.Event) -> None:
        while not ended.is_set():
            with suppress(OSError, HTTPException), closing(_connection(url)) as connection:  # or it is reset
                connection.request("POST", "/recognize", body)
                connection.getresponse().read()

    return attack


def stay_silent(url: str, ended: threading.Event) -> None:
    opened = []
    for _ in range(SILENT):
        with suppress(OSError):
            opened.append(_open(url))
    ended.wait()
    for one in opened:
        one.close()


def churn(url: str, ended: threading.Event) -> None:
    while not ended.is_set():
        with suppress(OSError):
            _open(url).close()


def _connection(url: str) -> HTTPConnection:
    return HTTPConnection(url.removeprefix("http://"), timeout=10, source_address=ATTACKER)


def _open(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10, source_address=ATTACKER)


def _poses(joint: str) -> bytes:
    pose = f"[{','.join([joint] * 22)}]"
    poses = ",".join([pose] * (BODY_BYTES // len(pose)))
    return f'{{"layout": "smpl22", "fps": 20, "joints": [{poses}]}}'.encode()


ATTACKS: dict[str, Callable[[str, threading.Event], None]] = {
    "none": lambda url, ended: None,
    "clips of texts": post(_poses('["","",""]')),
    "clips of numbers": post(_poses("[0.123,1.234,2.345]")),
    "clips of many fields": post(json.dumps(dict.fromkeys(map(str, range(300_000)))).encode()),
    "silent connections": stay_silent,
    "churn of connections": churn,
}


def bench_attacks(model: str, seconds: float) -> dict[str, Any]:
    """Reports by attack, each on a server of its own and so many seconds long."""
    recognizer, context, found = Recognizer.load(model), multiprocessing.get_context("spawn"), {}
    for name, attack in ATTACKS.items():
        ended = threading.Event()
        with (
            Server(model, CLIENTS) as server,
            ProcessPoolExecutor(1, context) as watcher,
            ThreadPoolExecutor(THREADS) as attackers,
        ):
            before_mb, watching = server.rss_mb, watcher.submit(watch, server.url, seconds)
            attacks = [attackers.submit(attack, server.url.replace("ws", "http"), ended) for _ in range(THREADS)]
            try:
                record = watching.result()
                growth_mb = server.rss_mb - before_mb
            finally:
                ended.set()
            for one in attacks:
                one.result()
        found[name] = summarize(recognizer, [record], RATE_HZ) | {"growth_mb": round(growth_mb, 1)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="live")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    found = bench_attacks(options.model, options.seconds)
    report = {
        "benchmark": "attacks",
        "model": options.model,
        "seconds": options.seconds,
        "rate_hz": RATE_HZ,
        "attacks": found,
        "load_average": round(os.getloadavg()[0], 1),
        "commit": commit(),
    }
    print_report(report, options.out)


if __name__ == "__main__":
    main()
