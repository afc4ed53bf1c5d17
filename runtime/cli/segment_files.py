"""Segments as subtitles (.srt) or as a table (.csv)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import InputError
from ..io.atomic_write import atomic_write
from ..recognition.segments import Segment, label_line

MIN_SUBTITLE_S = 0.2  # a segment of one frame can still be read


def check_table(path: Path, suffix: str) -> None:
    """Raise InputError unless a file with this suffix can be written to `path`."""
    if path.suffix.lower() != suffix or path.is_dir():
        raise InputError(f"{path}: expected a file with the extension {suffix}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder does not exist")


def write_srt(path: Path, segments: Sequence[tuple[str, Segment]]) -> None:
    """Write the segments of one source as SubRip subtitles, without those of no action."""
    actions = sorted((segment for _, segment in segments if segment.label != "none"), key=lambda one: one.start)
    several = len({segment.person for _, segment in segments}) > 1
    blocks = [
        f"{n}\n{_clock(one.start)} --> {_clock(max(one.end, one.start + MIN_SUBTITLE_S))}\n{label_line(one, several)}\n"
        for n, one in enumerate(actions, 1)
    ]
    _write(path, "\n".join(blocks))


def write_csv(path: Path, segments: Sequence[tuple[str, Segment]]) -> None:
    """Write all segments, one a row: source, person, start and end in seconds, label, score."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["source", "person", "start_s", "end_s", "label", "score"])
    for source, one in segments:
        rows.writerow([source, one.person, f"{one.start:.3f}", f"{one.end:.3f}", one.label, f"{one.score:.4f}"])
    _write(path, text.getvalue())


WRITERS: dict[str, Callable[[Path, Sequence[tuple[str, Segment]]], None]] = {".srt": write_srt, ".csv": write_csv}


def _clock(seconds: float) -> str:
    ms = round(max(seconds, 0.0) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def _write(path: Path, text: str) -> None:
    try:
        with atomic_write(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
