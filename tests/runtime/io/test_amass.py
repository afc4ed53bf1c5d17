"""AMASS with a body model that the test makes: one vertex per joint."""

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.body.rotations import with_right_side
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.amass import _REST_M
from motionrt.runtime.io.files import read

J = 52
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, *[20] * 15, *[21] * 15]


@pytest.fixture
def models(tmp_path, wave, monkeypatch):
    """A folder with a male and a female SMPL-H: the female one is twice as large."""
    rest = np.concatenate([wave.joints[0], np.repeat(wave.joints[0, [20, 21]], 15, axis=0) + [0, -0.1, 0]])
    shapes = np.zeros((J, 3, 16))
    shapes[:, :, 0] = rest  # the first shape parameter scales
    for gender, scale in (("male", 1.0), ("female", 2.0)):
        folder = tmp_path / "models" / "smplh" / gender
        folder.mkdir(parents=True)
        np.savez(
            folder / "model.npz",
            J_regressor=np.eye(J),
            v_template=scale * rest,
            shapedirs=shapes,
            kintree_table=np.array([[parent % 2**32 for parent in PARENTS], range(J)], np.uint32),
            faces=np.array([{"an": "object"}], dtype=object),
        )
    monkeypatch.setenv("MOTIONRT_BODY_MODELS", str(tmp_path / "models"))
    return rest


def save(tmp_path, poses, name="walk_poses.npz", **more):
    about = {"trans": np.zeros((len(poses), 3)), "mocap_framerate": 120.0, "gender": "male", "betas": np.zeros(16)}
    np.savez(tmp_path / name, poses=poses, **(about | more))
    return tmp_path / name


def test_z_up_becomes_y_up(tmp_path, models):
    stand = np.zeros((5, 3 * J))
    stand[:, 0] = np.pi / 2  # the model is y up, the recordings are z up
    motion = read(save(tmp_path, stand))
    assert (motion.layout, motion.fps, motion.joints.shape) == ("smpl22", 120, (5, 22, 3))
    body = np.tile(models[:22] - models[0], (5, 1, 1))
    np.testing.assert_allclose(motion.joints - motion.joints[:, :1], body, atol=1e-5)
    moved = read(save(tmp_path, stand, trans=np.tile([1.0, 2.0, 3.0], (5, 1))))
    np.testing.assert_allclose(moved.joints - motion.joints, np.broadcast_to([1, 3, -2], (5, 22, 3)), atol=1e-5)


def test_rotations_shape_and_gender(tmp_path, models):
    bent = np.zeros((1, 3 * J))
    bent[0, 0] = np.pi / 2
    bent[0, 3 * 18 : 3 * 19] = [0, 0, np.pi / 2]  # the left elbow, about z of the model
    joints = read(save(tmp_path, bent)).joints[0]
    forearm = models[20] - models[18]
    np.testing.assert_allclose(joints[20] - joints[18], [-forearm[1], forearm[0], forearm[2]], atol=1e-5)
    large = read(save(tmp_path, np.zeros((1, 3 * J)), betas=np.array([1.0]))).joints
    female = read(save(tmp_path, np.zeros((1, 3 * J)), gender=np.array("female"))).joints
    np.testing.assert_allclose(large, female, atol=1e-5)
    smplx = {"gender": b"male", "mocap_frame_rate": 60.0}
    assert Layout.load("smpl22").name == read(save(tmp_path, np.zeros((1, 3 * J)), **smplx)).layout


def test_without_the_body_model_one_line_says_why(tmp_path, models, monkeypatch):
    def refused(message, **more):
        path = save(tmp_path, np.zeros((2, more.pop("width", 3 * J))), **more)
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)

    refused(r"needs the neutral SMPL-H body model, which is not in .*models \(MOTIONRT_BODY_MODELS\)", gender="other")
    refused("needs the male SMPL-X body model", width=165)
    refused(r"poses \[2, 10\] and trans \[2, 3\] are not those of AMASS", width=10)
    refused(r"poses \[2, 156\] and trans \[1, 3\] are not those of AMASS", trans=np.zeros((1, 3)))
    monkeypatch.delenv("MOTIONRT_BODY_MODELS")
    refused("holds parameters of a body model, not joints: set MOTIONRT_BODY_MODELS to the folder of your male SMPL-H")


def test_what_is_written_moves_the_body_as_the_motion(tmp_path, wave, monkeypatch):
    """A mean body at rest, one vertex per joint, of the proportions that are written for."""
    rest = np.array([with_right_side(_REST_M)[name] for name in Layout.load("smpl22").joints])
    np.savez(
        tmp_path / "neutral.npz",
        J_regressor=np.eye(J),
        v_template=np.concatenate([rest, np.zeros((30, 3))]),
        shapedirs=np.zeros((J, 3, 16)),
        kintree_table=np.array([[parent % 2**32 for parent in PARENTS], range(J)], np.uint32),
    )
    monkeypatch.setenv("MOTIONRT_BODY_MODELS", str(tmp_path))
    wave.save(tmp_path / "wave_poses.npz", rig="amass")
    arrays = dict(np.load(tmp_path / "wave_poses.npz"))
    assert {name: value.shape for name, value in arrays.items()} == {
        **{"poses": (wave.frames, 156), "trans": (wave.frames, 3), "betas": (16,), "gender": ()},
        "mocap_framerate": (),
    }
    found = Motion.load(tmp_path / "wave_poses.npz")
    assert (found.fps, found.layout) == (wave.fps, "smpl22")
    assert 0 < found.joints[:, [10, 11], 1].min() < 0.1  # y up again, feet on the floor
    for first, last in ((18, 20), (16, 18), (1, 4), (5, 8)):  # forearms, upper arms, thighs, shins
        ours, theirs = (motion.joints[:, last] - motion.joints[:, first] for motion in (wave, found))
        cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert cosine.min() > 0.999
