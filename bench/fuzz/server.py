"""Damaged messages for a real server: `python -m motionrt.bench.fuzz.server [--seconds 600] [-o fuzz_server.json]`.

Beside a client at a camera's rate, others say what nobody should: messages with values of other kinds, cut, as bytes or
in the wrong order, WebSocket frames that are none, and bytes that are no HTTP; half of them leave without a word. A
reply of 500, a close with 1011 or without a reason, a message that is not answered, a traceback, a wrong label or a
reply after more than a second for the first client, or 64 MB more of memory after the first fifth is a finding.
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
from ..speed.serve import Player, Record, Server, stream, summary
from .parsers import damaged

RATE_HZ = 30.0
SLOW_MS = 1000.0
MOST_GROWTH_MB = 64.0
WARM_UP = 0.2  # of the time
REPLY_S = 10.0
BAD_CLOSES = (1006, 1011)  # without a reason, and of a server that failed
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), float("-inf"), 2**31, 2**63, 10**300, "", "none", "\ud800", "\x00",
    "🕺" * 600, "x" * 30_000, [], [[]], [0.0] * 3000, [[0.0, 0.0, 0.0]] * 300, [["wave"]] * 101, {}, {"t": {}},
    ["wave", "wave"],
)  # fmt: skip
PROMPTS = ({"prompt": "a person walks", "seconds": 1.0, "seed": 1, "guidance": 0.0}, {"prompt": "jump"}, {"stop": True})


@dataclass(slots=True)
class Told:
    """What the server has said. `ends`: of connections, by code; `statuses`: of HTTP."""

    conversations: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    ends: Counter[int] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)

    def found(self, kind: str, problem: str, seed: int) -> None:
        self.findings.append({"kind": kind, "problem": problem, "seed": str(seed)})


def fuzz_server(model: str, seconds: float, seed: int = 0, conversations: int = 0) -> dict[str, Any]:
    """Talk nonsense to a server.

    Args:
        model: that the server recognises with.
        seconds: how long.
        seed: of the nonsense; that of a finding gives its conversation alone.
        conversations: number of conversations to have even if they take longer.
    Returns:
        Conversations by kind, how they ended, what became of the good client, memory, findings.
    """
    told, context, last = Told(), multiprocessing.get_context("spawn"), seed + conversations
    with Server(model, 64) as server, ProcessPoolExecutor(1, context) as apart:
        watching = apart.submit(watch, server.url, seconds)
        for part_s in (WARM_UP * seconds, (1 - WARM_UP) * seconds):
            start_mb, end = server.rss_mb, time.monotonic() + part_s
            while (time.monotonic() < end or seed < last) and server.is_up:
                one(server.url, seed, told)
                seed += 1
        seen = summary(Recognizer.load(model), [watching.result()], RATE_HZ)
        growth_mb, up = server.rss_mb - start_mb, server.is_up
        tracebacks = re.findall(r"^Traceback.*\n(?:\s.*\n)*(.*)", "".join(server.said), re.MULTILINE)
    problems = {
        "the server has ended": not up,
        f"{growth_mb:.0f} MB more of memory": growth_mb > MOST_GROWTH_MB,
        f"tracebacks: {sorted(set(tracebacks))}": bool(tracebacks),
        f"{seen['lost']} replies lost, {seen['wrong']} wrong": bool(seen["lost"] or seen["wrong"] or seen["errors"]),
        f"a reply after {seen['round_trip']['max_ms']:.0f} ms": seen["round_trip"]["max_ms"] > SLOW_MS,
    }
    for problem, is_so in problems.items():
        if is_so:
            told.found("all", problem, seed)
    return {
        "benchmark": "fuzz server",
        "model": model,
        "seconds": seconds,
        "conversations": dict(sorted(told.conversations.items())),
        "messages": told.messages,
        "ends": {str(code): count for code, count in sorted(told.ends.items())},
        "statuses": {str(status): count for status, count in sorted(told.statuses.items())},
        "rate_hz": RATE_HZ,
        "beside": seen,
        "rss_start_mb": start_mb,
        "growth_mb": growth_mb,
        "findings": told.findings,
    }


def watch(url: str, seconds: float) -> Record:
    """A good client; on a process of its own."""
    import asyncio

    return asyncio.run(stream(url, Player(0, RATE_HZ), RATE_HZ, max(1, round(seconds * RATE_HZ)), 0.0))


def one(url: str, seed: int, told: Told) -> None:
    """One conversation."""
    draw = np.random.default_rng(seed)
    kind = list(KINDS)[draw.integers(len(KINDS))]
    told.conversations[kind] += 1
    try:
        KINDS[kind](url, draw, told)
    except Unanswered as error:
        told.found(kind, str(error), seed)
    except (ConnectionError, TimeoutError) as error:
        told.found(kind, f"{type(error).__name__}: {error}", seed)


class Unanswered(Exception):
    """A client has not been answered as it should be."""


def recognize(url: str, draw: np.random.Generator, told: Told) -> None:
    """Every message is to be answered by its number, whatever it is."""
    messages = [_message(_frame(draw), draw) for _ in range(draw.integers(1, 20))]
    with _talk(url, "recognize", draw, told) as client:
        for message in messages:
            client.send(message)
        missing = set(range(len(messages)))
        while missing:
            missing.discard(json.loads(client.recv(timeout=REPLY_S)).get("frame"))
        told.messages += len(messages)


def generate(url: str, draw: np.random.Generator, told: Told) -> None:
    with _talk(url, "generate", draw, told) as client:
        for _ in range(draw.integers(1, 6)):
            client.send(_message(dict(PROMPTS[draw.integers(len(PROMPTS))]), draw))
            told.messages += 1
        client.send("{")  # is answered after all that came before
        while "error" not in client.recv(timeout=REPLY_S):
            pass


def frames(url: str, draw: np.random.Generator, told: Told) -> None:
    """A stream of WebSocket frames, most of which are damaged."""
    address = _address(url)
    with closing(_connected(url, draw)) as client:
        client.sendall(_handshake(address))
        parts = [_websocket_frame(draw) for _ in range(draw.integers(1, 12))]
        data = b"".join(parts)
        _send(client, damaged(data, draw) if draw.random() < 0.5 else data)
        told.messages += len(parts)
        said = _rest(client)
        head, _, rest = said.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101") and head:
            raise Unanswered(f"a handshake that is right was answered by {head[:40]!r}")
        if re.search(rb"\x88.\x03\xf3", rest, re.DOTALL):
            raise Unanswered("closed with 1011")


def http(url: str, draw: np.random.Generator, told: Told) -> None:
    """Bytes that are nearly HTTP, or are none."""
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
        _send(client, damaged(requests[draw.integers(len(requests))], draw))
        for found in re.finditer(rb"HTTP/1\.1 (\d{3})", _rest(client)):
            told.statuses[int(found[1])] += 1
            if found[1].startswith(b"5") and found[1] != b"503":
                raise Unanswered(f"answered by {found[0].decode()}")


KINDS: dict[str, Callable[[str, np.random.Generator, Told], None]] = {
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
    """A message in which a value is another, or whose text is damaged, or both; shorter than the server's limit."""
    if draw.random() < 0.6:
        value = {name: _odd(part, draw) if draw.random() < 0.4 else part for name, part in value.items()}
    if draw.random() < 0.1:
        value = [value] if draw.random() < 0.5 else {"t": _nested(int(draw.integers(1, 5000)))}  # type: ignore[assignment]
    text = json.dumps(value).encode()
    if draw.random() < 0.3:
        text = damaged(text, draw)
    text = text[:60_000]
    return text if draw.random() < 0.3 else text.decode("utf-8", "replace")[:20_000]


