"""Solvers on fields with a known flow, and against torchdiffeq."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.runtime.generation.solvers import (  # noqa: E402
    SOLVERS,
    STAGES,
    Velocity,
    ddpm,
    ddpm_schedule,
    dopri5,
)


def growth(x: torch.Tensor, t: float) -> torch.Tensor:
    """dx/dt = x: x(1) = e x(0)."""
    return x


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2)])
def test_the_error_decreases_with_the_order(name: str, order: int) -> None:
    x = torch.ones(1, dtype=torch.float64)
    errors = [abs(float(SOLVERS[name](growth, x, n)) - math.e) for n in (16, 32)]
    assert 0.85 * 2**order < errors[0] / errors[1] < 1.15 * 2**order


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("evaluations", [1, 2, 3, 7, 8])
def test_the_number_of_evaluations_is_exact_and_times_are_in_the_unit_interval(name: str, evaluations: int) -> None:
    times = []

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        times.append(t)
        return torch.ones_like(x)

    found = SOLVERS[name](velocity, torch.zeros(3), evaluations)
    torch.testing.assert_close(found, torch.ones(3))
    assert len(times) == evaluations and min(times) >= 0 and max(times) <= 1


def field(seed: int) -> tuple[torch.Tensor, Velocity]:
    random = torch.Generator().manual_seed(seed)
    A, b, x = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((16, 16), (16,), (7, 16)))
    return x, lambda x, t: (0.5 + seed) * torch.tanh(x @ A / 4) + b * t**2


@pytest.mark.parametrize("seed", range(4))
def test_dopri5_equals_torchdiffeq_including_evaluations_and_overshoot(seed: int) -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed")
    x, velocity = field(seed)
    times: list[list[float]] = [[], []]

    def recorded(which: int, x: torch.Tensor, t: float) -> torch.Tensor:
        times[which].append(float(t))
        return velocity(x, float(t))

    found, evaluations = dopri5(lambda x, t: recorded(0, x, t), x)
    grid = torch.linspace(0, 1, 50, dtype=torch.float64)
    options = {"rtol": 1e-3, "atol": 1e-6, "method": "dopri5"}
    wanted = torchdiffeq.odeint(lambda t, x: recorded(1, x, t), x, grid, **options)[-1]
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)
    assert evaluations == len(times[0]) == len(times[1])
    assert times[0] == pytest.approx(times[1], abs=1e-9)
    assert max(times[0]) > 1, "the last step overshoots"


def test_a_linear_field_is_solved_to_the_tolerance() -> None:
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    found, _ = dopri5(growth, x)
    torch.testing.assert_close(found, math.e * x, atol=2e-3, rtol=2e-3)


def test_the_ddpm_schedule_decreases() -> None:
    alpha_bar = ddpm_schedule()
    assert len(alpha_bar) == 50 and alpha_bar[0] > 0.99 and alpha_bar[-1] < 1e-4
    assert (alpha_bar[1:] < alpha_bar[:-1]).all()


def test_ddpm_with_the_true_noise_finds_the_token() -> None:
    token = torch.tensor([[0.3, -1.2, 2.0]])
    alpha_bar = torch.from_numpy(ddpm_schedule())

    def predict_noise(x: torch.Tensor, k: float) -> torch.Tensor:
        kept = alpha_bar[int(k)]
        return (x - kept.sqrt() * token) / (1 - kept).sqrt()

    random = torch.Generator().manual_seed(0)
    start = torch.randn(1, 3, generator=random, dtype=torch.float64)
    found = ddpm(predict_noise, start, lambda k: torch.randn(1, 3, generator=random, dtype=torch.float64))
    torch.testing.assert_close(found.float(), token, atol=1e-5, rtol=1e-5)


def test_at_temperature_zero_no_noise_is_added() -> None:
    start = torch.randn(1, 3)
    one, other = (ddpm(lambda x, k: 0.1 * x, start, lambda k, s=s: torch.full((1, 3), s), 0.0) for s in (1.0, 9.0))
    assert torch.equal(one, other)
