"""The recognizer through its public API, on a small network that sees which wrist is raised."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motionrt
from motionrt import BundleError, Decision, InputError, LayoutError, Motion, Recognizer
from motionrt.runtime.body.layout import Layout

from .. import tiny

LEFT, RIGHT = tiny.LABELS[1:]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def recognizer(bundle: Path) -> Recognizer:
    return Recognizer.load(bundle)


def play(recognizer: Recognizer, joints: np.ndarray, person: int = 0, start: float = 0.0) -> list[Decision]:
    return [recognizer.step(pose, timestamp=start + k / tiny.FPS, person=person) for k, pose in enumerate(joints)]


def clip(*parts: np.ndarray) -> Motion:
    return Motion(np.concatenate(parts), tiny.FPS, tiny.LAYOUT)


def test_it_has_the_facts_of_its_bundle(recognizer: Recognizer) -> None:
    assert recognizer.labels == tiny.LABELS and recognizer.layout == tiny.LAYOUT and recognizer.fps == tiny.FPS
    assert recognizer.license == "Apache-2.0" and recognizer.name == "tiny" and recognizer.backend == "onnx"
    assert (recognizer.receptive_field, recognizer.delay) == (3, 0)
    assert repr(recognizer) == "Recognizer('tiny', onnx, core15, 3 labels)"


def test_repr_of_a_decision_is_short(recognizer: Recognizer) -> None:
    decisions = play(recognizer, np.concatenate([tiny.poses(20), tiny.poses(30, "left")]))
    out = next(out for out in decisions if out.event)
    expected = f"Decision(person 0: {LEFT!r} {out.score:.2f}, onset of {LEFT!r}, {out.latency_ms:.2f} ms)"
    assert repr(out) == expected
    [left] = recognizer.evict(99)
    assert f"offset of {LEFT!r}, lost, " in repr(left)


def test_a_raised_hand_is_an_action_with_onset_and_offset(recognizer: Recognizer) -> None:
    decisions = play(recognizer, np.concatenate([tiny.poses(20), tiny.poses(30, "left"), tiny.poses(20)]))
    assert decisions[15].label == "none" and decisions[40].label == LEFT and decisions[-1].label == "none"
    events = [(k, out.event, out.event_label) for k, out in enumerate(decisions) if out.event]
    assert [event[1:] for event in events] == [("onset", LEFT), ("offset", LEFT)]
    assert 20 <= events[0][0] < 28 and 50 <= events[1][0] < 58


def test_an_onset_has_the_start_time_of_its_action(recognizer: Recognizer) -> None:
    joints = np.concatenate([tiny.poses(20), tiny.poses(30, "left"), tiny.poses(20)])
    decisions = play(recognizer, joints, start=100.0)
    starts = [out.since for out in decisions if out.event == "onset"]
    assert starts == [pytest.approx(101.0, abs=0.11)]
    assert all(out.since is None for out in decisions if out.event != "onset")


def test_a_decision_ranks_its_labels(recognizer: Recognizer) -> None:
    out = play(recognizer, tiny.poses(20, "right"))[-1]
    assert out.probs.dtype == np.float32 and out.probs.shape == (3,) and out.probs.sum() == pytest.approx(1)
    assert out.label == RIGHT and out.top(1) == [(RIGHT, out.score)]
    assert [score for _, score in out.top(5)] == sorted(out.probs.tolist(), reverse=True)
    assert out.top(0) == [] and out.latency_ms > 0 and out.labels == recognizer.labels
    with pytest.raises(AttributeError):
        out.label = "other"  # type: ignore[misc]


def test_without_timestamps_frames_are_one_model_period_apart(bundle: Path) -> None:
    joints = np.concatenate([tiny.poses(5), tiny.poses(15, "left")])
    timed = play(Recognizer.load(bundle), joints)
    counting = Recognizer.load(bundle)
    for expected, pose in zip(timed, joints, strict=True):
        np.testing.assert_array_equal(counting.step(pose).probs, expected.probs)


def test_a_faster_source_gives_a_decision_for_every_frame(recognizer: Recognizer) -> None:
    decisions = [recognizer.step(pose, timestamp=k / 60) for k, pose in enumerate(tiny.poses(120, "left"))]
    assert all(out.status == "ok" for out in decisions) and decisions[-1].label == LEFT


def test_a_slower_source_is_resampled(bundle: Path) -> None:
    slow = Recognizer.load(bundle)
    for k, pose in enumerate(tiny.poses(10, "left")):
        last = slow.step(pose, timestamp=k / 5)
    fast = play(Recognizer.load(bundle), tiny.poses(37, "left"))[-1]
    np.testing.assert_allclose(last.probs, fast.probs, atol=1e-6)


def test_people_do_not_affect_each_other(bundle: Path) -> None:
    alone = play(Recognizer.load(bundle), tiny.poses(20, "left"))
    together = Recognizer.load(bundle)
    for k, (left, right) in enumerate(zip(tiny.poses(20, "left"), tiny.poses(20, "right"), strict=True)):
        first = together.step(left, timestamp=k / tiny.FPS, person=7)
        second = together.step(right, timestamp=k / tiny.FPS, person=-3)
        np.testing.assert_array_equal(first.probs, alone[k].probs)
    assert first.label == LEFT and second.label == RIGHT


def test_the_same_frames_give_the_same_bits(bundle: Path) -> None:
    joints = tiny.poses(40, "left") + np.random.default_rng(0).normal(0, 0.1, (40, tiny.V, 3)).astype(np.float32)
    first, second = (play(Recognizer.load(bundle), joints) for _ in range(2))
    assert all((a.probs == b.probs).all() for a, b in zip(first, second, strict=True))


def test_reset_forgets_one_person_or_all(recognizer: Recognizer) -> None:
    fresh = play(recognizer, tiny.poses(1, "left"), person=1)[0]
    play(recognizer, tiny.poses(20, "left"), person=1, start=1.0)
    play(recognizer, tiny.poses(20, "left"), person=2)
    recognizer.reset(person=1)
    np.testing.assert_array_equal(recognizer.step(tiny.poses(1, "left")[0], 0.0, 1).probs, fresh.probs)
    assert recognizer.step(tiny.poses(1, "left")[0], 9.0, 2).event == "offset"  # its action, ended by the gap
    recognizer.reset()
    np.testing.assert_array_equal(recognizer.step(tiny.poses(1, "left")[0], 0.0, 2).probs, fresh.probs)


def test_late_and_repeated_frames_are_dropped_and_counted(recognizer: Recognizer) -> None:
    before = play(recognizer, tiny.poses(20, "left"))[-1]
    for timestamp in (0.95, 0.5, -1.0):
        out = recognizer.step(tiny.poses(1)[0], timestamp=timestamp)
        assert out.status == "dropped"
        np.testing.assert_array_equal(out.probs, before.probs)
    assert recognizer.counters["dropped"] == 3
    assert recognizer.step(tiny.poses(1, "left")[0]).status == "ok"  # one period after the last good frame


def test_an_invisible_person_is_lost_after_half_a_second(recognizer: Recognizer) -> None:
    play(recognizer, tiny.poses(20, "left"))
    decisions = play(recognizer, np.full((20, tiny.V, 3), np.nan), start=1.0)
    statuses = [out.status for out in decisions]
    assert statuses[:9] == ["ok"] * 9 and "lost" in statuses[9:12]
    lost = decisions[statuses.index("lost")]
    assert (lost.event, lost.event_label, lost.label) == ("offset", LEFT, "none")
    assert recognizer.counters["lost"] == 1


def test_a_gap_resets_the_state(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    play(recognizer, tiny.poses(20, "left"))
    after = play(recognizer, tiny.poses(20, "right"), start=5.0)
    fresh = play(Recognizer.load(bundle), tiny.poses(20, "right"))
    for out, expected in zip(after, fresh, strict=True):
        np.testing.assert_array_equal(out.probs, expected.probs)
    assert (after[0].event, after[0].event_label) == ("offset", LEFT) and recognizer.counters["resets"] == 1


def test_a_person_who_was_never_visible_is_missing(recognizer: Recognizer) -> None:
    out = recognizer.step(np.full((tiny.V, 3), np.nan))
    assert out.status == "missing" and out.label == "none" and out.event is None


def test_without_a_none_label_there_is_no_label_before_the_first_pose(tmp_path: Path) -> None:
    recognizer = Recognizer.load(tiny.tiny_bundle(tmp_path / "b", none=None))
    out = recognizer.step(np.full((tiny.V, 3), np.nan))
    assert (out.status, out.label, out.score) == ("missing", "", 0.0)
    assert recognizer.step(tiny.poses(1, "left")[0]).label in tiny.LABELS


def test_zero_confidence_counts_as_missing(bundle: Path) -> None:
    joints = tiny.poses(20, "left")
    wrist = Layout.load(tiny.LAYOUT).joints.index("left_wrist")
    confidence = np.ones((20, tiny.V))
    confidence[5:, wrist] = 0
    joints[5:, wrist] = 100.0
    recognizer = Recognizer.load(bundle)
    for pose, seen in zip(joints, confidence, strict=True):
        out = recognizer.step(pose, confidence=seen)
    assert out.label == LEFT


@pytest.mark.parametrize("name", ["kinect20", "mediapipe33", "ntu25", "smpl22", "bandai"])
def test_other_skeletons_are_mapped(recognizer: Recognizer, name: str) -> None:
    layout, own = Layout.load(name), Layout.load(tiny.LAYOUT)
    spread = layout.map_from(own) if name != "mediapipe33" else np.linalg.pinv(own.map_from(layout))
    for pose in tiny.poses(20, "right"):
        out = recognizer.step((spread @ pose).astype(np.float32), layout=name)
    assert out.label == RIGHT


def test_one_person_too_many_is_an_error_until_somebody_leaves(recognizer: Recognizer) -> None:
    pose = tiny.poses(1)[0]
    for person in range(16):
        recognizer.step(pose, timestamp=0.0, person=person)
    with pytest.raises(InputError, match="person 16 is one too many.*16 people"):
        recognizer.step(pose, timestamp=0.1, person=16)
    recognizer.step(pose, timestamp=0.2, person=3)
    assert recognizer.step(pose, timestamp=0.65, person=16).status == "ok"
    assert recognizer.step(pose, timestamp=0.7, person=3).status == "ok"


def test_the_state_of_people_does_not_grow(recognizer: Recognizer) -> None:
    for person in range(100):
        recognizer.step(tiny.poses(1)[0], timestamp=float(person), person=person)
    assert len(recognizer._clocks) <= 17


def test_several_people_are_decided_in_one_call(bundle: Path) -> None:
    together, apart = Recognizer.load(bundle), Recognizer.load(bundle)
    left, right = tiny.poses(30, "left"), tiny.poses(30, "right")
    for k in range(30):
        decisions = together.step_people([left[k], right[k]], k / tiny.FPS, people=[7, 3])
        for decision, pose, person in zip(decisions, (left[k], right[k]), (7, 3), strict=True):
            alone = apart.step(pose, k / tiny.FPS, person)
            assert (decision.person, decision.label, decision.event) == (person, alone.label, alone.event)
            np.testing.assert_allclose(decision.probs, alone.probs, atol=1e-6)
    assert [decision.label for decision in decisions] == [LEFT, RIGHT]
    assert together.step_people(np.zeros((0, tiny.V, 3)), 2.0, people=[]) == []


def test_people_without_ids_are_tracked_by_position(recognizer: Recognizer) -> None:
    left, right = tiny.poses(40, "left"), tiny.poses(40, "right") + np.float32([2, 0, 0])
    for k in range(40):
        poses = [left[k], right[k]] if k % 3 else [right[k], left[k]]  # a detector returns them in any order
        decisions = recognizer.step_people(poses, k / tiny.FPS)
    assert {decision.person: decision.label for decision in decisions} == {0: RIGHT, 1: LEFT}
    recognizer.reset()
    assert recognizer.step_people([left[0]], 100.0)[0].person == 0


def test_evict_reports_people_who_left_half_a_second_ago(recognizer: Recognizer) -> None:
    play(recognizer, tiny.poses(30, "left"), person=1)
    play(recognizer, tiny.poses(30), person=2)
    for t in (1.5, 1.9):  # last seen at 1.45
        assert recognizer.evict(t) == []
    recognizer.step(tiny.poses(1)[0], 1.9, person=2)
    [gone] = recognizer.evict(1.96)
    assert (gone.person, gone.status, gone.event, gone.event_label) == (1, "lost", "offset", LEFT)
    assert recognizer.evict(1.96) == [] and recognizer.counters["lost"] == 1
    assert recognizer.step(tiny.poses(1)[0], 2.0, person=1).event is None
    for t in (float("nan"), 1e300):
        with pytest.raises(InputError, match="the timestamp is .*expected seconds"):
            recognizer.evict(t)


def test_invalid_people_are_refused_without_side_effects(recognizer: Recognizer) -> None:
    pose = tiny.poses(1)[0]
    for poses, people, message in (
        ([pose] * 2, [1, 1], "person 1 occurs twice"),
        ([pose] * 2, [1], "people has 1 numbers, joints are of 2 people"),
        ([pose] * 17, list(range(17)), r"joints have shape \[17, 15, 3\], expected \[M, V, 3\] of at most 16"),
        (pose, [0], r"joints have shape \[15, 3\], expected \[M, V, 3\]"),
        ([pose[:14]], [0], r"\[14, 3\].*\[15, 3\]"),
    ):
        with pytest.raises(InputError, match=message):
            recognizer.step_people(poses, 0.0, people=people)
    with pytest.raises(LayoutError, match=r"confidence has shape \[2, 14\], expected \[2, 15\]"):
        recognizer.step_people([pose] * 2, 0.0, people=[0, 1], confidence=np.ones((2, 14)))
    assert recognizer.counters["frames"] == 0


BAD_FRAMES: dict[str, tuple[Any, type[Exception], str]] = {
    "one joint too few": (np.zeros((14, 3)), LayoutError, r"\[14, 3\].*\[15, 3\].*core15"),
    "10,000 joints": (np.zeros((10_000, 3)), InputError, "10000 joints.*256"),
    "2-D joints": (np.zeros((15, 2)), LayoutError, r"\[15, 2\].*\[15, 3\]"),
    "a whole clip": (np.zeros((5, 15, 3)), InputError, r"\[5, 15, 3\].*\[V, 3\]"),
    "flat": (np.zeros(45), InputError, r"\[45\].*\[V, 3\]"),
    "a number": (1.0, InputError, r"\[\].*\[V, 3\]"),
    "ragged": ([[0, 0, 0], [0, 0]], InputError, "ragged"),
    "text": ([["a", "b", "c"]] * 15, InputError, "numbers"),
    "objects": (np.full((15, 3), None), InputError, "numbers"),
    "complex": (np.zeros((15, 3), complex), InputError, "numbers"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_an_invalid_frame_is_refused_without_side_effects(bundle: Path, name: str) -> None:
    joints, kind, message = BAD_FRAMES[name]
    recognizer, undisturbed = Recognizer.load(bundle), Recognizer.load(bundle)
    play(recognizer, tiny.poses(10, "left"))
    with pytest.raises(kind, match=message) as caught:
        recognizer.step(joints)
    assert "\n" not in str(caught.value)
    expected = play(undisturbed, tiny.poses(11, "left"))[-1]
    np.testing.assert_array_equal(recognizer.step(tiny.poses(1, "left")[0]).probs, expected.probs)


@pytest.mark.parametrize("timestamp", [np.nan, np.inf, 1e15])
def test_an_invalid_timestamp_is_refused(recognizer: Recognizer, timestamp: float) -> None:
    with pytest.raises(InputError, match="expected seconds"):
        recognizer.step(tiny.poses(1)[0], timestamp=timestamp)


@pytest.mark.parametrize("person", [0.5, "anna", None, True, 2**63])
def test_a_person_id_is_an_integer(recognizer: Recognizer, person: object) -> None:
    with pytest.raises(InputError, match="person is .*expected a whole number"):
        recognizer.step(tiny.poses(1)[0], person=person)  # type: ignore[arg-type]


def test_a_confidence_of_the_wrong_shape_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(LayoutError, match=r"confidence has shape \[14\].*\[15\]"):
        recognizer.step(tiny.poses(1)[0], confidence=np.ones(14))


def test_an_unknown_layout_lists_the_known_ones(recognizer: Recognizer) -> None:
    with pytest.raises(LayoutError, match="'kinect2000'.*coco17.*kinect20"):
        recognizer.step(tiny.poses(1)[0], layout="kinect2000")


def test_a_2d_layout_needs_a_model_trained_for_it(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="'coco17' is 2-D.*3-D joints in meters.*trained"):
        recognizer.step(np.zeros((17, 2)), layout="coco17")


def test_a_clip_gets_one_decision(recognizer: Recognizer) -> None:
    for raised, label in (("left", LEFT), ("right", RIGHT), (None, "none")):
        out = recognizer.recognize(clip(tiny.poses(10), tiny.poses(20, raised), tiny.poses(10)))
        assert out.label == label and out.event is None and out.probs.shape == (3,)


def test_a_clip_does_not_affect_the_live_stream(bundle: Path) -> None:
    disturbed, undisturbed = Recognizer.load(bundle), Recognizer.load(bundle)
    joints = tiny.poses(20, "left")
    expected = play(undisturbed, joints)
    play(disturbed, joints[:10])
    counters = disturbed.counters
    disturbed.recognize(clip(tiny.poses(30, "right")))
    assert disturbed.counters == counters
    np.testing.assert_array_equal(play(disturbed, joints[10:], start=0.5)[-1].probs, expected[-1].probs)


def test_the_most_visible_person_of_a_clip_is_used(recognizer: Recognizer) -> None:
    joints = np.stack([tiny.poses(40, "left"), tiny.poses(40, "right")], axis=1)
    joints[20:, 0] = np.nan
    assert recognizer.recognize(Motion(joints, tiny.FPS, tiny.LAYOUT)).label == RIGHT
    confidence = np.ones(joints.shape[:-1], np.float32)
    confidence[5:, 1] = 0
    assert recognizer.recognize(Motion(joints, tiny.FPS, tiny.LAYOUT, confidence)).label == LEFT


def test_the_longest_part_of_a_clip_with_gaps_is_used(recognizer: Recognizer) -> None:
    gone = np.full((20, tiny.V, 3), np.nan, np.float32)
    out = recognizer.recognize(clip(tiny.poses(40, "left"), gone, tiny.poses(10, "right"), gone))
    assert out.label == LEFT


def test_a_clip_of_one_frame_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="1 frame.*at least 2"):
        recognizer.recognize(clip(tiny.poses(1)))


def test_a_clip_with_nobody_in_it_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="nobody is visible in any of the clip's 9 frames"):
        recognizer.recognize(clip(np.full((9, tiny.V, 3), np.nan)))


def test_a_bundle_for_another_number_of_joints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="take 15 joints, layout 'smpl22' has 22"):
        Recognizer.load(tiny.tiny_bundle(tmp_path / "b", layout="smpl22"))


def test_a_bundle_for_an_unknown_skeleton_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="'octopus8'"):
        Recognizer.load(tiny.tiny_bundle(tmp_path / "b", layout="octopus8"))


def test_loading_prints_nothing(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Recognizer.load(bundle).step(tiny.poses(1)[0])
    assert capfd.readouterr() == ("", "")


def test_the_doctor_reports_this_installation(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    from motionrt.runtime.bundles import bundle as bundles

    (bundle.parent / "broken").mkdir(exist_ok=True)
    (bundle.parent / "broken" / "manifest.json").write_text("{}")
    monkeypatch.setattr(bundles, "MODELS", bundle.parent)
    report = motionrt.doctor()
    assert report["core"] is None and report["backends"]["onnx"] is None
    assert report["models"]["tiny"] is None and "schema" in report["models"]["broken"]
