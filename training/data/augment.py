"""Random changes of a clip that preserve its action. Needs no torch.

Every function takes joints [T, V, 3] in meters, y up, and returns new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ...runtime.body.layout import Layout
from .clips import resample


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Strength of the random changes.

    Attributes:
        tilt: standard deviation of the camera's tilt about x and about z, radians.
        webcam: share of clips with the depth of a webcam's pose estimator, see `vary_depth`.
        hidden_legs: share of clips whose legs are out of the picture, see `hide_legs`.
    """

    tilt: float = 0.08
    webcam: float = 0.0
    hidden_legs: float = 0.0


def augment(
    joints: np.ndarray,
    fps: float,
    rate_hz: float,
    layout: Layout,
    rng: Generator,
    config: Augmentation = Augmentation(),
) -> np.ndarray:
    """Resample a clip to `rate_hz` with random speed, body proportions, viewpoint and sensor errors."""
    speed = rng.uniform(0.75, 1.35)
    joints = resample(joints, max(2, round(len(joints) * rate_hz / fps / speed)))
    joints = vary_body(joints, layout, rng)
    joints = rotate(joints, rng.uniform(-np.pi, np.pi), rng.normal(0, config.tilt, 2))
    if config.webcam and rng.random() < config.webcam:
        joints = vary_depth(joints, layout, rng)
    if config.hidden_legs and rng.random() < config.hidden_legs:
        joints = hide_legs(joints, layout, rng)
    return vary_sensor(joints, rate_hz, rng)


def augment_picture(joints: np.ndarray, fps: float, rate_hz: float, rng: Generator) -> np.ndarray:
    """Resample a clip of a 2-D data set to `rate_hz` with random speed, size, roll and detector errors."""
    joints = resample(joints, max(2, round(len(joints) * rate_hz / fps / rng.uniform(0.75, 1.35))))
    joints = rotate(joints * rng.uniform(0.85, 1.15, 3), 0, np.array([0, rng.normal(0, 0.05)]))
    return _flat(vary_sensor(joints, rate_hz, rng))


def take_picture(joints: np.ndarray, layout: Layout, rng: Generator) -> np.ndarray:
    """Project a clip by a random camera, which sees most people from the front; z becomes 0.

    The unit stays the meter, at the distance of the person.
    """
    root = np.median(joints[:, layout.root], 0)
    if rng.random() < 0.6:
        left, right = ([list(side) for side in layout.facing][k] for k in (0, 1))
        x, _, z = (joints[:, left] - joints[:, right]).mean((0, 1))
        yaw = np.arctan2(z, x) + rng.normal(0, 0.5)
    else:
        yaw = rng.uniform(-np.pi, np.pi)
    seen = rotate(joints - root, yaw, np.array([rng.normal(0, 0.15), rng.normal(0, 0.05)]))
    distance = rng.uniform(2, 6) + seen[:, layout.root, 2].max()
    return _flat(seen * (distance / np.maximum(distance - seen[..., 2:], 0.5)))


def _flat(joints: np.ndarray) -> np.ndarray:
    return (joints * np.array([1, 1, 0])).astype(np.float32)


def mirror(joints: np.ndarray, layout: Layout) -> np.ndarray:
    """Swap left and right."""
    return joints[:, list(layout.mirror)] * np.array([-1, 1, 1], np.float32)


def rotate(joints: np.ndarray, yaw: float, tilt: np.ndarray) -> np.ndarray:
    """Rotate by `yaw` about the vertical, then tilt about x and z like a camera that is not level; radians."""
    (cy, sy), (cx, sx), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (yaw, *tilt))
    R_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    R_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    R_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (joints @ (R_z @ R_x @ R_y).T).astype(np.float32)


