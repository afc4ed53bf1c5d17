"""`PoseEstimator`: skeletons from a webcam, a video file or a video stream.

Shapes: H x W pixels, V joints.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import nvtx
from ..body.layout import Layout
from ..errors import InputError
from .frame import Frame, SourceUpdate
from .pose_model import Person, PoseModel
from .tracker import Tracker
from .video import open_video

SIZES = {"mediapipe": "full", "mediapipe-lite": "lite", "mediapipe-heavy": "heavy"}


class PoseEstimator:
    """Finds people in images and keeps their ids from one image to the next.

        with PoseEstimator.load("mediapipe") as estimator:
            for frame in estimator.frames(0):  # a webcam; or "clip.mp4", "rtsp://…"
                print(frame.t, frame.person, frame.joints)

    Args:
        model: the network: any object with

            - `layout`, the name of its skeleton layout;
            - `estimate(image, t)`, which returns (joints [V, 3] in meters, pixels [V, 2], confidence [V]) of each
              person in `image` [H, W, 3] uint8 RGB, taken at `t` seconds;
            - `close()`.

    Attributes:
        latencies_ms: time that `track` took to find the people in each image.
        image: the image [H, W, 3] of the latest people, or of nobody, that `track` yielded; None for a heartbeat.
    """

    def __init__(self, model: PoseModel) -> None:
        self.model = model
        self.latencies_ms = array("d")
        self.image: NDArray[np.uint8] | None = None

    @classmethod
    def load(cls, name: str) -> PoseEstimator:
        """Load an estimator by name.

        Args:
            name: `mediapipe`, `mediapipe-lite` or `mediapipe-heavy` (`motionrt fetch pose` gets their models), or
                `rtmlib` (downloads its models itself).

        Raises:
            InputError: the name is unknown, or the models are not there or cannot be downloaded.
            MissingExtra: its packages are not installed.
        """
        if name in SIZES:
            from .mediapipe import MediaPipe

            return cls(MediaPipe(SIZES[name]))
        if name == "rtmlib":
            from .rtm import RTMW3D

            return cls(RTMW3D())
        raise InputError(f"unknown pose estimator {name!r}, expected {', '.join(SIZES)} or rtmlib")

    @property
    def layout(self) -> str:
        """Name of the skeleton layout of its joints."""
        return self.model.layout

    def estimate(self, image: NDArray[np.uint8], t: float) -> list[Person]:
        """Find the people in one image.

        Args:
            image: [H, W, 3] uint8 RGB.
            t: seconds; images arrive in chronological order.
        """
        with nvtx.annotate("decode"):
            return [Person(*person) for person in self.model.estimate(image, t)]

    def frames(self, video: int | str | Path) -> Iterator[Frame]:
        """Iterate over the people in a video, image by image.

        Args:
            video: webcam number, path of a video file, or address of a stream (rtsp://…). If a webcam or a stream
                delivers images faster than they are processed, only the newest is used.

        Yields:
            One person in one image: `t`, `person` (the id), `joints`, `confidence`, `image`, `pixels`.

        Raises:
            InputError: the video cannot be opened.
            MissingExtra: PyAV, or OpenCV for a camera, is not installed.
        """
        with closing(open_video(video)) as images:
            for _, people in self.track(images):
                yield from people or ()

    def track(self, images: Iterable[tuple[float, NDArray[np.uint8] | None]]) -> Iterator[SourceUpdate]:
        """Find the people in a sequence of images and assign ids to them.

        Args:
            images: (seconds, [H, W, 3] uint8 RGB); None instead of an image is passed on as a heartbeat.
        """
        tracker = Tracker(parents=Layout.load(self.layout).parents)
        for t, image in images:
            self.image = image
            if image is None:
                yield t, None
                continue
            start_s = time.perf_counter()
            people = self.estimate(image, t)
            self.latencies_ms.append(1000 * (time.perf_counter() - start_s))
            ids = tracker.assign(t, [person.pixels for person in people], [person.confidence for person in people])
            yield (
                t,
                [
                    Frame(
                        t=t,
                        person=id_,
                        joints=person.joints,
                        layout=self.layout,
                        confidence=person.confidence,
                        image=image,
                        pixels=person.pixels,
                    )
                    for id_, person in zip(ids, people, strict=True)
                    if id_ >= 0
                ],
            )

    def close(self) -> None:
        """Free the network."""
        self.model.close()

    def __enter__(self) -> PoseEstimator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
