"""rtmlib's RTMW3D: several people, in 3-D; its models are downloaded on first use.

RTMW3D estimates 133 whole-body keypoints: x and y in pixels of the person's crop, z in meters relative to the hips. The
scale s (meters per pixel) follows from the bone lengths of an adult, as z is metric already:
    sum over bones of (s^2 (dx^2 + dy^2) + dz^2) = sum over bones of length^2
Shapes: M people, K keypoints, V joints.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..body.motion_data import MAX_PEOPLE
from ..errors import InputError
from ..extras import require
from .pose_model import Person

BONES_M = {  # of an adult of 1.7 m
    ("shoulder", "elbow"): 0.28,
    ("elbow", "wrist"): 0.25,
    ("shoulder", "hip"): 0.50,
    ("hip", "knee"): 0.42,
    ("knee", "ankle"): 0.41,
}


class RTMW3D:
    """A `PoseModel`: core15 joints of several people, in meters relative to the hips."""

    layout = "core15"

    def __init__(self) -> None:
        rtmlib = require("rtmlib", "io")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # it prints while loading
                self._model: Any = rtmlib.Wholebody3d(mode="balanced", backend="onnxruntime", device="cpu")
        except OSError as error:
            raise InputError(f"rtmlib cannot download its pose models: {error}") from None
        body = Layout.load("coco17")  # the first 17 keypoints
        self._to_core = Layout.load(self.layout).map_from(body)  # [15, 17]
        index = body.joints.index
        bones = [(index(f"{s}_{a}"), index(f"{s}_{b}")) for s in ("left", "right") for a, b in BONES_M]
        self._bones = np.array(bones)  # [bones, 2]
        self._lengths_m = np.array([*BONES_M.values()] * 2)

    def estimate(self, image: NDArray[np.uint8], t: float) -> list[Person]:
        bgr = np.ascontiguousarray(image[..., ::-1])
        boxes = sorted(self._model.det_model(bgr), key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
        if not boxes:
            return []
        keypoints, scores, _, pixels = self._model.pose_model(bgr, bboxes=boxes[:MAX_PEOPLE])
        found = zip(keypoints[:, :17], scores[:, :17], pixels[:, :17], strict=True)
        return [self._person(*person) for person in found]

    def close(self) -> None:
        self._model = None

    def _person(self, keypoints: NDArray[Any], scores: NDArray[Any], pixels: NDArray[Any]) -> Person:
        bones = keypoints[self._bones[:, 0]] - keypoints[self._bones[:, 1]]  # [bones, 3]
        whole_m2 = float((self._lengths_m**2).sum())
        flat_m2 = max(whole_m2 - float((bones[:, 2] ** 2).sum()), 0.25 * whole_m2)
        scale_m = np.sqrt(flat_m2 / max(float((bones[:, :2] ** 2).sum()), 1e-6))  # per pixel
        joints = self._to_core @ (keypoints * [scale_m, -scale_m, -1])  # x right, y up, z towards the camera
        return Person(
            joints=(joints - joints[0]).astype(np.float32),  # relative to the pelvis
            pixels=(self._to_core @ pixels).astype(np.float32),
            confidence=(self._to_core @ scores).clip(0, 1).astype(np.float32),
        )
