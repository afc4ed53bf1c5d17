"""Thresholds are chosen by replaying the recorded logits of the network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols.continuous import Action, Onset, Trace, run_stream, validation_streams
from motionrt.bench.studies import thresholds
from motionrt.bench.studies.thresholds import (
    ALARMS_PER_MINUTE,
    LEVELS,
    SMOOTHING,
    Counts,
    best_levels,
    choose,
    count_by_label,
    fit,
    record,
    replay,
    thresholds_of,
)
from motionrt.runtime.backends.factory import create
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.bundles.schema import Alarms
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
    eager, slow = (
        replay(loaded, thresholds_of(SMOOTHING[i], level), streams, logits) for i, level in ((0, 0.3), (-1, 0.8))
    )
    assert [trace.onsets for trace in eager] != [trace.onsets for trace in slow]
    C = len(loaded.manifest.labels)
    silent = Alarms(per_minute=(1.0,), on=((1.0,) * C,), off=((1.0,) * C,), default=1.0)
    chosen = replace(loaded, manifest=replace(loaded.manifest, alarms=silent))
    again = replay(chosen, thresholds_of(SMOOTHING[0], 0.3), streams, logits)
    assert [trace.onsets for trace in again] == [trace.onsets for trace in eager], "those of the bundle do not count"


def counts_of(detected: Sequence[Sequence[Sequence[float]]], false: Sequence[Sequence[Sequence[float]]]) -> Counts:
    """Counts [L, S, C] from those of the lowest level [S, C]; at all other levels nothing is detected."""
    rest = np.zeros((len(LEVELS) - 1, *np.shape(detected)[1:]))
    return Counts(smoothing=(0.1, 0.1), detected=np.concatenate([detected, rest]), false=np.concatenate([false, rest]))


def test_the_smoothing_that_tells_most_is_chosen_and_its_levels_rise_with_caution() -> None:
    minute: Any = [SimpleNamespace(joints=np.zeros((1800, 1)))] * 2
    poor = counts_of([[[1, 0], [1, 0]]], [[[1, 0], [1, 0]]])
    rich = counts_of([[[5, 3], [5, 3]]], [[[1, 0], [1, 0]]])
    best, on_BC = fit([poor, rich], minute, [0, 1])
    assert best is rich
    table = dict(zip(ALARMS_PER_MINUTE, on_BC, strict=True))
    assert table[0.5][1] == table[1.0][0] == LEVELS[0], "two false onsets in two minutes are one a minute"
    assert table[0.5][0] > LEVELS[0]


def test_no_stream_is_scored_with_thresholds_that_it_helped_to_choose(
    loaded: Bundle, streams: list[Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[list[int]] = []
    tested: list[int] = []
    levels = [0.5] * len(loaded.manifest.labels)
    several = (streams * 4)[:4]

    def fit(counts: Any, of: Any, chosen: Sequence[int]) -> tuple[Any, list[list[float]]]:
        fitted.append(list(chosen))
        return counts[0], [levels] * len(ALARMS_PER_MINUTE)

    def replay_levels(bundle: Any, on: Any, own: Any, logits: Any) -> list[Trace]:
        tested.append(len(own))
        return []

    monkeypatch.setattr(thresholds, "fit", fit)
    monkeypatch.setattr(thresholds, "replay_levels", replay_levels)
    monkeypatch.setattr(thresholds, "summarize", lambda traces: {})
    monkeypatch.setattr(thresholds, "count", lambda *args: [counts_of([[[0]]], [[[0]]])])
    result = choose(loaded, several)
    assert fitted == [[1, 3], [0, 2], [0, 1, 2, 3]] and sum(tested) == 4 * len(ALARMS_PER_MINUTE)
    assert result["shipped"]["alarms"]["on"] == [levels] * len(ALARMS_PER_MINUTE)
    assert result["weights_sha256"] == loaded.manifest.files["weights.safetensors"].sha256


def test_onsets_are_counted_for_each_label() -> None:
    trace = Trace(
        actions=[Action(label="bow", start_s=1.0, end_s=3.0), Action(label="wave", start_s=5.0, end_s=7.0)],
        times_s=np.arange(8.0),
        targets=[None] * 8,
        labels=["none"] * 8,
        onsets=[
            Onset(label="bow", reported_s=1.3, start_s=1.0),
            Onset(label="wave", reported_s=6.0, start_s=5.0),
            Onset(label="wave", reported_s=2.0, start_s=2.0),  # during a bow
            Onset(label="walk", reported_s=6.0, start_s=6.0),
        ],
    )
    detected, false = count_by_label(trace, ("bow", "wave", "walk", "none"))
    assert detected.tolist() == [1, 1, 0, 0] and false.tolist() == [0, 1, 1, 0]


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
