"""GIF and MP4: the skeleton drawn over a ground, seen a little from above and from the person's front left.

The picture moves along with the people, whom it holds whole in every frame. Left limbs are orange, right ones blue.

Shapes: T time, M people, V joints; metres, y up.
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

Array = NDArray[np.float64]

SIZE = 480  # pixels a side
GIF_MAX_FPS = 50  # viewers slow down what is faster
INKS = {"left": (230, 97, 1), "right": (33, 102, 172), "middle": (70, 70, 70)}
PAPER, GRID, SHADOW = (255, 255, 255), (214, 214, 214), (190, 190, 190)
_SMOOTH = 2  # drawn so much larger
_MARGIN = 0.08  # of the picture
_AROUND, _ABOVE = np.radians(35), np.radians(15)  # where it is seen from
_FOLLOW_S = 1.0  # time over which the picture's own way is smoothed
_TILE_M = 0.5
_HEAD_M = 0.09  # radius


def write_gif(motion: MotionData, file: BinaryIO) -> None:
    """All frames at the motion's rate (in steps of 10 ms); above `GIF_MAX_FPS` every second, or third, and so on.

    Raises InputError: a 2-D layout, or no joint is finite.
    """
    every = int(np.ceil(motion.fps / GIF_MAX_FPS))
    palette = _palette()
    images = (image.quantize(palette=palette, dither=0) for image in draw(motion, every))
    ends = np.round(100 * every / motion.fps * np.arange(len(range(0, motion.frames, every)) + 1))  # 10 ms
    durations = [max(10, 10 * int(d)) for d in np.diff(ends)]
    next(images).save(file, "GIF", save_all=True, append_images=images, duration=durations, loop=0)


def write_mp4(motion: MotionData, file: BinaryIO) -> None:
    """All frames at the motion's rate, H.264.

    Raises InputError: a 2-D layout, or no joint is finite.
    """
    av = require("av", "files", "writing .mp4")
    images = draw(motion)
    # by its name: of an object whose `write` raises, av prints tracebacks
    with av.open(file.name, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("h264", rate=Fraction(motion.fps).limit_denominator(1001), options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def draw(motion: MotionData, every: int = 1) -> Iterator[Any]:
    """PIL images, RGB, `SIZE` a side, of every so many frames; missing joints and people are left out.

    Raises InputError: a 2-D layout, or no joint is finite.
    """
    image, pen = (require(f"PIL.{name}", "files", "drawing") for name in ("Image", "ImageDraw"))
    layout = Layout.load(motion.layout)
    if layout.dims != 3:
        raise InputError(f"layout {layout.name} is 2-D, a drawing needs 3-D joints")
    joints = motion.joints.reshape(motion.frames, motion.people, -1, 3).astype(np.float64)
    joints[~np.isfinite(joints).all(axis=-1)] = np.nan
    if np.isnan(joints).all():
        raise InputError("no joint is finite in any frame")
    camera = _camera(joints, layout)
    floor, way = np.nanmin(joints[..., 1]), _way(joints, motion.fps)
    seen = (joints - way[:, None, None]) @ camera.T  # [T, M, V, 3]
    low, high = np.nanmin(seen[..., 1]), np.nanmax(seen[..., 1])
    half = max(np.nanmax(np.abs(seen[..., 0])), (high - low) / 2, 0.1)
    scale = _SMOOTH * SIZE * (0.5 - _MARGIN) / half

    def pixels(points: Array, frame: int) -> Array:
        x, y, _ = np.moveaxis((points - way[frame]) @ camera.T, -1, 0)
        return np.stack([x, (low + high) / 2 - y], axis=-1) * scale + _SMOOTH * SIZE / 2

    def picture(frame: int) -> Any:
        paper = image.new("RGB", (_SMOOTH * SIZE, _SMOOTH * SIZE), PAPER)
        canvas = pen.Draw(paper)
        for start, end in pixels(_grid(way[frame], floor, half), frame):
            canvas.line([*start, *end], GRID, _SMOOTH)
        on_floor = joints[frame] * [1, 0, 1] + [0, floor, 0]
        for people, width, head, shadow in ((on_floor, 3, _HEAD_M / 2, True), (joints[frame], 5, _HEAD_M, False)):
            for points, depth in zip(pixels(people, frame), seen[frame, ..., 2], strict=True):
                _limbs(canvas, layout, points, depth, width * _SMOOTH, head=head * scale, shadow=shadow)
        return paper.reduce(_SMOOTH)

    return map(picture, range(0, motion.frames, every))


def side(joint: str) -> str:
    """`left`, `right` or `middle`: which of the INKS a joint and the bone to it have."""
    name, _, rest = joint.partition("_")
    return name if rest and name in INKS else "middle"


def _limbs(canvas: Any, layout: Layout, points: Array, depth: Array, width: int, *, head: float, shadow: bool) -> None:
    """Draws the bones between points [V, 2], the nearest, of the greatest depth [V], last."""
    edges = [(i, j) for i, j in layout.edges if np.isfinite(points[[i, j]]).all() and i != layout.root]
    for i, j in sorted(edges, key=lambda edge: depth[list(edge)].sum()):
        ink = SHADOW if shadow else INKS[side(layout.joints[i])]
        canvas.line([*points[i], *points[j]], ink, width)
        for joint in (i, j):
            (x, y), radius = points[joint], head if layout.joints[joint] == "head" else width / 2
            canvas.ellipse([x - radius, y - radius, x + radius, y + radius], ink)


def _camera(joints: Array, layout: Layout) -> Array:
    """Rows right, up and towards the viewer, who stands to the front left of where people face at first."""
    left, right = layout.facing
    across = (joints[:, :, list(left)].mean(axis=2) - joints[:, :, list(right)].mean(axis=2)).reshape(-1, 3)
    across = across[np.isfinite(across).all(axis=-1)]
    x, z = across[0, [0, 2]] if len(across) else (1.0, 0.0)
    front = np.arctan2(-z, x) + _AROUND  # heading of the viewer, from +z to +x
    towards = np.array([np.sin(front) * np.cos(_ABOVE), np.sin(_ABOVE), np.cos(front) * np.cos(_ABOVE)])
    rightwards = np.array([np.cos(front), 0, -np.sin(front)])
    return np.stack([rightwards, np.cross(towards, rightwards), towards])


def _way(joints: Array, fps: float) -> Array:
    """[T, 3]: the middle of all people over time, smoothed, on the level y = 0."""
    T = len(joints)
    seen = np.flatnonzero(np.isfinite(joints).any(axis=(1, 2, 3)))
    reach = min(round(_FOLLOW_S * fps / 2), T - 1)
    way = np.zeros((T, 3))
    for axis in (0, 2):
        middle = np.interp(np.arange(T), seen, np.nanmean(joints[seen, ..., axis], axis=(1, 2)))
        padded = np.pad(middle, reach, mode="edge")
        way[:, axis] = np.convolve(padded, np.ones(2 * reach + 1) / (2 * reach + 1), mode="valid")
    return way


def _grid(centre: Array, floor: float, half: float) -> Array:
    """Lines [N, 2, 3] of tiles around `centre`, further than a picture of `half` the size shows."""
    tile = max(_TILE_M, half / 8)  # not thousands of lines, however far a stray joint is
    x, _, z = np.round(centre / tile) * tile
    reach = np.ceil(4 * half / tile) * tile
    steps = np.arange(-reach, reach + tile / 2, tile)
    lines = [[(x + s, floor, z - reach), (x + s, floor, z + reach)] for s in steps]
    return np.array(lines + [[(x - reach, floor, z + s), (x + reach, floor, z + s)] for s in steps])


def _palette() -> Any:
    """A PIL image whose palette has every ink on paper and on what else lies below it."""
    shades = np.linspace(0, 1, 6)[:, None]
    inks = [*INKS.values(), SHADOW, GRID]
    grounds = [PAPER, SHADOW]
    colours = [ground + shades * (np.array(ink) - ground) for ink in inks for ground in grounds]
    palette = require("PIL.Image", "files", "drawing").new("P", (1, 1))
    palette.putpalette(np.concatenate(colours).round().astype(np.uint8).tobytes())
    return palette
