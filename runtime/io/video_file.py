"""`VideoFile`: the images of a video file, upright and by the container's own clock, from PyAV."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..extras import require
from .files import check_file

VIDEO_SUFFIXES = (  # lower case
    ".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".avi", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".ogv"
)  # fmt: skip
MISSING_S = 2.0  # an end that comes earlier than the container says by less is normal
DEFAULT_FPS = 30.0  # of images without times in a container that has no rate either
MAX_ASPECT = 4.0  # of one pixel; beyond it, the header is wrong
MICROSECOND_S = 1e-6
logger = logging.getLogger(__name__)


class VideoFile:
    """All images of a video file, as (seconds, [H, W, 3] uint8 RGB).

    The times are those of the images in the container, counted as a player counts them. The frame rate in the header
    is not used: it is wrong for variable rates, and for recordings of browsers. Images are turned and mirrored by the
    display matrix, and stretched if their pixels are not square.

    Attributes:
        progress: part of the file that was read, 0 to 1.

    Raises:
        InputError: it is not a video. Of a video that is damaged later, the images before are used, with a warning.
        MissingExtra: PyAV is not installed.
    """

    def __init__(self, path: Path) -> None:
        check_file(path)
        if _is_text(path):
            raise InputError(f"{path}: is a text file, expected a video")
        self._av: Any = require("av")
        self._path = path
        self._warned = False
        self.progress = 0.0
        try:
            self._container = self._av.open(str(path))
        except (self._av.FFmpegError, OSError, ValueError):
            raise InputError(f"{path}: is not a video that can be read") from None
        self._stream = self._container.streams.best("video")
        self._images = self._decode()
        self._first = next(self._images, None)
        if self._first is None:
            self.close()
            raise InputError(f"{path}: is not a video that can be read: it has no images")

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        image, t = self._first, None
        while image is not None:
            t = self._time(image, t)
            yield t, upright(image, self._stream.sample_aspect_ratio)
            image = next(self._images, None)
        self.progress = 1.0
        self._check_end(t or 0.0)

    def close(self) -> None:
        self._images.close()
        self._container.close()

    def _decode(self) -> Generator[Any, None, None]:
        """PyAV's frames in order of presentation, up to the first damaged one."""
        images = 0
        if self._stream is None:
            return
        self._stream.thread_type = "AUTO"
        try:
            for packet in self._container.demux(self._stream):
                for image in packet.decode():
                    images += 1
                    yield image
                self.progress = max(self.progress, (packet.pos or 0) / max(self._container.size, 1))
        except self._av.FFmpegError as error:
            if images:
                logger.warning(
                    "%s: damaged after image %d, the rest is ignored: %s", self._path, images, error.strerror
                )

    def _check_end(self, last_s: float) -> None:
        """Warn if images are missing at the end, as far as the container says how long it is."""
        duration_s = float((self._stream.duration or 0) * (self._stream.time_base or 0))
        if duration_s - last_s > MISSING_S:
            logger.warning("%s: ends after %.1f s of %.1f s, the rest is missing", self._path, last_s, duration_s)

    def _time(self, image: Any, last_s: float | None) -> float:
        """Seconds of an image; one period after the last one if it has no time, or one that is not later."""
        ticks = image.dts if image.pts is None else image.pts
        if ticks is not None and image.time_base:
            t = float(ticks * image.time_base) - (self._container.start_time or 0) * MICROSECOND_S
            if last_s is None or t > last_s:
                return t
        if last_s is None:
            return 0.0
        fps = float(self._stream.average_rate or DEFAULT_FPS)
        if not self._warned:
            self._warned = True
            logger.warning("%s: has images without times of their own, assuming %g frames per second", self._path, fps)
        return last_s + 1 / fps


def upright(image: Any, pixel_aspect: float | None = None) -> NDArray[np.uint8]:
    """Image of a PyAV frame as a viewer shows it.

    The display matrix m maps a pixel (x, y) to (m0 x + m3 y, m1 x + m4 y): a quarter turn, a mirror, or both.

    Args:
        image: PyAV's VideoFrame.
        pixel_aspect: width of a pixel divided by its height; None, 0 or an implausible value: square.
    Returns:
        [H, W, 3] uint8 RGB.
    """
    stretched = pixel_aspect and pixel_aspect != 1 and 1 / MAX_ASPECT <= pixel_aspect <= MAX_ASPECT
    size = {"width": round(image.width * pixel_aspect)} if stretched else {}
    pixels: NDArray[np.uint8] = image.to_ndarray(format="rgb24", **size)
    matrix = image.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    m = np.frombuffer(bytes(matrix), np.int32)
    x_scale, y_scale = m[0], m[4]
    if abs(m[1]) > abs(m[0]):  # x and y change places
        pixels, x_scale, y_scale = pixels.swapaxes(0, 1), m[3], m[1]
    return np.ascontiguousarray(pixels[:: -1 if y_scale < 0 else 1, :: -1 if x_scale < 0 else 1])


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096)
    try:
        return b"\0" not in head and bool(head.decode("utf-8"))
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and b"\0" not in head  # a character cut at the end of the sample
