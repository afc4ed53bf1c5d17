"""The robot as a model of MuJoCo, and pictures of it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import motionrt
from motionrt import Motion, Retargeter

mujoco = pytest.importorskip("mujoco")

SAMPLES = Path(motionrt.__file__).parent / "runtime" / "samples"


def test_the_model_has_the_robots_joints_and_masses() -> None:
    clip = Motion.load(SAMPLES / "cmu_walk.npz")
    robot = Retargeter("g1", clip.layout)
    motion = robot.retarget(clip)
    model = mujoco.MjModel.from_xml_string(robot.mjcf())
    data = mujoco.MjData(model)
    assert model.njnt == 30 and abs(model.body_mass.sum() - 33.34) < 0.01
    joints = [model.joint(name) for name in motion.joints]
    np.testing.assert_allclose([joint.range for joint in joints], motion.limits[:, :2])
    for i in range(0, clip.frames, 20):
        data.qpos[:7] = [*motion.positions[i], *motion.quaternions[i]]
        data.qpos[[joint.qposadr[0] for joint in joints]] = motion.angles[i]
        mujoco.mj_forward(model, data)
        foot = data.body("left_ankle_roll_link")
        np.testing.assert_allclose(foot.xpos + foot.xmat.reshape(3, 3) @ [0.12, 0, -0.03], motion.feet[i, 0], atol=1e-9)
        np.testing.assert_allclose(data.subtree_com[1], motion.centers[i], atol=1e-9)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_motion_becomes_a_picture(tmp_path: Path, suffix: str) -> None:
    import av
    from PIL import Image

    clip = Motion.load(SAMPLES / "bandai_wave_right_hand.npz")
    short = tmp_path / "short.npz"
    Motion(joints=clip.joints[:9], fps=clip.fps, layout=clip.layout).save(short)
    out = tmp_path / f"robot{suffix}"
    command = [sys.executable, "-m", "motionrt.runtime.cli", "retarget", str(short), "-o", str(out)]
    done = subprocess.run(command, env={**os.environ, "MUJOCO_GL": "egl"}, capture_output=True, text=True, timeout=120)
    if "MuJoCo cannot draw here" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    if suffix == ".gif":
        with Image.open(out) as picture:
            frames, image = picture.n_frames, np.asarray(picture.convert("RGB"))
    else:
        with av.open(str(out)) as video:
            images = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        frames, image = len(images), images[0]
    assert frames in (10, 11) and image.shape == (480, 480, 3)  # 0.4 s; equal pictures may be one
    reddish = (image[..., 0] > 150) & (image[..., 2] < 110)  # the left limbs are orange
    assert 500 < reddish.sum() < 30_000
