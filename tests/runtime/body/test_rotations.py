"""Rotations solved from real clips, and from skeletons with known rotations."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionrt.runtime.body import rotations as module
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.body.rotations import Rig, Rotations, solve
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.dataset import ClipSet

SOLID = [name for name in Layout.names() if Layout.load(name).dims == 3]


def error_mm(motion: Motion, rotations: Rotations) -> np.ndarray:
    return 1000 * np.linalg.norm(rotations.joints - motion.joints, axis=-1)


def as_layout(motion: Motion, name: str) -> Motion:
    joints = Layout.load(name).map_from(Layout.load(motion.layout)) @ motion.joints
    return Motion(joints, motion.fps, name)


def random_matrices(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return module.from_quaternions(unit(rng.normal(size=(*shape, 4))))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_samples_are_matched_within_a_millimeter(samples):
    for clip in samples:
        rotations = solve(clip, Rig.from_motion(clip, helpers=True))
        assert error_mm(clip, rotations).mean() <= 1
        np.testing.assert_allclose(rotations.root, clip.joints[:, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["bandai22", "cmu22", "mocap22"])
def test_mocap_is_matched_within_a_millimeter(shared, name):
    clips = ClipSet.load(shared / name)
    chosen = [clips[i] for i in range(0, len(clips), len(clips) // 8)]
    errors = [error_mm(clip, solve(clip, Rig.from_motion(clip, helpers=True))).mean() for clip in chosen]
    assert np.mean(errors) <= 1


def test_without_helpers_there_is_one_rotation_per_joint(samples):
    for clip in samples:
        rotations = solve(clip)
        assert rotations.quaternions.shape == (clip.frames, 22, 4)
        assert rotations.six_d.shape == (clip.frames, 22, 6)
        assert error_mm(clip, rotations).mean() <= 10  # hips and spine move against each other
        assert (
            error_mm(clip, rotations).mean() >= error_mm(clip, solve(clip, Rig.from_motion(clip, helpers=True))).mean()
        )


@pytest.mark.parametrize("name", SOLID)
def test_every_layout_can_be_solved(samples, name):
    clip = as_layout(samples[-1], name)
    layout = Layout.load(name)
    rotations = solve(clip, Rig.from_motion(clip, helpers=True))
    assert error_mm(clip, rotations).mean() <= 2  # in mediapipe33, the nose is the parent of the shoulders
    np.testing.assert_allclose(rotations.joints[:, layout.root], clip.joints[:, layout.root], atol=1e-6)
    assert rotations.rig.nodes[: len(layout.joints)] == layout.joints


@pytest.mark.parametrize("helpers", [False, True])
def test_known_rotations_are_recovered(samples, helpers):
    rig = Rig.from_motion(samples[0], helpers=helpers)
    rng = np.random.default_rng(0)
    truth = Rotations(
        rig=rig,
        translations=np.tile(rig.offsets, (20, 1, 1)) + np.eye(len(rig.nodes))[0][None, :, None],
        matrices=random_matrices(rng, 20, len(rig.nodes)),
    )
    motion = Motion(truth.joints, 20, "smpl22")
    found = solve(motion, rig)
    assert error_mm(motion, found).max() < 0.01
    if not helpers:  # joints with several children have no free twist
        np.testing.assert_allclose(found.matrices[:, 0], truth.matrices[:, 0], atol=1e-4)


def test_turning_the_person_turns_only_the_root(samples):
    clip = samples[0]
    turn = module.from_quaternions(np.array([np.cos(0.6), 0, np.sin(0.6), 0]))  # about y
    turned = replace(clip, joints=clip.joints @ turn.T)
    rig = Rig.from_motion(clip)
    before, after = solve(clip, rig), solve(turned, rig)
    np.testing.assert_allclose(after.matrices[:, 0], turn @ before.matrices[:, 0], atol=1e-4)
    np.testing.assert_allclose(after.matrices[:, 1:], before.matrices[:, 1:], atol=1e-3)


def test_the_rest_pose_is_a_t_pose_with_the_clips_bones(samples):
    clip = samples[0]
    rig = Rig.from_motion(clip)
    rest = dict(zip(rig.nodes, rig.offsets, strict=True))
    x, y, z = np.eye(3)
    for side, out in (("left", x), ("right", -x)):
        for joint in ("elbow", "wrist"):
            np.testing.assert_allclose(unit(rest[f"{side}_{joint}"]), out, atol=1e-9)
        for joint in ("knee", "ankle"):
            np.testing.assert_allclose(unit(rest[f"{side}_{joint}"]), -y, atol=1e-9)
        assert rest[f"{side}_foot"] @ z > 0.05 and rest[f"{side}_hip"] @ out > 0.05
    assert rest["neck"] @ y > 0.1 and rest["head"] @ y > 0.05
    for joint, parent in rig.layout.edges:
        seen = np.linalg.norm(clip.joints[:, joint] - clip.joints[:, parent], axis=-1)
        assert np.linalg.norm(rig.offsets[joint]) == pytest.approx(np.median(seen), abs=1e-5)


def test_a_walk_has_no_jumps(samples):
    for clip in samples:
        quaternions = solve(clip).quaternions
        assert ((quaternions[1:] * quaternions[:-1]).sum(-1) > np.cos(np.radians(60 / 2))).all()  # degrees a frame


def test_bones_of_zero_length_are_not_rotated():
    joints = np.zeros((3, 22, 3), np.float32)
    joints[:, Layout.load("smpl22").joints.index("head"), 1] = 1  # or it would be nobody
    rotations = solve(Motion(joints, 20, "smpl22"))
    np.testing.assert_allclose(rotations.joints, joints, atol=1e-9)
    np.testing.assert_allclose(rotations.matrices, np.broadcast_to(np.eye(3), (3, 22, 3, 3)), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(SOLID), T=st.integers(1, 4))
def test_matrices_are_rotations_for_any_joints(seed, name, T):
    joints = np.random.default_rng(seed).normal(size=(T, len(Layout.load(name).joints), 3))
    motion = Motion(joints, 20, name)
    matrices = solve(motion, Rig.from_motion(motion, helpers=True)).matrices
    np.testing.assert_allclose(
        matrices @ matrices.swapaxes(-1, -2), np.broadcast_to(np.eye(3), matrices.shape), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_quaternions_matrices_and_six_d_agree(values):
    quaternion = unit(np.array(values))
    matrix = module.from_quaternions(quaternion)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.abs(module.to_quaternions(matrix) @ quaternion), 1, atol=1e-9)
    assert module.to_quaternions(matrix)[0] >= 0
    six_d = module.to_six_d(matrix)
    np.testing.assert_array_equal(six_d, np.concatenate([matrix[:, 0], matrix[:, 1]]))
    np.testing.assert_allclose(module.from_six_d(six_d), matrix, atol=1e-9)
    np.testing.assert_allclose(module.from_six_d(2 * six_d), matrix, atol=1e-9)


def test_quaternions_are_w_first_and_right_handed():
    quarter = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])  # about z
    np.testing.assert_allclose(module.from_quaternions(quarter) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(module.to_quaternions(module.from_quaternions(quarter)), quarter, atol=1e-12)


def test_signs_are_continuous():
    angles = np.linspace(0, 4 * np.pi, 50)  # the quaternion comes back to itself after two turns
    matrices = module.from_quaternions(np.stack([np.cos(angles / 2), 0 * angles, np.sin(angles / 2), 0 * angles], -1))
    quaternions = module.continuous(module.to_quaternions(matrices))
    assert ((quaternions[1:] * quaternions[:-1]).sum(-1) > 0.9).all()
    np.testing.assert_allclose(quaternions[25:27, 0], np.cos(angles[25:27] / 2), atol=1e-9)


def test_motions_without_rotations_are_refused(samples):
    clip = samples[0]
    joints = clip.joints.copy()
    joints[7, 4] = np.nan
    with pytest.raises(InputError, match="left_knee is missing in frame 7, rotations need every joint"):
        solve(replace(clip, joints=joints))
    with pytest.raises(InputError, match=r"a motion of 2 people, expected one: select it with `motion\.person`"):
        solve(replace(clip, joints=np.stack([clip.joints] * 2, axis=1), confidence=None))
    with pytest.raises(InputError, match="layout coco17 is 2-D"):
        solve(Motion(np.ones((2, 17, 2)), 20, "coco17"))
    with pytest.raises(InputError, match="the motion has layout core15, the rig has layout smpl22"):
        solve(as_layout(clip, "core15"), Rig.from_motion(clip))
    crowd_of_one = solve(replace(clip, joints=clip.joints[:, None], confidence=None))
    np.testing.assert_array_equal(crowd_of_one.joints, solve(clip).joints)
