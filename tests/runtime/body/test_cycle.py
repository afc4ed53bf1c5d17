"""Motions that repeat without a jump, and that stay in place."""

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError


def test_a_loop_ends_in_the_pose_in_which_it_begins(samples: list[Motion]) -> None:
    for clip in samples[:3]:
        clip = Motion(joints=clip.joints[:120], fps=clip.fps, layout=clip.layout)
        loop = clip.loop()
        assert clip.frames // 2 <= loop.frames <= clip.frames and loop.fps == clip.fps
        held = loop.in_place().joints
        jump = np.linalg.norm(held[0] - held[-1], axis=-1).max()
        assert jump < 2e-3 or abs(_turn(loop)) > 45
        bones = np.linalg.norm(loop.joints[:, 1] - loop.joints[:, 4], axis=-1)
        assert np.ptp(bones) < np.ptp(np.linalg.norm(clip.joints[:, 1] - clip.joints[:, 4], axis=-1)) + 1e-4


def _turn(motion: Motion) -> float:
    from motionrt.runtime.body.canonical import SMPL, heading

    facing = heading(motion.joints, SMPL)
    return float(np.degrees(facing[-1] - facing[0]))


def test_the_root_of_a_motion_in_place_stays(samples: list[Motion]) -> None:
    walk = samples[1]
    held = walk.in_place()
    np.testing.assert_allclose(
        held.joints[:, 0, [0, 2]], np.tile(walk.joints[0, 0, [0, 2]], (walk.frames, 1)), atol=1e-5
    )
    np.testing.assert_array_equal(held.joints[..., 1], walk.joints[..., 1])
    np.testing.assert_allclose(held.joints - held.joints[:, :1], walk.joints - walk.joints[:, :1], atol=1e-5)


def test_too_few_or_uneven_frames_do_not_loop(samples: list[Motion]) -> None:
    with pytest.raises(InputError, match="at least 8 frames"):
        Motion(joints=samples[1].joints[:7], fps=20, layout="smpl22").loop()
    uneven = Motion(joints=samples[1].joints[:9], fps=20, layout="smpl22", timestamps=np.arange(9.0) ** 2)
    with pytest.raises(InputError, match="evenly spaced"):
        uneven.loop()
