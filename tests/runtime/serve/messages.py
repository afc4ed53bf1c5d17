"""Requests to a server, and its replies, message by message."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from websockets.sync import client
from websockets.sync.client import ClientConnection

from motionrt import Motion


class Response(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(url: str, value: Any = None, headers: dict[str, str] | None = None) -> Response:
    """GET, or POST of JSON, bytes or an iterable of bytes."""
    data = json.dumps(value).encode() if isinstance(value, dict) else value
    all_headers = ({"Content-Type": "application/json"} if data is not None else {}) | (headers or {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, all_headers), timeout=60) as response:
            return Response(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Response(error.code, error.headers, error.read())


def connect(url: str, path: str = "recognize", **settings: Any) -> ClientConnection:
    return client.connect(f"{url.replace('http', 'ws')}/{path}", compression=None, **{"open_timeout": 60} | settings)


def frame_message(motion: Motion, i: int, **changes: Any) -> dict[str, Any]:
    joints = motion.joints[i].astype(float).round(4)
    lists = np.where(np.isfinite(joints), joints, None).tolist()
    return {"t": float(motion.times[i]), "layout": motion.layout, "joints": lists} | changes


def send(socket: ClientConnection, *messages: Any) -> None:
    for message in messages:
        socket.send(message if isinstance(message, str | bytes) else json.dumps(message))


def send_batch(socket: ClientConnection, messages: Sequence[Any]) -> None:
    """Send messages together, so that the server has them all before it answers the first."""
    with socket.protocol_mutex:
        for message in messages:
            socket.protocol.send_text(json.dumps(message).encode())
        socket.socket.sendall(b"".join(socket.protocol.data_to_send()))


def receive(socket: ClientConnection) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(socket.recv(timeout=60))
    return reply


def receive_replies(socket: ClientConnection, count: int) -> dict[int, dict[str, Any]]:
    """Receive so many replies, by the number of the message they answer; each message must be answered once."""
    replies: dict[int, dict[str, Any]] = {}
    while len(replies) < count:
        reply = receive(socket)
        if "frame" in reply:
            assert reply["frame"] not in replies
            replies[reply["frame"]] = reply
    return replies
