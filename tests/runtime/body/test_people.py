"""Poses without extent are nobody, and somebody who moves is preferred to a phantom."""

import numpy as np
import pytest

from motionrt import InputError, Motion
from motionrt.runtime.body.people import by_preference, is_nobody, is_phantom

V = 22


def body(seed: int = 0, frames: int = 40, moving: float = 0.0) -> np.ndarray:
    """Joints [T, V, 3] of a body of plausible size whose joints swing by `moving` meters."""
    rng = np.random.default_rng(seed)
    swing = np.sin(np.linspace(0, 6, frames))[:, None, None] * moving
    return (rng.normal(scale=0.3, size=(V, 3)) + swing).astype(np.float32)


NOBODY = {
    "zeros": np.zeros((V, 3)),
    "one point": np.full((V, 3), [1.0, -2.0, 300.0]),
    "one point with rounding": np.full((V, 3), 3.0) + np.random.default_rng(0).normal(scale=1e-6, size=(V, 3)),
    "zeros where not missing": np.where(np.arange(V)[:, None] % 3 == 0, np.nan, np.zeros((V, 3))),
}
SOMEBODY = {
    "a body": body()[0],
    "a body of 1 mm": body()[0] / 1000,
    "one joint in sight": np.where(np.arange(V)[:, None] == 4, 1.0, np.full((V, 3), np.nan)),
    "no joint in sight": np.full((V, 3), np.nan),
}


@pytest.mark.parametrize("name", NOBODY)
def test_a_pose_in_one_point_is_missing_in_a_clip(name: str) -> None:
    assert is_nobody(NOBODY[name])
    joints = np.stack([body(frames=2), np.stack([NOBODY[name], body()[0]])], axis=1)
    motion = Motion(joints, 30, "smpl22")
    assert np.isnan(motion.joints[0, 1]).all()
    np.testing.assert_array_equal(motion.joints[:, 0], joints[:, 0])
    np.testing.assert_array_equal(motion.joints[1], joints[1].astype(np.float32))


@pytest.mark.parametrize("name", SOMEBODY)
def test_other_poses_stay_as_they_are(name: str) -> None:
    assert not is_nobody(SOMEBODY[name])
    joints = SOMEBODY[name][None].astype(np.float32)
    assert Motion(joints, 30, "smpl22").joints is joints, "not copied"


def test_extreme_numbers_are_somebody() -> None:
    assert not is_nobody(np.float32([[3e38] * 3, [-3e38] * 3]))


def test_the_only_person_of_a_clip_is_found_among_empty_slots() -> None:
    joints = np.zeros((40, 6, V, 3), np.float32)
    joints[:, 4] = body()
    motion = Motion(joints, 30, "smpl22")
    np.testing.assert_array_equal(motion.only_person().joints, body())
    joints[:, 1] = body(1)
    with pytest.raises(InputError, match="a motion of 2 people, expected one: select it with `motion.person`"):
        Motion(joints, 30, "smpl22").only_person()
    assert Motion(np.zeros((4, 3, V, 3)), 30, "smpl22").only_person().joints.shape == (4, V, 3)


def preferred(*people: np.ndarray) -> int:
    return by_preference(np.stack(people, axis=1))[0]


def test_the_one_who_moves_is_preferred() -> None:
    assert preferred(body(1), body(2, moving=0.1), body(3)) == 1
    assert preferred(body(1, moving=0.3), body(2, moving=0.1)) == 0


def test_a_body_of_a_plausible_size_is_preferred() -> None:
    for scale in (0, 1e-3, 0.1, 10, 1000):
        assert preferred(body(1, moving=0.3) * scale, body(2)) == 1


def test_somebody_who_was_there_most_of_the_time_is_preferred() -> None:
    brief = body(1, moving=0.3)
    brief[10:] = np.nan
    assert preferred(brief, body(2, moving=0.1)) == 1
    assert preferred(brief, np.full_like(brief, np.nan)) == 0


def test_phantoms_are_still_or_of_another_size() -> None:
    assert is_phantom(body()) and is_phantom(body(moving=0.2) / 10) and is_phantom(np.full((9, V, 3), np.nan))
    assert not is_phantom(body(moving=0.02))
    assert not is_phantom(body(moving=0.02)[..., :2] * 300), "pixels have no size of a person"
