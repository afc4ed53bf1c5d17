"""The masked-autoregressive loop: masks, elimination of samples, seeds and guidance."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402

from motionrt.runtime.generation import rng  # noqa: E402
from motionrt.runtime.generation.schedule import Guidance, Sampling, masked_counts, masks  # noqa: E402
from motionrt.runtime.generation.solvers import heun  # noqa: E402
from motionrt.training.coamd.guidance import WEIGHTS, guide_tokens, reward_of  # noqa: E402
from motionrt.training.coamd.sampling import sample  # noqa: E402
from motionrt.training.models.coamd import (  # noqa: E402
    AutoEncoder,
    AutoEncoderConfig,
    GeneratorConfig,
    MotionGenerator,
    MotionRecognizer,
    MotionRecognizerConfig,
)

COUNTS = (12, 7, 1)
D, W = 6, 10
PLAIN = Sampling()


def randomize(model: nn.Module) -> Any:
    """Open all gates, so that everything has an influence."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15)
    return model.eval()


@pytest.fixture(scope="module")
def generator() -> MotionGenerator:
    config = GeneratorConfig(latent=D, text=W, width=16, depth=2, heads=2, head_width=12, head_depth=2, qualities=2)
    return randomize(MotionGenerator(config))


@pytest.fixture(scope="module")
def run(generator: MotionGenerator) -> Callable[..., Tensor]:
    text = torch.randn(len(COUNTS), W, generator=torch.Generator().manual_seed(1))

    def run(settings: Sampling = PLAIN, **changes: Any) -> Tensor:
        arguments = {"text_BW": text, "counts": COUNTS, "quality_B": torch.tensor([0, 1, 0])} | changes
        return sample(changes.pop("generator", generator), settings=settings, **arguments)

    return run


def test_the_numbers_of_masked_tokens_are_the_published_ones() -> None:
    assert masked_counts(49, 12) == [49, 49, 47, 45, 41, 37, 32, 26, 20, 14, 7, 1]
    assert sum(masked_counts(49, 18)) == 557
    assert masked_counts(5, 1) == [5]


def test_all_schedules_are_those_of_the_released_code() -> None:
    """2,401 of them. Its cosine is in single precision, which decides where half a token is masked."""
    differ, counts = 0, torch.arange(1, 50)
    inside = torch.arange(49) < counts[:, None]
    order = torch.rand(49, 49, generator=torch.Generator().manual_seed(0)).masked_fill(~inside, 1e5)
    rank = order.argsort(1).argsort(1)
    for steps in range(1, 50):
        share = torch.cos(torch.linspace(0, 1, steps) * math.pi * 0.5)
        masked = (rank < torch.round(share[:, None] * counts).clamp(min=1)[:, :, None]).numpy()
        assert np.array_equal(masks(inside.numpy(), list(order.numpy()), steps), masked), steps
        for count in range(1, 50):
            wanted = torch.round(share * torch.tensor(count)).clamp(min=1).int().tolist()
            assert masked_counts(count, steps) == wanted, (count, steps)
            exact = [max(1, round(math.cos(math.pi / 2 * k / max(steps - 1, 1)) * count)) for k in range(steps)]
            differ += exact != wanted
    assert differ == 168


@pytest.mark.parametrize("steps", [1, 2, 12, 18])
def test_masks_are_nested_and_every_token_is_decided_once(steps: int) -> None:
    inside = np.arange(12) < np.array(COUNTS)[:, None]
    orders = [np.pad(rng.order(0, b, m), (0, 12 - m)) for b, m in enumerate(COUNTS)]
    plan = masks(inside, orders, steps)
    assert np.array_equal(plan[0], inside)
    decided = plan & ~np.concatenate([plan[1:], np.zeros_like(plan[:1])])
    assert np.array_equal(decided.sum(0), inside), "a decided token is never masked again"
    assert all(not (after & ~before).any() for before, after in zip(plan, plan[1:], strict=False))
    for b, m in enumerate(COUNTS):
        assert plan[:, b].sum(1).tolist() == masked_counts(m, steps)


