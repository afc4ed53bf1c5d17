"""`open_source`: skeletons one moment after the other, from a file, a camera or standard input."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from ..errors import InputError
from ..motion import Motion
from .files import check_file, read
from .frame import Frame, Tick
from .jsonl import stream_jsonl
from .pose import PoseEstimator, load_estimator, watch
from .video import SUFFIXES, Camera, VideoFile

CAMERA_SCHEMES = ("rtsp", "rtsps")
PLANNED_SCHEMES = ("udp", "ws", "wss")


class Closeable(Protocol):
    def close(self) -> None: ...


class Source:
    """An iterator of `Frame`, people of one moment one after the other, and a context manager that closes it.

    Attributes:
        name: what was opened.
        frames_in: moments taken in so far, those with nobody in sight included.
        dropped: images of a camera that came while the consumer was busy.
    """

    def __init__(
        self, name: str, ticks: Iterator[Tick], *, owns: tuple[Closeable, ...] = (), realtime: bool = False
    ) -> None:
        self.name = name
        self.frames_in = 0
        self._ticks, self._owns, self._realtime = ticks, owns, realtime
        self._frames = self._flatten()
        self._closed = False

    @property
    def dropped(self) -> int:
        return sum(getattr(part, "dropped", 0) for part in self._owns)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees cameras, files and pose models."""
        if not self._closed:
            self._closed = True
            for part in self._owns:
                part.close()

    def _flatten(self) -> Iterator[Frame]:
        lead: float | None = None  # clock time less source time, of the first moment
        try:
            for t, people in self._ticks:
                if self._realtime:
                    lead = time.monotonic() - t if lead is None else lead
                    time.sleep(max(0.0, lead + t - time.monotonic()))
                self.frames_in += 1
                yield from people
        except InputError as error:
            raise type(error)(f"{self.name}: {error}") from error
        except UnicodeDecodeError:
            raise InputError(f"{self.name}: not UTF-8 text, expected JSON lines") from None


def open_source(
    source: str | int | Path,
    *,
    layout: str | None = None,
    fps: float | None = None,
    scale: float | None = None,
    realtime: bool = False,
    pose: str | PoseEstimator = "mediapipe",
) -> Source:
    """Opens a source of skeletons.

    Args:
        source: camera number, video file, motion file (see `read`), `-` (JSON lines on standard input) or rtsp://…
        layout, fps, scale: as in `read`; `layout` also for JSON lines that do not name theirs.
        realtime: yield the frames of a file no sooner than their timestamps say.
        pose: who finds the skeletons in images: `mediapipe`, `rtmlib` or a PoseEstimator.

    Raises:
        InputError: the source is missing, damaged or of an unknown kind.
        MissingExtra: it is a video and the packages for that are not installed.
    """
    name = str(source)
    scheme = name.split("://")[0].lower() if "://" in name else ""
    path = Path(name)
    is_camera_number = name.isdecimal() and len(name) < 4
    if is_camera_number or scheme in CAMERA_SCHEMES:
        estimator = load_estimator(pose)
        camera = Camera(int(name) if is_camera_number else name)
        return Source(name, watch(camera, estimator), owns=(camera, estimator))
    if scheme:
        reason = "not supported yet" if scheme in PLANNED_SCHEMES else "unknown"
        raise InputError(f"{name}: {scheme}:// is {reason}, expected a file, a camera number, - or rtsp://")
    if path.suffix.lower() in SUFFIXES:
        video = VideoFile(path)
        estimator = load_estimator(pose)
        return Source(name, watch(video, estimator), owns=(video, estimator), realtime=realtime)
    if name == "-":
        return Source("stdin", _singly(stream_jsonl(sys.stdin, layout)), realtime=realtime)
    if path.suffix.lower() == ".jsonl":
        check_file(path)
        file = path.open(encoding="utf-8", errors="replace")
        return Source(name, _singly(stream_jsonl(file, layout)), owns=(file,), realtime=realtime)
    return Source(name, _moments(read(path, layout, fps, scale=scale)), realtime=realtime)


def _singly(frames: Iterator[Frame]) -> Iterator[Tick]:
    return ((frame.t, [frame]) for frame in frames)


def _moments(motion: Motion) -> Iterator[Tick]:
    """Everybody in sight in each frame of a clip."""
    joints = motion.joints if motion.joints.ndim == 4 else motion.joints[:, None]  # [T, M, V, D]
    confidence = None if motion.confidence is None else motion.confidence.reshape(joints.shape[:-1])
    present = np.asarray(np.isfinite(joints).all(axis=-1).any(axis=-1))  # [T, M]
    for t, seconds in enumerate(motion.times):
        yield (
            float(seconds),
            [
                Frame(
                    t=float(seconds),
                    person=int(m),
                    joints=joints[t, m],
                    layout=motion.layout,
                    confidence=None if confidence is None else confidence[t, m],
                )
                for m in np.flatnonzero(present[t])
            ],
        )
