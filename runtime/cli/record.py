"""record: the skeletons of a source as motion files, one a person, that carry a label."""

import re
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.live import Live

from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE
from ..errors import InputError
from ..io.files import write
from ..io.recording import Recording
from ..io.source import Source, open_source

MAX_SECONDS = 600.0
MAX_BYTES = 1 << 28  # of joints, all people together
MAX_SLUG = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What `motionrt record` was asked for."""

    label: str
    out: Path
    seconds: float | None = None
    layout: str | None = None
    fps: float | None = None
    scale: float | None = None
    pose: str = "mediapipe"
    token: str | None = None


def run(source: str, options: Options) -> None:
    """Record until the source ends, for so many seconds, or until Ctrl-C; then write what was seen."""
    console = Console(highlight=False, soft_wrap=True)
    slug = _slug(options.label)
    _make_folder(options.out)
    recording = Recording()
    problem: InputError | None = None
    began = time.strftime("%Y%m%d-%H%M%S")
    with open_source(
        source,
        layout=options.layout,
        fps=options.fps,
        scale=options.scale,
        pose=options.pose,
        token=options.token,
    ) as opened:
        console.print(opened.name, markup=False)
        try:
            _follow(opened, recording, options.seconds, console)
        except KeyboardInterrupt:
            pass
        except InputError as error:  # what was seen before is kept
            problem = error
    for motion in recording.motions(options.label, opened.name):
        path = _save(motion, options.out, f"{slug}-{began}")
        told = f"{motion.seconds:.1f} s, {motion.frames} frames at {motion.fps:.1f} Hz, {motion.layout}"
        console.print(f"{path}: {told}", markup=False)
    for line in _warnings(opened, recording):
        console.print(line, markup=False)
    if problem is not None:
        raise problem
    if recording.is_empty:
        raise InputError(f"{opened.name}: nobody was seen in {opened.frames_in} frame(s), nothing was recorded")


def _follow(source: Source, recording: Recording, seconds: float | None, console: Console) -> None:
    limit = MAX_SECONDS if seconds is None else seconds
    start: float | None = None
    with Live(console=console, transient=True, refresh_per_second=10) as live:
        for t, people in source.snapshots():
            start = t if start is None else start
            if t - start >= limit:
                break
            for frame in people:
                recording.add(frame)
            if recording.bytes > MAX_BYTES:
                live.console.print(f"stopped: {MAX_BYTES >> 20} MiB of joints is as much as one recording holds")
                return
            if console.is_terminal:
                live.update(f"  {t - start:.1f} s, {source.frames_in} frames, {len(people)} people; Ctrl-C ends")
        else:
            return
    if seconds is None:
        console.print(f"stopped: {MAX_SECONDS / 60:g} minutes is as long as one recording lasts")


def _save(motion: Motion, folder: Path, stem: str) -> Path:
    """Writes to the first name that is free."""
    for number in count(1):
        path = folder / f"{stem}-{number}.npz"
        if not path.exists():
            try:
                write(motion, path, overwrite=False)
            except FileExistsError:
                continue
            return path
    raise AssertionError("unreachable")


def _warnings(source: Source, recording: Recording) -> Iterator[str]:
    left_out = {
        "dropped because newer ones came first": source.dropped,
        "left out because they came late": recording.late,
        f"left out because they were of more than {MAX_PEOPLE} people": recording.over_limit,
        "malformed": source.malformed,
        "rejected": source.rejected,
    }
    return (f"{n} frames or messages {what}" for what, n in left_out.items() if n)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{folder}: not a folder, expected one for the recordings") from None
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be made: {error.strerror}") from None


def _slug(label: str) -> str:
    """The label as part of a file name."""
    slug = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", label).lower())[:MAX_SLUG].strip("-")
    if not slug:
        raise InputError(f"label {label[:MAX_SLUG]!r} has no letter or digit, expected some text")
    return slug
