"""Fuzz a real server: `python -m motionrt.bench.fuzz.server [--seconds 600] [-o fuzz_server.json]`.

While one client streams at a camera's rate, others send malformed messages: values of wrong types, truncated text,
bytes, wrong order, invalid WebSocket frames, and invalid HTTP; half of them disconnect without closing. Findings are: a
reply of 500, a close with 1011 or without a reason, an unanswered message, a traceback, a wrong label or a reply after
more than a second for the first client, and memory growth of 64 MB after the first fifth.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ...runtime.recognition.recognizer import Recognizer
from ..report import print_report
from ..speed.serve import Player, Record, Server, stream, summarize
from .parsers import damage

RATE_HZ = 30.0
SLOW_MS = 1000.0
MAX_GROWTH_MB = 64.0
WARM_UP = 0.2  # fraction of the time
REPLY_S = 10.0
BAD_CLOSES = (1006, 1011)  # without a reason, and internal error
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), float("-inf"), 2**31, 2**63, 10**300, "", "none", "\ud800", "\x00",
    "🕺" * 600, "x" * 30_000, [], [[]], [0.0] * 3000, [[0.0, 0.0, 0.0]] * 300, [["wave"]] * 101, {}, {"t": {}},
    ["wave", "wave"],
)  # fmt: skip
PROMPTS = ({"prompt": "a person walks", "seconds": 1.0, "seed": 1, "guidance": 0.0}, {"prompt": "jump"}, {"stop": True})


@dataclass(slots=True)
class Log:
    """Behavior of the server. `closes`: closed connections by code; `statuses`: HTTP replies by status."""

    conversations: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    closes: Counter[int] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)

    def add_finding(self, kind: str, problem: str, seed: int) -> None:
        self.findings.append({"kind": kind, "problem": problem, "seed": str(seed)})


def fuzz_server(model: str, seconds: float, seed: int = 0, conversations: int = 0) -> dict[str, Any]:
    """Send malformed messages to a server.

    Args:
        model: the server's recognizer.
        seconds: duration.
        seed: of the messages; the seed of a finding reproduces its conversation.
        conversations: minimum number of conversations, even if they take longer.
    Returns:
        Conversations by kind, close codes, replies to the good client, memory, findings.
    """
    log, context, last = Log(), multiprocessing.get_context("spawn"), seed + conversations
    with Server(model, 64) as server, ProcessPoolExecutor(1, context) as pool:
        watching = pool.submit(watch, server.url, seconds)
        for part_s in (WARM_UP * seconds, (1 - WARM_UP) * seconds):
            start_mb, end = server.rss_mb, time.monotonic() + part_s
            while (time.monotonic() < end or seed < last) and server.is_up:
                converse(server.url, seed, log)
                seed += 1
        good_client = summarize(Recognizer.load(model), [watching.result()], RATE_HZ)
        growth_mb, up = server.rss_mb - start_mb, server.is_up
        tracebacks = re.findall(r"^Traceback.*\n(?:\s.*\n)*(.*)", "".join(server.output), re.MULTILINE)
    problems = {
        "the server has exited": not up,
        f"memory growth of {growth_mb:.0f} MB": growth_mb > MAX_GROWTH_MB,
        f"tracebacks: {sorted(set(tracebacks))}": bool(tracebacks),
        f"{good_client['lost']} replies lost, {good_client['wrong']} wrong": bool(
            good_client["lost"] or good_client["wrong"] or good_client["errors"]
        ),
        f"a reply after {good_client['round_trip']['max_ms']:.0f} ms": good_client["round_trip"]["max_ms"] > SLOW_MS,
    }
    for problem, occurred in problems.items():
        if occurred:
            log.add_finding("all", problem, seed)
    return {
        "benchmark": "fuzz server",
        "model": model,
        "seconds": seconds,
        "conversations": dict(sorted(log.conversations.items())),
        "messages": log.messages,
        "closes": {str(code): count for code, count in sorted(log.closes.items())},
        "statuses": {str(status): count for status, count in sorted(log.statuses.items())},
        "rate_hz": RATE_HZ,
        "good_client": good_client,
        "rss_start_mb": start_mb,
        "growth_mb": growth_mb,
        "findings": log.findings,
    }


def watch(url: str, seconds: float) -> Record:
    """Run the good client; in a separate process."""
    import asyncio

    return asyncio.run(stream(url, Player(0, RATE_HZ), RATE_HZ, max(1, round(seconds * RATE_HZ)), 0.0))


def converse(url: str, seed: int, log: Log) -> None:
    """Run one random conversation."""
    draw = np.random.default_rng(seed)
    kind = list(KINDS)[draw.integers(len(KINDS))]
    log.conversations[kind] += 1
    try:
        KINDS[kind](url, draw, log)
    except Unanswered as error:
        log.add_finding(kind, str(error), seed)
    except (ConnectionError, TimeoutError) as error:
        log.add_finding(kind, f"{type(error).__name__}: {error}", seed)


class Unanswered(Exception):
    """The server did not answer a client properly."""


def recognize(url: str, draw: np.random.Generator, log: Log) -> None:
    """Every message must be answered by its number, whatever its content."""
    messages = [_message(_frame(draw), draw) for _ in range(draw.integers(1, 20))]
    with _talk(url, "recognize", draw, log) as client:
        for message in messages:
            client.send(message)
        missing = set(range(len(messages)))
        while missing:
            missing.discard(json.loads(client.recv(timeout=REPLY_S)).get("frame"))
        log.messages += len(messages)


def generate(url: str, draw: np.random.Generator, log: Log) -> None:
    with _talk(url, "generate", draw, log) as client:
        for _ in range(draw.integers(1, 6)):
            client.send(_message(dict(PROMPTS[draw.integers(len(PROMPTS))]), draw))
            log.messages += 1
        client.send("{")  # answered after all earlier messages
        while "error" not in client.recv(timeout=REPLY_S):
            pass


def frames(url: str, draw: np.random.Generator, log: Log) -> None:
    """Send WebSocket frames, most of them damaged."""
    address = _address(url)
    with closing(_connected(url, draw)) as client:
        client.sendall(_handshake(address))
        parts = [_websocket_frame(draw) for _ in range(draw.integers(1, 12))]
        data = b"".join(parts)
        _send(client, damage(data, draw) if draw.random() < 0.5 else data)
        log.messages += len(parts)
        reply = _read_all(client)
        head, _, rest = reply.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101") and head:
            raise Unanswered(f"a valid handshake was answered by {head[:40]!r}")
        if re.search(rb"\x88.\x03\xf3", rest, re.DOTALL):
            raise Unanswered("closed with 1011")


def http(url: str, draw: np.random.Generator, log: Log) -> None:
    """Send damaged HTTP requests or random bytes."""
    host = _address(url)
    body = json.dumps({"layout": "core15", "fps": 20, "joints": [[[0, 0, 0]] * 15] * 4})
    requests = (
        f"GET /models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(),
        f"POST /recognize HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode(),
        f"POST /recognize HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n0\r\n\r\n".encode(),
        _handshake(host),
        bytes(draw.integers(0, 256, 300, np.uint8)),
    )
    with closing(_connected(url, draw)) as client:
        _send(client, damage(requests[draw.integers(len(requests))], draw))
        for match in re.finditer(rb"HTTP/1\.1 (\d{3})", _read_all(client)):
            log.statuses[int(match[1])] += 1
            if match[1].startswith(b"5") and match[1] != b"503":
                raise Unanswered(f"answered by {match[0].decode()}")


KINDS: dict[str, Callable[[str, np.random.Generator, Log], None]] = {
    "recognize": recognize,
    "generate": generate,
    "frames": frames,
    "http": http,
}


def _frame(draw: np.random.Generator) -> dict[str, Any]:
    if draw.random() < 0.2:
        return ({"reset": 0}, {"reset": None}, {"labels": ["wave", "jump"]})[draw.integers(3)]
    joints = draw.normal(size=(15, 3)).round(3).tolist()
    about = {"t": float(draw.normal(0, 5)), "person": int(draw.integers(20)), "layout": "core15"}
    return about | {"joints": joints, "confidence": [1.0] * 15}


def _message(value: dict[str, Any], draw: np.random.Generator) -> str | bytes:
    """A message with replaced values, damaged text, or both; within the server's size limit."""
    if draw.random() < 0.6:
        value = {name: _replace(part, draw) if draw.random() < 0.4 else part for name, part in value.items()}
    if draw.random() < 0.1:
        value = [value] if draw.random() < 0.5 else {"t": _nested(int(draw.integers(1, 5000)))}  # type: ignore[assignment]
    text = json.dumps(value).encode()
    if draw.random() < 0.3:
        text = damage(text, draw)
    text = text[:60_000]
    return text if draw.random() < 0.3 else text.decode("utf-8", "replace")[:20_000]


