"""record: the skeletons of a source as motion files, one a person, that carry a label."""

import re
import time
import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live

from ..errors import InputError
from ..io import Frame, Source, open_source, write
from ..motion import MAX_PEOPLE, Motion

MAX_SECONDS = 600.0
MAX_BYTES = 1 << 28  # of joints, all people together
MAX_SLUG = 40
MIN_FRAMES = 2


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


class Recording:
    """The frames of every person, on one clock that starts with the first.

    Attributes:
        bytes: of the joints kept.
        late: frames left out because they came no later than the person's frame before.
        strangers: frames left out of people beyond the first `MAX_PEOPLE`.
    """

    def __init__(self) -> None:
        self.bytes = self.late = self.strangers = 0
        self._tracks: dict[tuple[int, str], _Track] = {}  # (person, layout)
        self._start: float | None = None

    @property
    def is_empty(self) -> bool:
        return not any(len(track.times) >= MIN_FRAMES for track in self._tracks.values())

    def add(self, frame: Frame) -> None:
        self._start = frame.t if self._start is None else self._start
        t, key = frame.t - self._start, (frame.person, frame.layout)
        if key not in self._tracks:
            if len(self._tracks) == MAX_PEOPLE:
                self.strangers += 1
                return
            self._tracks[key] = _Track()
        track = self._tracks[key]
        if track.times and t <= track.times[-1]:
            self.late += 1
            return
        track.times.append(t)
        track.joints.append(frame.joints)
        track.confidence.append(frame.confidence)
        self.bytes += frame.joints.nbytes

    def motions(self, label: str, source: str) -> Iterator[Motion]:
        """A clip of everybody seen at least twice; label, source and id are in its `meta`."""
        for (person, layout), track in self._tracks.items():
            if len(track.times) >= MIN_FRAMES:
                yield track.motion(layout, {"label": label, "source": source, "person": person})


@dataclass(slots=True)
class _Track:
    times: "array[float]" = field(default_factory=lambda: array("d"))
    joints: list[NDArray[np.float32]] = field(default_factory=list)
    confidence: list[NDArray[np.float32] | None] = field(default_factory=list)

    def motion(self, layout: str, meta: dict[str, str | int]) -> Motion:
        joints = np.stack(self.joints)
        confidence = None
        if any(one is not None for one in self.confidence):
            sure = np.ones(joints.shape[1], np.float32)
            confidence = np.stack([sure if one is None else one for one in self.confidence])
        times = np.array(self.times)
        return Motion(joints, 1 / float(np.median(np.diff(times))), layout, confidence, times, meta)


def _follow(source: Source, recording: Recording, seconds: float | None, console: Console) -> None:
    limit = MAX_SECONDS if seconds is None else seconds
    start: float | None = None
    with Live(console=console, transient=True, refresh_per_second=10) as live:
        for t, people in source.moments():
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
        f"left out because they were of more than {MAX_PEOPLE} people": recording.strangers,
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
