"""Motion made by rule: bodies that stay bodies, and do what the label says."""

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.training.data import vocabulary
from motionrt.training.data.choreography import RULES, SOURCE, choreography
from motionrt.training.data.clips import LabeledClip

CORE15 = Layout.load("core15")
INDEX = {name: i for i, name in enumerate(CORE15.joints)}
HEAD, WRIST, OTHER_WRIST, SHOULDER = (INDEX[name] for name in ("head", "right_wrist", "left_wrist", "right_shoulder"))
ANKLES, KNEE, HIP = [INDEX["left_ankle"], INDEX["right_ankle"]], INDEX["right_knee"], INDEX["right_hip"]
SIDE = {"shoulder": (0.17, 0.5, 0), "elbow": (0.2, 0.23, 0), "wrist": (0.2, -0.01, 0.05)}
SIDE |= {"hip": (0.09, 0, 0), "knee": (0.09, -0.4, 0.02), "ankle": (0.09, -0.8, 0)}
CLIPS = 40


@pytest.fixture(scope="module")
def rest() -> np.ndarray:
    """A person who stands still, turned away from +z, [10, V, 3]."""
    pose = np.zeros((15, 3))
    pose[INDEX["neck"]], pose[HEAD] = (0, 0.5, 0), (0, 0.7, 0)
    for part, (x, y, z) in SIDE.items():
        pose[INDEX[f"left_{part}"]], pose[INDEX[f"right_{part}"]] = (x, y, z), (-x, y, z)
    turned = pose[:, [2, 1, 0]] * np.array([1, 1, -1])
    return np.repeat(turned[None] + np.array([3, 1, 2]), 10, 0)


@pytest.fixture(scope="module")
def clips(rest: np.ndarray) -> dict[str, list[LabeledClip]]:
    made = choreography(tuple(RULES), [(rest, 30.0)], CORE15, CLIPS, seed=0)
    return {label: [clip for clip in made if clip.label == label] for label in RULES}


def test_every_rule_is_for_a_label_and_makes_clips(clips: dict[str, list[LabeledClip]], rest: np.ndarray) -> None:
    assert set(RULES) < set(vocabulary.labels())
    assert all(len(found) == CLIPS for found in clips.values())
    for clip in clips["wave"] + clips["kick"]:
        assert clip.source == SOURCE and 0.4 < clip.seconds < 15
    assert not choreography(("walk",), [(rest, 30.0)], CORE15, 5, seed=0), "a label without a rule has none"


def test_a_seed_makes_the_same_clips(rest: np.ndarray) -> None:
    first, again, other = (choreography(("push",), [(rest, 30.0)], CORE15, 3, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.joints, b.joints)
    assert any(a.joints.shape != b.joints.shape for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("label", RULES)
def test_bones_keep_their_lengths(label: str, clips: dict[str, list[LabeledClip]], rest: np.ndarray) -> None:
    for clip in clips[label]:
        assert np.isfinite(clip.joints).all()
        for joint, parent in enumerate(CORE15.parents):
            if parent >= 0:
                wanted = np.linalg.norm(rest[0, joint] - rest[0, parent])
                lengths = np.linalg.norm(clip.joints[:, joint] - clip.joints[:, parent], axis=1)
                np.testing.assert_allclose(lengths, wanted, atol=0.02, err_msg=CORE15.joints[joint])


def share(clips: list[LabeledClip], holds: object) -> float:
    return float(np.mean([holds(clip.joints) for clip in clips]))  # type: ignore[operator]


def test_hands_go_where_the_label_says(clips: dict[str, list[LabeledClip]]) -> None:
    def over_head(joints: np.ndarray) -> bool:
        return bool((joints[:, WRIST, 1] > joints[:, HEAD, 1]).any())

    def together(joints: np.ndarray) -> bool:
        return bool((np.linalg.norm(joints[:, WRIST] - joints[:, OTHER_WRIST], axis=1) < 0.12).any())

    def far_ahead(joints: np.ndarray) -> bool:
        return bool(((joints[:, WRIST] - joints[:, SHOULDER])[:, 2] > 0.33).any())

    def inward(joints: np.ndarray) -> bool:
        x = joints[:, WRIST, 0] - joints[:, SHOULDER, 0]  # the left is at +x
        return bool(np.argmin(x) < np.argmax(x))

    assert share(clips["raise right hand"], over_head) > 0.8 and share(clips["bow"], over_head) == 0
    assert share(clips["clap"], together) > 0.6 and share(clips["wave both hands"], together) < 0.2
    assert share(clips["push"], far_ahead) > 0.8
    assert share(clips["swipe left"], inward) > 0.8 and share(clips["swipe right"], inward) < 0.2


def test_legs_go_where_the_label_says(clips: dict[str, list[LabeledClip]]) -> None:
    def drop(joints: np.ndarray) -> float:
        return float(np.ptp((joints[:, CORE15.root] - joints[:, ANKLES].mean(1))[:, 1]))

    def lifted(joints: np.ndarray) -> bool:
        return bool((joints[:, ANKLES, 1].max(0) > joints[0, ANKLES, 1] + 0.12).any())

    def knee_up(joints: np.ndarray) -> bool:
        return bool(((joints[:, HIP] - joints[:, KNEE])[:, 1] < 0.32).any())

    assert min(drop(clip.joints) for clip in clips["sit down"]) > 0.1
    assert np.median([drop(clip.joints) for clip in clips["squat"]]) > 0.2
    assert share(clips["kick"], lifted) > 0.8 and share(clips["squat"], lifted) == 0
    assert share(clips["raise knee"], knee_up) > 0.8
    for clip in clips["wave"]:  # feet on the ground stay there
        np.testing.assert_allclose(
            clip.joints[:, ANKLES], clip.joints[:1, ANKLES].repeat(len(clip.joints), 0), atol=0.03
        )


def test_gestures_are_made_at_a_desk_too(clips: dict[str, list[LabeledClip]]) -> None:
    seated = share(clips["wave"], lambda joints: (joints[0, HIP] - joints[0, ANKLES[1]])[1] < 0.6)
    assert 0.02 < seated < 0.4
