"""The kernels of guided sampling are their references, and those are what training and autograd say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.guided_step import (
    NORMS,
    cosine_gradient,
    cost_of_gradient,
    cost_of_move,
    cost_of_step,
    guided_step,
    masked_step,
)
from motionrt.runtime.generation.solvers import heun

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
WEIGHTS = (0.7, 0.1, 0.1, 0.1)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("has_uncond", "has_before"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_solvers_step(
    has_uncond: bool, has_before: bool, dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]
) -> None:
    x, cond, uncond, before = (normal(37, 33, seed=k, dtype=dtype).to(device) for k in range(4))
    of = [x, cond, uncond if has_uncond else None, before if has_before else None]
    settings = {"cfg": 4.5, "step": 0.125, "carry": 0.5}
    exact = guided_step(*(t if t is None else t.float() for t in of), **settings, impl="reference")
    theirs = guided_step(*of, **settings, impl="reference")
    for found, their, wanted in zip(guided_step(*of, **settings, impl="triton"), theirs, exact, strict=True):
        as_exact(found, their, wanted)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_two_steps_are_heuns(impl: str, device: torch.device) -> None:
    x, a, b = (normal(9, 16, seed=k).to(device) for k in range(3))
    cond, uncond = (lambda x, t: torch.sin(a * x + t)), (lambda x, t: torch.cos(b * x - t))

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        u = uncond(x, t)
        return u + 2.5 * (cond(x, t) - u)

    half, v = guided_step(x, cond(x, 0), uncond(x, 0), cfg=2.5, step=1.0, impl=impl)
    found, _ = guided_step(x, cond(half, 1), uncond(half, 1), v, cfg=2.5, step=0.5, carry=1.0, impl=impl)
    torch.testing.assert_close(found, heun(velocity, x, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cosines_gradient(dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]) -> None:
    target, *features = (normal(3, 77, seed=k, dtype=dtype).to(device) for k in range(5))
    exact = cosine_gradient([f.float() for f in features], target.float(), WEIGHTS, impl="reference")
    theirs = cosine_gradient(features, target, WEIGHTS, impl="reference")
    for found, their, wanted in zip(
        cosine_gradient(features, target, WEIGHTS, impl="triton"), theirs, exact, strict=True
    ):
        as_exact(found, their, wanted)


def test_the_cosines_gradient_is_autograds() -> None:
    target, *features = (normal(3, 50, seed=k).double() for k in range(5))
    leaves = [f.requires_grad_() for f in features]
    reward = sum(w * cosine_similarity(f, target) for w, f in zip(WEIGHTS, leaves, strict=True))
    wanted = torch.autograd.grad(reward.sum(), leaves)
    with torch.no_grad():
        found = cosine_gradient([f.detach() for f in features], target, WEIGHTS)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_move(norm: str, dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]) -> None:
    tokens, gradient = (normal(3, 11, 130, seed=k, dtype=dtype).to(device) for k in range(2))
    sampled = normal(3, 11, seed=2).to(device) > 0
    sampled[1] = False  # nothing moves in this one
    settings: dict[str, Any] = {"step": 0.7, "norm": norm}
    exact = masked_step(tokens.float(), gradient.float(), sampled, **settings, impl="reference")
    found = masked_step(tokens, gradient, sampled, **settings, impl="triton")
    as_exact(found, masked_step(tokens, gradient, sampled, **settings, impl="reference"), exact)
    assert (found[~sampled] == tokens[~sampled]).all()


def test_memory_next_to_its_tensors_is_not_read(device: torch.device, poisoned: Callable[..., torch.Tensor]) -> None:
    tokens, gradient = (poisoned(normal(2, 5, 33, seed=k).to(device)) for k in range(2))
    sampled = torch.ones(2, 5, dtype=torch.bool, device=device)
    assert torch.isfinite(masked_step(tokens, gradient, sampled, step=1.0, impl="triton")).all()
    x, cond = (poisoned(normal(7, 33, seed=k).to(device)) for k in range(2))
    assert torch.isfinite(guided_step(x, cond, step=1.0, impl="triton")[0]).all()
    target, feature = (poisoned(normal(2, 33, seed=k).to(device)) for k in range(2))
    assert torch.isfinite(cosine_gradient([feature], target, [1.0], impl="triton")[0]).all()


def test_costs() -> None:
    assert cost_of_step(N=2, D=512, size=2, guided=True, carried=True).bytes == 2 * 2 * 512 * 6
    assert cost_of_gradient(B=1, F=512, features=4, size=4).bytes == 4 * 512 * 9
    assert cost_of_move(B=1, L=49, D=512, size=4).bytes == 3 * 4 * 49 * 512 + 49
