"""Images through OpenCV: every frame of a file, or the newest one of a camera."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .files import check_file
from .pose import require

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
DEFAULT_FPS = 30.0


class VideoFile:
    """Every image of a video file, as (seconds, [H, W, 3] uint8 RGB). Raises InputError if it is no video."""

    def __init__(self, path: Path) -> None:
        check_file(path)
        if _is_text(path):
            raise InputError(f"{path}: is a text file, expected a video")
        self._capture = _open(str(path))
        self._first = _read(self._capture)
        if self._first is None:
            self.close()
            raise InputError(f"{path}: is not a video that OpenCV can read")
        fps = float(self._capture.get(require("cv2").CAP_PROP_FPS))
        self.fps = fps if math.isfinite(fps) and 1 <= fps <= 1000 else DEFAULT_FPS

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        image, n = self._first, 0
        while image is not None:
            yield n / self.fps, image
            image, n = _read(self._capture), n + 1

    def close(self) -> None:
        self._capture.release()


class Camera:
    """The newest image of a camera, as (seconds since it was opened, [H, W, 3] uint8 RGB).

    A thread reads the camera into a queue of one: an image that nobody took before the next one came is
    dropped and counted, so that a slow consumer never holds the camera up.

    Args:
        source: camera number or rtsp:// address, or an object with OpenCV's `read()` and `release()`.
    """

    def __init__(self, source: Any) -> None:
        self.dropped = 0
        self._capture = source if hasattr(source, "read") else _open(source)
        self._newest: tuple[float, NDArray[np.uint8]] | None = None
        self._done = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._follow, name="camera", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._newest is not None or self._done)
                image, self._newest = self._newest, None
            if image is None:
                return
            yield image

    def close(self) -> None:
        with self._change:
            self._done = True
            self._change.notify_all()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        start = time.monotonic()
        while not self._done:
            image = _read(self._capture)
            with self._change:
                if image is None:
                    self._done = True
                else:
                    self.dropped += self._newest is not None
                    self._newest = (time.monotonic() - start, image)
                self._change.notify_all()
        self._capture.release()


def _open(source: str | int) -> Any:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else the decoder reports to stderr as well
    cv2 = require("cv2")
    cv2.setLogLevel(0)
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        what = f"camera {source}" if isinstance(source, int) else source
        raise InputError(f"{what}: cannot be opened as video")
    return capture


def _read(capture: Any) -> NDArray[np.uint8] | None:
    good, image = capture.read()
    return np.ascontiguousarray(image[..., ::-1]) if good else None


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096)
    try:
        return b"\0" not in head and bool(head.decode("utf-8"))
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and b"\0" not in head  # a character cut at the end of the sample
