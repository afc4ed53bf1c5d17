"""Thresholds are chosen by replaying the recorded logits of the network."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols.continuous import Action, Onset, Trace, run_stream, validation_streams
from motionrt.bench.studies import thresholds
from motionrt.bench.studies.thresholds import (
    LEVELS,
    MAX_FALSE_PER_MINUTE,
    SETTINGS,
    best_levels,
    best_setting,
    by_label,
    choose,
    record,
    replay,
)
from motionrt.runtime.backends.factory import create
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.recognition.recognizer import Recognizer
from motionrt.training.data.streams import Stream


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Bundle:
    return Bundle.load(bundle)


@pytest.fixture(scope="module")
def streams(data: Path, loaded: Bundle) -> list[Stream]:
    return validation_streams(data, "core15", loaded.manifest.labels)


def test_a_replay_predicts_what_the_network_predicts(loaded: Bundle, streams: list[Stream]) -> None:
    logits = record(loaded, streams)
    recognizer = Recognizer(loaded, create("auto", loaded))
    direct = [run_stream(recognizer, stream, loaded.manifest.labels) for stream in streams]
    again = replay(loaded, loaded.manifest.decision, streams, logits)
    assert len(again) == len(direct)
    for a, b in zip(again, direct, strict=True):
        assert a.labels == b.labels and a.onsets == b.onsets and a.targets == b.targets


def test_other_thresholds_change_the_onsets(loaded: Bundle, streams: list[Stream]) -> None:
    logits = record(loaded, streams)
    eager, slow = (replay(loaded, setting, streams, logits) for setting in (SETTINGS[0], SETTINGS[-1]))
    assert [trace.onsets for trace in eager] != [trace.onsets for trace in slow]


def scores(f1: float, false_per_minute: float) -> dict[str, float]:
    return {"f1": f1, "f1_when_reported": 0.0, "false_onsets_per_minute": false_per_minute}


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ([scores(50, 0.1), scores(70, MAX_FALSE_PER_MINUTE), scores(60, 0.5)], 1),
        ([scores(50, 0.1), scores(90, MAX_FALSE_PER_MINUTE + 0.1), scores(60, 0.5)], 2),
        ([scores(90, 9.0), scores(20, 2.0), scores(60, 3.0)], 1),
    ],
)
def test_the_best_setting_has_few_false_onsets_first(
    monkeypatch: pytest.MonkeyPatch, settings: list[dict[str, float]], chosen: int
) -> None:
    monkeypatch.setattr(thresholds, "summarize", lambda traces: settings[traces[0]])
    traces: Any = [[i] for i in range(len(settings))]
    assert best_setting(traces, slice(None), MAX_FALSE_PER_MINUTE) == chosen


def test_no_stream_is_scored_with_thresholds_that_it_helped_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two settings is better on even streams, the second on odd ones: each half gets the worse one."""

    def summarize(traces: Sequence[Any]) -> dict[str, Any]:
        return {**scores(float(np.mean([f1 for f1, _, _ in traces])), 0.0), "traces": traces}

    def replay(bundle: Any, setting: Any, streams: Any, logits: Any) -> list[Any]:
        first = setting is SETTINGS[0]
        return [(90.0 if (i % 2 == 0) == first else 10.0, SETTINGS.index(setting), i) for i in range(4)]

    monkeypatch.setattr(thresholds, "SETTINGS", SETTINGS[:2])
    monkeypatch.setattr(thresholds, "summarize", summarize)
    monkeypatch.setattr(thresholds, "replay", replay)
    monkeypatch.setattr(thresholds, "record", lambda bundle, streams: [])
    monkeypatch.setattr(thresholds, "validation_streams", lambda data, layout, labels: [])
    monkeypatch.setattr(thresholds, "choose_by_label", lambda *args: {"cross_fitted": [], "shipped": {}})
    manifest = SimpleNamespace(
        layout="core15", labels=("bow", "none"), files={"weights.safetensors": SimpleNamespace(sha256="abc")}
    )
    bundle: Any = SimpleNamespace(manifest=manifest)
    result = choose(bundle, Path())
    assert result["weights_sha256"] == "abc"
    assert result["cross_fitted"]["f1"] == 10.0
    crossed: list[Any] = result["cross_fitted"]["traces"]
    assert sorted((i, setting) for _, setting, i in crossed) == [(0, 1), (1, 0), (2, 1), (3, 0)]
    assert len(result["curve"]) == 2


def test_onsets_are_counted_for_each_label() -> None:
    trace = Trace(
        actions=[Action(label="bow", start_s=1.0, end_s=3.0), Action(label="wave", start_s=5.0, end_s=7.0)],
        times_s=np.arange(8.0),
        targets=[None] * 8,
        labels=["none"] * 8,
        onsets=[
            Onset(label="bow", reported_s=1.3, start_s=1.0),  # in time
            Onset(label="wave", reported_s=6.0, start_s=5.0),  # right, but late
            Onset(label="wave", reported_s=2.0, start_s=2.0),  # during a bow
            Onset(label="walk", reported_s=6.0, start_s=6.0),
        ],
    )
    in_time, false = by_label([trace], ("bow", "wave", "walk", "none"))
    assert in_time.tolist() == [1, 0, 0, 0] and false.tolist() == [0, 1, 1, 0]


def test_levels_spend_false_onsets_where_they_bring_most() -> None:
    L = len(LEVELS)
    in_time, false = np.zeros((L, 3)), np.zeros((L, 3))
    in_time[0], false[0] = (10, 2, 0), (2, 2, 3)  # at the lowest level
    in_time[1:-1], false[1:-1] = (4, 2, 0), (0, 2, 1)
    for allowed, expected in ((0, (1, L - 1, L - 1)), (2, (0, L - 1, L - 1)), (4, (0, None, L - 1))):
        levels = best_levels(in_time, false, allowed)
        assert np.take_along_axis(false, levels[None], 0).sum() <= allowed
        for level, wanted in zip(levels, expected, strict=True):
            if wanted is None:
                assert level < L - 1
            elif wanted == 1:
                assert false[level, 0] == 0 and in_time[level, 0] == 4
            else:
                assert level == wanted