def vary_body(joints: np.ndarray, layout: Layout, rng: Generator) -> np.ndarray:
    """Scale every bone at random, left and right alike, to hide the sensor and the person."""
    scale = rng.normal(1, 0.07, len(layout.joints))
    scale = rng.uniform(0.85, 1.15) * (scale + scale[list(layout.mirror)]) / 2
    scaled = np.empty_like(joints)
    for joint in sorted(range(len(layout.joints)), key=lambda j: _depth(j, layout)):
        parent = layout.parents[joint]
        if parent < 0:
            scaled[:, joint] = joints[:, joint]
        else:
            scaled[:, joint] = scaled[:, parent] + scale[joint] * (joints[:, joint] - joints[:, parent])
    return scaled


def vary_depth(joints: np.ndarray, layout: Layout, rng: Generator) -> np.ndarray:
    """The depth, z, that a pose estimator sees in a picture: compressed, and three times as noisy as x and y."""
    root = joints[:, [layout.root]]
    offset = (joints - root) * np.array([1, 1, rng.uniform(0.4, 1)])
    keep = rng.uniform(0.2, 0.8)  # of the noise, from frame to frame
    noise = rng.normal(0, rng.uniform(0.003, 0.012), joints.shape) * np.array([1, 1, 3])
    for t in range(1, len(noise)):
        noise[t] = keep * noise[t - 1] + (1 - keep**2) ** 0.5 * noise[t]
    return (root + offset + noise).astype(np.float32)


def hide_legs(joints: np.ndarray, layout: Layout, rng: Generator) -> np.ndarray:
    """The legs that a sensor reports when it cannot see them: still, hanging straight down, or at random."""
    knees, ankles = (
        [layout.joints.index(f"{side}_{part}") for side in ("left", "right")] for part in ("knee", "ankle")
    )
    hips, root = [layout.parents[knee] for knee in knees], joints[:, [layout.root]]
    joints, kind = joints.copy(), rng.integers(3)
    if kind == 0:
        legs = knees + ankles
        joints[:, legs] = (joints[:1, legs] - root[:1]) + root
    elif kind == 1:
        shin = np.array([0, -rng.uniform(0.3, 0.45), 0], np.float32)
        joints[:, knees] = joints[:, hips] + shin
        joints[:, ankles] = joints[:, knees] + shin
    else:
        drift = rng.normal(0, 0.08, (max(2, len(joints) // 8) + 1, 4, 3)).astype(np.float32)
        joints[:, knees + ankles] += resample(drift, len(joints))
    return joints


def vary_sensor(joints: np.ndarray, rate_hz: float, rng: Generator) -> np.ndarray:
    """Random sensor errors: smoothing, jitter, drift, a lower frame rate, a joint frozen relative to the root."""
    T, V, _ = joints.shape
    if rng.random() < 0.3:
        size = int(rng.integers(2, 6))
        padded = np.pad(joints, ((size // 2, size - 1 - size // 2), (0, 0), (0, 0)), "edge")
        total = np.cumsum(np.pad(padded, ((1, 0), (0, 0), (0, 0))), 0, dtype=np.float64)
        joints = (total[size:] - total[:-size]) / size
    if rng.random() < 0.3:
        joints = resample(resample(joints.astype(np.float32), max(2, round(T * rng.uniform(8, 15) / rate_hz))), T)
    offset = rng.normal(0, rng.uniform(0, 0.025), (1, V, 3))
    drift = resample(rng.normal(0, rng.uniform(0, 0.02), (max(2, round(T / rate_hz)) + 1, V, 3)), T)
    joints = joints + offset + drift
    if rng.random() < 0.5:
        joints = joints + rng.normal(0, rng.uniform(0, 0.015), joints.shape)
    if rng.random() < 0.3:
        joint, begin = rng.integers(1, V), rng.integers(0, T)
        length = int(rng.integers(1, max(2, T // 2)))
        joints[begin : begin + length, joint] = joints[begin, joint] - joints[begin, 0]
        joints[begin : begin + length, joint] += joints[begin : begin + length, 0]
    return joints.astype(np.float32)


def _depth(joint: int, layout: Layout) -> int:
    return 0 if joint < 0 else 1 + _depth(layout.parents[joint], layout)
