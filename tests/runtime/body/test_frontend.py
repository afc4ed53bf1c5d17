"""Frames of the front end: poses with the bones of one body, and 2-D poses."""

import numpy as np
import pytest

from motionrt.runtime.body.frontend import Frontend, prepare
from motionrt.runtime.body.layout import Layout

CORE = Layout.load("core15")
BONES = (0, 0.5, 0.2, 0.17, 0.27, 0.24, 0.17, 0.27, 0.24, 0.09, 0.4, 0.4, 0.09, 0.4, 0.4)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-3)


def rebuild(j: np.ndarray) -> np.ndarray:
    """A pose [15, 3] with the lengths `BONES`."""
    new = np.zeros((15, 3))
    middle, across, shoulders = (j[9] + j[12]) / 2, unit(j[9] - j[12]), unit(j[3] - j[6])
    new[1] = unit(j[1] - middle) * BONES[1]
    new[9], new[12] = across * BONES[9], -across * BONES[12]
    new[3], new[6] = new[1] + shoulders * BONES[3], new[1] - shoulders * BONES[6]
    for v, p in ((2, 1), (4, 3), (5, 4), (7, 6), (8, 7), (10, 9), (11, 10), (13, 12), (14, 13)):
        new[v] = new[p] + unit(j[v] - j[p]) * BONES[v]
    return new


def walk(frames: int, seed: int = 0) -> np.ndarray:
    """Joints [T, 15, 3] that wander."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, 0.02, (frames, 15, 3)), 0) + rng.normal(0, 0.3, (15, 3))


def frontend(**settings: float) -> Frontend:
    return Frontend(rate_hz=20.0, bones=BONES, **settings)


def test_poses_get_the_bones_of_one_body() -> None:
    joints = walk(50)
    frames = prepare(joints, frontend(facing_s=0.0, reach_m=4.0), CORE)
    np.testing.assert_allclose(frames, [rebuild(pose) for pose in joints], atol=1e-6)


def test_joints_in_one_point_have_no_direction() -> None:
    joints = walk(2)
    joints[:, 4] = joints[:, 3]
    joints[:, 12] = joints[:, 9]
    frames = prepare(joints, frontend(facing_s=0.0, reach_m=4.0), CORE)
    np.testing.assert_allclose(frames[:, 4], frames[:, 3], atol=1e-6)
    np.testing.assert_allclose(frames, [rebuild(pose) for pose in joints], atol=1e-6)


def test_the_person_still_faces_forward() -> None:
    angle = 1.0
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    joints = walk(40)
    one, other = (prepare(poses, frontend(reach_m=4.0), CORE) for poses in (joints, joints @ turn))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_proportions_and_the_place_of_the_pelvis_do_not_matter() -> None:
    joints = np.stack([rebuild(pose) for pose in walk(30)]) + [0, 1, 0]
    larger = 1.3 * joints
    larger[:, 0] += [0, 0.2, 0.1]
    one, other = (prepare(poses, frontend(facing_s=0.0), CORE) for poses in (joints, larger))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_hips_and_shoulders_without_a_common_parent_are_like_other_joints() -> None:
    layout = Layout.load("smpl22")
    rng = np.random.default_rng(1)
    joints, bones = rng.normal(0, 0.4, (3, 22, 3)), rng.uniform(0.1, 0.5, 22)
    frames = prepare(joints, Frontend(rate_hz=20.0, facing_s=0.0, reach_m=4.0, bones=tuple(bones)), layout)
    index = layout.joints.index
    shoulder, collar = index("left_shoulder"), index("left_collar")
    wanted = bones[shoulder] * np.array([unit(pose[shoulder] - pose[collar]) for pose in joints])
    np.testing.assert_allclose(frames[:, shoulder] - frames[:, collar], wanted, atol=1e-6)
    np.testing.assert_allclose(frames[:, index("left_hip")], -frames[:, index("right_hip")] * bones[index("left_hip")]
                               / bones[index("right_hip")], atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("bones", [(0.0,), (*BONES[:-1], -0.1), (*BONES[:-1], np.nan), (*BONES[:-1], 11.0)])
def test_impossible_bones_are_refused(bones: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bones (has 1 lengths, expected 15|holds)"):
        prepare(walk(2), Frontend(rate_hz=20.0, bones=bones), CORE)


def standing(frames: int = 30) -> np.ndarray:
    """Joints [T, 15, 3] of somebody who stands and raises the left wrist."""
    pose = np.repeat(rebuild(upright())[None], frames, axis=0)
    pose[:, 5, 1] += np.linspace(0, 0.5, frames)
    return pose


def upright() -> np.ndarray:
    places = [(0, 1), (0, 1.5), (0, 1.7), (0.2, 1.5), (0.2, 1.2), (0.2, 0.9), (-0.2, 1.5), (-0.2, 1.2), (-0.2, 0.9)]
    places += [(0.1, 1), (0.1, 0.5), (0.1, 0.1), (-0.1, 1), (-0.1, 0.5), (-0.1, 0.1)]
    return np.array([(x, y, 0) for x, y in places], float)


def test_a_flat_pose_gets_the_length_of_the_trunk_and_no_depth() -> None:
    joints = standing() + [0, 1, 0]
    frames = prepare(joints * [250, -250, 99] + [640, 500, 7], frontend(flat=True), CORE, flat=True)
    np.testing.assert_allclose(frames, (joints - joints[:, :1]) * [1, 1, 0], atol=1e-4)


def test_flat_frames_are_those_of_joints_without_depth() -> None:
    joints = walk(40)
    with_z, without_z = (prepare(poses, frontend(reach_m=4.0), CORE, flat=True) for poses in (joints, joints[..., :2]))
    np.testing.assert_array_equal(with_z, without_z)
    assert (with_z[..., 2] == 0).all()


def test_a_layout_without_a_neck_is_not_for_flat_poses() -> None:
    with pytest.raises(ValueError, match="flat is set, expected hips, and shoulders with one parent, the neck"):
        prepare(np.zeros((2, 14, 3)), Frontend(rate_hz=20.0), Layout.load("core14"), flat=True)
