"""Pictures of a robot's motion by MuJoCo, without a window."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..extras import require
from ..io.atomic_write import atomic_write
from ..io.robot_motion import VIDEO_SUFFIXES
from ..io.video_writer import VideoWriter
from .robot_motion import RobotMotion, heading

SIZE = 480  # pixels a side
FPS = 25
FAR_M, AROUND_DEG, ABOVE_DEG = 2.6, 215, -12  # the camera looks at the robot from the front left
FOLLOW = 0.1  # share of the way to the robot that the camera goes in a frame


def write_robot_video(motion: RobotMotion, mjcf: str, path: Path) -> None:
    """Write .gif or .mp4 of a motion of the robot of an MJCF model.

    Raises:
        InputError: another extension, or MuJoCo cannot draw here.
        MissingExtra: mujoco, Pillow or PyAV is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise InputError(f"{path}: expected a file with the extension {', '.join(VIDEO_SUFFIXES)}")
    images = robot_images(motion, mjcf)
    try:
        with atomic_write(path) as file:
            if suffix == ".mp4":
                with VideoWriter(file.name) as video:
                    for i, image in enumerate(images):
                        video.add(i / FPS, image)
            else:
                pil = require("PIL.Image", "files", "drawing")
                frames = (pil.fromarray(image).quantize(64) for image in images)
                next(frames).save(file, "GIF", save_all=True, append_images=frames, duration=1000 // FPS, loop=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def robot_images(motion: RobotMotion, mjcf: str) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures [480, 480, 3] of a motion at 25 Hz."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    mujoco = require("mujoco", "robot", "drawing a robot")
    model = mujoco.MjModel.from_xml_string(mjcf)
    data = mujoco.MjData(model)
    columns = [int(model.joint(name).qposadr[0]) for name in motion.joints]
    camera = mujoco.MjvCamera()
    around_deg = AROUND_DEG + np.degrees(heading(motion.quaternions[0]))
    camera.distance, camera.azimuth, camera.elevation = FAR_M, around_deg, ABOVE_DEG
    times = motion.timestamps - motion.timestamps[0]
    target: Any = np.array([*motion.positions[0, :2], 0.75 * motion.positions[0, 2]])
    try:
        renderer = mujoco.Renderer(model, SIZE, SIZE)
    except Exception as error:  # what OpenGL lacks has many types
        raise InputError(
            f"MuJoCo cannot draw here ({error}): set MUJOCO_GL to egl, osmesa or glfw, whichever is installed"
        ) from None
    with renderer:
        for t in np.arange(0, times[-1] + 1e-9, 1 / FPS):
            i = int(np.searchsorted(times, t + 1e-9, side="right")) - 1
            data.qpos[:7] = [*motion.positions[i], *motion.quaternions[i]]
            data.qpos[columns] = motion.angles[i]
            mujoco.mj_forward(model, data)
            target += FOLLOW * (np.array([*motion.positions[i, :2], target[2]]) - target)
            camera.lookat[:] = target
            renderer.update_scene(data, camera)
            yield renderer.render().copy()