def _odd(part: Any, draw: np.random.Generator) -> Any:
    """Another value, or one with another value in it."""
    if isinstance(part, list) and part and draw.random() < 0.6:
        changed = list(part)
        changed[draw.integers(len(part))] = _odd(changed[0], draw)
        return changed
    return ODD[draw.integers(len(ODD))]


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(min(depth, 400)):  # json.dumps goes no deeper
        value = [value]
    return value


def _websocket_frame(draw: np.random.Generator) -> bytes:
    """Of any kind: masked or not, whole or a part, with a length that is right or too large."""
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


def _from(draw: np.random.Generator) -> tuple[str, int]:
    """One of many addresses of this machine, each of which may come so often."""
    return f"127.{draw.integers(1, 255)}.{draw.integers(1, 255)}.{draw.integers(1, 255)}", 0


@contextmanager
def _talk(url: str, path: str, draw: np.random.Generator, told: Told) -> Iterator[ClientConnection]:
    """A conversation whose end is looked at; of half of them it is a reset, maybe in the middle of a message."""
    leaves = draw.random() < 0.5
    client = connect(
        f"{url}/{path}",
        compression=None,
        source_address=_from(draw),
        max_size=None,
        ping_interval=None,
        close_timeout=REPLY_S,
    )
    try:
        yield client
        if leaves:
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
    told.ends[code] += 1
    if code in BAD_CLOSES:
        raise Unanswered(f"closed with {code} {client.close_reason or ''}")


def reset(client: socket.socket) -> None:
    """Ends a connection at once, without the farewells of TCP."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.shutdown(socket.SHUT_RD)  # a thread that reads would keep the connection open
    client.close()


def _connected(url: str, draw: np.random.Generator) -> socket.socket:
    host, _, port = _address(url).rpartition(":")
    return socket.create_connection((host, int(port)), timeout=REPLY_S, source_address=_from(draw))


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
    except (ConnectionError, OSError):  # the server has had enough
        pass


def _rest(client: socket.socket) -> bytes:
    """All that the server still says."""
    said = b""
    try:
        while more := client.recv(1 << 16):
            said += more
    except (ConnectionError, TimeoutError):
        pass
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="live")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    report = fuzz_server(options.model, options.seconds, options.seed)
    text = json.dumps(report, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    raise SystemExit(bool(report["findings"]))


if __name__ == "__main__":
    main()
