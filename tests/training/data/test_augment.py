"""Augmentation changes the body, the view and the sensor, and leaves the action the same."""

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.training.data import augment
from motionrt.training.data.clips import LabeledClip


@pytest.fixture
def joints(clips: list[LabeledClip]) -> np.ndarray:
    """Somebody waves with the right hand, [T, V, 3]."""
    return next(clip.joints for clip in clips if clip.record.get("content") == "wave-right-hand")


def distances(joints: np.ndarray) -> np.ndarray:
    """Between all pairs of joints, [T, V, V]."""
    return np.linalg.norm(joints[:, :, None] - joints[:, None], axis=3)


def bones(joints: np.ndarray, layout: Layout) -> np.ndarray:
    """Lengths [T, bones]."""
    return np.stack([np.linalg.norm(joints[:, j] - joints[:, p], axis=1) for j, p in layout.edges], 1)


def test_mirroring_twice_changes_nothing(joints: np.ndarray, layout: Layout) -> None:
    np.testing.assert_array_equal(augment.mirror(augment.mirror(joints, layout), layout), joints)


def test_mirroring_swaps_the_hands(joints: np.ndarray, layout: Layout) -> None:
    left, right = (layout.joints.index(f"{side}_wrist") for side in ("left", "right"))
    mirrored = augment.mirror(joints, layout)
    np.testing.assert_array_equal(mirrored[:, left], joints[:, right] * [-1, 1, 1])
    np.testing.assert_array_equal(mirrored[:, layout.root], joints[:, layout.root] * [-1, 1, 1])
    assert joints[:, right, 1].max() > joints[:, left, 1].max() + 0.2, "the recording waves with the right hand"
    np.testing.assert_allclose(distances(mirrored), distances(joints)[:, layout.mirror][:, :, layout.mirror], atol=1e-6)


def test_rotate_is_a_rotation(joints: np.ndarray) -> None:
    turned = augment.rotate(joints, 1.1, np.array([0.05, -0.1]))
    np.testing.assert_allclose(distances(turned), distances(joints), atol=1e-5)
    corners = [joints[0, [1, 3, 6]] - joints[0, 0], turned[0, [1, 3, 6]] - turned[0, 0]]
    before, after = (np.linalg.det(corner) for corner in corners)
    assert before == pytest.approx(after, rel=1e-3), "left stays left"


def test_yaw_rotates_about_the_vertical() -> None:
    ahead = np.array([[[0.0, 1.5, 2.0]]])  # z to x is a quarter turn to the left of who looks along +z
    np.testing.assert_allclose(augment.rotate(ahead, np.pi / 2, np.zeros(2)), [[[2.0, 1.5, 0.0]]], atol=1e-6)


def test_another_body_has_other_bone_lengths_equal_left_and_right(joints: np.ndarray, layout: Layout) -> None:
    varied = augment.vary_body(joints, layout, np.random.default_rng(3))
    np.testing.assert_array_equal(varied[:, layout.root], joints[:, layout.root])
    ratio = bones(varied, layout) / bones(joints, layout)  # [T, bones]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-3)
    scale = {joint: ratio[0, i] for i, (joint, _) in enumerate(layout.edges)}
    for left, right in layout.pairs:
        assert scale[left] == pytest.approx(scale[right], rel=1e-3)
    assert np.ptp(ratio[0]) > 0.02, "proportions change, not the size alone"


def test_another_body_moves_in_the_same_directions(joints: np.ndarray, layout: Layout) -> None:
    varied = augment.vary_body(joints, layout, np.random.default_rng(3))
    for joint, parent in layout.edges:
        a, b = (x[:, joint] - x[:, parent] for x in (joints, varied))
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosine.min() > 1 - 1e-4


@pytest.mark.parametrize("seed", range(20))
def test_another_sensor_sees_the_same_person_at_the_same_times(joints: np.ndarray, seed: int) -> None:
    kept = joints.copy()
    seen = augment.vary_sensor(joints, 20.0, np.random.default_rng(seed))
    assert seen.shape == joints.shape and seen.dtype == np.float32
    assert np.isfinite(seen).all()
    np.testing.assert_array_equal(joints, kept)
    assert np.median(np.linalg.norm(seen - joints, axis=2)) < 0.15


def test_the_same_random_numbers_give_the_same_clip(joints: np.ndarray, layout: Layout) -> None:
    def augmented(seed: int) -> np.ndarray:
        return augment.augment(joints, 20.0, 20.0, layout, np.random.default_rng(seed))

    np.testing.assert_array_equal(augmented(1), augmented(1))
    assert augmented(1).shape != augmented(2).shape or (augmented(1) != augmented(2)).any()


