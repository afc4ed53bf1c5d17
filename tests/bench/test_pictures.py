"""Pictures of generated motion."""

from pathlib import Path

import numpy as np
import pytest

image = pytest.importorskip("PIL.Image", reason="pillow is not installed")

from motionrt.bench import pictures  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.generation.schedule import Sampling  # noqa: E402
from motionrt.runtime.io.render import SIDE_COLORS  # noqa: E402


def colored(picture: np.ndarray, side: str) -> np.ndarray:
    """Mask [H, W] of the pixels with the color of a side of the body, in whatever light."""
    color = np.array(SIDE_COLORS[side], float)
    shares = picture / np.maximum(picture.sum(axis=-1, keepdims=True), 1)
    return (np.abs(shares - color / color.sum()) < 0.08).all(axis=-1) & (np.ptp(picture, axis=-1) > 40)


def test_a_strip_of_poses_is_drawn(coamd_runs: Path, motion_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    few = Sampling(steps=2, evaluations=1)
    pictures.strip(str(coamd_runs), motion_data, tmp_path / "strip.png", few, frames=40)
    assert image.open(tmp_path / "strip.png").size == (2 * pictures.ROW[0], 10 * (pictures.ROW[1] + pictures.CAPTION))


def test_prompts_are_drawn_and_animated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PROMPTS", dict.fromkeys(["a person walks", "a person bows"]))
    monkeypatch.setattr(pictures, "COMPOSED", slice(2))
    monkeypatch.setattr(pictures, "ANIMATION_S", 1.0)
    pictures.prompts("default", tmp_path / "prompts.png")
    assert image.open(tmp_path / "prompts.png").size == (3 * pictures.ROW[0], 2 * (pictures.ROW[1] + pictures.CAPTION))
    for kind in ("one", "together", "sequences"):
        assert image.open(tmp_path / f"prompts-{kind}.gif").size[0] == 2 * pictures.PANEL[0]


def test_the_left_side_is_orange_the_right_side_blue_and_upright_is_up(samples: list[Motion]) -> None:
    picture = pictures.draw_poses(samples[2].joints, poses=1, size=(110, 240))
    left, right = (np.nonzero(colored(picture, side)) for side in ("left", "right"))
    assert min(len(left[0]), len(right[0])) > 200
    assert left[1].mean() > right[1].mean()  # seen from the front
    assert np.ptp(np.concatenate([left[0], right[0]])) > 110  # pixels, 100 per meter


def test_the_animation_shows_every_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "ANIMATED", {"a person walks": 0, "a person bows": 1})
    monkeypatch.setattr(pictures, "ANIMATION_S", 1.0)
    pictures.animation("default", tmp_path / "motion.gif")
    gif = image.open(tmp_path / "motion.gif")
    assert gif.size == (2 * pictures.PANEL[0], pictures.PANEL[1] + pictures.CAPTION)
    assert 8 <= gif.n_frames <= 10 and gif.info["duration"] == 100