def test_without_tokens_to_regenerate_nothing_changes(run: Callable[..., Tensor]) -> None:
    known = torch.randn(3, 12, D)
    found = run(known_BLD=known, regenerate_BL=np.zeros((3, 12), bool))
    inside = torch.arange(12) < torch.tensor(COUNTS)[:, None]
    assert torch.equal(found[inside], known[inside]) and not found[~inside].any()


@pytest.mark.parametrize("regenerate", ["prefix", "suffix", "between", "outside", "every other"])
def test_known_tokens_stay_and_the_others_are_regenerated(run: Callable[..., Tensor], regenerate: str) -> None:
    position, known = np.arange(12), torch.randn(3, 12, D)
    wanted = {
        "prefix": position >= 6,
        "suffix": position < 6,
        "between": (position >= 3) & (position < 9),
        "outside": (position < 3) | (position >= 9),
        "every other": position % 2 == 0,
    }[regenerate]
    found = run(known_BLD=known, regenerate_BL=np.tile(wanted, (3, 1)))
    regenerated = torch.from_numpy(wanted & (position < np.array(COUNTS)[:, None]))
    kept = torch.from_numpy(~wanted & (position < np.array(COUNTS)[:, None]))
    assert torch.equal(found[kept], known[kept])
    assert (found[regenerated] != known[regenerated]).any(1).all()


@pytest.mark.parametrize("steps", [4, 12])
def test_samples_that_are_masked_again_have_no_influence(run: Callable[..., Tensor], steps: int) -> None:
    """Bit for bit, whatever their values; and within 1e-4 if they are not computed."""
    inside = np.arange(12) < np.array(COUNTS)[:, None]
    orders = [np.pad(rng.order(0, b, m), (0, 12 - m)) for b, m in enumerate(COUNTS)]
    plan = iter(masks(inside, orders, steps))
    masked = next(plan)

    def garbage(velocity: Any, x: Tensor, evaluations: int) -> Tensor:
        nonlocal masked
        remasked = next(plan, np.zeros_like(masked))
        dead = torch.from_numpy(remasked[masked])
        masked = remasked
        return torch.where(dead[:, None], torch.full_like(x, 1e3), heun(velocity, x, evaluations))

    whole = run(Sampling(steps=steps, eliminate=False))
    spoiled = run(Sampling(steps=steps, eliminate=False, solver=garbage))
    assert torch.equal(whole, spoiled)
    torch.testing.assert_close(run(Sampling(steps=steps)), whole, atol=1e-4, rtol=0)


def test_a_sample_does_not_depend_on_the_batch(run: Callable[..., Tensor], generator: MotionGenerator) -> None:
    whole = run()
    text = torch.randn(len(COUNTS), W, generator=torch.Generator().manual_seed(1))
    for b, count in enumerate(COUNTS):
        alone = sample(generator, text[b : b + 1], [count], samples=[b], quality_B=torch.tensor([0, 1, 0])[b : b + 1])
        torch.testing.assert_close(whole[b : b + 1, :count], alone, atol=1e-5, rtol=1e-5)


def test_seed_and_sample_numbers_determine_the_tokens(run: Callable[..., Tensor]) -> None:
    assert torch.equal(run(seed=3), run(seed=3))
    assert not torch.equal(run(seed=3), run(seed=4))
    assert not torch.equal(run(samples=[0, 1, 2]), run(samples=[5, 6, 7]))


def test_a_cfg_of_one_is_the_text_alone_and_of_zero_no_text(run: Callable[..., Tensor]) -> None:
    other = torch.randn(len(COUNTS), W)
    assert torch.equal(run(Sampling(cfg=0)), run(Sampling(cfg=0), text_BW=other))
    assert torch.equal(run(Sampling(cfg=0)), run(Sampling(cfg=1), text_BW=torch.zeros(len(COUNTS), W)))
    assert not torch.equal(run(Sampling(cfg=1)), run(Sampling(cfg=1), text_BW=other))
    torch.testing.assert_close(run(Sampling(cfg=1)), run(Sampling(cfg=1 + 1e-6)), atol=1e-4, rtol=1e-4)


def test_the_adaptive_solver_and_many_fixed_steps_agree(run: Callable[..., Tensor]) -> None:
    adaptive, fixed = run(Sampling(solver="dopri5", eliminate=False)), run(Sampling(evaluations=64))
    torch.testing.assert_close(adaptive, fixed, atol=1e-2, rtol=1e-2)


