"""What a server is told when it starts: models, who may come in, and limits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of a server.

    Attributes:
        model: name of a bundled recogniser, or path of its bundle. generator: of a generator.
        labels: what is recognised until a client says otherwise; only models of any labels. Empty: the model's own.
        token: what clients must present; None: whoever reaches the server may use it.
        origins: web pages that may connect besides the server's own, such as "https://example.org".
        clients: WebSockets at once.
        requests_per_s: HTTP requests and new WebSockets of one address; two seconds' worth may come at once.
        messages_per_s: of one WebSocket, likewise; it is closed where more come.
        message_bytes: of one message. body_bytes: of one HTTP request.
        send_timeout_s: for how long a client may leave what it is sent unread.
    Raises:
        InputError: a token that cannot stand in a header.
    """

    model: str = "live"
    generator: str = "default"
    labels: tuple[str, ...] = ()
    token: str | None = None
    origins: tuple[str, ...] = ()
    clients: int = 32
    requests_per_s: float = 20.0
    messages_per_s: float = 1000.0
    message_bytes: int = 1 << 16
    body_bytes: int = 1 << 22  # more would keep everybody waiting while it is parsed
    send_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if self.token is not None and re.fullmatch(r"[!-~]+", self.token) is None:
            raise InputError("the token is empty or holds other characters than visible ASCII ones, without spaces")
