"""The loss that compares a clip with the labels of its own data set only."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from torch import Tensor, nn  # noqa: E402

from motionrt.training.loop import LoopConfig  # noqa: E402
from motionrt.training.recognition.loss import (  # noqa: E402
    all_labels_loss,
    distance_to,
    segment_and_frame_loss,
)

OWN = [[True, False, True, True], [False, True, True, True]]  # classes of the sets of two segments; the last: none


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """One stream: two frames of one set, two between segments, three of another set; four classes."""
    return {
        "segments": torch.tensor([[0, 0, -1, -1, 1, 1, 1]]),
        "targets": torch.tensor([[0, 2, 2, 2, 1, 1, 2]]),
        "weights": torch.ones(1, 7),
        "classes": torch.tensor([0, 1]),
        "own_classes": torch.tensor(OWN),
    }


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(1, 7, 4, generator=torch.Generator().manual_seed(0))


def config(own_labels: float, **settings: Any) -> LoopConfig:
    return LoopConfig(steps=1, own_labels=own_labels, **settings)


def gradient(logits: Tensor, batch: dict[str, Tensor], config: LoopConfig) -> np.ndarray:
    logits = logits.clone().requires_grad_()
    segment_and_frame_loss(logits, batch, config).backward()
    assert logits.grad is not None
    return logits.grad[0].numpy()


def test_labels_of_other_sets_are_not_pushed(logits: Tensor, batch: dict[str, Tensor]) -> None:
    others = np.zeros((7, 4), bool)
    others[:2], others[4:] = ~np.array(OWN[0]), ~np.array(OWN[1])
    own = gradient(logits, batch, config(1))
    assert not own[others].any()
    assert (own[~others] != 0).all(), "its own labels are, and all labels between segments"
    assert (gradient(logits, batch, config(0))[others] > 0).all(), "without the mask they are pushed down"
    raised = torch.where(torch.from_numpy(others), logits + 5, logits)
    torch.testing.assert_close(
        segment_and_frame_loss(raised, batch, config(1)), segment_and_frame_loss(logits, batch, config(1))
    )


def test_the_share_of_own_labels_mixes_both_losses(logits: Tensor, batch: dict[str, Tensor]) -> None:
    every, half, own = (segment_and_frame_loss(logits, batch, config(share)) for share in (0, 0.5, 1))
    torch.testing.assert_close(every, all_labels_loss(logits, batch, config(0)))
    torch.testing.assert_close(half, (every + own) / 2)
    assert own < every


def test_a_set_with_all_labels_has_the_plain_loss(logits: Tensor, batch: dict[str, Tensor]) -> None:
    batch["own_classes"] = torch.ones(2, 4, dtype=torch.bool)
    plain = segment_and_frame_loss(logits, batch, config(0, smoothing=0))
    torch.testing.assert_close(segment_and_frame_loss(logits, batch, config(1, smoothing=0)), plain)


def test_an_action_is_judged_by_its_mean_probability_among_the_actions(batch: dict[str, Tensor]) -> None:
    probs = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.1, 0.3], [0.25] * 4, [0.25] * 4, *[[0.2, 0.6, 0.1, 0.1]] * 3]
    )
    found = segment_and_frame_loss(probs.log()[None], batch, config(0, smoothing=0, frame_loss=0))
    first, second = 0.6 / 1.3, 0.6 / 0.9  # (0.1 + 0.5) of 1.3: none's 0.7 does not count
    assert float(found) == pytest.approx(-(np.log(first) + np.log(second)) / 2, abs=1e-3)


def test_none_is_judged_by_its_mean_probability(batch: dict[str, Tensor]) -> None:
    batch["classes"] = torch.tensor([3, 3])
    probs = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.2, 0.6], [0.25] * 4, [0.25] * 4, *[[0.1, 0.1, 0.1, 0.7]] * 3]
    )
    found = segment_and_frame_loss(probs.log()[None], batch, config(0, smoothing=0, frame_loss=0))
    assert float(found) == pytest.approx(-(np.log(0.5) + np.log(0.7)) / 2, abs=1e-3)


class Fixed(nn.Module):
    """A network whose logits do not depend on the frames."""

    def __init__(self, logits_NTC: Tensor) -> None:
        super().__init__()
        self.logits = logits_NTC

    def forward(self, frames_NTV3: Tensor) -> tuple[Tensor]:
        return (self.logits,)


def test_the_distance_is_to_the_mean_probabilities_of_the_teachers(logits: Tensor) -> None:
    frames = torch.zeros(*logits.shape[:2], 15, 3)
    other = logits.roll(1, -1)
    teachers = [Fixed(logits), Fixed(other)]
    mean = (logits.softmax(-1) + other.softmax(-1)) / 2
    torch.testing.assert_close(distance_to(teachers, frames, mean.log()), torch.tensor(0.0), atol=1e-6, rtol=0)
    expected = (mean * (mean.log() - logits.log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(distance_to(teachers, frames, logits), expected)
