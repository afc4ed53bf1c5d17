"""A motionrt server in a child process, with its memory, open files and threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TypeVar

from ...runtime.errors import MotionError

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PATIENCE_S = 10.0  # for its shutdown

Self = TypeVar("Self", bound="ServerProcess")


class ServerProcess:
    """`motionrt` with these arguments, once it has printed its address; a context manager that terminates it.

    Attributes:
        url: its address.
        output: its last lines, including standard error.
    Raises:
        MotionError: the process ended without printing an address.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "motionrt.runtime.cli", *arguments]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.output: deque[str] = deque(maxlen=1000)
        stdout = self._process.stdout
        assert stdout is not None
        while not (address := re.match(r"(?:serving at )?(http://\S+)", line := stdout.readline())):
            self.output.append(line)
            if not line:
                raise MotionError("".join(self.output))
        self.url = address[1]
        threading.Thread(target=self.output.extend, args=(stdout,), daemon=True).start()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=PATIENCE_S)
        finally:
            self._process.kill()

    @property
    def is_up(self) -> bool:
        return self._process.poll() is None

    @property
    def rss_mb(self) -> float:
        return int((self._proc / "statm").read_text().split()[1]) * PAGE_BYTES / 1e6

    @property
    def files(self) -> int:
        """Open files and sockets."""
        return len(list((self._proc / "fd").iterdir()))

    @property
    def threads(self) -> int:
        return len(list((self._proc / "task").iterdir()))

    @property
    def _proc(self) -> Path:
        return Path("/proc", str(self._process.pid))
