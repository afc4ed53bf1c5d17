"""Motion files that a client sends, as frames that its page can play."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.input_check import InputMonitor
from ..body.layout import Layout
from ..body.motion_data import MotionData
from ..errors import InputError
from ..io.files import NOT_READ, READERS, read
from ..io.text import limited_to

NOT_PLAYED = (".amc", ".mat")  # needs a second file; unpacks to any size
SUFFIXES = tuple(suffix for suffix in READERS if suffix not in NOT_PLAYED)
MAX_UNPACKED_BYTES = 1 << 26  # of an archive
MAX_CELLS = 1 << 21  # frames times joints, markers or bones that a reader allocates
MAX_JOINTS = 400_000  # of all people in all frames
_LOGGER = logging.getLogger(__name__.rpartition(".serve.")[0])  # of all modules that read and check motion


def read_motion(name: str, content: bytes, **options: Any) -> dict[str, Any]:
    """Frames of a motion file, and what is doubtful about it.

    Args:
        name: of the client's file; decides the format and is named in errors.
        content: of the file.
        options: layout, fps, scale and up of `read`.
    Returns:
        A JSON object: layout; t [T] seconds from 0; people, for each `person` and `joints` [T][V][3] meters with y up,
        null if missing; notes, one line each.
    Raises:
        InputError: the file cannot be read, is too long, or is not 3-D motion in meters.
    """
    name = Path(name.replace("\\", "/")).name or "the file"
    suffix = Path(name).suffix.lower()
    if suffix not in (*SUFFIXES, *NOT_READ):
        raise InputError(f"{name}: cannot be played here, expected {', '.join(SUFFIXES)}")
    if suffix in (".json", ".jsonl") and (lines := _message_lines(content)) is not None:
        suffix, content = ".jsonl", lines
    with tempfile.TemporaryDirectory(prefix="motionrt-") as folder, _notes() as notes:
        path = Path(folder) / f"motion{suffix}"
        path.write_bytes(content)
        try:
            _check_archive(path)
            with limited_to(MAX_CELLS):
                motion = read(path, **options)
        except InputError as error:
            raise InputError(f"{name}: {str(error).removeprefix(f'{path}: ')}") from None
        try:
            people = _check(motion)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    return {
        "layout": motion.layout,
        "t": np.round(motion.times - motion.times[0], 4).tolist(),
        "people": people,
        "notes": [note.replace(str(path), name) for note in notes],
    }


def _check(motion: MotionData) -> list[dict[str, Any]]:
    """The people of a motion. Raises InputError if the page cannot play it."""
    if Layout.load(motion.layout).dims != 3:
        raise InputError(f"layout {motion.layout} is in pixels, expected joints in meters")
    joints = motion.joints.reshape(motion.frames, motion.people, -1, 3)  # [T, M, V, 3]
    if joints[..., 0].size > MAX_JOINTS:
        raise InputError(f"{motion.frames} frames are too many, expected at most {MAX_JOINTS} joints in all of them")
    monitor, layout = InputMonitor(), Layout.load(motion.layout)
    monitor.check_times(motion.times)
    found = []
    for m in range(motion.people):
        if np.isfinite(joints[:, m]).all(axis=-1).any():
            monitor.check_clip(joints[:, m], None, layout)
            found.append({"person": m, "joints": _lists(joints[:, m])})
    return found


def _lists(joints: NDArray[np.float32]) -> list[Any]:
    values: NDArray[np.object_] = joints.astype(np.float64).round(4).astype(object)
    values[~np.isfinite(joints).all(axis=-1)] = None
    lists: list[Any] = values.tolist()
    return lists


def _message_lines(content: bytes) -> bytes | None:
    """JSON lines of a list of messages; None if the file is something else."""
    try:
        messages = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(messages, list) or not all(isinstance(one, dict) and "joints" in one for one in messages):
        return None
    return "\n".join(map(json.dumps, messages)).encode()


def _check_archive(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_UNPACKED_BYTES:
            raise InputError(f"unpacks to {size} bytes, the limit is {MAX_UNPACKED_BYTES}")


@contextmanager
def _notes() -> Iterator[list[str]]:
    """Collect the warnings of this thread."""
    notes: list[str] = []
    thread = threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                notes.append(record.getMessage())

    collector = Collector(logging.WARNING)
    _LOGGER.addHandler(collector)
    try:
        yield notes
    finally:
        _LOGGER.removeHandler(collector)
