"""One WebSocket: JSON messages within limits, closed with a code and a reason."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

from fastapi import WebSocket, WebSocketDisconnect

from ..errors import InputError
from ..io.jsonl import parse_json
from .limits import BURST_S, Bucket
from .metrics import Metrics
from .settings import Settings

GOING_AWAY, POLICY, TOO_BIG, FAILED = 1001, 1008, 1009, 1011  # RFC 6455, section 7.4.1
TRY_AGAIN = 1013  # in IANA's registry
CLOSE_S = 1.0  # time limit for sending a close frame
MESSAGES_PER_TURN = 4  # messages read before other clients get their turn


class ClientGone(Exception):
    """The client disconnected."""


class CloseConnection(Exception):
    """The server closes the connection; arguments are the close code and the reason."""


class Message(NamedTuple):
    """A message: its number, counted from 0, its arrival on `time.perf_counter`, and its JSON object."""

    number: int
    arrived_s: float
    content: dict[str, Any]


class Connection:
    """An accepted WebSocket.

    Attributes:
        closing: set when the server shuts down. ended: set when its place is free again.
    """

    def __init__(self, socket: WebSocket, settings: Settings, metrics: Metrics, closing: asyncio.Event) -> None:
        self.closing, self.metrics = closing, metrics
        self._socket, self._settings = socket, settings
        self._bucket = Bucket(settings.messages_per_s, BURST_S * settings.messages_per_s)
        self._count = 0
        self._active_s = time.monotonic()
        self.ended, self._dismissed = asyncio.Event(), asyncio.Event()

    @property
    def idle_s(self) -> float:
        """Seconds since the last message in either direction."""
        return time.monotonic() - self._active_s

    async def dismiss(self) -> None:
        """Close the connection because another client needs its place, and wait for its end."""
        self._dismissed.set()
        await self.ended.wait()

    async def receive(self) -> Message:
        """Wait for the next JSON object; anything else is answered with an error.

        Raises:
            ClientGone: the client disconnected. CloseConnection: it sends too much.
        """
        while True:
            event = await self._socket.receive()
            arrived_s = time.perf_counter()
            if event["type"] == "websocket.disconnect":
                if event.get("code") == TOO_BIG:
                    self.metrics.refused.labels("size").inc()
                raise ClientGone
            self._active_s = time.monotonic()
            number, self._count = self._count, self._count + 1
            if not self._bucket.take():
                self.metrics.refused.labels("flood").inc()
                raise CloseConnection(POLICY, f"more than {self._settings.messages_per_s:g} messages per second")
            if self._count % MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)
            text = event.get("text") or event.get("bytes") or b""
            if len(text) > self._settings.message_bytes:  # under another server than uvicorn, which checks it
                self.metrics.refused.labels("size").inc()
                raise CloseConnection(TOO_BIG, f"a message longer than {self._settings.message_bytes} bytes")
            try:
                content = parse_json(text)
                if isinstance(content, dict):
                    return Message(number, arrived_s, content)
                raise InputError(f"is a JSON {type(content).__name__}, expected an object")
            except InputError as error:
                await self.refuse(number, error)

    async def send(self, message: dict[str, Any]) -> None:
        """Raises ClientGone, or CloseConnection if the client does not read for too long."""
        self._active_s = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._socket.send_text(json.dumps(message, allow_nan=False))
        except TimeoutError:
            self.metrics.refused.labels("slow").inc()
            raise CloseConnection(POLICY, f"the client read nothing for {self._settings.send_timeout_s:g} s") from None
        except (WebSocketDisconnect, RuntimeError):  # it disconnected meanwhile
            raise ClientGone from None

    async def refuse(self, number: int, error: InputError) -> None:
        self.metrics.errors.inc()
        await self.send({"frame": number, "error": " ".join(str(error).split())})

    async def run(self, *tasks: Coroutine[Any, Any, None]) -> None:
        """Run tasks until one raises ClientGone or CloseConnection, then close the socket."""
        code, reason = FAILED, "the server failed"
        try:
            async with asyncio.TaskGroup() as group:
                for task in (*tasks, self._wait_for_dismissal()):
                    group.create_task(task)
        except* ClientGone:
            pass
        except* CloseConnection as closes:
            code, reason = closes.exceptions[0].args
        finally:
            await self._close(code, reason)

    async def _wait_for_dismissal(self) -> None:
        await self._dismissed.wait()
        self.metrics.refused.labels("idle").inc()
        raise CloseConnection(TRY_AGAIN, f"no message for {self._settings.idle_s:g} s, and others need this place")

    async def _close(self, code: int, reason: str) -> None:
        """Does nothing if the client has already closed it."""
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code, reason)
