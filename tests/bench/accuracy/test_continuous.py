"""Continuous recognition: when an onset is right, how long it took, and what the streams are."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.continuous import (
    CAMERA_HZ,
    Action,
    Onset,
    Trace,
    continuous,
    deal,
    first_right,
    follow,
    hits,
    summary,
    under_way,
    validation_streams,
)
from motionrt.runtime.errors import InputError
from motionrt.runtime.recognition.recognizer import Recognizer
from motionrt.training.data import vocabulary
from motionrt.training.data.clips import LabeledClip, clip_sets
from motionrt.training.data.streams import UNLABELED, Stream

LABELS = (*vocabulary.labels(), vocabulary.NONE)
FRAMES = 300


def action(label: str, start_s: float, end_s: float) -> Action:
    return Action(label=label, start_s=start_s, end_s=end_s)


def onset(label: str, told_s: float, start_s: float | None = None) -> Onset:
    return Onset(label=label, told_s=told_s, start_s=told_s if start_s is None else start_s)


def trace(actions: list[Action], onsets: list[Onset], said: dict[str, tuple[float, float]]) -> Trace:
    """Ten seconds; `said` tells from when to when a label is said, `none` otherwise."""
    times = np.arange(FRAMES) / CAMERA_HZ

    def during(label: str, start_s: float, end_s: float, t: float, otherwise: str) -> str:
        return label if start_s - 1e-9 <= t < end_s - 1e-9 else otherwise

    wanted: list[str | None] = []
    labels = []
    for t in times:
        now = heard = "none"
        for a in actions:
            now = during(a.label, a.start_s, a.end_s, t, now)
        for label, (start_s, end_s) in said.items():
            heard = during(label, start_s, end_s, t, heard)
        wanted.append(now)
        labels.append(heard)
    return Trace(actions=actions, times_s=times, wanted=wanted, said=labels, onsets=onsets)


BOW, WAVE = action("bow", 2.0, 4.0), action("wave", 6.0, 8.0)


@pytest.mark.parametrize(
    ("onsets", "by_start", "by_told"),
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
def test_an_action_is_hit_by_one_onset_of_its_label_within_half_a_second(
    onsets: list[Onset], by_start: int, by_told: int
) -> None:
    one = trace([BOW, WAVE], onsets, {})
    assert (hits(one, told=False), hits(one, told=True)) == (by_start, by_told)


def test_one_onset_hits_one_action_only() -> None:
    twice = trace([action("bow", 2.0, 2.2), action("bow", 2.4, 4.0)], [onset("bow", 2.2)], {})
    assert hits(twice, told=True) == 1


@pytest.mark.parametrize(
    ("told", "right"),
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
def test_an_onset_is_false_unless_its_action_is_under_way(told: Onset, right: bool) -> None:
    assert under_way(told, [BOW, WAVE]) is right


def test_the_wait_runs_from_the_start_of_the_action_to_the_first_right_frame() -> None:
    one = trace([BOW, WAVE], [], {"bow": (2.5, 3.0), "wave": (1.0, 2.2)})
    assert first_right(one, BOW) == pytest.approx((0.5, 0.25))
    assert first_right(one, WAVE) is None, "said before, not while it is done"
    early = trace([BOW], [], {"bow": (0.0, 10.0)})
    assert first_right(early, BOW) == (0.0, 0.0)


def test_the_summary_of_two_streams() -> None:
    first = trace(
        [BOW, WAVE],
        [onset("bow", 2.4), onset("wave", 7.5, start_s=6.1), onset("kick", 9.0)],
        {"bow": (2.5, 4.5), "wave": (6.5, 8.0), "kick": (9.0, 9.5)},
    )
    second = trace([BOW], [], {})
    found = summary([first, second])
    assert found["minutes"] == pytest.approx(20 / 60)
    assert (found["actions"], found["onsets"]) == (3, 3)
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(200 / 3)
    assert found["f1_when_told"] == pytest.approx(100 / 3), "`wave` was told late"
    assert found["false_onsets_per_minute"] == found["unmatched_onsets_per_minute"] == pytest.approx(3.0)
    none_wanted, none_said = (6 + 8) * 30, (10 - 2 - 1.5 - 0.5 + 10) * 30
    none_both = none_wanted - (0.5 + 0.5) * 30
    assert found["none_recall"] == pytest.approx(100 * none_both / none_wanted)
    assert found["none_precision"] == pytest.approx(100 * none_both / none_said)
    assert found["recognised"] == pytest.approx(200 / 3)
    assert found["median_s_to_first_right"] == pytest.approx(0.5)
    assert found["median_share_to_first_right"] == pytest.approx(0.25)


def test_frames_that_are_nobodys_do_not_count() -> None:
    one = trace([BOW], [], {"bow": (2.0, 4.0)})
    for t in range(60):
        one.wanted[t] = None
        one.said[t] = "wave" if t < 30 else "none"
    found = summary([one])
    assert found["none_recall"] == found["none_precision"] == 100


def test_a_stream_in_which_nothing_is_said() -> None:
    found = summary([trace([BOW], [], {})])
    assert found["f1"] == found["precision"] == found["recall"] == found["false_onsets_per_minute"] == 0
    assert found["median_s_to_first_right"] is None and found["none_recall"] == 100


def test_following_a_stream_keeps_what_was_said_when() -> None:
    said = {1: ("onset", "bow", 0.01), 4: ("offset", "bow", None), 6: ("onset", "wave", None)}
    times: list[float] = []

    def step(joints: np.ndarray, timestamp: float) -> Any:
        times.append(timestamp)
        event, label, since = said.get(len(times) - 1, (None, None, None))
        return SimpleNamespace(label="bow", event=event, event_label=label, since=since)

    resets: list[None] = []
    recognizer: Any = SimpleNamespace(step=step, reset=lambda: resets.append(None))
    bow, none = LABELS.index("bow"), LABELS.index("none")
    stream = Stream(
        joints=np.zeros((9, 15, 3), np.float32),
        targets=np.array([none, bow, bow, bow, UNLABELED, none, none, none, none]),
        segments=np.zeros(9, int),
        classes=(bow,),
        actions=((bow, 1, 4),),
    )
    found = follow(recognizer, stream, LABELS)
    assert len(resets) == 1, "nothing is left of the stream before"
    np.testing.assert_allclose(times, np.arange(9) / 30)
    assert found.onsets == [onset("bow", 1 / 30, start_s=0.01), onset("wave", 0.2)]
    assert found.actions == [Action(label="bow", start_s=1 / 30, end_s=4 / 30)]
    assert found.wanted == ["none", "bow", "bow", "bow", None, "none", "none", "none", "none"]
    assert found.said == ["bow"] * 9


def clips(*labels: str | None) -> list[LabeledClip]:
    joints = np.zeros((2, 15, 3), np.float32)
    return [
        LabeledClip(joints=joints, fps=20.0, label=label, source="other", record={"i": i})
        for i, label in enumerate(labels)
    ]


def test_clips_are_dealt_once_each_and_no_label_twice_in_a_row_while_others_are_left() -> None:
    known = clips(*["bow", "walk", "sit down", "stand up"] * 12)
    unknown = clips(*[None] * 4)
    streams = deal(known, unknown, np.random.default_rng(0))
    order = [clip for stream in streams for clip in stream]
    assert Counter(clip.record["i"] for clip in order if clip.label) == Counter(range(len(known)))
    assert sum(clip.label is None for clip in order) == 4
    labels = [clip.label for clip in order]
    repeated = [i for i in range(1, len(labels)) if labels[i] == labels[i - 1] and labels[i]]
    assert all(set(labels[i:]) <= {labels[i], None} for i in repeated) and len(repeated) < 4
    after = [b for a, b in zip(labels, labels[1:], strict=False) if a == "sit down"]
    assert after.count("stand up") >= len(after) - 2, "whoever sits gets up"
    assert {len(stream) for stream in streams[:-1]} == {24}


def test_clips_of_one_label_alone_are_dealt_all_the_same() -> None:
    assert [len(stream) for stream in deal(clips("bow", "bow", "bow"), [], np.random.default_rng(0))] == [3]


def check_streams(streams: list[Stream], again: list[Stream]) -> None:
    """The same each time, labels of the vocabulary, and an action's frames are asked for."""
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
    streams = validation_streams(data, "core15")
    check_streams(streams, validation_streams(data, "core15"))
    assert {LABELS[target] for stream in streams for target in stream.classes} == {"bow", "run", "walk", "wave", "none"}


