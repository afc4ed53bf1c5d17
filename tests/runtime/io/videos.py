"""Videos that tests write, with times and orientations of their choice."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

TICKS = 90_000  # a second


def write_video(
    path: Path, times_s: Iterable[float], images: Iterable[np.ndarray], codec: str = "h264", **display: Any
) -> Path:
    """Write RGB images with these times; `display` are arguments of PyAV's `set_display_rotation`."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.codec_context.time_base = stream.time_base = Fraction(1, TICKS)
        if display:
            stream.set_display_rotation(**display)
        for k, (t, image) in enumerate(zip(times_s, images, strict=True)):
            if k == 0:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            frame.pts, frame.time_base = round(t * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def gray(levels: Iterable[int], size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Images of one gray each, [H, W, 3]."""
    return [np.full((*size, 3), level, np.uint8) for level in levels]
