"""Images of a camera, of which the newest is used, or of a file, of which all are."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..extras import require
from .frame import HEARTBEAT_S
from .latest_queue import LatestQueue
from .video_file import VideoFile

CAMERA_SCHEMES = ("rtsp", "rtsps")
PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # before each attempt to reopen a stream
TIMEOUT_MS = 5000  # for opening a stream, and for each image
logger = logging.getLogger(__name__)
SECRET = re.compile(r"((?:pass|pwd|token|secret|key)[^=&/?]*=)[^&/?#]*", re.IGNORECASE)


def open_video(source: int | str | Path) -> VideoFile | Camera:
    """Open a webcam (a number), a stream (rtsp://…) or a video file. Raises InputError."""
    if not is_camera(source):
        return VideoFile(Path(source))  # type: ignore[arg-type]  # every number is a camera
    name = str(source)
    return Camera(int(name) if name.isdecimal() else name)


def is_camera(source: int | str | Path) -> bool:
    """True for the number of a webcam or the address of a video stream."""
    name = str(source)
    scheme = name.partition("://")[0].lower() if "://" in name else ""
    return isinstance(source, int) or (name.isdecimal() and len(name) < 4) or scheme in CAMERA_SCHEMES


class Camera:
    """The newest image of a camera, as (seconds since it was opened, [H, W, 3] uint8 RGB).

    A thread reads the camera into a queue of depth one: an image that is not taken before the next one arrives is
    dropped and counted, so a slow consumer never blocks the camera. While the camera is silent, the image is None,
    every `HEARTBEAT_S` seconds.

    Args:
        source: camera number or address (rtsp://…), or a function that returns an object with OpenCV's `read()` and
            `release()`, or raises InputError.
        pauses_s: before each attempt to reopen it after a failure; (): do not reopen. Default: `PAUSES_S`, or () for
            a function.

    Attributes:
        dropped: images that were not taken.
        reopened: number of times it was reopened.

    Raises:
        InputError: it cannot be opened, or reopened while iterating.
    """

    def __init__(self, source: int | str | Callable[[], Any], pauses_s: Sequence[float] | None = None) -> None:
        self.reopened = 0
        self._open = source if callable(source) else partial(_open, source)
        self._pauses_s = (() if callable(source) else PAUSES_S) if pauses_s is None else tuple(pauses_s)
        self._name = redact_credentials(source) if isinstance(source, str) else "the camera"
        self._queue: LatestQueue[tuple[float, NDArray[np.uint8]]] = LatestQueue()
        self._stop = threading.Event()
        self._start = time.monotonic()
        self._capture = self._open()
        self._thread = threading.Thread(target=self._follow, name="camera", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self._queue.dropped

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8] | None]]:
        while (images := self._queue.take(HEARTBEAT_S)) is not None:
            yield images[0] if images else (time.monotonic() - self._start, None)

    def close(self) -> None:
        self._stop.set()
        self._queue.close()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        error: Exception | None = None
        try:
            self._read_images()
        except Exception as problem:  # raised in the consumer, which would wait forever otherwise
            error = problem
        self._release()
        self._queue.close(error)

    def _read_images(self) -> None:
        failed = 0  # attempts to reopen it since the last image
        while not self._stop.is_set():
            image = None if self._capture is None else _read(self._capture)
            if image is not None:
                failed = 0
                self._queue.put({0: (time.monotonic() - self._start, image)})
            elif failed < len(self._pauses_s):
                if not failed:
                    logger.warning("%s: interrupted, reopening it", self._name)
                self._reopen(self._pauses_s[failed])
                failed += 1
            elif failed:
                raise InputError(f"interrupted, and there was no image after {failed} attempts to reopen it")
            else:
                return

    def _reopen(self, pause_s: float) -> None:
        self._release()
        if not self._stop.wait(pause_s):
            with contextlib.suppress(InputError):
                self._capture = self._open()
                self.reopened += 1

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None


def redact_credentials(source: str) -> str:
    """Remove `user:password@` and the values of passwords and tokens from an address."""
    if "://" not in source:
        return source
    scheme, _, rest = source.partition("://")
    return scheme + "://" + SECRET.sub(r"\1***", rest.rpartition("@")[2])


def _open(source: str | int) -> Any:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # otherwise the decoder also reports to stderr
    cv2 = require("cv2")
    cv2.setLogLevel(0)  # silent; not every build has cv2.utils.logging
    if isinstance(source, str) and "://" in source:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    else:
        capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        capture.release()
        what = f"camera {source}" if isinstance(source, int) else redact_credentials(source)
        within = f" within {TIMEOUT_MS / 1000:g} s" if "://" in what else ""
        raise InputError(f"{what}: cannot be opened as a video{within}")
    return capture


def _read(capture: Any) -> NDArray[np.uint8] | None:
    good, image = capture.read()
    return np.ascontiguousarray(image[..., ::-1]) if good else None
