"""generate and edit on the command line: a file or one line that says what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.cli import main
from motionrt.runtime.motion import Motion


@pytest.fixture
def run(coamd_bundle: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: Any) -> tuple[int, str, str]:
        status = main([str(argument) for argument in (*arguments, "--model", coamd_bundle)])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_motion_is_made_and_a_part_of_it_made_anew(run: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "walk.npz", tmp_path / "bow.npz"
    status, out, err = run("generate", "a person walks", "--seconds", 3, "--seed", 2, "-o", first)
    assert status == 0 and f"wrote {first}: 60 frames, 3.0 s, made in" in out and "not for commercial use" in err
    walk = Motion.load(first)
    assert (walk.frames, walk.fps, walk.layout) == (60, 20, "smpl22")
    assert run("edit", first, "a person bows", "--regenerate", "1:2", "--guidance", 0.5, "-o", second)[0] == 0
    bow = Motion.load(second)
    assert np.array_equal(bow.joints[:20], walk.joints[:20]) and np.array_equal(bow.joints[40:], walk.joints[40:])
    assert (bow.joints[20:40] != walk.joints[20:40]).any((1, 2)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "", "-o", "x.npz"], "text is '', expected a description"),
        (["generate", "a person walks", "--seconds", "nan", "-o", "x.npz"], "seconds is nan, expected a number"),
        (["generate", "a person walks", "--seconds", "1e9", "-o", "x.npz"], "seconds is 1000000000.0, expected"),
        (["generate", "a person walks", "-o", "x.avi"], "x.avi: expected a file that ends in .npz"),
        (["generate", "a person walks", "-o", "no/x.npz"], "expected a file in a folder that is there"),
        (["edit", "no.npz", "a person bows", "--regenerate", "1:2", "-o", "x.npz"], "no.npz"),
        (["edit", "in.npz", "a person bows", "--regenerate", "2", "-o", "x.npz"], "expected BEGIN:END in seconds"),
        (["edit", "in.npz", "a person bows", "--regenerate", "a:b", "-o", "x.npz"], "expected BEGIN:END in seconds"),
        (["edit", "in.npz", "a person bows", "--regenerate", "2:9", "-o", "x.npz"], "which lasts 3.00 s"),
        (["edit", "in.npz", "a person bows", "--regenerate", "2:1", "-o", "x.npz"], "which lasts 3.00 s"),
    ],
)
def test_what_cannot_be_done_takes_one_line_and_leaves_nothing(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: list[Motion], arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Motion(joints=samples[2].joints[:60], fps=20, layout="smpl22").save("in.npz")
    status, out, err = run(*arguments)
    assert status == 2 and out == ""
    (line,) = [line for line in err.splitlines() if "commercial" not in line]
    assert message in line
    assert {path.name for path in tmp_path.iterdir()} == {"in.npz"}