@pytest.mark.parametrize("seed", range(20))
def test_an_augmented_clip_is_finite_and_about_as_long(joints: np.ndarray, layout: Layout, seed: int) -> None:
    frames = len(joints) * 30 / 20  # recorded at 20, wanted at 30 frames a second
    found = augment.augment(joints, 20.0, 30.0, layout, np.random.default_rng(seed))
    assert found.dtype == np.float32 and np.isfinite(found).all()
    assert frames / 1.36 - 1 <= len(found) <= frames / 0.74 + 1


def test_a_clip_of_two_frames_can_be_augmented(joints: np.ndarray, layout: Layout) -> None:
    for seed in range(20):
        found = augment.augment(joints[:2], 30.0, 20.0, layout, np.random.default_rng(seed))
        assert len(found) >= 2 and np.isfinite(found).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_clip_with_every_change_is_finite(joints: np.ndarray, layout: Layout, seed: int) -> None:
    every = augment.Augmentation(tilt=0.2, webcam=1, hidden_legs=1)
    found = augment.augment(joints, 20.0, 20.0, layout, np.random.default_rng(seed), every)
    assert found.dtype == np.float32 and np.isfinite(found).all()


def test_hidden_legs_leave_the_upper_body_alone(joints: np.ndarray, layout: Layout) -> None:
    names, kept = layout.joints, joints.copy()
    knees, ankles, hips = (
        [names.index(f"{side}_{part}") for side in ("left", "right")] for part in ("knee", "ankle", "hip")
    )
    legs = knees + ankles
    rest = [j for j in range(len(names)) if j not in legs]
    still = hanging = 0
    for seed in range(30):
        found = augment.hide_legs(joints, layout, np.random.default_rng(seed))
        np.testing.assert_array_equal(joints, kept)
        np.testing.assert_array_equal(found[:, rest], joints[:, rest])
        assert (found[1:, legs] != joints[1:, legs]).any() and np.isfinite(found).all()
        on_body = found[:, legs] - found[:, [layout.root]]
        still += np.allclose(on_body, on_body[:1], atol=1e-5)
        hanging += np.allclose(found[:, legs][..., [0, 2]], found[:, hips + hips][..., [0, 2]], atol=1e-5)
    assert min(still, hanging, 30 - still - hanging) >= 3, "still, hanging, or at random"


def test_another_depth_compresses_z_and_adds_noise(joints: np.ndarray, layout: Layout) -> None:
    joints, shares = np.tile(joints, (20, 1, 1)), []
    for seed in range(10):
        found = augment.vary_depth(joints, layout, np.random.default_rng(seed))
        assert found.shape == joints.shape and found.dtype == np.float32
        before, after = (np.delete(x - x[:, [layout.root]], layout.root, 1).astype(float) for x in (joints, found))
        share = (before[..., 2] * after[..., 2]).sum() / (before[..., 2] ** 2).sum()
        shares.append(share)
        noise = (after - before * [1, 1, share]).std((0, 1))
        assert 0.003 < noise[0] < 0.03 and noise[1] == pytest.approx(noise[0], rel=0.25)
        assert noise[2] == pytest.approx(3 * noise[0], rel=0.25)
    assert 0.35 < min(shares) < 0.65 and 0.75 < max(shares) < 1.05


def test_a_picture_has_no_depth_and_sees_most_people_from_the_front(joints: np.ndarray, layout: Layout) -> None:
    left, right = (layout.joints.index(f"{side}_shoulder") for side in ("left", "right"))
    neck = layout.joints.index("neck")
    from_front = []
    for seed in range(40):
        turned = augment.rotate(joints, seed, np.zeros(2))
        picture = augment.take_picture(turned, layout, np.random.default_rng(seed))
        assert not picture[..., 2].any() and np.isfinite(picture).all()
        trunk = np.linalg.norm(picture[:, neck] - picture[:, layout.root], axis=1).mean()
        assert 0.5 < trunk / np.linalg.norm(joints[:, neck] - joints[:, layout.root], axis=1).mean() < 1.5
        from_front.append((picture[:, left, 0] - picture[:, right, 0]).mean() > 0.1)
    assert 20 < sum(from_front) < 40


def test_a_picture_that_is_augmented_stays_one(joints: np.ndarray) -> None:
    flat = joints * np.float32([1, 1, 0])
    varied = augment.augment_picture(flat, 20, 20, np.random.default_rng(1))
    assert not varied[..., 2].any()
    assert np.sign(varied[0, 2, 1] - varied[0, 0, 1]) == np.sign(flat[0, 2, 1] - flat[0, 0, 1])
