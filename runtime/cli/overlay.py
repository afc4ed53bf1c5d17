"""Draw skeletons and labels into a copy of a video."""

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..body.layout import Layout
from ..errors import InputError
from ..extras import require
from ..io.frame import Frame
from ..recognition.decision import Decision

MAX_FPS = 120.0
_COLORS_BGR = ((80, 220, 80), (80, 160, 255), (255, 140, 80), (200, 100, 255), (80, 230, 230))
_TEXT_BGR, _OUTLINE_BGR = (255, 255, 255), (0, 0, 0)


class Overlay:
    """Writes an .mp4, which appears at `path` only on success.

    The frame rate is that of the first two images; while nobody is visible, the previous image is repeated.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".mp4":
            raise InputError(f"{path}: expected an .mp4 file for the overlay")
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder does not exist")
        self._cv2: Any = require("cv2")
        self._path = path
        self._writer: Any = None
        self._start_s = 0.0
        self._fps = 0.0
        self._written = 0
        self._current: tuple[float, np.ndarray] | None = None  # seconds, image [H, W, 3] to draw on

    def __enter__(self) -> "Overlay":
        self._folder = Path(tempfile.mkdtemp(prefix=f".{self._path.stem}-", dir=self._path.parent))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._current:
                self._fps = self._fps or 1.0
                self._write(self._current[0], self._current[1])
            if self._writer is not None:
                self._writer.release()
            if self._written and (kind is None or issubclass(kind, KeyboardInterrupt)):
                os.replace(self._folder / self._path.name, self._path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, frame: Frame, decision: Decision) -> None:
        """Draw one person; the people of one image have the same time. Raises InputError without an image."""
        if frame.image is None or frame.pixels is None:
            raise InputError(f"{self._path}: --overlay needs a video source")
        if self._current is None or frame.t != self._current[0]:
            if self._current is None:
                self._start_s = frame.t
            else:
                self._fps = self._fps or min(MAX_FPS, 1 / max(frame.t - self._current[0], 1 / MAX_FPS))
                self._write(*self._current)
            self._current = frame.t, np.ascontiguousarray(frame.image[..., ::-1])
        self._draw(self._current[1], frame, decision)

    def _write(self, t: float, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        if self._writer is None:
            codec = self._cv2.VideoWriter_fourcc(*"mp4v")
            target = str(self._folder / self._path.name)
            self._writer = self._cv2.VideoWriter(target, codec, self._fps, (width, height))
            if not self._writer.isOpened():
                raise InputError(f"{self._path}: OpenCV cannot write this video")
        while self._written <= round((t - self._start_s) * self._fps):
            self._writer.write(image)
            self._written += 1

    def _draw(self, image: np.ndarray, frame: Frame, decision: Decision) -> None:
        assert frame.pixels is not None
        cv2, color = self._cv2, _COLORS_BGR[frame.person % len(_COLORS_BGR)]
        visible = np.asarray(np.isfinite(frame.pixels).all(axis=-1))  # [V]
        points = [(int(x), int(y)) for x, y in np.nan_to_num(frame.pixels)]
        for joint, parent in Layout.load(frame.layout).edges:
            if visible[joint] and visible[parent]:
                cv2.line(image, points[joint], points[parent], color, 2, cv2.LINE_AA)
        if not visible.any():
            return
        left, top = frame.pixels[visible].min(axis=0)
        position = max(0, int(left)), max(20, int(top) - 10)
        text = f"{decision.label} {decision.score:.2f}"
        for text_color, thickness in ((_OUTLINE_BGR, 4), (_TEXT_BGR, 1)):
            cv2.putText(image, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.6, text_color, thickness, cv2.LINE_AA)
