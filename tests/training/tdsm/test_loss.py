"""TDSM's loss against what it is by hand."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402

from motionrt.training.models.tdsm import alpha_bar  # noqa: E402
from motionrt.training.tdsm.loss import MatchingLoss, matching_loss, triplet  # noqa: E402
from motionrt.training.tdsm.matching import ClassTexts  # noqa: E402

FEATURES, LABELS = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 2])


class Constant(nn.Module):
    """Finds of class k everywhere the noise k; remembers what it was asked."""

    def forward(
        self, z_BF: Tensor, t_B: Tensor, words: Tensor, pooled_KW: Tensor, valid: Tensor, of_B: Tensor
    ) -> Tensor:
        self.asked = z_BF, t_B, pooled_KW[of_B, 0]
        return pooled_KW[of_B, :1].expand_as(z_BF)


class Drawn:
    """Steps 0, 10 and 25, other classes 0, 2 and 0 and then the own ones, and noise 2 everywhere."""

    def integers(self, high: int, size: int | tuple[int, int]) -> np.ndarray:
        return np.array([0, 10, 25]) if isinstance(size, int) else np.array([[0, 2, 0], [0, 1, 2]])[: size[0]]

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.full(shape, 2, dtype)


def loss(parts: MatchingLoss) -> tuple[float, Constant]:
    words, valid = torch.zeros(3, 1, 4), torch.ones(3, 1, dtype=torch.bool)
    classes = ClassTexts(words_KLW=words, valid_KL=valid, pooled_KW=torch.arange(3.0)[:, None].expand(-1, 4))
    model = Constant()
    return float(matching_loss(parts, classes, model, FEATURES, LABELS, Drawn())), model  # type: ignore[arg-type]


# errors of the own classes 4, 1, 0; of the others 4 (the own one, which does not count), 0, 4


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        (MatchingLoss(), 5 / 3 + (0 + 2 + 0) / 3),
        (MatchingLoss(margin=5), 5 / 3 + (0 + 6 + 1) / 3),
        (MatchingLoss(triplet=0), 5 / 3),
        (MatchingLoss(diffusion=0), 2 / 3),
        (MatchingLoss(diffusion=2, triplet=0.5), 10 / 3 + 1 / 3),
        (MatchingLoss(others=2), 5 / 3 + (0 + 2 + 0) / 6),
    ],
)
def test_the_loss_matches_a_manual_computation(parts: MatchingLoss, wanted: float) -> None:
    assert loss(parts)[0] == pytest.approx(wanted)


def test_all_classes_see_the_same_noisy_feature_at_the_same_step() -> None:
    _, model = loss(MatchingLoss())
    noisy, steps, asked = model.asked
    assert torch.equal(noisy[:3], noisy[3:]) and steps.tolist() == [0, 10, 25] * 2
    assert asked.tolist() == [0, 1, 2, 0, 2, 0]
    signal = torch.from_numpy(alpha_bar()[[0, 10, 25]]).float()[:, None]
    torch.testing.assert_close(noisy[:3], signal.sqrt() * FEATURES + 2 * (1 - signal).sqrt())


def test_without_the_triplet_no_other_class_is_evaluated() -> None:
    assert len(loss(MatchingLoss(triplet=0))[1].asked[0]) == 3


def test_a_triplet_counts_the_shortfall_of_the_margin() -> None:
    own, other = torch.tensor([0.5, 0.2, 3.0]), torch.tensor([1.0, 2.0, 1.0])
    assert float(triplet(own, other, torch.tensor([True, True, True]), 1.0)) == pytest.approx((0.5 + 0 + 3) / 3)
    assert float(triplet(own, other, torch.tensor([True, True, False]), 1.0)) == pytest.approx(0.5 / 3)
