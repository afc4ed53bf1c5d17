"""`RobotFollower`: a robot beside the person that it follows, for the scene."""

from __future__ import annotations

import numpy as np

from ..body.layout import Layout
from ..io.frame import Frame
from ..robots.retargeter import Retargeter
from ..robots.robot_motion import KEYPOINTS
from .skeleton_scene import Pose

BESIDE_M, HEAD_M = 0.7, 0.2  # from the person's hips to the robot's; from the robot's shoulders to its head
COLOR = (125, 130, 142)
LAYOUT = Layout.load("core15")
LIMBS = [(LAYOUT.joints.index(name), k) for k, name in enumerate(KEYPOINTS) if name in LAYOUT.joints]
PELVIS, NECK, HEAD = (LAYOUT.joints.index(name) for name in ("pelvis", "neck", "head"))


class RobotFollower:
    """Makes a robot follow a person, and draws it as a skeleton of the robot's keypoints.

    Args:
        robot: as for `Retargeter`.
    Raises:
        InputError: an unknown robot or a bad robot file.
    """

    def __init__(self, robot: str) -> None:
        self._robot, self._retargeter = robot, Retargeter(robot)

    def pose(self, frame: Frame, clock: float) -> Pose:
        """The robot's pose for a person's, 3-D, at a time in seconds; it stands on the person's left.

        Raises LayoutError if the body's joints cannot be computed from the person's.
        """
        if frame.layout != self._retargeter.layout:
            self._retargeter = Retargeter(self._robot, frame.layout)
        self._retargeter.step(frame.joints, clock, frame.confidence)
        points = self._retargeter._core.tracking()[0][:, [1, 2, 0]]  # z up -> y up
        joints = np.empty((len(LAYOUT.joints), 3))
        for joint, keypoint in LIMBS:
            joints[joint] = points[keypoint]
        hips, shoulders = (
            points[[KEYPOINTS.index(f"{side}_{part}") for side in ("left", "right")]].mean(axis=0)
            for part in ("hip", "shoulder")
        )
        trunk = (shoulders - hips) / np.linalg.norm(shoulders - hips)
        joints[PELVIS], joints[NECK], joints[HEAD] = hips, shoulders, shoulders + HEAD_M * trunk
        seen = frame.joints[np.isfinite(frame.joints).all(axis=-1)]
        if len(seen):
            middle = seen.mean(axis=0)
            joints += [middle[0] + BESIDE_M - hips[0], seen[:, 1].min() - joints[:, 1].min(), middle[2] - hips[2]]
        return Pose(joints=joints.astype(np.float32), layout=LAYOUT.name, color=COLOR, text=self._retargeter.robot)
