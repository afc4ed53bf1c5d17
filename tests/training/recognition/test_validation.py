"""Accuracy while training: over whole clips, `none` aside, all labels alike."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402

from motionrt.runtime.body.frontend import Frontend  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.training.data.clips import LabeledClip  # noqa: E402
from motionrt.training.recognition.validation import Validation  # noqa: E402

LABELS = ("bow", "walk", "none")


class Scripted(nn.Module):
    """Says `walk` of every frame in which the right wrist is above the left one, else `bow`; sure of `none` always."""

    def __init__(self, layout: Layout):
        super().__init__()
        self.wrists = [layout.joints.index(f"{side}_wrist") for side in ("left", "right")]

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        left, right = (frames[:, :, wrist, 1] for wrist in self.wrists)
        walk = (right > left).float()
        return (torch.stack([1 - walk, walk, torch.full_like(walk, 9.0)], -1),)


def clip(frames_up: int, frames_down: int, label: str, layout: Layout) -> LabeledClip:
    """Somebody stands, the right wrist above the left for so many frames, below it for so many more."""
    pose = np.zeros((15, 3), np.float32)
    for name, x in (("left", 0.2), ("right", -0.2)):
        for joint in ("hip", "shoulder", "wrist"):
            pose[layout.joints.index(f"{name}_{joint}"), 0] = x
    joints = np.repeat(pose[None], frames_up + frames_down, 0)
    joints[:frames_up, layout.joints.index("right_wrist"), 1] = 0.5
    joints[frames_up:, layout.joints.index("right_wrist"), 1] = -0.5
    return LabeledClip(joints=joints, fps=20.0, label=label, source="other", record={})


@pytest.fixture
def clips(layout: Layout) -> list[LabeledClip]:
    return [
        clip(9, 4, "walk", layout),  # right
        clip(3, 8, "walk", layout),  # wrong: mostly `bow`
        clip(0, 30, "bow", layout),  # right
        clip(1, 6, "bow", layout),  # right
        clip(0, 3, "walk", layout),  # wrong
        clip(0, 5, "walk", layout),  # wrong
    ]


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_a_clips_prediction_is_that_of_its_mean_frame(clips: list[LabeledClip], layout: Layout, batch: int) -> None:
    validation = Validation(clips, layout, Frontend(rate_hz=20.0), LABELS)
    figures = validation(Scripted(layout), batch)
    assert figures["top1"] == pytest.approx(100 * 3 / 6)
    assert figures["macro_top1"] == pytest.approx(100 * (1 / 4 + 2 / 2) / 2)
    assert validation.confusion.tolist() == [[2, 0, 0], [3, 1, 0], [0, 0, 0]]
    validation(Scripted(layout), batch)
    assert validation.confusion.sum() == len(clips), "of the last measurement alone"


def test_padding_has_no_influence(layout: Layout) -> None:
    """Four of seven frames say `walk`; played on to nine frames it would be four of nine."""
    short, longer = clip(4, 3, "walk", layout), clip(0, 9, "bow", layout)
    validation = Validation([short, longer], layout, Frontend(rate_hz=20.0), LABELS)
    assert validation(Scripted(layout))["top1"] == 100


def test_a_network_is_evaluated_in_evaluation_mode(clips: list[LabeledClip], layout: Layout) -> None:
    model = Scripted(layout).train()
    Validation(clips, layout, Frontend(rate_hz=20.0), LABELS)(model)
    assert not model.training


def test_without_clips_there_are_no_metrics(layout: Layout) -> None:
    assert Validation([], layout, Frontend(rate_hz=20.0), LABELS)(Scripted(layout)) == {}


def test_the_confusion_matrix_is_drawn(clips: list[LabeledClip], layout: Layout, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    validation = Validation(clips, layout, Frontend(rate_hz=20.0), LABELS)
    validation(Scripted(layout))
    validation.plot(tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
