"""Labels and gestures on the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.bundles import bundle as bundles
from motionrt.runtime.cli import main

from .. import tiny
from ..recognition.test_open_labels import clip
from ..tiny_zero_shot import LEFT, RIGHT


@pytest.fixture
def bundle(zero_shot_bundle: Path) -> Path:
    return zero_shot_bundle


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i in range(3):
        clip("both", 30 + i).save(folder / f"both-{i}.npz")
    (folder / "notes.txt").write_text("not a recording")
    return folder


def output(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_labels_from_the_command_line(bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "left.npz"
    clip("left", 60).save(path)
    command = ["recognize", str(path), "--model", str(bundle), "--json"]
    assert main([*command, "--labels", f"sit, {LEFT} ,jump"]) == 0
    lines = output(capfd)
    assert lines[-2]["label"] == LEFT and {label for label, _ in lines[-2]["top"]} == {"sit", LEFT, "jump", "none"}
    assert [line["event"] for line in lines[:-1] if line["event"]] == ["onset"]
    assert main(command) == 0
    assert {label for label, _ in output(capfd)[0]["top"]} == {LEFT, RIGHT, "none"}


def test_recognition_of_a_recording_is_deterministic(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "right.npz"
    clip("right", 60).save(path)
    runs = []
    for _ in range(2):
        assert main(["recognize", str(path), "--model", str(bundle), "--json"]) == 0
        runs.append([{**line, "latency_ms": None} for line in output(capfd)[:-1]])
    assert runs[0] == runs[1]


def test_a_gesture_is_enrolled_and_recognized(
    bundle: Path, recordings: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = recordings / "gestures.npz"
    enroll = ["--model", str(bundle), "-o", str(out)]
    assert main(["enroll", str(recordings), "--as", "both arms", *enroll]) == 0
    assert capfd.readouterr().out == f"wrote {out}: 'both arms' from 3 recording(s)\n"
    assert main(["enroll", str(recordings / "both-1.npz"), "--as", "one more", *enroll]) == 0, "added to the file"
    assert main(["enroll", str(recordings), "--as", "both arms", *enroll]) == 0, "the gestures are not a recording"
    capfd.readouterr()
    recognize = ["recognize", str(recordings / "both-2.npz"), "--model", str(bundle), "--gestures", str(out), "--json"]
    assert main([*recognize, "--labels", ""]) == 0
    last = output(capfd)[-2]
    assert {label for label, _ in last["top"]} == {"both arms", "one more", "none"} and last["label"] != "none"
    assert main(recognize) == 0
    assert {label for label, _ in output(capfd)[-2]["top"]} == {"both arms", "one more", "none"}, "the default"
    assert main([*recognize, "--labels", LEFT]) == 0
    assert {label for label, _ in output(capfd)[-2]["top"]} == {LEFT, "both arms", "one more", "none"}


def test_errors_take_one_line(
    bundle: Path, recordings: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    empty, many, one = tmp_path / "empty", tmp_path / "many", recordings / "both-0.npz"
    empty.mkdir()
    many.mkdir()
    for i in range(51):
        shutil.copy(one, many / f"{i}.npz")
    model, out = ["--model", str(bundle)], ["-o", str(tmp_path / "g.npz")]
    for arguments, message in (
        (
            ["recognize", str(one), "--labels", "waving"],
            "label 'waving' is not one of model 'live', the nearest are 'wave', ",
        ),
        (["recognize", str(one), "--labels", "", *model], "no labels, and nothing is enrolled"),
        (["recognize", str(one), "--labels", "a,a", *model], "label 'a' is repeated"),
        (["recognize", str(one), "--gestures", str(tmp_path / "no.npz"), *model], "no.npz: no such file"),
        (["enroll", str(empty), "--as", "x", *model, *out], "empty: has no recordings"),
        (["enroll", str(many), "--as", "x", *model, *out], "'x' are 51 motions, expected a list of 1 to 50 motions"),
        (["enroll", str(tmp_path / "nowhere"), "--as", "x", *model, *out], "nowhere: no such file"),
        (["enroll", str(recordings), "--as", "None", *model, *out], "means no action"),
        (["enroll", str(one), *model, *out], "both-0.npz: does not say its label, expected --as LABEL"),
        (["enroll", str(recordings), "--as", "x", "--model", "live", *out], "the labels of model 'live' are fixed"),
    ):
        assert main(arguments) == 2
        error = capfd.readouterr().err
        assert message in error and error.count("\n") == 1, error
    assert not (tmp_path / "g.npz").exists()


def test_a_live_stream_is_matched_in_the_background(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[bool] = []
    from motionrt import Recognizer

    step = Recognizer._step

    def spy(self: Recognizer, *arguments: Any) -> Any:
        seen.append(self.background)
        return step(self, *arguments)

    monkeypatch.setattr(Recognizer, "_step", spy)
    path = tmp_path / "left.npz"
    Motion(tiny.poses(4, "left"), tiny.FPS, tiny.LAYOUT).save(path)
    assert main(["recognize", str(path), "--model", str(bundle)]) == 0 and not any(seen)
    seen.clear()
    assert main(["recognize", str(path), "--model", str(bundle), "--realtime"]) == 0 and all(seen)


def test_models_and_doctor_list_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundles, "MODELS", bundle.parent)
    assert main(["models"]) == 0
    assert "zero-shot  2 labels or any text  core15 at 20 Hz" in capfd.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["models"] == {"zero-shot": None}


def test_recordings_are_enrolled_by_their_own_labels(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "recordings", tmp_path / "mine.npz"
    folder.mkdir()
    for name, raised in (("left", "left"), ("both", "both"), ("none", None)):
        motion = clip(raised, 15)
        Motion(motion.joints, motion.fps, motion.layout, meta={"label": name}).save(folder / f"{name}.npz")
    command = ["enroll", str(folder), "--model", str(bundle), "-o", str(out)]
    assert main(command) == main(command) == 0
    counts = "'both' from 1 recording(s), 'left' from 1 recording(s), 'none' from 1 recording(s)"
    assert capfd.readouterr().out.splitlines() == [f"wrote {out}: {counts}"] * 2
    with np.load(out) as saved:
        assert dict(zip(saved["labels"].tolist(), saved["counts"].tolist(), strict=True)) == {
            "both": 2, "left": 2, "none": 2
        }, "enrolled twice"  # fmt: skip
        assert saved["model"] == "tiny"
    for name in ("left", "both"):
        assert (
            main(["recognize", str(folder / f"{name}.npz"), "--model", str(bundle), "--gestures", str(out), "--json"])
            == 0
        )
        last = output(capfd)[-2]
        assert last["label"] == name and {label for label, _ in last["top"]} == {"both", "left", "none"}
