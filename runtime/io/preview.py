"""GIF and MP4: people as shaded bodies on a floor, see `render`; left limbs are orange, right limbs blue.

The camera looks from the front left, follows the people and keeps them in the picture. 2-D layouts are drawn from the
front, without a floor.

Shapes: T time, M people, V joints; meters, y up.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..body.motion_data import MotionData
from ..errors import InputError
from ..extras import require
from .mannequin import body_scale
from .render import FACE_COLOR, FLOOR, PAPER, SHADOW, SIDE_COLORS, TORSO_COLORS, follow, render, shade_ramp

Array = NDArray[np.float64]

SIZE = 480  # pixels a side
GIF_MAX_FPS = 50  # viewers slow down faster ones
MIN_FPS, MAX_FPS = 0.1, 1000.0  # of a picture
_FLAT_DEPTH_M = 0.15  # of the parts of a 2-D pose that are drawn in front
_IN_FRONT = ("elbow", "wrist", "hand", "nose")


def write_gif(motion: MotionData, file: BinaryIO) -> None:
    """All frames at the motion's rate (in steps of 10 ms); above `GIF_MAX_FPS` every second, third, … frame.

    Raises InputError if no joint is finite, or the rate is below `MIN_FPS` or above `MAX_FPS`.
    """
    _check_rate(motion.fps)
    every = int(np.ceil(motion.fps / GIF_MAX_FPS))
    palette = gif_palette(motion.people)
    images = (image.quantize(palette=palette, dither=0) for image in draw(motion, every))
    ends = np.round(100 * every / motion.fps * np.arange(len(range(0, motion.frames, every)) + 1))  # 10 ms
    durations = [max(10, 10 * int(d)) for d in np.diff(ends)]
    next(images).save(file, "GIF", save_all=True, append_images=images, duration=durations, loop=0)


def write_mp4(motion: MotionData, file: BinaryIO) -> None:
    """All frames at the motion's rate, H.264.

    Raises InputError if no joint is finite, or the rate is below `MIN_FPS` or above `MAX_FPS`.
    """
    _check_rate(motion.fps)
    av = require("av", "files", "writing .mp4")
    images = draw(motion)
    # by name, as av prints tracebacks if the `write` of a file object raises
    with av.open(file.name, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("h264", rate=Fraction(motion.fps).limit_denominator(1001), options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def _check_rate(fps: float) -> None:
    if not MIN_FPS <= fps <= MAX_FPS:
        raise InputError(f"a picture of {fps:g} frames per second, expected {MIN_FPS:g} to {MAX_FPS:g}")


def draw(motion: MotionData, every: int = 1) -> Iterator[Any]:
    """Draw every n-th frame as a PIL image, RGB, `SIZE` a side; missing joints and people are left out.

    Raises InputError if no joint is finite.
    """
    image = require("PIL.Image", "files", "drawing")
    layout = Layout.load(motion.layout)
    joints = motion.joints.reshape(motion.frames, motion.people, -1, layout.dims).astype(np.float64)
    joints[~np.isfinite(joints).all(axis=-1)] = np.nan
    if np.isnan(joints).all():
        raise InputError("no joint is finite in any frame")
    flat = layout.dims == 2
    if flat:
        joints = _upright(joints, layout)
    scales = [body_scale(person, layout) for person in np.moveaxis(joints, 1, 0)]
    size = SIZE, SIZE
    cameras = follow(joints, layout, motion.fps, size, np.eye(3) if flat else None, floor=not flat)

    def picture(t: int) -> Any:
        return image.fromarray(render(joints[t], layout, camera=cameras[t], scales=scales))

    return map(picture, range(0, motion.frames, every))


def _upright(joints: Array, layout: Layout) -> Array:
    """Pixels [T, M, V, 2], y down, as joints [T, M, V, 3] of about adult size; arms and face are in front."""
    pixels_per_m = max(body_scale(person, layout) for person in np.moveaxis(joints, 1, 0))
    in_front = [_FLAT_DEPTH_M * any(part in name for part in _IN_FRONT) for name in layout.joints]
    depth = np.broadcast_to(in_front, joints.shape[:-1])
    upright = np.stack([joints[..., 0] / pixels_per_m, -joints[..., 1] / pixels_per_m, depth], axis=-1)
    return np.where(np.isfinite(joints).all(axis=-1, keepdims=True), upright, np.nan)


def gif_palette(people: int) -> Any:
    """A PIL image whose palette has the shades of every color of a picture."""
    torsos = TORSO_COLORS[:people]
    paper, floor, shadow = (np.array(color, float) for color in (PAPER, FLOOR, SHADOW))
    ramps = [
        *(shade_ramp(color, 36) for color in SIDE_COLORS.values()),
        *(shade_ramp(color, 80 // len(torsos)) for color in torsos),
        *(np.linspace(start, end, n) for start, end, n in ((*paper, 8), (paper[1], floor, 6), (floor, shadow, 26))),
        shade_ramp(FACE_COLOR, 12),
    ]
    palette = require("PIL.Image", "files", "drawing").new("P", (1, 1))
    palette.putpalette(np.concatenate(ramps).round().clip(0, 255).astype(np.uint8).tobytes())
    return palette