def _replace(part: Any, draw: np.random.Generator) -> Any:
    """A different value, or the value with one element replaced."""
    if isinstance(part, list) and part and draw.random() < 0.6:
        changed = list(part)
        changed[draw.integers(len(part))] = _replace(changed[0], draw)
        return changed
    return ODD[draw.integers(len(ODD))]


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(min(depth, 400)):  # the limit of json.dumps
        value = [value]
    return value


def _websocket_frame(draw: np.random.Generator) -> bytes:
    """A frame of any kind: masked or not, whole or partial, with a correct or too large length."""
    kind = int(draw.choice((0, 1, 2, 8, 9, 10, 3, 15), p=(0.15, 0.3, 0.1, 0.05, 0.15, 0.05, 0.1, 0.1)))
    payload = json.dumps(_frame(draw)).encode() if draw.random() < 0.5 else draw.bytes(int(draw.integers(200)))
    payload = payload[:125] if kind >= 8 and draw.random() < 0.8 else payload
    length = len(payload) if draw.random() < 0.9 else int(draw.choice((0, 127, 65_536, 2**31, 2**63 - 1)))
    first = (0x80 if draw.random() < 0.8 else 0) | (0x40 if draw.random() < 0.05 else 0) | kind
    masked = 0x80 if draw.random() < 0.9 else 0
    if length < 126:
        head = bytes([first, masked | length])
    elif length < 1 << 16:
        head = bytes([first, masked | 126]) + struct.pack("!H", length)
    else:
        head = bytes([first, masked | 127]) + struct.pack("!Q", length)
    return head + (bytes(4) if masked else b"") + payload


