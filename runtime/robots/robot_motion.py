"""`RobotPose` and `RobotMotion`: what a robot does, and how well it follows a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..io.robot_motion import write_robot_motion

KEYPOINTS = tuple(
    f"{side}_{part}"
    for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist", "foot")
    for side in ("left", "right")
)
OUT_OF_REACH_M = 0.1
AT_LIMIT_RAD = 1e-3
MAX_SPEED = 10.0  # rad/s, of any joint, as in retargeter.cpp


@dataclass(frozen=True, slots=True, eq=False)
class RobotPose:
    """A robot at one moment.

    Attributes:
        status: "tracked"; "missing", a hip or shoulder was not seen; "dropped", the time is not later than the last
            one. The last two keep the pose.
        position, quaternion: [3] meters and [4] (w, x, y, z) of the root: z up, x forward, the floor at 0.
        angles: [J] rad.
        contacts: [2] whether the left and the right foot rest.
        errors: [14] meters from each of `KEYPOINTS` to where it should be.
        clearance: smallest distance of two parts of the body, in meters; negative: they are in each other; NaN: the
            robot file has no capsules.
    """

    status: Literal["tracked", "dropped", "missing"]
    position: NDArray[np.float64]
    quaternion: NDArray[np.float64]
    angles: NDArray[np.float64]
    contacts: NDArray[np.bool_]
    errors: NDArray[np.float64]
    clearance: float

    @property
    def unreached(self) -> dict[str, float]:
        """Keypoints more than 10 cm from where they should be, with the distance in meters."""
        return far_keypoints(self.errors)


@dataclass(frozen=True, slots=True, eq=False)
class RobotMotion:
    """A robot's motion. T frames, J joints; units and axes as in `RobotPose`.

    Attributes:
        robot: its name. joints: [J] names. limits: [J, 3] lower, upper (rad), largest velocity (rad/s).
        timestamps: [T] s. positions: [T, 3]. quaternions: [T, 4]. angles: [T, J]. contacts: [T, 2].
        feet: [T, 2, 3] meters, where the toes are. errors: [T, 14]. held: [T] whether the pose was kept.
        clearance: [T]. centers: [T, 3] meters, centers of mass; NaN if the robot file has no masses.
        support: [T] meters from the center of mass, over the floor, to the edge of the convex hull of the soles that
            rest; negative: it is not over them; NaN: no foot rests, or no masses.
    """

    robot: str
    joints: tuple[str, ...]
    limits: NDArray[np.float64]
    timestamps: NDArray[np.float64]
    positions: NDArray[np.float64]
    quaternions: NDArray[np.float64]
    angles: NDArray[np.float64]
    contacts: NDArray[np.bool_]
    feet: NDArray[np.float64]
    errors: NDArray[np.float64]
    held: NDArray[np.bool_]
    clearance: NDArray[np.float64]
    centers: NDArray[np.float64]
    support: NDArray[np.float64]

    @property
    def velocities(self) -> NDArray[np.float64]:
        """[T, J] rad/s, from one frame to the next; those of the first frame are 0."""
        steps = np.diff(self.timestamps)[:, None]
        change = np.diff(self.angles, axis=0)
        return np.vstack([np.zeros((1, len(self.joints))), np.divide(change, steps, where=steps > 0, out=0 * change)])

    @property
    def root_accelerations(self) -> NDArray[np.float64]:
        """[T] m/s², how fast the velocity of the base changes; those of the first and last frame are 0."""
        steps = np.diff(self.timestamps)[:, None]
        velocities = np.diff(self.positions, axis=0) / np.maximum(steps, 1e-6)
        changes = np.diff(velocities, axis=0) / np.maximum((steps[1:] + steps[:-1]) / 2, 1e-6)
        return np.concatenate([[0.0], np.linalg.norm(changes, axis=1), [0.0]])[: len(self.positions)]

    def unreached(self, frame: int) -> dict[str, float]:
        """Keypoints more than 10 cm from where they should be in a frame, with the distance in meters."""
        return far_keypoints(self.errors[frame])

    def save(self, path: str | Path) -> None:
        """Write .npz, .csv or .jsonl, atomically. Raises InputError."""
        motion = {
            "robot": self.robot,
            "joints": self.joints,
            "t": self.timestamps,
            "root_position": self.positions,
            "root_quaternion": self.quaternions,
            "angles": self.angles,
            "velocities": self.velocities,
            "contacts": self.contacts,
            "errors": self.errors,
            "held": self.held,
            "unreached": [self.unreached(i) for i in range(len(self.angles))],
        }
        write_robot_motion(motion, Path(path))

    def report(self) -> dict[str, Any]:
        """Quality of the motion, as numbers for JSON.

        `error_cm`: distances of the keypoints to their targets; `unreached`: frames in which one is farther than 10 cm;
        `limit_violations`, `velocity_violations`: of all angles; `at_limits`: frames in which a joint is at a limit;
        `velocity_share`: largest share of a joint's velocity limit; `slip_cm`: farthest that a resting foot moves;
        `collisions`: frames in which two parts of the body are in each other; `clearance_cm`: their smallest distance;
        `root_acceleration`: m/s², of the base; `support`: frames with a resting foot, the share of them in which the
        center of mass is over the resting feet, and how far it is from their edge (negative: outside); `held`: frames
        without a person. null: not known.
        """
        followed = self.errors[~self.held]
        errors_cm = 100 * (followed if followed.size else np.zeros((1, len(KEYPOINTS))))
        lower, upper, fastest = self.limits.T
        share = np.abs(self.velocities) / fastest
        far = (followed > OUT_OF_REACH_M).sum(axis=0)
        at_limits = (np.minimum(self.angles - lower, upper - self.angles) < AT_LIMIT_RAD).sum(axis=0)
        over = self.support[np.isfinite(self.support)]
        clearance = self.clearance[np.isfinite(self.clearance)]
        return {
            "robot": self.robot,
            "frames": len(self.angles),
            "held": int(self.held.sum()),
            "error_cm": {
                "p50": round(float(np.median(errors_cm)), 2),
                "p95": round(float(np.percentile(errors_cm, 95)), 2),
                "max": round(float(errors_cm.max()), 2),
            },
            "unreached": {name: int(count) for name, count in zip(KEYPOINTS, far, strict=True) if count},
            "limit_violations": int(((self.angles < lower) | (self.angles > upper)).sum()),
            "velocity_violations": int((share > 1 + 1e-6).sum()),
            "at_limits": {name: int(count) for name, count in zip(self.joints, at_limits, strict=True) if count},
            "velocity_share": round(float(share.max()), 3),
            "slip_cm": round(100 * max(self.slips(), default=0.0), 2),
            "collisions": int((clearance < 0).sum()) if clearance.size else None,
            "clearance_cm": round(100 * float(clearance.min()), 2) if clearance.size else None,
            "root_acceleration": {
                "p50": round(float(np.median(self.root_accelerations)), 2),
                "p99": round(float(np.percentile(self.root_accelerations, 99)), 2),
            },
            "support": {
                "frames": len(over),
                "share_over": round(float((over > 0).mean()), 3) if over.size else None,
                "p5_cm": round(100 * float(np.percentile(over, 5)), 1) if over.size else None,
            },
        }

    def slips(self) -> list[float]:
        """Of each time a foot rests: meters over the floor that its toes move away from where they came down."""
        found = []
        for side in (0, 1):
            begin = None
            for i, rests in enumerate([*self.contacts[:, side], False]):
                if rests and begin is None:
                    begin = i
                elif not rests and begin is not None:
                    path = self.feet[begin:i, side, :2]
                    found.append(float(np.linalg.norm(path - path[0], axis=-1).max()))
                    begin = None
        return found


def heading(quaternion: NDArray[np.float64]) -> float:
    """Radians by which a rotation w, x, y, z turns x about z."""
    w, x, y, z = quaternion
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def far_keypoints(errors: NDArray[np.float64]) -> dict[str, float]:
    """Keypoints more than 10 cm from where they should be, with the distance in meters."""
    return {name: float(error) for name, error in zip(KEYPOINTS, errors, strict=True) if error > OUT_OF_REACH_M}
