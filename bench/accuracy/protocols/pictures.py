"""Motion as a random camera sees it: the keypoints of COCO, in pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from ....runtime.body.layout import Layout
from ....runtime.body.motion import Motion
from ....training.data.augment import take_picture
from ....training.data.streams import Stream

KEYPOINTS = "coco17"
PIXELS_PER_M = 200


def photograph(motion: Motion, rng: Generator) -> Motion:
    """One person's motion in a picture."""
    return Motion(_pixels(motion.joints, motion.layout, rng), motion.fps, KEYPOINTS)


def photograph_stream(stream: Stream, layout: str, rng: Generator) -> Stream:
    """A stream of joints in `layout` in a picture."""
    return replace(stream, joints=_pixels(stream.joints, layout, rng), layout=KEYPOINTS)


def _pixels(joints: np.ndarray, layout: str, rng: Generator) -> np.ndarray:
    """Keypoints [T, 17, 2] of joints [T, V, 3]."""
    body, picture = Layout.load("core15"), Layout.load(KEYPOINTS)
    mapped = np.einsum("vw,twc->tvc", body.map_from(Layout.load(layout)), joints)
    seen = take_picture(mapped.astype(np.float32), body, rng)
    places = [body.joints.index(name if name in body.joints else "head") for name in picture.joints]
    return (seen[:, places, :2] * (1, -1) * PIXELS_PER_M).astype(np.float32) + PIXELS_PER_M
