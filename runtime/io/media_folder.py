"""`ImageFolder` and `VideoFolder`: a folder of images, or of videos, as one video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..extras import require
from .video_file import VIDEO_SUFFIXES, VideoFile

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
PAUSE_S = 1.0  # between the videos of a folder; long enough that everything starts over


class ImageFolder:
    """The images of a folder in natural order, as (seconds, [H, W, 3] uint8 RGB).

    Args:
        paths: of the images.
        fps: their rate, as images have no times.

    Attributes:
        progress: part of the images that was read, 0 to 1.

    Raises:
        InputError: a file is not an image.
        MissingExtra: Pillow is not installed.
    """

    def __init__(self, paths: list[Path], fps: float) -> None:
        self.progress = 0.0
        self._paths, self._fps = paths, fps
        self._pil: Any = require("PIL.Image", "files", "reading images")
        self._ops: Any = require("PIL.ImageOps", "files", "reading images")
        self._first = self._read(paths[0])

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for n, path in enumerate(self._paths):
            yield n / self._fps, self._read(path) if n else self._first
            self.progress = (n + 1) / len(self._paths)

    def close(self) -> None:
        pass

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            with self._pil.open(path) as image:
                return np.asarray(self._ops.exif_transpose(image).convert("RGB"))
        except (OSError, ValueError, self._pil.DecompressionBombError):
            raise InputError(f"{path.name}: is not an image that can be read") from None


class VideoFolder:
    """The videos of a folder in natural order, one after the other with `PAUSE_S` in between; see `VideoFile`."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._current = VideoFile(paths[0])
        self._played = 0

    @property
    def progress(self) -> float:
        return (self._played + self._current.progress) / len(self._paths)

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        start_s = t = 0.0
        for k, path in enumerate(self._paths):
            if k:
                self._current.close()
                self._current, self._played, start_s = VideoFile(path), k, t + PAUSE_S
            for seconds, image in self._current:
                t = start_s + seconds
                yield t, image

    def close(self) -> None:
        self._current.close()


def open_folder(folder: Path, fps: float | None) -> ImageFolder | VideoFolder:
    """Open a folder of images or of videos.

    Args:
        folder: hidden files and files of other kinds are ignored.
        fps: rate of images; required for them.

    Raises:
        InputError: it has neither images nor videos, or both, or the rate of its images is not known.
    """
    images, videos = media_files(folder, IMAGE_SUFFIXES), media_files(folder, VIDEO_SUFFIXES)
    if images and videos:
        raise InputError(f"{folder}: has {len(images)} images and {len(videos)} videos, expected only one of them")
    if videos:
        return VideoFolder(videos)
    if not images:
        raise InputError(f"{folder}: a folder without images or videos, expected files, as in FOLDER/*.npz")
    if fps is None or not 0 < fps < float("inf"):
        raise InputError(f"{folder}: images have no times, expected their frames per second (--fps)")
    return ImageFolder(images, fps)


def expand_video_folders(sources: Sequence[str]) -> list[str]:
    """The sources, with the videos of a folder instead of the folder."""
    expanded: list[str] = []
    for source in sources:
        folder = Path(source)
        videos = folder.is_dir() and not media_files(folder, IMAGE_SUFFIXES) and media_files(folder, VIDEO_SUFFIXES)
        expanded += map(str, videos or (source,))
    return expanded


def media_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a folder with one of these suffixes, in natural order: 2.png before 10.png."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith("."))
    return sorted((path for path in found if path.is_file()), key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
