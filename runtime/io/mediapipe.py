"""MediaPipe's pose models (BlazePose), run by LiteRT: several people, offline.

It computes what MediaPipe's own graph `pose_landmark_cpu` computes for one person: the detector runs on the whole
image, the landmark model on a turned square around each person, and the square follows the two auxiliary landmarks of
the image before. The constants are those of the graph. Shapes: H x W pixels, N boxes, K landmarks.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._core import cut_image
from ..body.units import turn
from ..errors import InputError
from ..extras import require
from .pose_files import DETECTOR, LANDMARKS, find_model
from .pose_model import Person

MAX_PEOPLE = 4
DETECT_S = 0.5  # between two looks for newcomers while somebody is in the image
MIN_SCORE = 0.5  # of a detection, and of a pose in its square
SAME_BOX = 0.3  # intersection over union from which two boxes are of one person
SAME_PERSON = 0.15  # distance of the hips, in sides of the square, below which two squares are of one person
MAX_SQUARE = 4.0  # side, in longer sides of the image; beyond it the person is lost
WIDER = 1.25  # square divided by the circle around the person
STRIDES = (8, 16, 32, 32, 32)  # of the detector's layers, which have two anchors in a cell each
JOINTS, CENTER, SCALE = 33, 33, 34  # landmarks: the joints, the midpoint of the hips, a point of the circle around
REFINE_PX = 4  # of the heat map, to each side of a landmark
START_FPS = 30.0  # of the filters before there is a second image

Float = NDArray[np.float32]


class Square(NamedTuple):
    """A part of an image, in pixels: `angle` radians clockwise."""

    x: float
    y: float
    side: float
    angle: float

    @classmethod
    def around(cls, center: Float, other: Float) -> Square:
        """The square around the circle with this center through the other point, which is above it once turned."""
        dx, dy = float(other[0] - center[0]), float(other[1] - center[1])
        return cls(float(center[0]), float(center[1]), 2 * WIDER * float(np.hypot(dx, dy)), np.arctan2(dx, -dy))

    def turn(self, vectors: Float) -> Float:
        """Turn vectors [..., 2] of the square into those of the image."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        x, y = vectors[..., 0], vectors[..., 1]
        return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)

    def to_image(self, points: Float) -> Float:
        """Pixels of points [..., 2], which are 0..1 in the square."""
        return self.turn((points - np.float32(0.5)) * np.float32(self.side)) + np.array([self.x, self.y], np.float32)

    def is_near(self, other: Square) -> bool:
        return float(np.hypot(self.x - other.x, self.y - other.y)) < SAME_PERSON * max(self.side, other.side)


class OneEuro:
    """The One Euro filter (Casiez et al. 2012) of points that move with speeds in units of a scale."""

    def __init__(self, min_cutoff_hz: float, beta: float) -> None:
        self._min_cutoff_hz, self._beta = min_cutoff_hz, beta
        self._last: tuple[float, Float, Float, Float] | None = None  # time, points, filtered points, speed
        self._fps = START_FPS

    def __call__(self, t: float, points: Float, scale: float = 1.0) -> Float:
        """Filter `points` at `t` seconds; points at a time that is not later pass unchanged."""
        if self._last is None:
            self._last = t, points, points, np.zeros_like(points)
            return points
        last_t, last, filtered, speed = self._last
        if t <= last_t:
            return points
        self._fps = 1 / (t - last_t)
        weight = self._weight(1.0)
        speed = weight * (points - last) * (self._fps / scale) + (1 - weight) * speed
        weight = self._weight(self._min_cutoff_hz + self._beta * np.abs(speed))
        filtered = (weight * points + (1 - weight) * filtered).astype(np.float32)
        self._last = t, points, filtered, speed
        return filtered

    def _weight(self, cutoff_hz: Any) -> Any:
        return 1 / (1 + self._fps / (2 * np.pi * cutoff_hz))


