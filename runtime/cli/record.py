"""record: save the skeletons of a source as labeled motion files, one per person."""

import logging
import re
import time
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.live import Live

from ..body.input_check import InputMonitor
from ..body.layout import Layout
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE
from ..body.time_check import TimeMonitor
from ..errors import InputError, printable
from ..io.files import write
from ..io.frame import Frame
from ..io.recording import Recording
from ..io.source import Source
from .options import SourceOptions

MAX_SECONDS = 600.0
MAX_BYTES = 1 << 28  # of joints, of all people together
MAX_SLUG = 40

logger = logging.getLogger(__name__)


def run_record(
    name: str, label: str, subject: str | None, out: Path, seconds: float | None, options: SourceOptions
) -> None:
    """Record until the source ends, the time is up, Ctrl-C or a signal; then write the files.

    Frames received before an error are kept.
    """
    console = Console(highlight=False, soft_wrap=True)
    slug = _slug(label)
    _create_folder(out)
    recording = Recording()
    problem: Exception | None = None
    started = time.strftime("%Y%m%d-%H%M%S")
    with options.open(name) as source:
        try:
            console.print(printable(source.name), markup=False)
            _record(source, recording, seconds, console)
        except KeyboardInterrupt:
            pass
        except Exception as error:
            problem = error
    lines = []
    for motion in recording.motions(label, source.name, subject):
        path = _save(motion, out, f"{slug}-{started}")
        lines.append(f"{path}: {motion.seconds:.1f} s, {motion.frames} frames at {motion.fps:.1f} Hz, {motion.layout}")
    if recording.phantoms:
        why = "did not move or is not of a person's size"
        lines.append(f"{recording.phantoms} more left out, which {why}: a phantom")
    for line in [*lines, *_warnings(source, recording)]:  # after all files are safe: the terminal may be gone
        console.print(printable(line), markup=False)
    if problem is not None:
        raise problem
    if recording.is_empty:
        raise InputError(f"{source.name}: nobody was visible in {source.frames_in} frame(s), nothing was recorded")


def _record(source: Source, recording: Recording, seconds: float | None, console: Console) -> None:
    limit = MAX_SECONDS if seconds is None else seconds
    monitor = InputMonitor()
    start: float | None = None
    times = TimeMonitor()
    with Live(console=console, transient=True, refresh_per_second=10) as live:
        for t, people in source.snapshots():
            start = t if start is None else start
            if (odd := times.check_frame(t, [frame.person for frame in people])) is not None:
                logger.warning("%s: %s", source.name, odd)
            if t - start >= limit:
                break
            for frame in people:
                recording.add(frame)
                _check(monitor, frame)
            if recording.bytes > MAX_BYTES:
                live.console.print(f"stopped: a recording holds at most {MAX_BYTES >> 20} MiB of joints")
                return
            if console.is_terminal:
                live.update(f"  {t - start:.1f} s, {source.frames_in} frames, {len(people)} people; Ctrl-C to stop")
        else:
            return
    if seconds is None:
        console.print(f"stopped: a recording lasts at most {MAX_SECONDS / 60:g} minutes")


def _check(monitor: InputMonitor, frame: Frame) -> None:
    """Log what would make a recognizer's output meaningless; it is recorded as it is."""
    layout = Layout.load(frame.layout)
    if layout.dims == 3:
        confidence = None if frame.confidence is None else frame.confidence[None]
        monitor.watch_frame(frame.joints[None], confidence, layout, [frame.person])


def _save(motion: Motion, folder: Path, stem: str) -> Path:
    """Write to the first name that is free."""
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
    counts = {
        "dropped because newer ones arrived first": source.dropped,
        "ignored because they arrived late": recording.late,
        f"ignored because there were more than {MAX_PEOPLE} people": recording.over_limit,
        "malformed": source.malformed,
        "rejected": source.rejected,
    }
    return (f"{n} frames or messages {reason}" for reason, n in counts.items() if n)


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{folder}: not a folder, expected one for the recordings") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot create the folder: {error.strerror}") from None


def _slug(label: str) -> str:
    """The label as part of a file name."""
    slug = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", label).lower())[:MAX_SLUG].strip("-")
    if not slug:
        raise InputError(f"label {label[:MAX_SLUG]!r} has no letters or digits")
    return slug
