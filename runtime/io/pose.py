"""Skeletons from images: the `PoseEstimator` protocol.

Shapes: M people, V joints, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import nvtx
from .frame import Frame, SourceUpdate
from .tracker import Tracker


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Person:
    """What an estimator found of one person.

    Args:
        joints: [V, 3] float32 metres, y up, right-handed; the origin may move with the person.
        pixels: [V, 2] float32, x to the right and y down.
        confidence: [V] float32 in 0..1.
    """

    joints: NDArray[np.float32]
    pixels: NDArray[np.float32]
    confidence: NDArray[np.float32]


class PoseEstimator(Protocol):
    """Finds people in images, which come in order of time."""

    layout: str

    def estimate(self, image: NDArray[np.uint8], t: float) -> list[Person]:
        """People in `image` [H, W, 3] uint8 RGB, taken at `t` seconds."""

    def close(self) -> None:
        """Frees the models."""


def watch(images: Iterable[tuple[float, NDArray[np.uint8] | None]], estimator: PoseEstimator) -> Iterator[SourceUpdate]:
    """Everybody in every image (t, RGB) of a video; an image is None where a camera has been silent for a while."""
    tracker = Tracker()
    for t, image in images:
        if image is None:
            yield t, None
            continue
        with nvtx.annotate("decode"):
            people = estimator.estimate(image, t)
        ids = tracker.assign(t, [one.pixels for one in people], [one.confidence for one in people])
        yield (
            t,
            [
                Frame(
                    t=t,
                    person=person,
                    joints=found.joints,
                    layout=estimator.layout,
                    confidence=found.confidence,
                    image=image,
                    pixels=found.pixels,
                )
                for person, found in zip(ids, people, strict=True)
                if person >= 0
            ],
        )
