"""Where a motion stands, and what is made of a decoder's output."""

import numpy as np

from motionrt.runtime.motion import Motion
from motionrt.runtime.place import FEET, SMPL, blended, canonical, heading, placed, rigid, settled, turned


def test_a_motion_comes_back_to_its_place(samples: list[Motion]) -> None:
    joints = turned(samples[2].joints[:60], -2.0) + np.float32([5, 1, -3])
    known, back = placed(joints)
    assert np.abs(back(known) - joints).max() < 1e-4
    assert np.abs(known - canonical(samples[2].joints[:60])).max() < 1e-4, "known from one place only"
    assert abs(heading(known[:1], SMPL)[0]) < 1e-4 and abs(known[:, FEET, 1].min()) < 1e-6


def test_rigid_bones_keep_their_directions(samples: list[Motion]) -> None:
    rng = np.random.default_rng(0)
    joints = samples[2].joints[:60] + rng.normal(0, 0.01, (60, 22, 3)).astype(np.float32)
    found = rigid(joints, samples[2].joints)
    child, parent = np.array(SMPL.edges).T
    bones, were = (x[:, child] - x[:, parent] for x in (found, joints))
    lengths, wanted = (
        np.linalg.norm(x, axis=-1) for x in (bones, samples[2].joints[:, child] - samples[2].joints[:, parent])
    )
    assert np.abs(lengths - np.median(wanted, 0)).max() < 1e-4
    assert ((bones * were).sum(-1) / (lengths * np.linalg.norm(were, axis=-1)) > 1 - 1e-4).all()
    assert np.array_equal(found[:, 0], joints[:, 0])


def test_a_settled_motion_is_settled(samples: list[Motion]) -> None:
    found = settled(samples[2].joints + np.float32([0, 0.3, 0]))
    assert abs(found[:, FEET, 1].min()) < 1e-6
    assert np.abs(settled(found) - found).max() < 1e-4


def test_new_frames_meet_the_old_ones() -> None:
    old, new = np.zeros((40, 22, 3), np.float32), np.ones((40, 22, 3), np.float32)
    wanted = (np.arange(40) >= 10) & (np.arange(40) < 30)
    found = blended(old, new, wanted)
    assert np.array_equal(found[~wanted], old[~wanted])
    assert np.abs(np.diff(found, axis=0)).max() < 0.2
    assert np.array_equal(found[18:22], new[18:22]), "eight frames beside a seam, no more"
