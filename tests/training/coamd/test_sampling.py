"""The masked-autoregressive loop: which tokens are masked when, what may be left out, and what a seed decides."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402

from motionrt.runtime.generation import rng as noise  # noqa: E402
from motionrt.runtime.generation.schedule import Guidance, Sampling, masked_counts, masks  # noqa: E402
from motionrt.runtime.generation.solvers import heun  # noqa: E402
from motionrt.training.coamd.guidance import WEIGHTS, guided, reward_of  # noqa: E402
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


def opened(model: nn.Module) -> Any:
    """With all gates open, so that everything has an influence."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15)
    return model.eval()


@pytest.fixture(scope="module")
def generator() -> MotionGenerator:
    config = GeneratorConfig(latent=D, text=W, width=16, depth=2, heads=2, head_width=12, head_depth=2, qualities=2)
    return opened(MotionGenerator(config))


@pytest.fixture(scope="module")
def run(generator: MotionGenerator) -> Callable[..., Tensor]:
    text = torch.randn(len(COUNTS), W, generator=torch.Generator().manual_seed(1))

    def run(settings: Sampling = PLAIN, **changes: Any) -> Tensor:
        given = {"text_BW": text, "counts": COUNTS, "quality_B": torch.tensor([0, 1, 0])} | changes
        return sample(changes.pop("generator", generator), settings=settings, **given)

    return run


def test_the_published_numbers_of_masked_tokens() -> None:
    assert masked_counts(49, 12) == [49, 49, 47, 45, 41, 37, 32, 26, 20, 14, 7, 1]
    assert sum(masked_counts(49, 18)) == 557
    assert masked_counts(5, 1) == [5]


@pytest.mark.parametrize("steps", [1, 2, 12, 18])
def test_masks_are_nested_and_every_token_is_decided_once(steps: int) -> None:
    wanted = np.arange(12) < np.array(COUNTS)[:, None]
    orders = [np.pad(noise.order(0, b, m), (0, 12 - m)) for b, m in enumerate(COUNTS)]
    plan = masks(wanted, orders, steps)
    assert np.array_equal(plan[0], wanted)
    decided = plan & ~np.concatenate([plan[1:], np.zeros_like(plan[:1])])
    assert np.array_equal(decided.sum(0), wanted), "what is masked no longer never is again"
    assert all(not (after & ~before).any() for before, after in zip(plan, plan[1:], strict=False))
    for b, m in enumerate(COUNTS):
        assert plan[:, b].sum(1).tolist() == masked_counts(m, steps)


def test_nothing_to_regenerate_is_left_alone(run: Callable[..., Tensor]) -> None:
    known = torch.randn(3, 12, D)
    found = run(known_BLD=known, regenerate_BL=np.zeros((3, 12), bool))
    inside = torch.arange(12) < torch.tensor(COUNTS)[:, None]
    assert torch.equal(found[inside], known[inside]) and not found[~inside].any()


@pytest.mark.parametrize("regenerate", ["prefix", "suffix", "between", "outside", "every other"])
def test_known_tokens_stay_and_the_others_are_made_anew(run: Callable[..., Tensor], regenerate: str) -> None:
    place, known = np.arange(12), torch.randn(3, 12, D)
    wanted = {
        "prefix": place >= 6,
        "suffix": place < 6,
        "between": (place >= 3) & (place < 9),
        "outside": (place < 3) | (place >= 9),
        "every other": place % 2 == 0,
    }[regenerate]
    found = run(known_BLD=known, regenerate_BL=np.tile(wanted, (3, 1)))
    anew = torch.from_numpy(wanted & (place < np.array(COUNTS)[:, None]))
    kept = torch.from_numpy(~wanted & (place < np.array(COUNTS)[:, None]))
    assert torch.equal(found[kept], known[kept])
    assert (found[anew] != known[anew]).any(1).all()


