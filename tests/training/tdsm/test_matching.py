"""Scores: those of one class and one noise at a time, whatever they are computed together with."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.bench.speed.tdsm import open_gates, plain_scores  # noqa: E402
from motionrt.training.models.tdsm import CrossDiT, CrossDiTConfig, alpha_bar  # noqa: E402
from motionrt.training.tdsm.loss import MatchingLoss, accuracy, matching_loss  # noqa: E402
from motionrt.training.tdsm.matching import (  # noqa: E402
    PREDICTIONS,
    ClassTexts,
    Matcher,
    combine_noises,
    fixed_noises,
)

TINY = CrossDiTConfig(feature=7, text=10, tokens=5, width=24, depth=2, heads=3)
LENGTHS = (3, 5, 1, 5, 2, 3, 3, 4)


@pytest.fixture
def classes() -> ClassTexts:
    generator = torch.Generator().manual_seed(1)
    words, pooled = (torch.randn(*shape, generator=generator) for shape in ((8, 5, 10), (8, 10)))
    valid = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    return ClassTexts(words_KLW=words, valid_KL=valid, pooled_KW=pooled)


@pytest.fixture(params=[{}, {"compat": "reference"}, {"cross": True}], ids=["joint", "reference", "cross"])
def model(request: pytest.FixtureRequest) -> CrossDiT:
    torch.manual_seed(0)
    return open_gates(replace(TINY, **request.param))


NOISES = fixed_noises(3, 7)


@pytest.mark.parametrize("tokens", [1, 20, 1024])
def test_scores_equal_those_of_one_class_at_a_time(model: CrossDiT, classes: ClassTexts, tokens: int) -> None:
    z = torch.randn(4, 7)
    found = Matcher(model, classes, NOISES, tokens).scores(z)
    torch.testing.assert_close(found, plain_scores(model, z, classes, NOISES), atol=0, rtol=1e-5)


def test_scores_depend_neither_on_the_order_of_classes_nor_on_batch_mates(model: CrossDiT, classes: ClassTexts) -> None:
    z, order = torch.randn(4, 7), torch.tensor([5, 2, 7, 0, 3, 1, 6, 4])
    found = Matcher(model, classes, NOISES).scores(z)
    other = Matcher(model, classes[order], NOISES)
    torch.testing.assert_close(other.scores(z), found[:, order], atol=0, rtol=1e-5)
    torch.testing.assert_close(other.scores(z[2:3]), found[2:3, order], atol=0, rtol=1e-5)
    few = Matcher(model, classes[order[:2]], NOISES)
    torch.testing.assert_close(few.scores(z), found[:, order[:2]], atol=0, rtol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_errors_and_loss_are_those_of_what_the_network_predicts(classes: ClassTexts, prediction: str) -> None:
    model, z, signal = open_gates(TINY), torch.randn(1, 7), float(alpha_bar()[25])
    noisy = signal**0.5 * z + (1 - signal) ** 0.5 * NOISES
    velocity = signal**0.5 * NOISES - (1 - signal) ** 0.5 * z
    target = {"epsilon": NOISES, "sample": z, "v_prediction": velocity}[prediction]
    texts = (x[[2, 2, 2]] for x in (classes.words_KLW, classes.pooled_KW, classes.valid_KL))
    with torch.no_grad():
        errors = (model(noisy, torch.full((3,), 25), *texts) - target).pow(2).mean(1)
    found = Matcher(model, classes, NOISES, prediction=prediction).errors(z)[0, 2]
    torch.testing.assert_close(found, errors, atol=0, rtol=1e-5)

    class Drawn:
        def integers(self, high: int, size: int | tuple[int, int]) -> np.ndarray:
            return np.full(size, 25)

        def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
            return NOISES[:1].numpy()

    draw: Any = Drawn()
    loss = matching_loss(MatchingLoss(triplet=0), classes, model, z, torch.tensor([2]), draw, prediction)
    torch.testing.assert_close(loss.detach(), errors[0], atol=0, rtol=1e-5)


def test_noises_are_the_same_every_time() -> None:
    assert torch.equal(fixed_noises(10, 7)[:3], NOISES) and not torch.equal(fixed_noises(3, 7, seed=1), NOISES)
    np.testing.assert_allclose(NOISES[:, 0], [1.50533032, 1.13710153, -0.57985479], rtol=1e-6)
    many = fixed_noises(200, 256)
    assert abs(float(many.mean())) < 0.02 and abs(float(many.std()) - 1) < 0.02


def test_a_class_that_was_dropped_stays_behind_the_leader_of_the_first_noise() -> None:
    nan = torch.nan
    errors = torch.tensor([[[1.0, 3.0], [1.5, nan], [1.1, 2.0]]])
    torch.testing.assert_close(combine_noises(errors), torch.tensor([[2.0, 2.5, 1.55]]))


@pytest.fixture(scope="module")
def trained() -> tuple[CrossDiT, ClassTexts, torch.Tensor, torch.Tensor]:
    """A network that has learnt which of six places in space belongs to which text, with features and their classes."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    classes = ClassTexts(
        words_KLW=torch.randn(6, 2, 10), valid_KL=torch.ones(6, 2, dtype=torch.bool), pooled_KW=torch.randn(6, 10)
    )
    places, model = 1.5 * torch.randn(6, 7), CrossDiT(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(160):
        labels = torch.from_numpy(draw.integers(6, size=48))
        z = places[labels] + 0.05 * torch.from_numpy(draw.standard_normal((48, 7), np.float32))
        loss = matching_loss(MatchingLoss(), classes, model, z, labels, draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    labels = torch.arange(6).repeat(5)
    return model.eval(), classes, places[labels] + 0.05 * torch.randn(30, 7), labels


def test_a_network_learns_which_text_belongs_to_a_feature(trained) -> None:
    model, classes, z, labels = trained
    found = accuracy(Matcher(model, classes, fixed_noises(4, 7)), z, labels, batch=7)
    assert found["top1"] > 95 and len(found["single_noise"]) == 4
    assert accuracy(Matcher(CrossDiT(TINY), classes, NOISES), z, labels)["top1"] < 30


def test_the_early_exit_evaluates_less_and_agrees(trained) -> None:
    model, classes, z, _ = trained
    matcher = Matcher(model, classes, NOISES)
    whole = matcher.errors(z)
    assert not whole.isnan().any()
    early = matcher.errors(z, margin=0.5)
    asked = ~early.isnan()
    assert asked[:, :, 0].all() and asked.float().mean() < 0.6
    torch.testing.assert_close(early[asked], whole[asked])
    assert torch.equal(combine_noises(early).argmin(1), combine_noises(whole).argmin(1))
    torch.testing.assert_close(matcher.errors(z, margin=torch.inf), whole)
    leaders = ~matcher.errors(z, margin=0.0).isnan()
    assert (leaders.sum((1, 2)) == 6 + 2).all()
