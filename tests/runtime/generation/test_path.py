"""Motions that are led along a path."""

from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.canonical import SMPL, heading
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.generation.path import check_path, follow, go_around, way

CORNER = np.array([[1.0, 2.0], [1.0, 3.5], [2.5, 3.5]])


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    return Generator.load("default").generate("a person walks forward", seconds=4, seed=1).joints


def test_a_walk_follows_a_path_and_turns_with_it(walk: np.ndarray) -> None:
    found = follow(walk, CORNER)
    at = found[:, 0, [0, 2]]
    np.testing.assert_allclose(at[[0, -1]], CORNER[[0, 2]], atol=0.02)
    first, second = np.abs(at[:, 0] - 1), np.abs(at[:, 1] - 3.5)
    assert np.minimum(first, second).max() < 0.25 and np.minimum(first, second).mean() < 0.06
    turn = np.degrees(heading(found, SMPL)[[0, -1]] - heading(walk, SMPL)[[0, -1]])
    assert abs(turn[1] - turn[0] + 90) < 20  # +x is to the left of +z: headings fall
    bones = [np.linalg.norm(joints[:, 4] - joints[:, 1], axis=-1) for joints in (walk, found)]
    np.testing.assert_allclose(*bones, atol=1e-5)


@pytest.mark.parametrize("frames", [4, 12, 20, 28, 40, 60])
def test_whoever_hardly_moves_goes_around_no_circle(walk: np.ndarray, frames: int) -> None:
    around = go_around(walk[:frames], 1)
    assert around.shape == walk[:frames].shape and np.isfinite(around).all()
    assert np.array_equal(around, walk[:frames]) == (way(walk[:frames]) < 1.0)


def test_the_path_decides_how_long_it_takes() -> None:
    generator = Generator.load("default")
    near, far = (generator.generate("a person walks forward", seed=1, path=[[0, 0], [0, z]]) for z in (2, 6))
    assert 1.5 * near.frames < far.frames
    np.testing.assert_allclose([near.joints[-1, 0, 2], far.joints[-1, 0, 2]], [2, 6], atol=0.02)


def test_an_impossible_path_is_refused_in_one_line(walk: np.ndarray, samples: list[Motion]) -> None:
    for wrong in ([[0, 0]], [[0, 0, 0], [1, 1, 1]], [[0, 0], [0, np.nan]], "ab", [[0, 0], [0]]):
        with pytest.raises(InputError, match=r"path has shape .*, expected 2 to 10000 points \[x, z\] in meters"):
            check_path(wrong)
    with pytest.raises(InputError, match=r"path is 0 m long, expected 0\.2 to 300 m"):
        check_path([[0, 0], [0, 0]])
    with pytest.raises(InputError, match=r"path is 50 m long and the motion goes .* m, expected 0\.5 to 2 times"):
        follow(walk, np.array([[0, 0], [0, 50.0]]))
    assert way(walk) == pytest.approx(np.linalg.norm(walk[-1, 0, [0, 2]] - walk[0, 0, [0, 2]]), rel=0.1)


def test_a_path_comes_from_a_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from motionrt.runtime.cli import main

    (tmp_path / "path.csv").write_text("x,z\n0,0\n0,2\n1,2\n")
    command = ["generate", "a person walks", "--path", str(tmp_path / "path.csv"), "-o", str(tmp_path / "a.npz")]
    assert main(command) == 0
    np.testing.assert_allclose(Motion.load(tmp_path / "a.npz").joints[-1, 0, [0, 2]], [1, 2], atol=0.02)
    (tmp_path / "path.csv").write_text("0,0,1\n0,2,1\n")
    assert main(command) == 2
    assert "path.csv: expected two columns, x and z in meters" in capfd.readouterr().err
