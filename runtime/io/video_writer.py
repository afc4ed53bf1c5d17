"""`VideoWriter`: an .mp4 of images, each with a time of its own."""

from __future__ import annotations

from fractions import Fraction
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..extras import require

TICK_S = Fraction(1, 90_000)  # of the times in the file
QUALITY = 20  # constant rate factor of H.264: 18 looks lossless, 28 is coarse


class VideoWriter:
    """Writes images as H.264, at the size of the first one; a context manager.

    Args:
        path: file to write, with any name.
        quality: constant rate factor; smaller is better and larger.

    Raises:
        MissingExtra: PyAV or Pillow is not installed.
    """

    def __init__(self, path: str, quality: int = QUALITY) -> None:
        self._av: Any = require("av", "files", "writing .mp4")
        self._pil: Any = require("PIL.Image", "files", "writing .mp4")
        self._container = self._av.open(path, "w", format="mp4", options={"movflags": "faststart"})
        options = {"crf": str(quality), "preset": "veryfast"}
        self._stream = self._container.add_stream("h264", rate=30, options=options)
        self._stream.codec_context.time_base = self._stream.time_base = TICK_S
        self._start_s: float | None = None
        self._last = -1  # ticks
        self._closed = False

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left; once."""
        if not self._closed:
            self._closed = True
            if self._start_s is not None:
                self._container.mux(self._stream.encode())
            self._container.close()

    def add(self, t: float, image: NDArray[np.uint8]) -> bool:
        """Append an image; False if it is left out because it is not later than the last one.

        Args:
            t: seconds; the first image is at 0 in the file.
            image: [H, W, 3] uint8 RGB; one of another size than the first is scaled into it.
        """
        if self._start_s is None:
            self._start_s = t
            height, width = image.shape[:2]
            self._stream.width, self._stream.height = max(2, width & ~1), max(2, height & ~1)  # H.264 wants even ones
            self._stream.pix_fmt = "yuv420p"
        ticks = round((t - self._start_s) / TICK_S)
        if ticks <= self._last:
            return False
        self._last = ticks
        frame = self._av.VideoFrame.from_ndarray(self._fit(image), "rgb24")
        frame.pts, frame.time_base = ticks, TICK_S
        self._container.mux(self._stream.encode(frame))
        return True

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self._stream.height, self._stream.width
        if 0 <= image.shape[0] - height <= 1 and 0 <= image.shape[1] - width <= 1:
            return np.ascontiguousarray(image[:height, :width])
        scale = min(height / image.shape[0], width / image.shape[1])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        canvas = self._pil.new("RGB", (width, height))
        canvas.paste(self._pil.fromarray(image).resize(size), ((width - size[0]) // 2, (height - size[1]) // 2))
        return np.asarray(canvas)
