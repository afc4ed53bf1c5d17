"""`LiveRobot`: reference poses of a robot at any rate, from poses of a person that come at their own times."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..body.layout import Layout
from ..errors import InputError
from .retargeter import Retargeter
from .robot_motion import MAX_SPEED, RobotPose, far_keypoints, heading

Array = NDArray[np.float64]
Status = Literal["waiting", "blending", "following", "holding"]

BLEND_S = 1.0  # from a held pose to the person's
TIMEOUT_S = 0.3  # without a person; then the pose is held
BUFFER = 256  # poses


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A pose that a robot should have at one moment.

    Attributes:
        t: seconds.
        status: "waiting" for the first person, at rest; "blending" into the person's motion; "following" it; "holding"
            the pose because the person is lost.
        position, quaternion: [3] meters and [4] (w, x, y, z) of the root. It starts at the origin and faces x; z up.
        angles, velocities: [J] rad and rad/s.
        contacts: [2] whether the left and the right foot rest.
        errors: [14] meters from each keypoint to where it should be.
    """

    t: float
    status: Status
    position: Array
    quaternion: Array
    angles: Array
    velocities: Array
    contacts: NDArray[np.bool_]
    errors: Array

    @property
    def held(self) -> bool:
        return self.status in ("waiting", "holding")

    def message(self, robot: str) -> dict[str, Any]:
        """The reference as JSON."""
        return {
            "t": round(self.t, 4),
            "robot": robot,
            "status": self.status,
            "root_position": self.position.round(5).tolist(),
            "root_quaternion": self.quaternion.round(6).tolist(),
            "angles": self.angles.round(5).tolist(),
            "velocities": self.velocities.round(4).tolist(),
            "contacts": self.contacts.tolist(),
            "unreached": {name: round(error, 3) for name, error in far_keypoints(self.errors).items()},
        }


