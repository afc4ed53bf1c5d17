"""Muon: matrices move along their orthogonalized momentum, everything else as by AdamW."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.training.muon import Muon, orthogonalize  # noqa: E402


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100
    found = orthogonalize(matrix)
    assert found.shape == shape
    assert torch.linalg.svdvals(found).sub(1).abs().max() < 0.4
    U, _, V = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(found.flatten(), (U @ V).flatten(), 0) > 0.95
    assert torch.equal(orthogonalize(torch.zeros(shape)), torch.zeros(shape))


def test_the_size_of_a_step_does_not_depend_on_the_gradient() -> None:
    def change(scale: float) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.zeros(4, 2, 3, 1))
        weight.grad = scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        Muon([{"params": [weight], "muon": True}], lr=0.1, weight_decay=0.0).step()
        return weight.detach()

    small, large = change(1e-3), change(1e3)
    assert torch.allclose(small, large, atol=1e-4)
    assert 0.1 < small.norm() < 0.3, "four singular values of about 0.1"


def test_other_groups_are_those_of_adamw_and_a_state_is_restored() -> None:
    def train(kind: type[torch.optim.AdamW], steps: int, resume_at: int | None = None) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(2)
        matrix, vector = (torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 3), (3,)))
        groups = [{"params": [matrix], "muon": kind is Muon}, {"params": [vector]}]
        optimizer = kind(groups, lr=0.01)
        for step in range(steps):
            if step == resume_at:
                state = optimizer.state_dict()
                optimizer = kind(groups, lr=0.01)
                optimizer.load_state_dict(state)
            for parameter in (matrix, vector):
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        return [matrix.detach(), vector.detach()]

    muon, adamw = train(Muon, 5), train(torch.optim.AdamW, 5)
    assert torch.equal(muon[1], adamw[1]) and not torch.allclose(muon[0], adamw[0])
    assert all(torch.equal(a, b) for a, b in zip(muon, train(Muon, 5, resume_at=3), strict=True))
