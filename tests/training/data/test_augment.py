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
