"""`motionrt bench zero-shot`: no measurement without parity, and no frame is lost while labels change."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.speed import zero_shot
from motionrt.runtime.cli import main
from motionrt.runtime.errors import MotionError
from motionrt.runtime.recognition.matched_streams import MatchedStreams
from motionrt.runtime.recognition.recognizer import Recognizer

SMALL = zero_shot.Effort(paced_s=1.0, calls=3, cold=2)


@pytest.fixture
def bundle(zero_shot_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zero_shot, "CHANGE_S", 0.02)  # some steps overlap with a change
    monkeypatch.setattr(zero_shot, "COUNTS", (1, 3))
    monkeypatch.setattr(zero_shot, "LABELS", 4)
    monkeypatch.setattr(zero_shot, "WARM_UP", 3)
    return zero_shot_bundle


def test_the_command_measures_after_parity(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zero_shot, "quick", lambda: SMALL)
    out = tmp_path / "zero_shot.json"
    arguments = ["bench", "zero-shot", "--quick", "--model", str(bundle)]
    assert main([*arguments, "--json", "-o", str(out)]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert report == json.loads(out.read_text()) and report["parity_max_abs"] == 0
    for of in report["streams"].values():
        assert of["n"] == 30 and of["frames_lost"] == 0 and of["p50_ms"] > 0
    changing = report["streams"]["changing"]
    assert changing["changes"] > 1 and 0 < changing["during_changes"]["n"] <= 30
    assert 0 <= changing["waited_for_changes_ms"] < 1e3
    assert [(row["labels"], row["n"]) for row in report["match"]] == [(1, 3), (3, 3)]
    changes = report["set_labels"]
    assert changes["labels"] == 4 and changes["cold"]["n"] == 2 and changes["cached"]["n"] == 3
    assert changes["cold"]["p50_ms"] > changes["cached"]["p50_ms"] > 0
    monkeypatch.setattr(zero_shot, "bench_zero_shot", lambda *_: report)
    assert main(arguments) == 0, "as tables"
    assert "frames lost: 0" in capfd.readouterr().out


def test_without_parity_nothing_is_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match = MatchedStreams.match

    def off(self: MatchedStreams, asked: Any) -> None:
        match(self, asked)
        self.logits_PK += np.float32(1e-3)

    monkeypatch.setattr(MatchedStreams, "match", off)
    with pytest.raises(MotionError, match="parity: background logits differ by .*, expected at most 1e-05"):
        zero_shot.bench_zero_shot(str(bundle), SMALL)


def test_a_lost_frame_fails_the_benchmark(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = Recognizer.load(bundle)
    one_by_one = zero_shot.one_by_one

    def late(stepped: Recognizer, poses: Any) -> Any:
        step, (joints, layout) = one_by_one(stepped, poses), poses[0]

        def call(i: int) -> None:
            step(i)
            if i == 7:
                stepped.step(joints, 0.0, layout=layout)

        return call

    monkeypatch.setattr(zero_shot, "one_by_one", late)
    with pytest.raises(MotionError, match="frames were lost: 30 stepped, .*'dropped': 1"):
        zero_shot.measure_streams(recognizer, SMALL, zero_shot.ProgressBar())


def test_a_model_of_fixed_labels_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "zero-shot", "--model", "live"]) == 2
    assert "the labels of model 'live' are fixed, expected a zero-shot model" in capfd.readouterr().err