class LiveRobot:
    """Takes a person's poses when they come and gives the robot's when they are due.

    Poses are interpolated by cubic Hermite splines (Catmull and Rom, 1974) in the person's joints, and every result
    goes through the retargeter, so that limits and resting feet are kept at the rate of the output. The motion is
    blended in at the start and after a loss; while there is no person, the pose is held. `put` and `reference` may be
    called from two threads.

    Args:
        robot, layout: as for `Retargeter`.
    """

    def __init__(self, robot: str | Path = "g1", layout: str | Layout = "smpl22") -> None:
        source = layout if isinstance(layout, Layout) else Layout.load(layout)
        self._retargeter = Retargeter(robot, source)
        self.robot, self.joints, self.layout = self._retargeter.robot, self._retargeter.joints, source.name
        self._shape = len(source.joints), 3
        self._fastest = np.minimum(self._retargeter.limits[:, 2], MAX_SPEED)
        self._poses: deque[tuple[float, NDArray[np.float32]]] = deque(maxlen=BUFFER)
        self._lock = threading.Lock()
        rest = self._retargeter.rest
        still = np.zeros(len(rest.angles))
        self._last = Reference(
            -np.inf, "waiting", rest.position, rest.quaternion, rest.angles, still, rest.contacts, rest.errors
        )
        self._from = self._last  # pose that is blended out
        self._blend_start: float | None = None  # None: no person
        self._seen_s = -np.inf
        self._turn, self._shift = 0.0, np.zeros(2)  # of the person's world, so that the robot starts at the origin

    def put(self, t: float, joints: ArrayLike, confidence: ArrayLike | None = None) -> None:
        """Take the person's joints [V, 3] (meters, y up, NaN or confidence 0 where missing) at a time in seconds.

        Poses that are not later than the last one are ignored. Raises InputError for another shape.
        """
        pose = np.array(joints, np.float32)
        if pose.shape != self._shape:
            raise InputError(f"joints has shape {list(pose.shape)}, expected {list(self._shape)}")
        if confidence is not None:
            pose[np.asarray(confidence) <= 0] = np.nan
        with self._lock:
            if not self._poses or t > self._poses[-1][0]:
                self._poses.append((t, pose))

    def forget(self, t: float) -> None:
        """Forget the poses that were put for a time and later ones: others will come."""
        with self._lock:
            while self._poses and self._poses[-1][0] >= t:
                self._poses.pop()

    def reference(self, t: float) -> Reference:
        """The robot's pose at a time, which is later than that of the call before. The clock is that of `put`."""
        pose = self._person(t)
        last = self._last
        found = None if pose is None else self._retargeter.step(pose, t)
        if found is not None and found.status == "tracked":
            if self._blend_start is None:
                self._start(t, found)
            self._seen_s = t
            self._last = self._blend(t, found)
        else:
            if self._blend_start is not None and t - self._seen_s > TIMEOUT_S:
                self._blend_start = None
                self._retargeter.step(np.full(self._shape, np.nan), t)  # what comes after it is no movement
            status: Status = "waiting" if self._seen_s == -np.inf else "holding"
            self._last = replace(last, t=t, status=status, velocities=np.zeros_like(last.angles))
        return self._last

    def _person(self, t: float) -> NDArray[np.float32] | None:
        """The person's joints at a time; None if there are no poses around it."""
        with self._lock:
            while len(self._poses) > 3 and self._poses[2][0] <= t:
                self._poses.popleft()
            times = np.array([time for time, _ in self._poses])
            poses = [pose for _, pose in self._poses]
        i = int(np.searchsorted(times, t, side="right")) - 1
        if i < 0:
            return None
        if times[i] == t:
            return poses[i]
        if i + 1 == len(times) or times[i + 1] - times[i] > TIMEOUT_S:
            return None
        step = times[i + 1] - times[i]
        a, b = poses[i], poses[i + 1]

        def tangent(j: int) -> NDArray[np.float32]:
            """Change in one step around pose j, from the poses on both sides of it that are near."""
            before = j - 1 if j > 0 and times[j] - times[j - 1] <= TIMEOUT_S else j
            after = j + 1 if j + 1 < len(times) and times[j + 1] - times[j] <= TIMEOUT_S else j
            return (poses[after] - poses[before]) * np.float32(step / (times[after] - times[before]))

        u = np.float32((t - times[i]) / step)
        straight = a + u * (b - a)
        v = 1 - u
        curved = straight + u * v * (v * (tangent(i) - (b - a)) - u * (tangent(i + 1) - (b - a)))
        return np.where(np.isfinite(curved), curved, straight)  # a joint was missing before or after

    def _start(self, t: float, found: RobotPose) -> None:
        self._blend_start, self._from = t, self._last
        if self._seen_s == -np.inf:  # the first person
            self._turn = -heading(found.quaternion)
            self._shift = -_turned(found.position[:2], self._turn)

    def _blend(self, t: float, found: RobotPose) -> Reference:
        assert self._blend_start is not None
        u = min(1.0, (t - self._blend_start) / BLEND_S)
        part = u * u * (3 - 2 * u)
        begin, last, dt = self._from, self._last, t - self._last.t
        position = np.append(_turned(found.position[:2], self._turn) + self._shift, found.position[2])
        half = self._turn / 2
        quaternion = _product(np.array([np.cos(half), 0, 0, np.sin(half)]), found.quaternion)
        angles = begin.angles + part * (found.angles - begin.angles)
        if np.isfinite(dt):
            angles = last.angles + np.clip(angles - last.angles, -self._fastest * dt, self._fastest * dt)
        return Reference(
            t,
            "following" if u == 1 else "blending",
            begin.position + part * (position - begin.position),
            _slerp(begin.quaternion, quaternion, part),
            angles,
            (angles - last.angles) / dt,
            found.contacts,
            found.errors,
        )


def _turned(xy: Array, angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * xy[0] - s * xy[1], s * xy[0] + c * xy[1]])


def _product(a: Array, b: Array) -> Array:
    """Product of two quaternions w, x, y, z."""
    vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.array([a[0] * b[0] - a[1:] @ b[1:], *vector])


def _slerp(a: Array, b: Array, part: float) -> Array:
    """Rotation between two quaternions (Shoemake, Animating Rotation with Quaternion Curves, 1985), with w >= 0."""
    cosine = float(a @ b)
    b, cosine = (-b, -cosine) if cosine < 0 else (b, cosine)
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-4:
        mixed = a + part * (b - a)
    else:
        mixed = (np.sin((1 - part) * angle) * a + np.sin(part * angle) * b) / np.sin(angle)
    return mixed / np.linalg.norm(mixed) * (-1 if mixed[0] < 0 else 1)
