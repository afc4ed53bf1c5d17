"""Continuous recognition: matching of onsets, delays, and composition of the streams."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols.continuous import (
    CAMERA_HZ,
    Action,
    Onset,
    Trace,
    arrange_clips,
    continuous,
    first_correct,
    hits,
    is_ongoing,
    run_stream,
    summarize,
    validation_streams,
)
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.recognition.recognizer import Recognizer
from motionrt.training.data import vocabulary
from motionrt.training.data.clips import LabeledClip, load_clips
from motionrt.training.data.streams import UNLABELED, Stream

LABELS = (*vocabulary.labels(), vocabulary.NONE)
FRAMES = 300


def action(label: str, start_s: float, end_s: float) -> Action:
    return Action(label=label, start_s=start_s, end_s=end_s)


def onset(label: str, reported_s: float, start_s: float | None = None) -> Onset:
    return Onset(label=label, reported_s=reported_s, start_s=reported_s if start_s is None else start_s)


def trace(actions: list[Action], onsets: list[Onset], labels: dict[str, tuple[float, float]]) -> Trace:
    """Ten seconds; `labels` maps a label to the interval in which it is predicted, `none` otherwise."""
    times = np.arange(FRAMES) / CAMERA_HZ

    def during(label: str, start_s: float, end_s: float, t: float, otherwise: str) -> str:
        return label if start_s - 1e-9 <= t < end_s - 1e-9 else otherwise

    targets: list[str | None] = []
    predicted = []
    for t in times:
        target = prediction = "none"
        for a in actions:
            target = during(a.label, a.start_s, a.end_s, t, target)
        for label, (start_s, end_s) in labels.items():
            prediction = during(label, start_s, end_s, t, prediction)
        targets.append(target)
        predicted.append(prediction)
    return Trace(actions=actions, times_s=times, targets=targets, labels=predicted, onsets=onsets)


BOW, WAVE = action("bow", 2.0, 4.0), action("wave", 6.0, 8.0)


@pytest.mark.parametrize(
    ("onsets", "by_start", "by_report"),
    [
        ([onset("bow", 2.4)], 1, 1),
        ([onset("bow", 1.6)], 1, 1),
        ([onset("bow", 2.6)], 0, 0),
        ([onset("wave", 2.1)], 0, 0),
        ([onset("bow", 3.5, start_s=2.2)], 1, 0),
        ([onset("bow", 2.3, start_s=1.2)], 0, 1),
        ([onset("bow", 2.1), onset("bow", 2.3)], 1, 1),
        ([onset("bow", 2.1), onset("wave", 6.0)], 2, 2),
        ([], 0, 0),
    ],
)
def test_an_action_matches_one_onset_of_its_label_within_half_a_second(
    onsets: list[Onset], by_start: int, by_report: int
) -> None:
    one = trace([BOW, WAVE], onsets, {})
    assert (hits(one, when_reported=False), hits(one, when_reported=True)) == (by_start, by_report)


def test_an_onset_matches_one_action_only() -> None:
    twice = trace([action("bow", 2.0, 2.2), action("bow", 2.4, 4.0)], [onset("bow", 2.2)], {})
    assert hits(twice, when_reported=True) == 1


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (onset("bow", 1.4), False),
        (onset("bow", 1.6), True),
        (onset("bow", 3.0), True),
        (onset("bow", 4.4), True),
        (onset("bow", 4.6), False),
        (onset("bow", 4.6, start_s=3.0), False),
        (onset("wave", 3.0), False),
    ],
)
def test_an_onset_is_false_unless_its_action_is_ongoing(reported: Onset, expected: bool) -> None:
    assert is_ongoing(reported, [BOW, WAVE]) is expected


def test_the_delay_runs_from_the_start_of_the_action_to_the_first_correct_frame() -> None:
    one = trace([BOW, WAVE], [], {"bow": (2.5, 3.0), "wave": (1.0, 2.2)})
    assert first_correct(one, BOW) == pytest.approx((0.5, 0.25))
    assert first_correct(one, WAVE) is None, "predicted before the action, not during it"
    early = trace([BOW], [], {"bow": (0.0, 10.0)})
    assert first_correct(early, BOW) == (0.0, 0.0)


def test_the_summary_of_two_streams() -> None:
    first = trace(
        [BOW, WAVE],
        [onset("bow", 2.4), onset("wave", 7.5, start_s=6.1), onset("kick", 9.0)],
        {"bow": (2.5, 4.5), "wave": (6.5, 8.0), "kick": (9.0, 9.5)},
    )
    second = trace([BOW], [], {})
    found = summarize([first, second])
    assert found["minutes"] == pytest.approx(20 / 60)
    assert (found["actions"], found["onsets"]) == (3, 3)
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(200 / 3)
    assert found["f1_when_reported"] == pytest.approx(100 / 3), "`wave` was reported late"
    assert found["false_onsets_per_minute"] == found["unmatched_onsets_per_minute"] == pytest.approx(3.0)
    none_targets, none_predicted = (6 + 8) * 30, (10 - 2 - 1.5 - 0.5 + 10) * 30
    correct_none = none_targets - (0.5 + 0.5) * 30
    assert found["none_recall"] == pytest.approx(100 * correct_none / none_targets)
    assert found["none_precision"] == pytest.approx(100 * correct_none / none_predicted)
    assert found["recognized"] == pytest.approx(200 / 3)
    assert found["median_s_to_first_right"] == pytest.approx(0.5)
    assert found["median_share_to_first_right"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("found", "jaccard", "f1"),
    [
        ([BOW, WAVE], 100, (100, 100, 100)),
        ([], 0, (0, 0, 0)),
        ([action("bow", 3.0, 5.0), WAVE], 100 * (1 / 3 + 1) / 2, (100, 100, 50)),
        ([action("bow", 2.0, 3.0), action("bow", 3.0, 4.0), WAVE], 100, (80, 80, 80)),
        ([action("wave", 2.0, 4.0), action("kick", 6.0, 8.0)], 0, (0, 0, 0)),
    ],
)
def test_overlaps_with_the_actions(found: list[Action], jaccard: float, f1: tuple[float, ...]) -> None:
    scores = summarize([replace(trace([BOW, WAVE], [], {}), found=found)])
    assert scores["jaccard"] == pytest.approx(jaccard)
    assert [scores[f"segmental_f1_{overlap}"] for overlap in (10, 25, 50)] == pytest.approx(list(f1))


def test_an_action_is_detected_while_it_lasts() -> None:
    found = summarize([trace([BOW, WAVE], [onset("bow", 3.0), onset("bow", 3.5), onset("wave", 9.0)], {})])
    assert found["detected"] == 50 and found["median_s_to_onset"] == pytest.approx(1.0)


def test_frames_without_a_target_do_not_count() -> None:
    one = trace([BOW], [], {"bow": (2.0, 4.0)})
    for t in range(60):
        one.targets[t] = None
        one.labels[t] = "wave" if t < 30 else "none"
    found = summarize([one])
    assert found["none_recall"] == found["none_precision"] == 100


def test_a_stream_without_predictions() -> None:
    found = summarize([trace([BOW], [], {})])
    assert found["f1"] == found["precision"] == found["recall"] == found["false_onsets_per_minute"] == 0
    assert found["median_s_to_first_right"] is None and found["none_recall"] == 100


def test_running_a_stream_records_labels_and_onsets() -> None:
    events = {1: ("onset", "bow", 0.01), 4: ("offset", "bow", None), 6: ("onset", "wave", None)}
    times: list[float] = []

    def step(joints: np.ndarray, timestamp: float, layout: str | None) -> Any:
        times.append(timestamp)
        event, label, since = events.get(len(times) - 1, (None, None, None))
        return SimpleNamespace(label="bow", event=event, event_label=label, since=since)

    resets: list[None] = []
    recognizer: Any = SimpleNamespace(step=step, reset=lambda: resets.append(None))
    bow, none = LABELS.index("bow"), LABELS.index("none")
    stream = Stream(
        joints=np.zeros((9, 15, 3), np.float32),
        targets=np.array([none, bow, bow, bow, UNLABELED, none, none, none, none]),
        segments=np.zeros(9, int),
        classes=(bow,),
        sources=("",),
        actions=((bow, 1, 4),),
    )
    found = run_stream(recognizer, stream, LABELS)
    assert len(resets) == 1, "nothing is left of the stream before"
    np.testing.assert_allclose(times, np.arange(9) / 30)
    assert found.onsets == [onset("bow", 1 / 30, start_s=0.01), onset("wave", 0.2)]
    assert found.actions == [Action(label="bow", start_s=1 / 30, end_s=4 / 30)]
    assert found.targets == ["none", "bow", "bow", "bow", None, "none", "none", "none", "none"]
    assert found.labels == ["bow"] * 9
    assert found.found == [action("bow", 0.01, 4 / 30), action("wave", 0.2, 8 / 30)]


def clips(*labels: str | None) -> list[LabeledClip]:
    joints = np.zeros((2, 15, 3), np.float32)
    return [
        LabeledClip(joints=joints, fps=20.0, label=label, source="other", record={"i": i})
        for i, label in enumerate(labels)
    ]


def test_every_clip_appears_once_and_no_label_repeats_while_others_remain() -> None:
    known = clips(*["bow", "walk", "sit down", "stand up"] * 12)
    unknown = clips(*[None] * 4)
    streams = arrange_clips(known, unknown, np.random.default_rng(0))
    order = [clip for stream in streams for clip in stream]
    assert Counter(clip.record["i"] for clip in order if clip.label) == Counter(range(len(known)))
    assert sum(clip.label is None for clip in order) == 4
    labels = [clip.label for clip in order]
    repeated = [i for i in range(1, len(labels)) if labels[i] == labels[i - 1] and labels[i]]
    assert all(set(labels[i:]) <= {labels[i], None} for i in repeated) and len(repeated) < 4
    after = [b for a, b in zip(labels, labels[1:], strict=False) if a == "sit down"]
    assert after.count("stand up") >= len(after) - 2, "people who sit down stand up next"
    assert {len(stream) for stream in streams[:-1]} == {24}


def test_clips_of_a_single_label_are_arranged_too() -> None:
    assert [len(stream) for stream in arrange_clips(clips("bow", "bow", "bow"), [], np.random.default_rng(0))] == [3]


def check_streams(streams: list[Stream], again: list[Stream]) -> None:
    """Streams are reproducible, use labels of the vocabulary, and score the frames of every action."""
    assert len(streams) == len(again)
    for a, b in zip(streams, again, strict=True):
        np.testing.assert_array_equal(a.joints, b.joints)
        np.testing.assert_array_equal(a.targets, b.targets)
        assert a.actions == b.actions
        assert np.isfinite(a.joints).all()
        for target, begin, end in a.actions:
            assert 0 <= begin < end <= len(a.joints)
            assert (a.targets[begin:end] == target).all() and LABELS[target] != "none"


def test_the_streams_of_a_folder_are_always_the_same(data: Path) -> None:
    streams = validation_streams(data, "core15", LABELS)
    check_streams(streams, validation_streams(data, "core15", LABELS))
    assert {LABELS[target] for stream in streams for target in stream.classes} == {"bow", "run", "walk", "wave", "none"}


def test_a_folder_without_validation_clips_is_refused(data: Path, tmp_path: Path) -> None:
    for name in ("other.npz", "other.json"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    with pytest.raises(InputError, match=f"{tmp_path.name}: expected labeled validation clips"):
        validation_streams(tmp_path, "core15", LABELS)


def test_the_benchmark_names_its_protocol_and_thresholds(bundle: Path, data: Path) -> None:
    recognizer = Recognizer.load(bundle)
    found = continuous(recognizer, data)
    assert "0.5 s" in found["protocol"]
    expected = {"temperature": 1.0, "smooth_s": 0.2, "on": 0.6, "off": 0.3, "hold_s": 0.1, "others": 1.0}
    assert found["thresholds"] == expected
    assert found["actions"] > 10 and 0 <= found["f1"] <= 100
    assert continuous(recognizer, data) == found, "measured again, the same"


def test_the_real_streams_are_long_enough_and_contain_every_validation_clip(shared: Path) -> None:
    streams = validation_streams(shared, "core15", LABELS)
    counted = Counter(LABELS[target] for stream in streams for target in stream.classes)
    clips = [c for c in load_clips(shared, Layout.load("core15"), vocabulary.is_validation) if not c.flat]
    assert {label: n for label, n in counted.items() if label != "none"} == Counter(c.label for c in clips if c.label)
    assert sum(len(stream.joints) for stream in streams) / CAMERA_HZ / 60 >= 20
    check_streams(streams, validation_streams(shared, "core15", LABELS))