@pytest.mark.parametrize("steps", [4, 12])
def test_samples_that_are_masked_again_have_no_influence(run: Callable[..., Tensor], steps: int) -> None:
    """Bit for bit, whatever they are; and within 1e-4 where they are not even computed."""
    inside = np.arange(12) < np.array(COUNTS)[:, None]
    orders = [np.pad(noise.order(0, b, m), (0, 12 - m)) for b, m in enumerate(COUNTS)]
    plan = iter(masks(inside, orders, steps))
    masked = next(plan)

    def garbage(velocity: Any, x: Tensor, evaluations: int) -> Tensor:
        nonlocal masked
        again = next(plan, np.zeros_like(masked))
        dead = torch.from_numpy(again[masked])
        masked = again
        return torch.where(dead[:, None], torch.full_like(x, 1e3), heun(velocity, x, evaluations))

    whole = run(Sampling(steps=steps, eliminate=False))
    spoilt = run(Sampling(steps=steps, eliminate=False, solver=garbage))
    assert torch.equal(whole, spoilt)
    torch.testing.assert_close(run(Sampling(steps=steps)), whole, atol=1e-4, rtol=0)


def test_a_sample_does_not_depend_on_its_batch_mates(run: Callable[..., Tensor], generator: MotionGenerator) -> None:
    whole = run()
    text = torch.randn(len(COUNTS), W, generator=torch.Generator().manual_seed(1))
    for b, count in enumerate(COUNTS):
        alone = sample(generator, text[b : b + 1], [count], samples=[b], quality_B=torch.tensor([0, 1, 0])[b : b + 1])
        torch.testing.assert_close(whole[b : b + 1, :count], alone, atol=1e-5, rtol=1e-5)


def test_a_seed_decides(run: Callable[..., Tensor]) -> None:
    assert torch.equal(run(seed=3), run(seed=3))
    assert not torch.equal(run(seed=3), run(seed=4))
    assert not torch.equal(run(samples=[0, 1, 2]), run(samples=[5, 6, 7]))


def test_free_of_guidance_at_one_it_is_the_text_alone_and_at_zero_none(run: Callable[..., Tensor]) -> None:
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


def test_the_ddpm_twin_heeds_its_temperature_and_a_flow_refuses_one(generator: MotionGenerator) -> None:
    twin = opened(MotionGenerator(replace(generator.config, objective="ddpm", qualities=0)))
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