def _address(url: str) -> str:
    return url.partition("//")[2]


def _source_address(draw: np.random.Generator) -> tuple[str, int]:
    """A random loopback address, because connections are limited per address."""
    return f"127.{draw.integers(1, 255)}.{draw.integers(1, 255)}.{draw.integers(1, 255)}", 0


@contextmanager
def _talk(url: str, path: str, draw: np.random.Generator, log: Log) -> Iterator[ClientConnection]:
    """A conversation whose close is checked; half of them end with a reset in the middle of a message."""
    aborts = draw.random() < 0.5
    client = connect(
        f"{url}/{path}",
        compression=None,
        source_address=_source_address(draw),
        max_size=None,
        ping_interval=None,
        close_timeout=REPLY_S,
    )
    try:
        yield client
        if aborts:
            client.socket.sendall(b"\x81\xfe\x40\x00" + bytes(100))
            reset(client.socket)
            return
        client.close()
    except ConnectionClosed:
        pass
    except TimeoutError:
        raise Unanswered(f"no reply within {REPLY_S:g} s") from None
    finally:
        client.socket.close()
    code = 1006 if client.close_code is None else client.close_code
    log.closes[code] += 1
    if code in BAD_CLOSES:
        raise Unanswered(f"closed with {code} {client.close_reason or ''}")


def reset(client: socket.socket) -> None:
    """Abort a connection with a TCP reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.shutdown(socket.SHUT_RD)  # a thread that reads would keep the connection open
    client.close()


def _connected(url: str, draw: np.random.Generator) -> socket.socket:
    host, _, port = _address(url).rpartition(":")
    return socket.create_connection((host, int(port)), timeout=REPLY_S, source_address=_source_address(draw))


def _handshake(host: str) -> bytes:
    key = base64.b64encode(bytes(16)).decode()
    lines = (
        "GET /recognize HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
    )  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


def _send(client: socket.socket, data: bytes) -> None:
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
    except (ConnectionError, OSError):  # the server has closed the connection
        pass


def _read_all(client: socket.socket) -> bytes:
    """Everything that the server still sends."""
    received = b""
    try:
        while more := client.recv(1 << 16):
            received += more
    except (ConnectionError, TimeoutError):
        pass
    return received


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="live")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    report = fuzz_server(options.model, options.seconds, options.seed)
    print_report(report, options.out)
    raise SystemExit(bool(report["findings"]))


if __name__ == "__main__":
    main()
