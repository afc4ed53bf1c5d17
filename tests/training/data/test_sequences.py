"""Clips joined from others: what they are called, how smooth they are, how often they are drawn."""

import re

import numpy as np
import pytest

from motionrt.runtime.body.canonical import SMPL, heading, to_canonical
from motionrt.runtime.body.motion import Motion
from motionrt.training.data.motions import SEQUENCES, BalancedSampler, MotionClip, mirror
from motionrt.training.data.sequences import compose

SAYS = {
    "bow": "a person bows",
    "squat": "a man squats down",
    "wave": "someone waves the right hand",
    "walk": "a person walks forward",
}


def raise_arm(joints: np.ndarray, side: str) -> None:
    """Swing an arm forward from the shoulder and back, by 70 degrees."""
    angle = np.radians(70) * np.sin(np.linspace(0, np.pi, len(joints))) ** 2
    cos, sin = np.cos(angle), np.sin(angle)
    shoulder = joints[:, SMPL.joints.index(f"{side}_shoulder")]
    for part in ("elbow", "wrist"):
        x, y, z = (joints[:, SMPL.joints.index(f"{side}_{part}")] - shoulder).T
        joints[:, SMPL.joints.index(f"{side}_{part}")] = shoulder + np.stack(
            (x, cos * y + sin * z, cos * z - sin * y), 1
        )


@pytest.fixture(scope="module")
def clips(samples: list[Motion]) -> list[MotionClip]:
    """Three gestures of the right arm, so named, of people who stand, and a walk of 2 m."""
    standing = to_canonical(samples[0].joints)[:1]
    made = []
    for action, caption in SAYS.items():
        joints = np.repeat(standing, 48, 0)
        if action == "walk":
            joints[..., 2] += np.linspace(0, 2, 48, dtype=np.float32)[:, None]
        else:
            raise_arm(joints, "right")
        made.append(
            MotionClip(
                joints=joints,
                captions=(caption,),
                action=action,
                style=None,
                quality="mocap",
                split="train",
                source="a",
                name=action,
            )  # fmt: skip
        )
    return made


@pytest.fixture(scope="module")
def composed(clips: list[MotionClip]) -> list[MotionClip]:
    return compose(clips, 60, seed=1)


def test_captions_name_the_actions_in_their_order(composed: list[MotionClip]) -> None:
    assert len(composed) == 60
    several = [c for c in composed if ", then " in c.action]
    assert 20 < len(several) < 60 and any(c.action.count(", then ") == 2 for c in several)
    for c in several:
        for text in c.captions:
            named = re.findall(r"bow|squat|wave|walk", text)
            assert named == c.action.split(", then ") and re.search(r"\b(then|after that)\b", text), text
            assert re.match(r"(a person|someone|a man|the person|a woman|a figure) (first )?\w+s\b", text), text


def test_repeated_actions_are_counted(clips: list[MotionClip], composed: list[MotionClip]) -> None:
    counted = [c for c in composed if ", then " not in c.action]
    assert {c.action.split(" ", 1)[1] for c in counted} == {"twice", "three times"}
    assert "walk" not in {c.action.split()[0] for c in counted}
    for c in counted:
        count = 2 if "twice" in c.action else 3
        assert all(re.search(r"\b(twice|two times)\b" if count == 2 else r"\bthree times\b", t) for t in c.captions)
        wrists = c.joints[:, [SMPL.joints.index(f"{side}_wrist") for side in ("left", "right")], 1]
        high = (wrists - wrists[0] > 0.1).any(1)
        assert (np.diff(high.astype(int)) == 1).sum() == count


def test_joined_clips_are_smooth_and_canonical(clips: list[MotionClip], composed: list[MotionClip]) -> None:
    lengths = np.linalg.norm(clips[0].joints[0, 1:] - clips[0].joints[0, list(SMPL.parents[1:])], axis=1)
    for c in composed:
        assert c.source == SEQUENCES and 64 <= len(c.joints) <= 196
        assert np.linalg.norm(np.diff(c.joints, axis=0), axis=2).max() < 0.1  # 2 m/s
        bones = np.linalg.norm(c.joints[:, 1:] - c.joints[:, list(SMPL.parents[1:])], axis=2)
        assert np.abs(bones - lengths).max() < 0.02
        assert abs(heading(c.joints[:1], SMPL)[0]) < 1e-3 and np.abs(c.joints[0, 0, [0, 2]]).max() < 1e-4


def test_a_walk_goes_on_from_where_the_motion_before_it_ended(composed: list[MotionClip]) -> None:
    for c in composed:
        walks = c.action.split(", then ").count("walk")
        assert (c.joints[-1, 0, 2] > 1.2) == (walks > 0)


def test_composing_depends_on_the_seed_only(clips: list[MotionClip], composed: list[MotionClip]) -> None:
    again, other = compose(clips, 10, seed=1), compose(clips, 10, seed=2)
    assert all(
        a.captions == b.captions and np.array_equal(a.joints, b.joints) for a, b in zip(again, composed, strict=False)
    )
    assert [c.action for c in other] != [c.action for c in again]


def test_composed_clips_are_a_share_of_the_samples(clips: list[MotionClip], composed: list[MotionClip]) -> None:
    both = [*clips, *composed]
    assert BalancedSampler(clips=both, seed=0).weights[len(clips) :].sum() == 0
    weights = BalancedSampler(clips=both, seed=0, sequences=0.2).weights
    assert weights.sum() == pytest.approx(1) and weights[len(clips) :].sum() == pytest.approx(0.2)
    assert np.ptp(weights[len(clips) :]) == 0
    assert BalancedSampler(clips=clips, seed=0, sequences=0.2).weights.sum() == pytest.approx(1)


def test_a_sequence_has_a_mirror_image(composed: list[MotionClip]) -> None:
    c = next(c for c in composed if "wave" in c.action)
    sides = [re.search(r"left|right", text) for text in (c.captions[0], mirror(c).captions[0])]
    assert {side[0] for side in sides if side} == {"left", "right"}