@dataclass
class Track:
    """A person who is followed from image to image."""

    square: Square
    visibility: Float | None = None
    pixels: OneEuro = field(default_factory=lambda: OneEuro(0.05, 80))
    circle: OneEuro = field(default_factory=lambda: OneEuro(0.01, 10))
    joints: OneEuro = field(default_factory=lambda: OneEuro(0.1, 40))

    def update(self, t: float, pixels: Float, joints: Float, visibility: Float) -> Person:
        """Smooth pixels [35, 2], joints [33, 3] and visibility [33], and move the square."""
        scale = max(2 * float(np.hypot(*(pixels[SCALE] - pixels[CENTER]))), 1e-6)
        self.square = Square.around(*self.circle(t, pixels[JOINTS:], scale))
        old = visibility if self.visibility is None else self.visibility
        self.visibility = np.float32(0.1) * visibility + np.float32(0.9) * old
        return Person(
            joints=turn(self.joints(t, joints), "-y"),
            pixels=self.pixels(t, pixels[:JOINTS], scale),
            confidence=self.visibility,
        )


class MediaPipe:
    """A `PoseModel`: mediapipe33 joints of several people, in meters relative to the midpoint of the hips.

    Args:
        size: of the landmark model: lite, full or heavy.
        people: most people followed at a time.
        folder: with the models; default: where `motionrt fetch pose` puts them.

    Raises:
        InputError: the models are not there, or are not the expected ones.
        MissingExtra: LiteRT is not installed.
    """

    layout = "mediapipe33"

    def __init__(self, size: str = "full", people: int = MAX_PEOPLE, folder: Path | None = None) -> None:
        if size not in LANDMARKS:
            raise InputError(f"unknown size {size!r} of the pose model, expected {', '.join(LANDMARKS)}")
        self._detector = _Network(find_model(DETECTOR, folder))
        self._landmarks = _Network(find_model(LANDMARKS[size], folder))
        self._anchors = make_anchors(self._detector.input_px)
        self._people = people
        self._tracks: list[Track] = []
        self._detected_s = -np.inf

    def estimate(self, image: NDArray[np.uint8], t: float) -> list[Person]:
        looks = not self._tracks or not 0 <= t - self._detected_s < DETECT_S
        if looks and len(self._tracks) < self._people:
            self._detected_s = t
            for square in self._detect(image):
                if not any(square.is_near(track.square) for track in self._tracks):
                    self._tracks.append(Track(square))
        people: list[Person] = []
        kept: list[Track] = []
        for track in self._tracks[: self._people]:
            if any(track.square.is_near(other.square) for other in kept):
                continue
            found = self._find_landmarks(image, track.square)
            if found is not None:
                people.append(track.update(t, *found))
                kept.append(track)
        self._tracks = kept
        return people

    def close(self) -> None:
        self._tracks.clear()

    def _detect(self, image: NDArray[np.uint8]) -> list[Square]:
        """The people in the whole image, the most certain one first."""
        height, width = image.shape[:2]
        whole = Square(width / 2, height / 2, max(width, height), 0.0)
        values = self._detector.run(cut(image, whole, self._detector.input_px, goes_on=False) * 2 - 1)
        boxes = decode_boxes(values[12][0], values[1][0, :, 0], self._anchors, self._detector.input_px)
        return [Square.around(*whole.to_image(points[2:4])) for points in boxes]

    def _find_landmarks(self, image: NDArray[np.uint8], square: Square) -> tuple[Float, Float, Float] | None:
        """Pixels [35, 2], joints [33, 3] and visibility [33] of the person in a square, or None if there is none."""
        if not 1 <= square.side <= MAX_SQUARE * max(image.shape[:2]):
            return None
        size = self._landmarks.input_px
        values = self._landmarks.run(cut(image, square, size))
        if values[1].item() < MIN_SCORE:
            return None
        landmarks = values[195].reshape(-1, 5)  # x, y, z in pixels of the square, visibility, presence
        joints = values[117].reshape(-1, 3)[:JOINTS].copy()
        joints[:, :2] = square.turn(joints[:, :2])
        points = refine(landmarks[: SCALE + 1, :2] / np.float32(size), values[39][0])
        return square.to_image(points), joints, _sigmoid(landmarks[:JOINTS, 3])


class _Network:
    """A LiteRT model with one image as input."""

    def __init__(self, path: Path) -> None:
        litert: Any = require("ai_edge_litert.interpreter")
        with _quiet():
            self._interpreter = litert.Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.input_px = int(self._input["shape"][1])

    def run(self, image: Float) -> dict[int, Float]:
        """Outputs by the size of their last axis, which tells them apart."""
        self._interpreter.set_tensor(self._input["index"], image[None])
        self._interpreter.invoke()
        return {int(one["shape"][-1]): self._interpreter.get_tensor(one["index"]) for one in self._outputs[::-1]}


