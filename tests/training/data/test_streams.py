"""Streams joined from clips: the person moves on from where the last clip ended, and the labels say when."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from motionrt.runtime.body.canonical import heading
from motionrt.runtime.body.layout import Layout
from motionrt.training.data import streams
from motionrt.training.data.clips import LabeledClip
from motionrt.training.data.streams import UNLABELED, Segment, Stream

RATE = 20.0
LABELS = ("bow", "run", "walk", "wave", "none")
NONE = LABELS.index("none")


def part(clip: LabeledClip, begin: int = 5, end: int = -5) -> Segment:
    """A clip whose action is all but its first and last five frames."""
    T = len(clip.joints)
    spans = [(clip.label or "none", begin, T + end)]
    return replace(streams.segment(clip.joints, T, clip.label or "none", spans, LABELS), source=clip.source)


@pytest.fixture(scope="module")
def parts(clips: list[LabeledClip]) -> list[Segment]:
    chosen = [clip for clip in clips if clip.label in LABELS and clip.source == "bandai"][::4]
    assert len({clip.label for clip in chosen}) == 4
    rest = streams.play_rest(chosen[0].joints[:9], RATE, 1.5, RATE)
    return [*map(part, chosen[:3]), Segment(joints=rest, target=NONE, actions=()), *map(part, chosen[3:])]


@pytest.fixture(scope="module")
def stream(parts: list[Segment], layout: Layout) -> Stream:
    return streams.compose(parts, layout, NONE, RATE, np.random.default_rng(0))


def spans(stream: Stream) -> list[tuple[int, int]]:
    """First frame and last plus one of every segment."""
    found = []
    for i in range(len(stream.classes)):
        inside = np.flatnonzero(stream.segments == i)
        assert len(inside) == inside[-1] - inside[0] + 1, "a segment is one stretch"
        found.append((int(inside[0]), int(inside[-1]) + 1))
    return found


def test_every_frame_has_joints_a_target_and_a_segment(stream: Stream, parts: Sequence[Segment]) -> None:
    assert len(stream.joints) == len(stream.targets) == len(stream.segments)
    assert stream.classes == tuple(p.target for p in parts)
    assert stream.sources == tuple(p.source for p in parts)
    assert [end - begin for begin, end in spans(stream)] == [len(p.joints) for p in parts]
    assert stream.joints.dtype == np.float32


def test_a_segment_starts_at_the_position_and_heading_of_the_previous_one(stream: Stream, layout: Layout) -> None:
    root = stream.joints[:, layout.root]
    for (_, end), (begin, _) in zip(spans(stream), spans(stream)[1:], strict=False):
        np.testing.assert_allclose(root[begin, [0, 2]], root[end - 1, [0, 2]], atol=1e-5)
        pair = heading(stream.joints[[end - 1, begin]], layout)
        assert pair[1] == pytest.approx(pair[0], abs=1e-3)


def test_joining_does_not_deform_a_clip(stream: Stream, parts: Sequence[Segment], layout: Layout) -> None:
    for (begin, end), original in zip(spans(stream), parts, strict=True):
        joints = stream.joints[begin:end]
        np.testing.assert_allclose(joints[..., 1], original.joints[..., 1], atol=1e-6)
        for x in (0, 7, 13):
            a = np.linalg.norm(joints - joints[:, [x]], axis=2)
            b = np.linalg.norm(original.joints - original.joints[:, [x]], axis=2)
            np.testing.assert_allclose(a, b, atol=1e-5)
        turned = heading(joints, layout) - heading(original.joints, layout)
        np.testing.assert_allclose(turned, turned[0], atol=1e-3)  # the same turn for all frames


def test_there_are_no_jumps(stream: Stream, parts: Sequence[Segment]) -> None:
    """Between two segments no joint moves faster than a smooth move of at least 0.3 s there."""
    step = np.linalg.norm(np.diff(stream.joints, axis=0), axis=2).max(1)
    for (_, end), (begin, _) in zip(spans(stream), spans(stream)[1:], strict=False):
        frames = begin - end
        assert 0.3 * RATE - 1 <= frames <= 0.8 * RATE + 1
        assert (stream.segments[end:begin] == -1).all()
        way = np.linalg.norm(stream.joints[begin] - stream.joints[end - 1], axis=1).max()
        assert step[end - 1 : begin].max() <= 1.5 * way / frames + 1e-6
    inside = np.concatenate([np.linalg.norm(np.diff(p.joints, axis=0), axis=2).max(1) for p in parts])
    for begin, end in spans(stream):
        assert step[begin : end - 1].max() <= inside.max() + 1e-5


def test_targets_segments_and_actions_agree(stream: Stream, parts: Sequence[Segment]) -> None:
    wanted = np.full(len(stream.joints), NONE)
    for target, begin, end in stream.actions:
        assert target != NONE
        assert len(set(stream.segments[begin:end])) == 1, "an action lies within a segment"
        assert stream.classes[stream.segments[begin]] == target
        wanted[begin:end] = target
    asked = stream.targets != UNLABELED
    np.testing.assert_array_equal(stream.targets[asked], wanted[asked])
    assert (stream.segments[~asked] == -1).all(), "only between segments is nothing asked for"
    assert len(stream.actions) == sum(p.target != NONE for p in parts)


def test_sitting_down_between_two_clips_is_unlabeled(layout: Layout) -> None:
    standing = np.zeros((10, len(layout.joints), 3), np.float32)
    standing[:, layout.joints.index("head"), 1] = 0.6
    standing[:, layout.joints.index("left_ankle"), 1] = -0.9
    sitting = standing.copy()
    sitting[:, layout.joints.index("left_ankle"), 1] = -0.5
    rng = np.random.default_rng(0)
    for second, between in ((sitting, UNLABELED), (standing, NONE)):
        both = [Segment(joints=joints, target=NONE, actions=()) for joints in (standing, second)]
        stream = streams.compose(both, layout, NONE, RATE, rng)
        assert set(stream.targets[stream.segments == -1]) == {between}


def test_a_segment_scales_its_actions_to_the_streams_rate() -> None:
    part = streams.segment(np.zeros((90, 15, 3), np.float32), 60, "wave", [("walk", 0, 20), ("wave", 20, 50)], LABELS)
    assert part.target == LABELS.index("wave")
    assert part.actions == ((LABELS.index("walk"), 0, 30), (LABELS.index("wave"), 30, 75))


def test_an_unknown_action_is_none_and_not_an_action(clips: list[LabeledClip], layout: Layout) -> None:
    unknown = next(clip for clip in clips if clip.label is None)
    stream = streams.compose([part(unknown)], layout, NONE, RATE, np.random.default_rng(0))
    assert stream.actions == () and set(stream.targets) == {NONE} and set(stream.segments) == {0}


def test_rest_is_played_back_and_forth(layout: Layout) -> None:
    window = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 15, 3), np.float32)
    played = streams.play_rest(window, RATE, 0.6, RATE)[:, 3, 1]
    assert played.tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]
    faster = streams.play_rest(window, RATE, 2.0, 2 * RATE)
    assert len(faster) == 80 and np.abs(np.diff(faster[:, 0, 0])).max() < 1  # as fast in meters a second


def test_windows_of_rest_are_where_a_person_stands_still(clips: list[LabeledClip], layout: Layout) -> None:
    standing = next(clip.joints[0] for clip in clips if clip.record.get("content") == "bow")
    wave = next(clip for clip in clips if clip.record.get("content") == "wave-right-hand").joints
    lying = standing[:, [1, 0, 2]]
    rng = np.random.default_rng(0)

    def windows(*joints: np.ndarray) -> list[tuple[np.ndarray, float]]:
        clip = LabeledClip(joints=np.concatenate(joints), fps=RATE, label=None, source="other", record={})
        return streams.rest_windows([clip], layout)

    def stay(pose: np.ndarray, frames: int) -> np.ndarray:
        jitter = rng.normal(0, 0.0005, (frames, *pose.shape))
        return (pose + jitter).astype(np.float32)

    hand_up = wave[wave[:, layout.joints.index("right_wrist"), 1].argmax()]
    found = windows(stay(standing, 30), stay(hand_up, 30), stay(lying, 30), stay(standing, 9))
    assert len(found) == 1 and found[0][1] == RATE
    assert 28 <= len(found[0][0]) <= 30
    np.testing.assert_allclose(found[0][0].mean(0), standing, atol=0.01)


def test_windows_of_rest_in_recordings_hardly_move(clips: list[LabeledClip], layout: Layout) -> None:
    windows = streams.rest_windows(clips, layout)
    assert len(windows) >= 5
    for joints, fps in windows:
        assert len(joints) >= 0.5 * fps
        pose = joints - joints[:, [layout.root]]
        speed = np.linalg.norm(np.diff(pose, axis=0), axis=2) * fps
        assert (np.median(speed, axis=1) < 0.15).all()


def test_the_same_random_numbers_give_the_same_stream(parts: list[Segment], layout: Layout) -> None:
    a, b = (streams.compose(parts, layout, NONE, RATE, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a.joints, b.joints)
    np.testing.assert_array_equal(a.targets, b.targets)
    assert a.actions == b.actions
