"""MediaPipe BlazePose: one person, offline, with the model in the mediapipe 0.10.21 wheel."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtra, install_hint
from ..extras import require
from .pose_model import Person

TO_Y_UP = np.array([1, -1, -1], np.float32)  # from x to the right, y down, z away from the camera


class MediaPipe:
    """A `PoseModel`: mediapipe33 joints in meters relative to the midpoint of the hips."""

    layout = "mediapipe33"

    def __init__(self) -> None:
        mediapipe = require("mediapipe")
        if not hasattr(mediapipe, "solutions"):
            raise MissingExtra(f"this mediapipe has no pose model, expected version 0.10.21: {install_hint('webcam')}")
        with _quiet():
            self._pose: Any = mediapipe.solutions.pose.Pose(model_complexity=1)
            self._pose.process(np.zeros((64, 64, 3), np.uint8))
        self._found_any = False

    def estimate(self, image: NDArray[np.uint8], t: float) -> list[Person]:
        with contextlib.nullcontext() if self._found_any else _quiet():
            found = self._pose.process(image)
        if found.pose_world_landmarks is None:
            return []
        self._found_any = True
        height, width = image.shape[:2]
        world, flat = found.pose_world_landmarks.landmark, found.pose_landmarks.landmark
        return [
            Person(
                joints=np.array([(p.x, p.y, p.z) for p in world], np.float32) * TO_Y_UP,
                pixels=np.array([(p.x * width, p.y * height) for p in flat], np.float32),
                confidence=np.array([p.visibility for p in world], np.float32),
            )
        ]

    def close(self) -> None:
        self._pose.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings that the C++ library prints on first use; no setting does."""
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
