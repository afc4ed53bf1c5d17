"""Skeletons from images: the `PoseEstimator` protocol, and ids that stay with the people.

Shapes: M people, V joints, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingExtra
from .frame import Frame, Tick


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


def load_estimator(pose: str | PoseEstimator) -> PoseEstimator:
    """`mediapipe` (one person, offline), `rtmlib` (several people, fetches its models) or your own estimator.

    Raises MissingExtra where its packages are not installed.
    """
    if not isinstance(pose, str):
        return pose
    if pose == "mediapipe":
        from .mediapipe import MediaPipe

        return MediaPipe()
    if pose == "rtmlib":
        from .rtm import RTM

        return RTM()
    raise InputError(f"unknown pose estimator {pose!r}, expected mediapipe or rtmlib")


def require(module: str, extra: str = "webcam") -> Any:
    """An optional package. Raises MissingExtra, naming the extra that brings it, if it cannot be imported."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f'video needs {module}: pip install "motionrt[{extra}]" ({error})') from None


def watch(images: Iterable[tuple[float, NDArray[np.uint8]]], estimator: PoseEstimator) -> Iterator[Tick]:
    """Everybody in every image (t, RGB) of a video."""
    ids = PersonIds()
    for t, image in images:
        people = estimator.estimate(image, t)
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
                for person, found in zip(ids.assign(t, people), people, strict=True)
            ],
        )


class PersonIds:
    """Gives the people of successive images ids by where they were: nearest centre first.

    A person keeps an id over `forget_s` seconds out of sight, if found again within `reach` body sizes.
    """

    def __init__(self, *, forget_s: float = 1.0, reach: float = 0.5) -> None:
        self.forget_s, self.reach = forget_s, reach
        self._last: dict[int, tuple[float, NDArray[np.float32], float]] = {}  # id: t, centre [2], size

    def assign(self, t: float, people: list[Person]) -> list[int]:
        """Ids of `people`, in their order; the smallest free ones for those not seen before."""
        self._last = {key: seen for key, seen in self._last.items() if t - seen[0] <= self.forget_s}
        centres = [np.nanmean(person.pixels, axis=0) for person in people]
        sizes = [float(np.linalg.norm(np.ptp(person.pixels, axis=0))) for person in people]
        near = sorted(
            (float(np.linalg.norm(centres[m] - centre)), key, m)
            for key, (_, centre, size) in self._last.items()
            for m in range(len(people))
            if np.linalg.norm(centres[m] - centre) <= self.reach * max(size, sizes[m])
        )
        ids: dict[int, int] = {}
        for _, key, m in near:
            if m not in ids and key not in ids.values():
                ids[m] = key
        taken = set(self._last) | set(ids.values())
        for m in range(len(people)):
            if m not in ids:
                ids[m] = next(key for key in range(len(taken) + 1) if key not in taken)
                taken.add(ids[m])
            self._last[ids[m]] = (t, centres[m], sizes[m])
        return [ids[m] for m in range(len(people))]
