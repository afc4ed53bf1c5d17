"""One WebSocket: JSON messages within limits, and an end that is told."""

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
CLOSE_S = 1.0  # for a close to leave
IN_A_ROW = 4  # messages that are taken before others have their turn


class ClientGone(Exception):
    """The client has gone."""


class CloseConnection(Exception):
    """The client has to go: (code, reason) of the close."""


class Message(NamedTuple):
    """Its number, from 0, when it came in, and what it says."""

    number: int
    came_s: float
    content: dict[str, Any]


class Connection:
    """A WebSocket that was accepted.

    Attributes:
        closing: set when the server is about to end.
    """

    def __init__(self, socket: WebSocket, settings: Settings, metrics: Metrics, closing: asyncio.Event) -> None:
        self.closing, self.metrics = closing, metrics
        self._socket, self._settings = socket, settings
        self._bucket = Bucket(settings.messages_per_s, BURST_S * settings.messages_per_s)
        self._count = 0

    async def receive(self) -> Message:
        """The next message that is a JSON object; what is none is answered.

        Raises:
            ClientGone: the client has gone. CloseConnection: it sends too much.
        """
        while True:
            event = await self._socket.receive()
            came_s = time.perf_counter()
            if event["type"] == "websocket.disconnect":
                if event.get("code") == TOO_BIG:
                    self.metrics.refused.labels("size").inc()
                raise ClientGone
            number, self._count = self._count, self._count + 1
            if not self._bucket.take():
                self.metrics.refused.labels("flood").inc()
                raise CloseConnection(POLICY, f"more than {self._settings.messages_per_s:g} messages a second")
            if self._count % IN_A_ROW == 0:
                await asyncio.sleep(0)
            text = event.get("text") or event.get("bytes") or b""
            if len(text) > self._settings.message_bytes:  # where it is not uvicorn that looks
                self.metrics.refused.labels("size").inc()
                raise CloseConnection(TOO_BIG, f"a message longer than {self._settings.message_bytes} bytes")
            try:
                content = parse_json(text)
                if isinstance(content, dict):
                    return Message(number, came_s, content)
                raise InputError(f"is a JSON {type(content).__name__}, expected an object")
            except InputError as error:
                await self.refuse(number, error)

    async def send(self, message: dict[str, Any]) -> None:
        """Raises ClientGone or, where the client leaves it unread for too long, CloseConnection."""
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._socket.send_text(json.dumps(message, allow_nan=False))
        except TimeoutError:
            self.metrics.refused.labels("slow").inc()
            raise CloseConnection(POLICY, f"nothing was read for {self._settings.send_timeout_s:g} s") from None
        except (WebSocketDisconnect, RuntimeError):  # it left meanwhile
            raise ClientGone from None

    async def refuse(self, number: int, error: InputError) -> None:
        self.metrics.errors.inc()
        await self.send({"frame": number, "error": " ".join(str(error).split())})

    async def converse(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Run all parts until one raises ClientGone or CloseConnection, then close the socket."""
        code, reason = FAILED, "the server failed"
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part)
        except* ClientGone:
            pass
        except* CloseConnection as leaves:
            code, reason = leaves.exceptions[0].args
        finally:
            await self._close(code, reason)

    async def _close(self, code: int, reason: str) -> None:
        """Does nothing where the client has closed it."""
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code, reason)
