"""generate and edit on the command line: a file, or an error in one line."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.cli import main
from motionrt.runtime.cli.generate import json_lines


@pytest.fixture
def run(coamd_bundle: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: Any) -> tuple[int, str, str]:
        status = main([str(argument) for argument in (*arguments, "--model", coamd_bundle)])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_motion_is_generated_and_a_part_of_it_regenerated(run: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "walk.npz", tmp_path / "bow.npz"
    status, out, err = run("generate", "a person walks", "--seconds", 3, "--seed", 2, "-o", first)
    assert status == 0 and f"wrote {first}: 60 frames, 3.0 s, generated in" in out and "not for commercial use" in err
    walk = Motion.load(first)
    assert (walk.frames, walk.fps, walk.layout) == (60, 20, "smpl22")
    assert run("edit", first, "a person bows", "--regenerate", "1:2", "--guidance", 0.5, "-o", second)[0] == 0
    bow = Motion.load(second)
    assert np.array_equal(bow.joints[:20], walk.joints[:20]) and np.array_equal(bow.joints[40:], walk.joints[40:])
    assert (bow.joints[20:40] != walk.joints[20:40]).any((1, 2)).all()
    arms = ("--regenerate", ":", "--parts", "left_arm,right_arm", "-o", second)
    assert run("edit", first, "a person raises both hands", *arms)[0] == 0
    raised = Motion.load(second)
    assert np.array_equal(raised.joints[:, :16], walk.joints[:, :16]) and np.any(raised.joints != walk.joints)


def test_files_are_written_for_other_programs(run: Any, tmp_path: Path) -> None:
    text = ("a person walks", "--seconds", 2)
    assert run("generate", *text, "--rig", "unreal", "--in-place", "-o", tmp_path / "a.bvh")[0] == 0
    assert "JOINT thigh_l" in (tmp_path / "a.bvh").read_text()
    held = Motion.load(tmp_path / "a.bvh", layout="smpl22")
    assert np.ptp(held.joints[:, 0, [0, 2]], axis=0).max() < 1e-4
    status, out, _ = run("generate", *text, "--loop", "-o", tmp_path / "a.csv")
    assert status == 0 and f"{Motion.load(tmp_path / 'a.csv').frames} frames" in out
    edit = ("edit", tmp_path / "a.csv", "a person bows", "--regenerate", "0:0.4", "--fps", 20, "--scale", 1)
    assert run(*edit, "--rig", "amass", "-o", tmp_path / "a.npz")[0] == 0
    assert {"poses", "trans", "betas", "gender", "mocap_framerate"} <= set(np.load(tmp_path / "a.npz"))
    status, _, err = run("generate", *text, "--rig", tmp_path / "none.glb", "-o", tmp_path / "b.glb")
    assert status == 2 and "none.glb: no such file" in err and err.count("\n") == 1


def test_a_prompt_unlike_the_training_is_told_in_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for text, count in (("a person plays the guitar", 1), ("a person walks forward", 0)):
        assert main(["generate", text, "--seconds", "1", "-o", str(tmp_path / "x.npz")]) == 0
        lines = [line for line in capfd.readouterr().err.splitlines() if "unlike what default was trained on" in line]
        assert len(lines) == count and all("nearest it knows: " in line for line in lines)
        read = Motion.load(tmp_path / "x.npz")
        assert read.confidence is None and (read.meta["confidence"] < 0.5) == bool(count)


def test_a_file_of_prompts_gives_a_motion_for_each(run: Any, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a person walks\n\na person bows  \n")
    status, out, _ = run("generate", "--prompts", prompts, "--seconds", 1, "--seed", 4, "-o", tmp_path / "a.npz")
    assert status == 0 and f"wrote 2 motions to {tmp_path / 'a'}-*.npz: 2.0 s, generated in" in out
    first, second = Motion.load(tmp_path / "a-0.npz"), Motion.load(tmp_path / "a-1.npz")
    assert (first.meta["text"], first.meta["seed"]) == ("a person walks", 4)
    assert (second.meta["text"], second.meta["seed"]) == ("a person bows", 5)
    assert run("generate", "a person bows", "--seconds", 1, "--seed", 5, "-o", tmp_path / "bow.npz")[0] == 0
    np.testing.assert_allclose(second.joints, Motion.load(tmp_path / "bow.npz").joints, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"a person bows", ["a person bows", "-o", "x.npz"], "--prompts needs -o FILE, and goes with neither"),
        (b"a person bows", ["--stream", "-o", "x.npz"], "--prompts needs -o FILE, and goes with neither"),
        (b"a person bows", [], "--prompts needs -o FILE"),
        (b"a person bows", ["-o", "x.avi"], "x.avi: cannot write .avi"),
        (b"a person bows\n" + 600 * b"x", ["-o", "x.npz"], "has 600 characters, at most 512 are allowed"),
        (b" \n", ["-o", "x.npz"], "prompts.txt: has no text, expected a description per line"),
        (b"\xff\x00", ["-o", "x.npz"], "prompts.txt: is not text, expected a description per line"),
        (None, ["-o", "x.npz"], "prompts.txt: no such file"),
    ],
)
def test_a_wrong_file_of_prompts_is_refused(
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("prompts.txt").write_bytes(content)
    status, _, err = run("generate", "--prompts", "prompts.txt", *arguments)
    (line,) = [line for line in err.splitlines() if "commercial" not in line]
    assert status == 2 and message in line and not list(tmp_path.glob("x*"))


def test_a_stream_consists_of_frames_that_motions_load(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, out, _ = run("generate", "a person walks", "--stream", "--seconds", 1.2, "-o", tmp_path / "walk.bvh")
    frames = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [frame["t"] for frame in frames] == [round(i / 20, 2) for i in range(24)]
    assert {frame["layout"] for frame in frames} == {"smpl22"}
    (tmp_path / "walk.jsonl").write_text(out)
    walk = Motion.load(tmp_path / "walk.jsonl")
    assert np.abs(Motion.load(tmp_path / "walk.bvh").joints - walk.joints).max() < 0.05
    assert np.isfinite(walk.joints).all()


def test_input_during_streaming_is_the_next_prompt(
    run: Any, monkeypatch: pytest.MonkeyPatch, generated_texts: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\na person bows\n"))
    status, out, err = run("generate", "a person walks", "--stream", "--seconds", 2)
    assert status == 0 and len(out.splitlines()) == 40
    assert "motionrt: the description is empty" in err and generated_texts[-1] == "a person bows"


@pytest.fixture
def generated_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prompts of the chunks of a stream."""
    texts: list[str] = []

    def spy(chunk: Motion) -> Any:
        texts.append(chunk.meta["text"])
        return json_lines(chunk)

    monkeypatch.setattr("motionrt.runtime.cli.generate.json_lines", spy)
    return texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "", "-o", "x.npz"], "text is '', expected a description"),
        (["generate", "a person walks", "--seconds", "nan", "-o", "x.npz"], "seconds is nan, expected a number"),
        (["generate", "a person walks", "--seconds", "1e9", "-o", "x.npz"], "seconds is 1000000000.0, expected"),
        (["generate", "-o", "x.npz"], "expected TEXT, --timeline or --prompts FILE"),
        (["generate", "a person walks"], "expected -o FILE for the motion, or --stream"),
        (["generate", "x" * 10_000, "-o", "x.npz"], "10000 characters, at most 512 are allowed"),
        (["generate", "a person walks", "--seconds", "-1", "-o", "x.npz"], "seconds is -1.0, expected"),
        (["generate", "a person walks", "--seconds", "0", "--stream"], "seconds is 0.0, expected"),
        (["generate", "a person walks", "-o", "x.avi"], "x.avi: cannot write .avi, expected .npz, .bvh"),
        (["generate", "a person walks", "-o", "no/x.npz"], "no/x.npz: cannot be written: there is no folder no"),
        (["generate", "a person walks", "-o", "x.npz", "--backend", "native"], "native backend runs recognizers only"),
        (["edit", "no.npz", "a person bows", "--regenerate", "1:2", "-o", "x.npz"], "no.npz"),
        (["edit", "in.npz", "a person bows", "--regenerate", "2", "-o", "x.npz"], "expected BEGIN:END in seconds"),
        (["edit", "in.npz", "a person bows", "--regenerate", "a:b", "-o", "x.npz"], "expected BEGIN:END in seconds"),
        (["edit", "in.npz", "a person bows", "--regenerate", "2:9", "-o", "x.npz"], "which lasts 3.00 s"),
        (["edit", "in.npz", "a person bows", "--regenerate", "2:1", "-o", "x.npz"], "which lasts 3.00 s"),
    ],
)
def test_errors_take_one_line_and_write_nothing(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: list[Motion], arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Motion(joints=samples[2].joints[:60], fps=20, layout="smpl22").save("in.npz")
    status, out, err = run(*arguments)
    assert status == 2 and out == ""
    (line,) = [line for line in err.splitlines() if "commercial" not in line]
    assert message in line
    assert {path.name for path in tmp_path.iterdir()} == {"in.npz"}
