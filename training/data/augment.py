"""Random changes of a clip that preserve its action. Needs no torch.

Every function takes joints [T, V, 3] in meters, y up, and returns new ones.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from ...runtime.body.layout import Layout
from .clips import resample


def augment(joints: np.ndarray, fps: float, rate_hz: float, layout: Layout, rng: Generator) -> np.ndarray:
    """Resample a clip to `rate_hz` with random speed, body proportions, viewpoint and sensor errors."""
    speed = rng.uniform(0.75, 1.35)
    joints = resample(joints, max(2, round(len(joints) * rate_hz / fps / speed)))
    joints = rotate(vary_body(joints, layout, rng), rng.uniform(-np.pi, np.pi), rng.normal(0, 0.08, 2))
    return vary_sensor(joints, rate_hz, rng)


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
