"""Settings of the server: models, access and limits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of a server.

    Attributes:
        model: name of a bundled recognizer, or path of its bundle. generator: the same for a generator.
        backend: of the generator, see `Generator`; on a GPU, requests that wait become one batch. Recognition runs on
            the CPU.
        labels: labels until a client chooses others: some of the model's, or texts if it accepts any. Empty: its own.
        alarms_per_minute: see `Recognizer.load`.
        token: token that clients must present; None: no access control beyond the address.
        origins: origins of web pages that may connect, besides the server's own, such as "https://example.org".
        proxies: addresses of reverse proxies, whose headers `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
        access_log: file to which `AccessLog` appends a line for each request; "-": standard output.
        clients: limit of open WebSockets.
        requests_per_s: limit of HTTP requests and new WebSockets per address, averaged over two seconds.
        messages_per_s: limit of messages per WebSocket, averaged in the same way; exceeding it closes the connection.
        message_bytes: limit of one message. body_bytes: limit of the body of an HTTP request.
        idle_s: a client without a message for this long gives its place to another one if there is none left.
        stream_s: the same for a motion stream that has been running for this long.
        queue_s: a request or stream of motion waits for its turn this long, unless requests become batches.
        send_timeout_s: a client that has not read its messages for this long is disconnected.
    Raises:
        InputError: a token that an HTTP header cannot carry.
    """

    model: str = "live"
    generator: str = "default"
    backend: str = "auto"
    labels: tuple[str, ...] = ()
    alarms_per_minute: float | None = None
    token: str | None = None
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    access_log: str | None = None
    clients: int = 32
    requests_per_s: float = 20.0
    messages_per_s: float = 1000.0
    message_bytes: int = 1 << 16
    body_bytes: int = 1 << 22  # parsing a larger one would block all clients
    idle_s: float = 60.0
    stream_s: float = 60.0
    queue_s: float = 10.0
    send_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if self.token is not None and re.fullmatch(r"[!-~]+", self.token) is None:
            raise InputError("the token is empty or has characters other than visible ASCII without spaces")
