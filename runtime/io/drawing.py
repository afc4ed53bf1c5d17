"""`draw_people`: skeletons and texts on an image.

Shapes: H x W pixels, V joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..extras import require
from .frame import Frame

COLORS = ((80, 220, 80), (255, 160, 80), (80, 140, 255), (255, 100, 200), (230, 230, 80))
TEXT, FAINT_TEXT, OUTLINE = (255, 255, 255), (190, 190, 190), (0, 0, 0)
PICTURE_PX = 240  # an image whose shorter side has this many pixels is drawn with lines of one pixel


class Person(NamedTuple):
    """A person in an image, whose pixels are in the frame, and the text at the head."""

    frame: Frame
    text: str = ""
    is_faint: bool = False


def draw_people(image: NDArray[np.uint8], people: Sequence[Person]) -> NDArray[np.uint8]:
    """Draw people into a copy of an image [H, W, 3] RGB; lines and letters scale with it."""
    if not people:
        return image
    picture = require("PIL.Image", "files", "drawing").fromarray(image)
    pen = require("PIL.ImageDraw", "files", "drawing").Draw(picture)
    unit = max(1.0, min(image.shape[:2]) / PICTURE_PX)
    for person in people:
        _draw_skeleton(pen, person.frame, unit)
    for person in people:
        if person.text:
            _draw_text(pen, person, unit, (image.shape[1], image.shape[0]))
    return np.asarray(picture)


def _draw_skeleton(pen: Any, frame: Frame, unit: float) -> None:
    assert frame.pixels is not None
    color, width, radius = COLORS[frame.person % len(COLORS)], max(1, round(unit)), 1.3 * unit
    visible = np.asarray(np.isfinite(frame.pixels).all(axis=-1))  # [V]
    points = [(float(x), float(y)) for x, y in frame.pixels]
    for joint, other in _lines(frame.layout):
        if visible[joint] and visible[other]:
            pen.line([points[joint], points[other]], fill=color, width=width)
    for joint in np.flatnonzero(visible).tolist():
        x, y = points[joint]
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)


def _lines(layout: str) -> tuple[tuple[int, int], ...]:
    """The bones, and the lines across hips and shoulders that a tree of bones may lack."""
    body = Layout.load(layout)
    return (*body.edges, *zip(*body.facing, strict=True))


def _draw_text(pen: Any, person: Person, unit: float, size: tuple[int, int]) -> None:
    """Write the text above the person, but inside the image."""
    frame, text, is_faint = person
    assert frame.pixels is not None
    visible = frame.pixels[np.isfinite(frame.pixels).all(axis=-1)]
    if not len(visible):
        return
    font = require("PIL.ImageFont", "files", "drawing").load_default(10 * unit)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font, stroke_width=round(unit))
    x, y = visible.min(axis=0)
    x = np.clip(x, -left, max(-left, size[0] - right))
    y = np.clip(y - bottom - 3 * unit, -top, max(-top, size[1] - bottom))
    fill = FAINT_TEXT if is_faint else TEXT
    pen.text((float(x), float(y)), text, fill=fill, font=font, stroke_width=round(unit), stroke_fill=OUTLINE)
