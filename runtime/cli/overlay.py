"""Draw skeletons and labels into a copy of a video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..extras import require
from ..io.atomic_write import atomic_write
from ..io.drawing import Person, draw_people
from ..io.frame import Frame
from ..io.video_file import VideoFile
from ..io.video_writer import VideoWriter
from ..recognition.segments import Segment, label_line

Images = Iterable[tuple[float, NDArray[np.uint8]]]  # seconds, [H, W, 3] RGB

CAMERA_QUALITY = 12  # of the images of a camera, which are compressed a second time


class Overlay:
    """Copies a video with the people and the labels of its segments; the .mp4 appears at `path` when it is complete.

    Every image is at its own time. A segment and its score are known at its end only, so that a source is recognized
    first and drawn afterwards: a file is read again; the images of a camera are kept in a temporary file until then.
    """

    def __init__(self, path: Path, keep_images: bool) -> None:
        """Check the path, for a source whose images have to be kept or not. Raises InputError, MissingExtra."""
        check_overlay(path)
        self._path, self._keep = path, keep_images
        self._people: dict[float, list[Frame]] = {}  # of each image, by its time
        self._stack = ExitStack()
        self._camera: _CameraImages | None = None

    def __enter__(self) -> Overlay:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def observe(self, t: float, people: Sequence[Frame], image: NDArray[np.uint8] | None) -> None:
        """Remember where the people of an image are; None while a camera is silent.

        Raises InputError if the people have no image.
        """
        if any(frame.image is None or frame.pixels is None for frame in people):
            raise InputError(f"{self._path}: --overlay needs a video source")
        self._people[t] = [replace(frame, image=None) for frame in people]
        if self._keep and image is not None:
            if self._camera is None:
                self._camera = self._stack.enter_context(_CameraImages(self._path.parent))
            self._camera.add(t, image)

    def write(self, images: Images | None, segments: Sequence[Segment]) -> None:
        """Draw the images of a file, or the kept ones if it is None, up to the last one that was observed."""
        if images is None:
            images = self._camera.read() if self._camera else ()
        if not self._people:
            return
        several = len({segment.person for segment in segments}) > 1
        end_s = max(self._people)
        try:
            with atomic_write(self._path) as file, VideoWriter(file.name) as writer:
                for t, image in images:
                    if t > end_s:
                        break
                    people = [
                        _label(frame, _segment(segments, frame.person, t), several) for frame in self._people.get(t, ())
                    ]
                    writer.add(t, draw_people(image, people))
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror or error}") from None


class _CameraImages:
    """The images of a camera in a temporary file."""

    def __init__(self, folder: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=".overlay-", dir=folder)
        self._path = Path(self._folder.name) / "camera.mp4"
        self._writer = VideoWriter(str(self._path), CAMERA_QUALITY)
        self._times: list[float] = []

    def __enter__(self) -> _CameraImages:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
        self._folder.cleanup()

    def add(self, t: float, image: NDArray[np.uint8]) -> None:
        if self._writer.add(t, image):
            self._times.append(t)

    def read(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        self._writer.close()
        video = VideoFile(self._path)
        for t, (_, image) in zip(self._times, video, strict=False):
            yield t, image
        video.close()


def check_overlay(path: Path) -> None:
    """Raise InputError or MissingExtra unless an overlay can be written to `path`."""
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: expected an .mp4 file for the overlay")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder does not exist")
    for module in ("av", "PIL"):
        require(module, "files", "writing .mp4")


def _label(frame: Frame, segment: Segment | None, several: bool) -> Person:
    """A person with the line that the text output has for the segment."""
    if segment is None:
        return Person(frame)
    return Person(frame, label_line(segment, several), is_faint=segment.label == "none")


def _segment(segments: Sequence[Segment], person: int, t: float) -> Segment | None:
    """The segment of a person at `t` seconds; at the limit of two, the later one."""
    found = (s for s in segments if s.person == person and s.start <= t <= s.end)
    return max(found, key=lambda s: s.start, default=None)
