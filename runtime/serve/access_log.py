"""The access log of the server: one line for each request and WebSocket."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from queue import Full, Queue
from threading import Thread
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InputError
from .limits import BURST_S, Bucket

LINES_PER_S = 100.0  # of more, only the number is written
MAX_WAITING = 1000  # lines that are not written yet
MAX_CHARACTERS = 300  # of a path
CLOSE_S = 1.0  # time limit for writing what is left


class LineFile:
    """Appends lines to a file, on a thread, so that a slow disk or reader holds nobody up.

    Of more lines than `LINES_PER_S`, and of those that find too many before them, only the number is written.

    Args:
        path: file, which is made so that not everybody can read it, or "-" for standard output.
    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        try:
            number = os.dup(1) if path == "-" else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}), expected a file for lines") from None
        self._bucket = Bucket(LINES_PER_S, BURST_S * LINES_PER_S)
        self._lines: Queue[str | None] = Queue(MAX_WAITING)
        self._left_out = 0
        self._thread = Thread(target=_write, args=(number, self._lines), name="motionrt access log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Append a line; does not wait, and never fails."""
        if self._bucket.take():
            more = f"{self._left_out} more\n" if self._left_out else ""
            with suppress(Full):
                self._lines.put_nowait(f"{more}{line}\n")
                self._left_out = 0
                return
        self._left_out += 1

    def close(self) -> None:
        """Write what is left, for a limited time."""
        with suppress(Full):
            self._lines.put(f"{self._left_out} more\n" if self._left_out else "", timeout=CLOSE_S)
            self._lines.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)


def _write(number: int, lines: Queue[str | None]) -> None:
    with open(number, "wb", buffering=0) as file:
        while (line := lines.get()) is not None:
            with suppress(OSError):  # such as a full disk
                file.write(line.encode())


class AccessLog:
    """ASGI middleware that writes a line when a request or a WebSocket ends.

    A line has the time of its start (UTC), the address of the client, the method, the path without the query, the
    status, the bytes that were sent, and milliseconds. A method "WEBSOCKET" has the status of its handshake. In
    addresses, methods and paths, all but letters, digits and "_.-~/:[]" is encoded as in a URL.
    """

    def __init__(self, app: ASGIApp, lines: LineFile) -> None:
        self._app, self._lines = app, lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        now, start_s = datetime.now(UTC).isoformat(timespec="milliseconds"), time.perf_counter()
        status, sent = "-", 0  # of a client that leaves before the reply

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = str(message["status"])
            elif message["type"] == "websocket.accept":
                status = "101"
            sent += len(message.get("body") or message.get("text") or message.get("bytes") or b"")
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            status = "500" if status == "-" else status
            raise
        finally:
            names = ((scope["client"] or ("-",))[0], scope.get("method", "WEBSOCKET"), scope["path"])
            who = " ".join(quote(name[:MAX_CHARACTERS], "/:[]") for name in names)
            self._lines.write(f"{now} {who} {status} {sent} {1000 * (time.perf_counter() - start_s):.0f}")
