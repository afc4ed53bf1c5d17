"""`open_source`: a stream of skeletons from a file, a camera, the network or standard input."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from ..body.motion_data import MAX_PEOPLE, MotionData
from ..body.units import turn
from ..errors import InputError
from .bag import is_bag_folder
from .files import check_file, read
from .frame import Frame, Snapshot, SourceUpdate
from .jsonl import JsonLines
from .malformed import Malformed
from .media_folder import ImageFolder, VideoFolder, open_folder
from .net import SCHEMES as NET_SCHEMES
from .net import listen
from .openpose import is_openpose_folder
from .pose import PoseEstimator
from .pose_model import PoseModel
from .video import is_camera, open_video, redact_credentials
from .video_file import VIDEO_SUFFIXES, VideoFile


class Closeable(Protocol):
    def close(self) -> None: ...


class Source:
    """An iterator of `Frame`, one person at a time, and a context manager.

    Attributes:
        name: the source, without passwords; of a listener, the address with the actual port.
        address: host and port of a listener, else None.
        recorded: whether it is a file, a folder or a motion, which have an end and a clock of their own.
        start_s: time at which the source starts: 0 for a video, else that of the first snapshot.
        frames_in: snapshots so far, including those without people.
        dropped: images or messages replaced by newer ones while the consumer was busy.
        malformed, rejected: messages that were invalid, or had no token.
    """

    def __init__(
        self,
        name: str,
        ticks: Iterator[SourceUpdate],
        *,
        owns: tuple[Closeable, ...] = (),
        realtime: bool = False,
        address: tuple[str, int] | None = None,
        recorded: bool = False,
        start_s: float | None = None,
        frames: int | None = None,
    ) -> None:
        self.name, self.address, self.recorded, self.start_s = name, address, recorded, start_s
        self.frames_in = 0
        self._frames_in_total = frames
        self._ticks, self._owns, self._realtime = ticks, owns, realtime
        self._snapshots = self._play()
        self._frames = (frame for _, people in self._snapshots for frame in people)
        self._closed = False
        self._problems = Malformed(name)

    @property
    def dropped(self) -> int:
        return self._count("dropped")

    @property
    def malformed(self) -> int:
        return self._count("malformed") + self._problems.count

    def count_malformed(self, reason: str, sender: str) -> None:
        """Count a frame that cannot be used for a reason that is found out later."""
        self._problems.add(reason, sender)

    @property
    def rejected(self) -> int:
        return self._count("rejected")

    @property
    def progress(self) -> float | None:
        """Part of a recording that was played, 0 to 1; None if that is not known."""
        if self._frames_in_total:
            return self.frames_in / self._frames_in_total
        return next((part.progress for part in self._owns if hasattr(part, "progress")), None)

    @property
    def has_images(self) -> bool:
        """Whether its skeletons are found in images."""
        return any(isinstance(part, PoseEstimator) for part in self._owns)

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """The image [H, W, 3] of the latest snapshot, also of one without people; None without images."""
        return next((part.image for part in self._owns if isinstance(part, PoseEstimator)), None)

    @property
    def pose_latencies_ms(self) -> Sequence[float]:
        """Time that the pose estimator took for each image; empty for sources of skeletons."""
        return next((part.latencies_ms for part in self._owns if isinstance(part, PoseEstimator)), ())

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield (seconds, visible people) for each time, including times without people.

        While a camera or a sender is silent, there is an empty snapshot every `HEARTBEAT_S` seconds, which `frames_in`
        does not count. The time of the next snapshot with people can be slightly earlier than the last of these.
        """
        return self._snapshots

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close cameras, files and pose models."""
        if not self._closed:
            self._closed = True
            for part in self._owns:
                part.close()

    def _count(self, name: str) -> int:
        return sum(getattr(part, name, 0) for part in self._owns)

    def _play(self) -> Iterator[Snapshot]:
        offset: float | None = None  # clock minus source time, at the first snapshot
        try:
            for t, people in self._ticks:
                if self._realtime:
                    offset = time.monotonic() - t if offset is None else offset
                    time.sleep(max(0.0, offset + t - time.monotonic()))
                self.start_s = t if self.start_s is None else self.start_s
                self.frames_in += people is not None
                yield t, people or []
        except InputError as error:
            raise type(error)(f"{self.name}: {error}") from error


def open_source(
    source: str | int | Path | MotionData,
    *,
    layout: str | None = None,
    fps: float | None = None,
    scale: float | None = None,
    up: str | None = None,
    realtime: bool = False,
    pose: str | PoseModel = "mediapipe",
    token: str | None = None,
) -> Source:
    """Open a source of skeletons.

    Args:
        source: camera number, video file, motion file (see `read`) or motion, a folder of images or of videos, `-`
            (JSON lines on standard input), rtsp://…, or an address to listen at for JSON messages: udp://HOST:PORT or
            ws://HOST:PORT (see `net`).
        layout, fps, scale, up: as in `read`; all but `fps` also for JSON messages, `fps` also for images.
        realtime: play a file at its own speed.
        pose: pose estimator for images: a name as in `PoseEstimator.load`, a PoseEstimator or its model.
        token: required from senders to an address; optional if HOST is a loopback address.

    Raises:
        InputError: the source is missing, damaged or of an unknown kind, or requires a token.
        MissingExtra: the packages that the source needs are not installed.
    """
    if isinstance(source, MotionData):
        return Source(
            "motion", _in_meters(_play_clip(source), scale, up), realtime=realtime, recorded=True, frames=source.frames
        )
    name = str(source)
    scheme = name.split("://")[0].lower() if "://" in name else ""
    path = Path(name)
    is_motion = is_openpose_folder(path) or is_bag_folder(path)
    is_images = (path.is_dir() and not is_motion) or path.suffix.lower() in VIDEO_SUFFIXES
    if (is_images or is_camera(source)) and (scale is not None or up is not None):
        raise InputError(f"{redact_credentials(name)}: scale and up are for joints, not for images")
    if is_camera(source):
        estimator = _estimator(pose)
        camera = open_video(source)
        return Source(redact_credentials(name), estimator.track(camera), owns=(camera, estimator))
    if scheme in NET_SCHEMES:
        inbox, listener = listen(name, layout=layout, token=token)
        ticks = _in_meters(iter(inbox), scale, up)
        return Source(listener.name, ticks, owns=(inbox, listener), address=listener.address)
    if scheme:
        raise InputError(
            f"{redact_credentials(name)}: unknown scheme {scheme}://, "
            "expected a file, a camera number, -, rtsp://, udp:// or ws://"
        )
    if is_images:
        video = open_images(path, fps)
        estimator = _estimator(pose)
        parts: tuple[Closeable, ...] = video, estimator
        return Source(name, estimator.track(video), owns=parts, realtime=realtime, recorded=True, start_s=0.0)
    if name == "-":
        lines = JsonLines(_standard_input(), "stdin", layout, is_live=True)
        return Source("stdin", _in_meters(_as_they_arrive(lines), scale, up), owns=(lines,), realtime=realtime)
    if path.suffix.lower() == ".jsonl":
        check_file(path)
        file = path.open(encoding="utf-8", errors="replace")
        lines = JsonLines(file, name, layout)
        frames = (frame for people in lines for frame in people)
        ticks = _in_meters(_grouped(frames), scale, up)
        return Source(name, ticks, owns=(lines,), realtime=realtime, recorded=True)
    motion = read(path, layout, fps, scale=scale, up=up, check=False)  # whoever takes the frames checks them
    return Source(name, _play_clip(motion), realtime=realtime, recorded=True, frames=motion.frames)


def open_images(path: Path, fps: float | None = None) -> VideoFile | VideoFolder | ImageFolder:
    """Open the images of a video file, or of a folder with images (at the rate `fps`) or videos. Raises InputError."""
    return open_folder(path, fps) if path.is_dir() else VideoFile(path)


def _in_meters(ticks: Iterator[SourceUpdate], scale: float | None, up: str | None) -> Iterator[SourceUpdate]:
    """Frames in 3-D scaled to meters and turned to y up, as `read` does it."""
    turn(np.zeros(3, np.float32), up or "y")  # raises before the first frame
    if scale is None and up in (None, "y"):
        return ticks
    return (
        (t, None if people is None else [_turned(frame, scale or 1.0, up or "y") for frame in people])
        for t, people in ticks
    )


def _turned(frame: Frame, scale: float, up: str) -> Frame:
    if frame.joints.shape[-1] != 3:
        return frame
    return replace(frame, joints=turn(frame.joints * np.float32(scale), up))


def _estimator(pose: str | PoseModel) -> PoseEstimator:
    return PoseEstimator.load(pose) if isinstance(pose, str) else PoseEstimator(pose)


def _standard_input() -> TextIO:
    """Standard input, without an error for bytes that are not text."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        with suppress(io.UnsupportedOperation):  # something was read already
            sys.stdin.reconfigure(errors="replace")
    return sys.stdin


def _as_they_arrive(lines: JsonLines) -> Iterator[SourceUpdate]:
    """One snapshot per line without delay, as a live stream does not reveal whether more people follow."""
    for people in lines:
        people.sort(key=lambda frame: frame.t)
        yield people[-1].t, people


def _grouped(frames: Iterator[Frame]) -> Iterator[SourceUpdate]:
    """Group consecutive frames of several people with the same time."""
    people: list[Frame] = []
    try:
        for frame in frames:
            if people and (frame.t != people[0].t or _is_full(people, frame)):
                yield people[0].t, people
                people = []
            people.append(frame)
    except InputError:
        if people:
            yield people[0].t, people
        raise
    if people:
        yield people[0].t, people


def _is_full(people: list[Frame], frame: Frame) -> bool:
    return len(people) == MAX_PEOPLE or any(frame.person == other.person for other in people)


def _play_clip(motion: MotionData) -> Iterator[SourceUpdate]:
    """The visible people in each frame of a clip."""
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