def test_the_reward_is_the_weighted_cosines(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    assert sum(WEIGHTS) == pytest.approx(1)
    tokens, counts = torch.randn(3, 12, D), torch.tensor(COUNTS)
    found = reward_of(autoencoder, recognizer, described)(tokens, counts)
    features = recognizer.encode(autoencoder.decode(tokens, 4 * counts), 4 * counts)
    cosines = [nn.functional.normalize(f) * nn.functional.normalize(described) for f in features]
    wanted = sum(w * c.sum(1) for w, c in zip((0.7, 0.1, 0.1, 0.1), cosines, strict=True))
    torch.testing.assert_close(found, wanted)


def test_the_move_goes_up_the_gradient_that_finite_differences_find(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    autoencoder, recognizer = autoencoder.double(), recognizer.double()
    torch.set_default_dtype(torch.float64)
    try:
        reward = reward_of(autoencoder, recognizer, described[:1].double())
        tokens, counts = torch.randn(1, 7, D), torch.tensor([7])
        sampled = torch.ones(1, 7, dtype=torch.bool)
        move = guided(reward, tokens, counts, sampled, Guidance(step=1.0)) - tokens
        assert float(move.norm()) == pytest.approx(1, abs=1e-4)
        differences = torch.zeros_like(tokens)
        for place in range(tokens.numel()):
            nudge = torch.zeros_like(tokens).flatten()
            nudge[place] = 1e-5
            nudge = nudge.reshape(tokens.shape)
            up, down = (float(reward(tokens + sign * nudge, counts).sum()) for sign in (1, -1))
            differences.view(-1)[place] = (up - down) / 2e-5
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
        norm: guided(reward, tokens, counts, sampled, Guidance(step=2.0, norm=norm)) - tokens
        for norm in ("sampled", "all")
    }
    for move in moves.values():
        assert not move[~sampled].any()
    torch.testing.assert_close(moves["sampled"].flatten(1).norm(dim=1), torch.full((3,), 2.0), atol=1e-3, rtol=0)
    assert moves["all"][0].norm() < moves["sampled"][0].norm(), "the unmoved ones count, too"


def test_by_the_token_the_move_is_as_long_for_few_as_for_many(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward = reward_of(autoencoder, recognizer, described)
    tokens, counts = torch.randn(3, 12, D), torch.tensor(COUNTS)
    sampled = torch.arange(12) < torch.tensor([9, 4, 1])[:, None]
    move = guided(reward, tokens, counts, sampled, Guidance(step=0.5, norm="token")) - tokens
    lengths = move.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, 0.5 * torch.tensor([9.0, 4, 1]).sqrt(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Guidance(step=1.0, norm="mean"), "norm is 'mean', expected sampled, token, all"),
        (lambda: Guidance(step=1.0, lengths="seconds"), "lengths is 'seconds', expected frames, tokens"),
        (lambda: Sampling(solver="rk4"), "unknown solver 'rk4', expected euler, heun, midpoint or dopri5"),
        (lambda: Sampling(steps=0), "steps 0 and evaluations 8, expected at least 1 of each"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_the_released_mistake_sees_the_first_quarter(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    made = torch.randn(1, 48, 66, requires_grad=True)
    whole = recognizer.encode(made, torch.tensor([12])).fused
    (gradient,) = torch.autograd.grad(whole.sum(), made)
    assert gradient[:, :12].any() and not gradient[:, 12:].any()
    cropped = recognizer.encode(made[:, :12], torch.tensor([12])).fused
    torch.testing.assert_close(whole, cropped, atol=1e-6, rtol=1e-5)
    rewards = [reward_of(autoencoder, recognizer, described[:1], lengths) for lengths in ("frames", "tokens")]
    tokens = torch.randn(1, 12, D)
    assert not torch.allclose(*(reward(tokens, torch.tensor([12])) for reward in rewards))


def test_the_reference_is_off_at_zero() -> None:
    assert Guidance.reference(0.0) is None
    assert Guidance.reference(0.3) == Guidance(step=0.8, norm="all", lengths="tokens")


def test_guided_samples_are_rewarded_more(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward, counts = reward_of(autoencoder, recognizer, described), torch.tensor(COUNTS)
    plain = reward(run(), counts)
    climbed = reward(run(Sampling(guidance=Guidance(step=0.5)), reward=reward), counts)
    assert (climbed > plain).all()
    with pytest.raises(ValueError, match="guidance needs a reward"):
        run(Sampling(guidance=Guidance(step=0.5)))


def test_guided_late_the_first_steps_are_as_without(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward = reward_of(autoencoder, recognizer, described)
    plain = run(Sampling(steps=4))
    assert torch.equal(run(Sampling(steps=4, guidance=Guidance(step=0.5, last=0)), reward=reward), plain)
    late = run(Sampling(steps=4, guidance=Guidance(step=0.5, last=1)), reward=reward)
    changed = (late != plain).any(2).sum(1)
    assert changed.tolist() == [1, 1, 1], "the last step decides one token of each"


def test_guided_steps_that_decide_nothing_are_left_out(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    rewarded = reward_of(autoencoder, recognizer, described)
    calls = []

    def reward(tokens: Tensor, counts: Tensor) -> Tensor:
        calls.append(counts)
        return rewarded(tokens, counts)

    settings = Sampling(guidance=Guidance(step=0.5))  # 12 steps; the first of them has all 12 tokens again at the next
    sparing = run(settings, reward=reward)
    sparing_calls = len(calls)
    assert torch.equal(sparing, run(replace(settings, eliminate=False), reward=reward))
    assert sparing_calls < len(calls) - sparing_calls == 12


def test_a_preview_of_what_is_masked_again_is_nearly_as_good(
    run: Callable[..., Tensor], autoencoder: AutoEncoder, recognizer: MotionRecognizer, described: Tensor
) -> None:
    reward, counts = reward_of(autoencoder, recognizer, described), torch.tensor(COUNTS)
    settings = Sampling(steps=4, guidance=Guidance(step=0.5, preview=1))
    previewed = run(settings, reward=reward)
    assert not torch.equal(previewed, run(replace(settings, guidance=Guidance(step=0.5)), reward=reward))
    assert (reward(previewed, counts) > reward(run(Sampling(steps=4)), counts)).all()
    eight = run(replace(settings, guidance=Guidance(step=0.5, preview=8)), reward=reward)
    torch.testing.assert_close(eight, run(replace(settings, guidance=Guidance(step=0.5)), reward=reward))
