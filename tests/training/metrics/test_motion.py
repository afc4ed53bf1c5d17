"""Metrics of motion against motions made by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.training.metrics import motion

SMPL = Layout.load("smpl22")
LEFT, RIGHT, NECK, HEAD = (SMPL.joints.index(name) for name in ("left_foot", "right_foot", "neck", "head"))


def standing(frames: int) -> np.ndarray:
    """Somebody stands still: every joint away from its parent, the feet on the floor."""
    pose = np.zeros((22, 3))
    for joint, parent in SMPL.edges:
        up = -0.2 if any(part in SMPL.joints[joint] for part in ("hip", "knee", "ankle", "foot")) else 0.1
        pose[joint] = pose[parent] + [0.01 * joint, up, 0.02]
    pose[:, 1] -= pose[:, 1].min()
    return np.repeat(pose[None], frames, 0)


def test_mpjpe_is_the_mean_distance_in_millimeters() -> None:
    wanted = standing(4)
    found = wanted.copy()
    found[:, HEAD] += [0.03, 0.04, 0]  # 50 mm, one of 22 joints
    found[0, HEAD] += [0.03, 0.04, 0]  # 100 mm in one of 4 frames
    assert motion.mpjpe(found, wanted) == pytest.approx((3 * 50 + 100) / 4 / 22)


def test_mpjpe_aligns_the_root_by_default() -> None:
    wanted = standing(5)
    shifted = wanted + np.arange(5)[:, None, None] * np.array([0.0, 0, 0.1])
    assert motion.mpjpe(shifted, wanted) == pytest.approx(0, abs=1e-9)
    assert motion.mpjpe(shifted, wanted, root=None) == pytest.approx(200)


def test_feet_that_slide_on_the_floor_skate() -> None:
    joints = standing(41)
    assert motion.foot_skating(joints, 20, SMPL) == 0
    joints[20:, LEFT, 0] += np.arange(1, 22) * 0.03  # 0.6 m/s from frame 20 on
    # 21 of 40 steps are fast; the mean over five is above 0.5 m/s only where all five are (four give 0.48), and
    # nothing moves before the first and after the last step: two are lost on either side
    fast = np.r_[np.zeros(19), np.full(21, 0.6)]
    mean = np.convolve(fast, np.ones(5) / 5, mode="same")
    expected = 100 * ((fast > 0.5) & (mean > 0.5)).mean()
    assert expected == pytest.approx(100 * 17 / 40)
    assert motion.foot_skating(joints, 20, SMPL) == pytest.approx(expected)
    assert motion.foot_skating(joints[:, SMPL.mirror], 20, SMPL) == pytest.approx(expected), "either foot"


def test_feet_that_are_raised_slow_or_rising_do_not_skate() -> None:
    joints = standing(41)
    joints[:, LEFT, 0] += np.arange(41) * 0.03
    lifted = joints.copy()
    lifted[:, LEFT, 1] = 0.051
    assert motion.foot_skating(joints, 20, SMPL) > 80
    assert motion.foot_skating(lifted, 20, SMPL) == 0
    assert motion.foot_skating(joints, 16, SMPL) == 0, "0.48 m/s"
    rising = standing(41)
    rising[:, LEFT, 1] = np.arange(41) % 2 * 0.04
    assert motion.foot_skating(rising, 20, SMPL) == 0, "only horizontal speed counts"


def test_one_fast_frame_is_not_skating() -> None:
    joints = standing(20)
    joints[10:, LEFT, 0] += 0.03
    assert motion.foot_skating(joints, 20, SMPL) == 0


def test_jitter_is_the_third_derivative() -> None:
    t = np.arange(30) / 20
    joints = np.zeros((30, 2, 3))
    joints[:, 0, 1] = 5 + 3 * t + 2 * t**2 + 4 * t**3  # its third derivative is 24 m/s^3
    assert motion.jitter(joints, 20) == pytest.approx(24 / 2, rel=1e-6)
    parabola = np.zeros((30, 2, 3))
    parabola[:, 0, 1] = 5 + 3 * t - 9.81 * t**2
    assert motion.jitter(parabola, 20) == pytest.approx(0, abs=1e-6)


def test_bone_length_drift_is_the_deviation_of_lengths_in_percent() -> None:
    joints = standing(40)
    assert motion.bone_length_drift(joints, SMPL) == pytest.approx(0, abs=1e-9)
    turned = joints @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    assert motion.bone_length_drift(turned + 7, SMPL) == pytest.approx(0, abs=1e-6)
    parent = SMPL.parents[HEAD]
    bone = joints[:, HEAD] - joints[:, parent]
    joints[::2, HEAD] = (joints[:, parent] + 1.1 * bone)[::2]
    joints[1::2, HEAD] = (joints[:, parent] + 0.9 * bone)[1::2]
    assert motion.bone_length_drift(joints, SMPL) == pytest.approx(10 / 21), "one of 21 bones, by 10 %"


def test_upright_is_the_share_of_frames_in_which_the_neck_is_above_the_pelvis() -> None:
    joints = standing(10)
    assert motion.upright(joints, SMPL) == 100
    joints[:3] = joints[:3, :, [1, 0, 2]]  # lies
    joints[3] *= [1, -1, 1]  # stands on the head
    assert motion.upright(joints, SMPL) == 60
    leaning = np.zeros((2, 22, 3))
    leaning[0, NECK], leaning[1, NECK] = [1, 1.01, 0], [1, 0.99, 0]
    assert motion.upright(leaning, SMPL) == 50


def test_floor_error_is_the_distance_of_the_lowest_joint_from_the_floor() -> None:
    joints = standing(3)
    assert motion.floor_error(joints) == pytest.approx(0, abs=1e-9)
    assert motion.floor_error(joints + [0, 0.05, 0]) == pytest.approx(50)
    assert motion.floor_error(joints - [0, 0.03, 0]) == pytest.approx(30)


def moving(frames: int, seed: int) -> np.ndarray:
    t = np.linspace(0, 1, frames)[:, None, None]
    a, b = np.random.default_rng(seed).normal(size=(2, 22, 3)) * 0.2
    return standing(frames) + a * np.sin(3 * t) + b * t


def test_a_copy_of_a_training_clip_has_distance_zero_at_any_speed_and_position() -> None:
    training = [moving(40, seed) for seed in range(300)]
    copy = moving(120, 270) + np.array([5.0, 0, 3])
    assert motion.nearest_training_distance([copy], training)[0] == pytest.approx(0, abs=1.0)
    assert motion.nearest_training_distance([training[270]], training)[0] == pytest.approx(0, abs=1e-3)
    assert motion.nearest_training_distance([moving(40, 1000)], training)[0] > 100


def test_the_distance_from_the_nearest_training_clip_is_that_of_the_joints() -> None:
    far, near = moving(40, 1), moving(40, 0)
    shifted = near.copy()
    shifted[:, HEAD] += [0, 0.022, 0]
    assert motion.nearest_training_distance([shifted], [far, near])[0] == pytest.approx(1, rel=1e-3)
    assert motion.nearest_training_distance([shifted], [near])[0] == pytest.approx(1, rel=1e-3)


def turned(joints: np.ndarray, yaw: float) -> np.ndarray:
    return joints @ np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])


def test_rotated_and_concatenated_parts_of_training_clips_are_found() -> None:
    training = [moving(80, seed) for seed in range(200)]
    first, second = turned(training[7][20:52], 1.0) + [3.0, 0, 1], turned(training[150][40:72], -2.0)
    patchwork = np.concatenate([first, second])
    assert motion.nearest_training_piece([patchwork], training, SMPL)[0] == pytest.approx(0, abs=0.5)
    assert motion.nearest_training_distance([patchwork], training)[0] > 50, "as a whole it is like none of them"
    own = motion.nearest_training_piece([moving(80, 1000), patchwork], training, SMPL)
    assert own[0] > 20 and own[1] == pytest.approx(0, abs=0.5)


def test_the_distance_of_a_piece_is_the_root_mean_square_over_joints() -> None:
    known = moving(32, 0)
    shifted = known.copy()
    shifted[:, HEAD] += [0, 0.022, 0]
    found = motion.nearest_training_piece([shifted], [known, standing(10)], SMPL)[0]
    assert found == pytest.approx(22 / np.sqrt(22), abs=0.1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: motion.nearest_training_piece([standing(15)], [standing(20)], SMPL), "and no shorter clip"),
        (
            lambda: motion.nearest_training_piece([standing(20)], [standing(15)], SMPL),
            "1 clips and 0 training clips of",
        ),
        (lambda: motion.mpjpe(standing(2), standing(3)), "expected the same"),
        (lambda: motion.foot_skating(standing(1), 20, SMPL), "1 frames, expected at least 2"),
        (lambda: motion.jitter(standing(3), 20), "3 frames, expected at least 4"),
        (lambda: motion.bone_length_drift(standing(1), SMPL), "1 frames, expected at least 2"),
        (lambda: motion.bone_length_drift(np.zeros((4, 22, 3)), SMPL), "the bone to left_hip has no length"),
        (lambda: motion.upright(np.zeros((4, 66)), SMPL), r"expected \[frames, joints, 3\]"),
        (lambda: motion.jitter(np.full((9, 22, 3), np.nan), 20), "frame 0 is not finite"),
        (lambda: motion.nearest_training_distance([], [standing(4)]), "0 clips and 1 training clips"),
        (lambda: motion.nearest_training_distance([standing(4)], []), "1 clips and 0 training clips"),
        (lambda: motion.nearest_training_distance([standing(4)[:, :21]], [standing(4)]), "clip 0 has 21 joints"),
    ],
)
def test_errors_name_what_cannot_be_measured(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