def test_a_quality_is_a_condition(run: Callable[..., Tensor]) -> None:
    assert not torch.equal(run(), run(quality_B=torch.tensor([1, 0, 1])))


def test_the_ddpm_twin_uses_its_temperature_and_a_flow_rejects_one(generator: MotionGenerator) -> None:
    twin = randomize(MotionGenerator(replace(generator.config, objective="ddpm", qualities=0)))
    text = torch.randn(1, W)
    cold, warm = (sample(twin, text, [6], Sampling(steps=3, temperature=t)) for t in (0.5, 1.0))
    assert not torch.equal(cold, warm) and torch.isfinite(cold).all()
    with pytest.raises(ValueError, match="temperature 0.5: a flow has none"):
        sample(generator, text, [6], Sampling(temperature=0.5))


# guidance


@pytest.fixture(scope="module")
def autoencoder() -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(AutoEncoderConfig(width=12, latent=D)).eval()


@pytest.fixture(scope="module")
def recognizer() -> MotionRecognizer:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "hidden": 12, "feature": 8, "timestep": False}
    return MotionRecognizer(MotionRecognizerConfig(words="features", text=W, **settings)).eval()


@pytest.fixture(scope="module")
def described(recognizer: MotionRecognizer) -> Tensor:
    return torch.randn(len(COUNTS), 8, generator=torch.Generator().manual_seed(2))


