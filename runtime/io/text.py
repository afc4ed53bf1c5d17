"""Text of a motion file: UTF-8 or UTF-16 with or without a byte order mark, up to a size; and limits for readers."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ..errors import InputError

MAX_BYTES = 1 << 28
MAX_FRAMES = 1_000_000
MAX_CELLS = 1 << 24  # frames times joints
_max_cells = ContextVar("max_cells", default=MAX_CELLS)


@contextmanager
def limited_to(cells: int) -> Iterator[None]:
    """Lower the limit of frames times joints for files that are not trusted."""
    token = _max_cells.set(cells)
    try:
        yield
    finally:
        _max_cells.reset(token)


def read_text(path: Path) -> str:
    """The text of a file. Raises InputError for one that is too large, UnicodeDecodeError for one that is not text."""
    check_bytes(path, MAX_BYTES)
    return decode(path.read_bytes())


def decode(data: bytes) -> str:
    """UTF-8, or UTF-16 if it opens with a byte order mark; the mark is dropped. Raises UnicodeDecodeError."""
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def check_bytes(path: Path, most: int) -> None:
    """Raise InputError if a file is larger than `most` bytes."""
    size = path.stat().st_size
    if size > most:
        raise InputError(f"has {size} bytes, the limit is {most}")


def check_size(frames: int, joints: int) -> None:
    """Raise InputError before an array of so many frames and joints is allocated, if it would be too large or empty."""
    if frames < 1:
        raise InputError("has no frames")
    cells = _max_cells.get()
    if frames > MAX_FRAMES or frames * joints > cells:
        raise InputError(
            f"has {frames} frames of {joints} joints, the limit is {MAX_FRAMES} frames and {cells} positions"
        )