def cut(image: NDArray[np.uint8], square: Square, size: int, goes_on: bool = True) -> Float:
    """The square of an image as [size, size, 3] in 0..1; beyond its border the image goes on, or is black.

    It rounds as MediaPipe does: another interpolation moves the landmarks of blurred feet by centimeters.
    """
    origin, *ends = square.to_image(np.array([[0, 0], [1, 0], [0, 1]], np.float32)).astype(np.float64)
    right, down = (((end - origin) / size).tolist() for end in ends)
    return cut_image(image, origin.tolist(), right, down, size, goes_on)


def make_anchors(size: int) -> Float:
    """Centers [N, 2] of the detector's boxes in 0..1: layers of the same stride share their cells."""
    rows = []
    for stride in dict.fromkeys(STRIDES):
        cells = size // stride
        centers = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).reshape(-1, 2)
        rows.append(np.repeat((centers + 0.5) / cells, 2 * STRIDES.count(stride), axis=0))
    return np.concatenate(rows).astype(np.float32)


def decode_boxes(values: Float, scores: Float, anchors: Float, size: int) -> list[Float]:
    """People in the outputs of the detector, the most certain one first.

    Boxes of one person are averaged by their scores.

    Args:
        values: [N, 12]: x, y, width, height, and four points, in pixels relative to the anchors.
        scores: [N] logits.
        anchors: [N, 2] in 0..1.
        size: pixels of the image.
    Returns:
        Points [6, 2] of each person, in 0..1: a corner of the box, its opposite, the midpoint of the hips, a point of
        the circle around the body, and the same of the upper body.
    """
    scores = _sigmoid(scores)
    likely = np.flatnonzero(scores >= MIN_SCORE)
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    points = values[likely].reshape(-1, 6, 2) / np.float32(size)
    center, half = points[:, 0] + anchors[likely], points[:, 1] / 2
    points[:, 2:] += anchors[likely, None]
    points[:, 0], points[:, 1] = center - half, center + half
    scores = scores[likely]
    people = []
    while len(points):
        same = _overlap(points[0], points) > SAME_BOX
        same[0] = True
        people.append(np.average(points[same], axis=0, weights=scores[same]).astype(np.float32))
        points, scores = points[~same], scores[~same]
    return people


def refine(points: Float, heat: Float) -> Float:
    """Move points [K, 2], 0..1, to the center of the heat map [h, w, >= K] (logits) around them where it is sure."""
    height, width = heat.shape[:2]
    reach = np.arange(-REFINE_PX, REFINE_PX + 1)
    cell = np.floor(points * np.array([width, height], np.float32)).astype(int)
    inside = ((cell >= 0) & (cell < [width, height])).all(axis=1)
    x, y = cell[:, :1] + reach, cell[:, 1:] + reach  # [K, 7]
    there = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    rows, columns = y.clip(0, height - 1), x.clip(0, width - 1)
    near = _sigmoid(heat[rows[:, :, None], columns[:, None, :], np.arange(len(points))[:, None, None]]) * there
    total = near.sum(axis=(1, 2))
    sure = inside & (near.max(axis=(1, 2)) >= MIN_SCORE)
    center_x = (near.sum(axis=1) * x).sum(axis=1) / np.maximum(total, 1e-6) / width
    center_y = (near.sum(axis=2) * y).sum(axis=1) / np.maximum(total, 1e-6) / height
    return np.where(sure[:, None], np.stack([center_x, center_y], axis=-1), points).astype(np.float32)


def _overlap(box: Float, boxes: Float) -> Float:
    """Intersection over union of a box with boxes; their first two points are opposite corners."""
    common = np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0])
    intersection = common.clip(0).prod(axis=-1)
    union = (box[1] - box[0]).prod() + (boxes[:, 1] - boxes[:, 0]).prod(axis=-1) - intersection
    overlap: Float = (intersection / np.maximum(union, 1e-9)).astype(np.float32)
    return overlap


def _sigmoid(values: Float) -> Float:
    return 1 / (1 + np.exp(-values.clip(-80, 80)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what the C++ library prints when it loads a model; no setting does."""
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