def test_the_reward_is_the_weighted_sum_of_cosines(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    assert sum(WEIGHTS) == pytest.approx(1)
    tokens, counts = torch.randn(3, 12, D), torch.tensor(COUNTS)
    found = reward_of(autoencoder, recognizer, described)(tokens, counts)
    features = recognizer.encode(autoencoder.decode(tokens, 4 * counts), 4 * counts)
    cosines = [nn.functional.normalize(f) * nn.functional.normalize(described) for f in features]
    wanted = sum(w * c.sum(1) for w, c in zip((0.7, 0.1, 0.1, 0.1), cosines, strict=True))
    torch.testing.assert_close(found, wanted)


def test_the_guidance_step_follows_the_finite_difference_gradient(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    autoencoder, recognizer = autoencoder.double(), recognizer.double()
    torch.set_default_dtype(torch.float64)
    try:
        reward = reward_of(autoencoder, recognizer, described[:1].double())
        tokens, counts = torch.randn(1, 7, D), torch.tensor([7])
        sampled = torch.ones(1, 7, dtype=torch.bool)
        move = guide_tokens(reward, tokens, counts, sampled, Guidance(step=1.0)) - tokens
        assert float(move.norm()) == pytest.approx(1, abs=1e-4)
        differences = torch.zeros_like(tokens)
        for i in range(tokens.numel()):
            nudge = torch.zeros_like(tokens).flatten()
            nudge[i] = 1e-5
            nudge = nudge.reshape(tokens.shape)
            up, down = (float(reward(tokens + sign * nudge, counts).sum()) for sign in (1, -1))
            differences.view(-1)[i] = (up - down) / 2e-5
        torch.testing.assert_close(move, differences / differences.norm(), atol=1e-4, rtol=0)
    finally:
        torch.set_default_dtype(torch.float32)
        autoencoder.float(), recognizer.float()


def test_only_sampled_tokens_move_and_the_norm_is_theirs(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward = reward_of(autoencoder, recognizer, described)
    tokens, counts = torch.randn(3, 12, D), torch.tensor(COUNTS)
    sampled = torch.arange(12) < torch.tensor([4, 7, 1])[:, None]
    moves = {
        norm: guide_tokens(reward, tokens, counts, sampled, Guidance(step=2.0, norm=norm)) - tokens
        for norm in ("sampled", "all")
    }
    for move in moves.values():
        assert not move[~sampled].any()
    torch.testing.assert_close(moves["sampled"].flatten(1).norm(dim=1), torch.full((3,), 2.0), atol=1e-3, rtol=0)
    assert moves["all"][0].norm() < moves["sampled"][0].norm(), "tokens that do not move count, too"


def test_with_norm_token_the_step_per_token_does_not_depend_on_their_number(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward = reward_of(autoencoder, recognizer, described)
    tokens, counts = torch.randn(3, 12, D), torch.tensor(COUNTS)
    sampled = torch.arange(12) < torch.tensor([9, 4, 1])[:, None]
    move = guide_tokens(reward, tokens, counts, sampled, Guidance(step=0.5, norm="token")) - tokens
    lengths = move.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, 0.5 * torch.tensor([9.0, 4, 1]).sqrt(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Guidance(step=1.0, norm="mean"), "norm is 'mean', expected sampled, token, all"),
        (lambda: Guidance(step=1.0, lengths="seconds"), "lengths is 'seconds', expected frames, tokens"),
        (lambda: Sampling(solver="rk4"), "unknown solver 'rk4', expected euler, heun, midpoint, dopri5"),
        (lambda: Sampling(steps=0), "steps 0 and evaluations 8, expected at least 1 of each"),
    ],
)
def test_invalid_settings_are_rejected(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_with_lengths_in_tokens_only_the_first_quarter_is_seen(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    x = torch.randn(1, 48, 66, requires_grad=True)
    whole = recognizer.encode(x, torch.tensor([12])).fused
    (gradient,) = torch.autograd.grad(whole.sum(), x)
    assert gradient[:, :12].any() and not gradient[:, 12:].any()
    cropped = recognizer.encode(x[:, :12], torch.tensor([12])).fused
    torch.testing.assert_close(whole, cropped, atol=1e-6, rtol=1e-5)
    rewards = [reward_of(autoencoder, recognizer, described[:1], lengths) for lengths in ("frames", "tokens")]
    tokens = torch.randn(1, 12, D)
    assert not torch.allclose(*(reward(tokens, torch.tensor([12])) for reward in rewards))


def test_reference_guidance_is_off_at_zero() -> None:
    assert Guidance.reference(0.0) is None
    assert Guidance.reference(0.3) == Guidance(step=0.8, norm="all", lengths="tokens")


def test_guided_samples_have_a_higher_reward(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward, counts = reward_of(autoencoder, recognizer, described), torch.tensor(COUNTS)
    plain = reward(run(), counts)
    guided = reward(run(Sampling(guidance=Guidance(step=0.5)), reward=reward), counts)
    assert (guided > plain).all()
    with pytest.raises(ValueError, match="guidance needs a reward"):
        run(Sampling(guidance=Guidance(step=0.5)))


def test_late_guidance_leaves_the_first_steps_unchanged(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward = reward_of(autoencoder, recognizer, described)
    plain = run(Sampling(steps=4))
    assert torch.equal(run(Sampling(steps=4, guidance=Guidance(step=0.5, last=0)), reward=reward), plain)
    late = run(Sampling(steps=4, guidance=Guidance(step=0.5, last=1)), reward=reward)
    changed = (late != plain).any(2).sum(1)
    assert changed.tolist() == [1, 1, 1], "the last step decides one token of each"


def test_guided_steps_that_decide_nothing_are_skipped(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward_function = reward_of(autoencoder, recognizer, described)
    calls = []

    def reward(tokens: Tensor, counts: Tensor) -> Tensor:
        calls.append(counts)
        return reward_function(tokens, counts)

    settings = Sampling(guidance=Guidance(step=0.5))  # 12 steps; after the first, all 12 tokens are masked again
    eliminated = run(settings, reward=reward)
    eliminated_calls = len(calls)
    assert torch.equal(eliminated, run(replace(settings, eliminate=False), reward=reward))
    assert eliminated_calls < len(calls) - eliminated_calls == 12


def test_a_preview_of_remasked_tokens_is_nearly_as_good(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward, counts = reward_of(autoencoder, recognizer, described), torch.tensor(COUNTS)
    settings = Sampling(steps=4, guidance=Guidance(step=0.5, preview=1))
    previewed = run(settings, reward=reward)
    assert not torch.equal(previewed, run(replace(settings, guidance=Guidance(step=0.5)), reward=reward))
    assert (reward(previewed, counts) > reward(run(Sampling(steps=4)), counts)).all()
    eight = run(replace(settings, guidance=Guidance(step=0.5, preview=8)), reward=reward)
    torch.testing.assert_close(eight, run(replace(settings, guidance=Guidance(step=0.5)), reward=reward))
