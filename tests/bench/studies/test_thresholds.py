"""Thresholds are chosen by replaying the recorded logits of the network."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols.continuous import run_stream, validation_streams
from motionrt.bench.studies import thresholds
from motionrt.bench.studies.thresholds import (
    LABELS,
    MAX_FALSE_PER_MINUTE,
    SETTINGS,
    best_setting,
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
def streams(data: Path) -> list[Stream]:
    return validation_streams(data, "core15")


def test_a_replay_predicts_what_the_network_predicts(loaded: Bundle, streams: list[Stream]) -> None:
    logits = record(loaded, streams)
    recognizer = Recognizer(loaded, create("auto", loaded))
    direct = [run_stream(recognizer, stream, LABELS) for stream in streams]
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
    monkeypatch.setattr(thresholds, "validation_streams", lambda data, layout: [])
    manifest = SimpleNamespace(layout="core15", files={"weights.safetensors": SimpleNamespace(sha256="abc")})
    bundle: Any = SimpleNamespace(manifest=manifest)
    result = choose(bundle, Path())
    assert result["weights_sha256"] == "abc"
    assert result["cross_fitted"]["f1"] == 10.0
    crossed: list[Any] = result["cross_fitted"]["traces"]
    assert sorted((i, setting) for _, setting, i in crossed) == [(0, 1), (1, 0), (2, 1), (3, 0)]
    assert len(result["curve"]) == 2