def test_a_folder_without_validation_clips_is_refused(data: Path, tmp_path: Path) -> None:
    for name in ("other.npz", "other.json"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    with pytest.raises(InputError, match=f"{tmp_path.name}: needs validation clips"):
        validation_streams(tmp_path, "core15")


def test_the_benchmark_names_its_protocol_and_thresholds(bundle: Path, data: Path) -> None:
    recognizer = Recognizer.load(bundle)
    found = continuous(recognizer, data)
    assert "0.5 s" in found["protocol"]
    assert found["thresholds"] == {"temperature": 1.0, "smooth_s": 0.2, "on": 0.6, "off": 0.3, "hold_s": 0.1}
    assert found["actions"] > 10 and 0 <= found["f1"] <= 100
    assert continuous(recognizer, data) == found, "measured again, the same"


def test_the_real_streams_are_long_enough_and_hold_every_validation_clip(shared: Path) -> None:
    streams = validation_streams(shared, "core15")
    shown = Counter(LABELS[target] for stream in streams for target in stream.classes)
    records = [record for clip_set in clip_sets(shared) for record in clip_set.clips]
    validation = Counter(vocabulary.label(r) for r in records if vocabulary.is_validation(r) and vocabulary.label(r))
    assert {label: n for label, n in shown.items() if label != "none"} == validation
    assert sum(len(stream.joints) for stream in streams) / CAMERA_HZ / 60 >= 20
    check_streams(streams, validation_streams(shared, "core15"))
