"""`Malformed`: counts messages that cannot be used, and logs one of each sender a minute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable

LOG_INTERVAL_S = 60.0
MAX_SENDERS = 256  # remembered at a time
MAX_REASON = 200  # characters

logger = logging.getLogger(__name__)


class Malformed:
    """Thread-safe counter of messages that cannot be used.

    Args:
        name: the source, as it appears in the log.
    Attributes:
        count: messages so far.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._name, self._clock = name, clock
        self._logged: dict[Hashable, float] = {}  # sender -> time of the last line in the log, s
        self._lock = threading.Lock()

    def add(self, reason: str, sender: Hashable = None, *, is_logged: bool = True) -> None:
        """Count a message, and log why it cannot be used if the last line about this sender is a minute old.

        Args:
            reason: what is wrong with the message.
            sender: an address or a person; None: unknown.
            is_logged: whether it may be logged.
        """
        with self._lock:
            self.count += 1
            now = self._clock()
            if not is_logged or now - self._logged.get(sender, -LOG_INTERVAL_S) < LOG_INTERVAL_S:
                return
            if len(self._logged) >= MAX_SENDERS:
                self._logged = {one: t for one, t in self._logged.items() if now - t < LOG_INTERVAL_S}
                if len(self._logged) >= MAX_SENDERS:
                    return
            self._logged[sender] = now
        origin = "" if sender is None else f" from {sender}"
        logger.warning("%s: ignored a message%s: %s", self._name, origin, reason[:MAX_REASON])
