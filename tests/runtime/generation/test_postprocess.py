"""The canonical frame, and postprocessing of decoder outputs."""

import numpy as np
import pytest

from motionrt.runtime.body.canonical import FEET, SMPL, heading, rotate_y, to_canonical, to_canonical_with_inverse
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.parts import part_joints
from motionrt.runtime.generation.postprocess import (
    bend,
    crossfade,
    fix_bone_lengths,
    plant_feet,
    settle,
    smooth_for_quality,
)


def test_the_canonical_frame_can_be_undone(samples: list[Motion]) -> None:
    joints = rotate_y(samples[2].joints[:60], -2.0) + np.float32([5, 1, -3])
    canonical, undo = to_canonical_with_inverse(joints)
    assert np.abs(undo(canonical) - joints).max() < 1e-4
    assert np.abs(canonical - to_canonical(samples[2].joints[:60])).max() < 1e-4, "wherever it is"
    assert abs(heading(canonical[:1], SMPL)[0]) < 1e-4 and abs(canonical[:, FEET, 1].min()) < 1e-6


CHILD, PARENT = np.array(SMPL.edges).T


def bones(joints: np.ndarray) -> np.ndarray:
    """Lengths of bones, [T, E]."""
    return np.linalg.norm(joints[:, CHILD] - joints[:, PARENT], axis=-1)


def test_bones_get_the_lengths_of_the_reference(samples: list[Motion]) -> None:
    rng = np.random.default_rng(0)
    reference = samples[2].joints
    wanted = np.median(bones(reference), 0)
    far = reference[:60] + rng.normal(0, 0.1, (60, 22, 3)).astype(np.float32)
    assert np.abs(bones(fix_bone_lengths(far, reference)) - wanted).max() < 0.0051
    joints = reference[:60] + rng.normal(0, 0.005, (60, 22, 3)).astype(np.float32)
    found = fix_bone_lengths(joints, reference)
    assert np.abs(bones(found) / wanted - 1).max() < 0.02
    assert np.abs(found - joints).max() < 0.03, "joints move little"
    assert np.abs(fix_bone_lengths(reference, reference) - reference).max() < 2e-3


def test_a_sliding_foot_is_planted_and_a_real_run_hardly_changes(samples: list[Motion]) -> None:
    run = samples[1].joints
    assert np.abs(plant_feet(run)[-1, 0] - run[-1, 0]).max() < 0.15 * np.abs(run[-1, 0] - run[0, 0]).max()
    slides = samples[2].joints[:60] + np.linspace(0, 2, 60)[:, None, None] * np.array([1, 0, 0])
    slides = slides.astype(np.float32)
    speeds = [
        np.abs(np.diff(x[:, FEET][..., [0, 2]], axis=0)).max(2).min(1).mean() for x in (slides, plant_feet(slides))
    ]
    assert speeds[1] < 0.5 * speeds[0]
    assert np.array_equal(plant_feet(slides)[..., 1], slides[..., 1]), "heights do not change"
    flies = slides + np.float32([0, 1, 0])
    assert np.abs(plant_feet(flies) - flies).max() < 1e-4, "no foot is planted in the air"


def test_a_body_that_floats_for_long_is_lowered(samples: list[Motion]) -> None:
    stands = np.repeat(samples[2].joints[:1], 60, 0)
    stands[..., 1] -= stands[..., 1].min()
    floats, jumps = stands.copy(), stands.copy()
    floats[20:50, :, 1] += 0.3
    jumps[20:30, :, 1] += 0.3
    assert np.abs(settle(floats)[25:45, :, 1].min(1)).max() < 0.05
    assert np.array_equal(settle(floats)[..., [0, 2]], floats[..., [0, 2]])
    assert np.array_equal(settle(jumps), jumps) and np.array_equal(settle(stands[:5]), stands[:5])


def test_a_continuation_meets_the_frames_before_it() -> None:
    old, new = np.zeros((40, 22, 3), np.float32), np.ones((40, 22, 3), np.float32)
    wanted = np.arange(40) >= 10
    found = bend(old, new, wanted)
    assert np.array_equal(found[~wanted], old[~wanted])
    assert np.abs(np.diff(found, axis=0)).max() < 0.2
    assert np.array_equal(found[18:], new[18:]), "eight frames, no more"


def test_bones_keep_their_lengths_where_a_motion_is_continued(samples: list[Motion]) -> None:
    old = fix_bone_lengths(samples[2].joints[:40], samples[2].joints)
    new = fix_bone_lengths(rotate_y(samples[2].joints[20:60], 1.0), samples[2].joints)  # another pose
    found = bend(old, new, np.arange(40) >= 10)
    assert np.abs(bones(found) - np.median(bones(new), 0)).max() < 0.006


@pytest.mark.parametrize("part", [slice(0, 20), slice(20, 40), slice(30, 31), slice(40, 60)])
def test_a_join_goes_on_where_the_body_is(samples: list[Motion], part: slice) -> None:
    old, wanted = samples[1].joints[:60], np.zeros(60, bool)
    wanted[part] = True
    new = rotate_y(samples[2].joints[:60], 2.0) + np.float32([5, 0, -9])  # another action, far away
    found = crossfade(old, new, wanted)
    assert np.array_equal(found[~wanted], old[~wanted])
    steps, before = (np.linalg.norm(np.diff(x[:, 0, [0, 2]], axis=0), axis=1) for x in (found, old))
    assert steps.max() < 1.25 * before.max()
    turns = np.abs(np.diff(heading(found, SMPL)))
    assert turns.max() < 0.3
    lengths = [np.linalg.norm(x[:, 4] - x[:, 1], axis=1) for x in (found, old)]
    assert np.ptp(lengths[0]) < np.ptp(lengths[1]) + 0.01
    assert (found[part] != old[part]).any((1, 2)).all()


def test_a_part_is_replaced_and_the_rest_kept(samples: list[Motion]) -> None:
    old, new, wanted = samples[1].joints[:60], samples[2].joints[:60], np.ones(60, bool)
    arms = part_joints("arms")
    found, others = crossfade(old, new, wanted, arms), [j for j in range(22) if j not in arms]
    assert np.array_equal(found[:, others], old[:, others])
    assert np.abs(found[:, sorted(arms)] - old[:, sorted(arms)]).max() > 0.3
    bones = [np.linalg.norm(x[:, 20] - x[:, 18], axis=1) for x in (found, new)]  # the left forearm
    assert np.abs(bones[0].mean() - np.median(bones[1])) < 0.02
    assert part_joints(["left_arm", "right_arm"]) == arms < part_joints("upper_body")
    for parts, message in (("tail", "parts has 'tail', expected arms, left_arm"), ([], "parts is empty")):
        with pytest.raises(InputError, match=message):
            part_joints(parts)


def test_only_kinect_quality_is_smoothed(samples: list[Motion]) -> None:
    still = samples[2].joints[:1].repeat(60, 0)
    shaken = still + (0.01 * (-1) ** np.arange(60)[:, None, None]).astype(np.float32)  # 10 times a second
    slow = still + (0.2 * np.sin(2 * np.pi * np.arange(60) / 40))[:, None, None].astype(np.float32)  # twice in 4 s
    assert smooth_for_quality(shaken, "mocap") is shaken
    assert np.abs(smooth_for_quality(shaken, "kinect") - still)[5:-5].max() < 0.002
    assert np.abs(smooth_for_quality(slow, "kinect") - slow)[5:-5].max() < 0.002
