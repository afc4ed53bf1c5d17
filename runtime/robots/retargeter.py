"""`Retargeter`: a person's joints to a robot's joint angles and floating base, frame by frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..body.layout import Layout
from ..body.motion_data import MotionData
from ..body.time_check import as_seconds
from ..errors import InputError
from ..io.text import check_bytes, decode
from ..io.urdf import read_urdf
from .mjcf import robot_mjcf
from .robot_motion import RobotMotion, RobotPose
from .support import distance_inside

FOLDER = Path(__file__).parent
MAX_FILE_BYTES = 1 << 22
DEFAULT_PERIOD_S = 0.02


class Retargeter:
    """Makes a robot follow a person. The C++ core computes it, with the same result in Python, C and C++.

    The targets are the person's bone directions with the robot's bone lengths, from the hips outwards, and the path of
    the hips, scaled by the length of the legs; a foot that rests stays in place on the floor. The angles come from
    damped least squares (Wampler 1986) over the keypoints' positions, started from the last pose, with bounds from the
    limits of the joints' angles and velocities (at most 10 rad/s). Not thread-safe.

    Args:
        robot: name of a built-in robot ("g1"), or path of a robot file (.json, see docs/robots.md).
        layout: name of the skeleton layout of the poses, or a `Layout`; 3-D.
    Attributes:
        robot: its name. joints: names of its joints. limits: [J, 3] lower, upper (rad), largest velocity (rad/s).
        rest: its pose before the first one of a person.
    Raises:
        InputError: an unknown robot or a bad robot file.
        LayoutError: an unknown layout, or one from which the body's joints cannot be computed.
    """

    def __init__(self, robot: str | Path = "g1", layout: str | Layout = "smpl22") -> None:
        source = layout if isinstance(layout, Layout) else Layout.load(layout)
        if source.dims != 3:
            raise InputError(f"layout {source.name} is 2-D, expected a 3-D one")
        weights = Layout.load("smpl22").map_from(source)
        name = str(robot)
        text = _robot_file(Path(robot)) if name.endswith((".json", ".urdf")) else None
        try:
            self._core = _core.Retargeter(name, weights, text)
        except ValueError as error:
            raise InputError(str(error)) from None
        self._text = text
        self.layout = source.name
        self.robot = Path(name).stem if text else name
        self.joints = tuple(joint[0] for joint in self._core.joints)
        self.limits: NDArray[np.float64] = np.array([joint[1:] for joint in self._core.joints])
        self._last_s = -DEFAULT_PERIOD_S
        self.rest = self._pose("missing")

    @staticmethod
    def names() -> list[str]:
        """Names of the built-in robots."""
        return sorted(path.stem for path in FOLDER.glob("*.json"))

    def step(self, joints: ArrayLike, timestamp: float | None = None, confidence: ArrayLike | None = None) -> RobotPose:
        """Take one pose of the person.

        Args:
            joints: [V, 3] meters, y up, in the layout; NaN where a joint is missing.
            timestamp: seconds, increasing; None: 20 ms after the last one.
            confidence: [V], 0 where a joint is missing.
        Raises:
            InputError: another shape, or a timestamp that is not finite.
        """
        t = self._last_s + DEFAULT_PERIOD_S if timestamp is None else as_seconds(timestamp)
        seen = None if confidence is None else np.asarray(confidence)
        try:
            status = self._core.step(t, np.asarray(joints), seen)
        except ValueError as error:
            raise InputError(str(error)) from None
        if status == "tracked":
            self._last_s = t
        return self._pose(status)

    def retarget(self, motion: MotionData, person: int = 0) -> RobotMotion:
        """Follow a whole clip, from its first frame; `person` is the number of one among several.

        Raises InputError if the clip has another layout, or no such person.
        """
        if motion.layout != self.layout:
            raise InputError(f"the motion has layout {motion.layout}, expected {self.layout}")
        if not 0 <= person < motion.people:
            raise InputError(f"person is {person}, expected 0 to {motion.people - 1}")
        joints, confidence = motion.joints, motion.confidence
        if joints.ndim == 4:
            joints = joints[:, person]
            confidence = None if confidence is None else confidence[:, person]
        times = motion.timestamps if motion.timestamps is not None else np.arange(motion.frames) / motion.fps
        self.reset()
        poses, feet, centers, support = [], [], [], []
        for i, pose in enumerate(joints):
            poses.append(self.step(pose, float(times[i]), None if confidence is None else confidence[i]))
            points, _, contacts, center, _ = self._core.tracking()
            feet.append(points[-2:])
            centers.append(center)
            soles = [sole[:, :2] for sole, rests in zip(self._core.soles(), contacts, strict=True) if rests]
            support.append(distance_inside(center[:2], np.concatenate(soles)) if soles else np.nan)
        return RobotMotion(
            robot=self.robot,
            joints=self.joints,
            limits=self.limits,
            timestamps=np.asarray(times, np.float64),
            positions=np.array([pose.position for pose in poses]),
            quaternions=np.array([pose.quaternion for pose in poses]),
            angles=np.array([pose.angles for pose in poses]),
            contacts=np.array([pose.contacts for pose in poses]),
            feet=np.array(feet),
            errors=np.array([pose.errors for pose in poses]),
            clearance=np.array([pose.clearance for pose in poses]),
            centers=np.array(centers),
            support=np.array(support),
            held=np.array([pose.status != "tracked" for pose in poses]),
        )

    def reset(self) -> None:
        """Start over with the next pose."""
        self._core.reset()
        self._last_s = -DEFAULT_PERIOD_S

    def mjcf(self) -> str:
        """The robot as a model of MuJoCo (XML), made of its capsules: the same joints, limits, masses, and a floor."""
        text = self._text or (FOLDER / f"{self.robot}.json").read_text()
        return robot_mjcf(json.loads(text), self.robot)

    def save_video(self, motion: RobotMotion, path: str | Path) -> None:
        """Draw a motion of this robot with MuJoCo, as .gif or .mp4 (extra `robot`).

        Raises:
            InputError: another extension, or there is no OpenGL.
            MissingExtra: MuJoCo is not installed.
        """
        from .mujoco_video import write_robot_video

        write_robot_video(motion, self.mjcf(), Path(path))

    def _pose(self, status: Literal["tracked", "dropped", "missing"]) -> RobotPose:
        position, quaternion, angles = self._core.pose()
        points, targets, contacts, _, clearance = self._core.tracking()
        errors = np.linalg.norm(points - targets, axis=-1)
        return RobotPose(status, position, quaternion, angles, contacts, errors, clearance)


def _robot_file(path: Path) -> str:
    """Text of a robot file; the links and joints of the URDF file that it names are filled in."""
    if path.suffix == ".urdf":
        raise InputError(
            f"{path}: expected a robot file (.json) that names the .urdf and the keypoints, see docs/robots.md"
        )
    try:
        check_bytes(path, MAX_FILE_BYTES)
        text = decode(path.read_bytes())
        data: Any = json.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error})") from None
    if not isinstance(data, dict) or not isinstance(data.get("urdf"), str):
        return text
    return json.dumps({**data, **read_urdf(path.parent / data["urdf"])})
