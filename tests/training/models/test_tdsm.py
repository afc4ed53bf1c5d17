"""TDSM's network: the published counts and schedule, and the same noise as from its plainest form."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.bench.speed.tdsm import open_gates, plain_noise  # noqa: E402
from motionrt.training.models.tdsm import SIZES, CrossDiT, CrossDiTConfig, ZeroShot, ZeroShotConfig, alpha_bar  # noqa: E402

TINY = CrossDiTConfig(feature=7, text=10, tokens=5, width=24, depth=3, heads=3)


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        model = CrossDiT(SIZES["xl"])
    assert parameters(model) == 261_208_576 and parameters(model.blocks[0]) == 21_256_704
    assert len(model.state_dict()) == 257


def test_the_bundled_size_is_small() -> None:
    small = SIZES["small"]
    assert isinstance(small, ZeroShotConfig)
    with torch.device("meta"):
        assert parameters(ZeroShot(small)) < 2e6


def test_the_schedule_never_comes_near_pure_noise() -> None:
    left = alpha_bar()
    assert len(left) == 50 and (np.diff(left) < 0).all()
    assert left[25] == pytest.approx(0.9341012, abs=5e-8)
    assert left[[0, 10, 40, 49]] == pytest.approx([0.99915, 0.98446, 0.84082, 0.76376], abs=5e-6)


def asked(config: CrossDiTConfig, batch: int = 4) -> tuple[torch.Tensor, ...]:
    """Features, steps, words and texts."""
    words = torch.randn(batch, config.tokens, config.text)
    return torch.randn(batch, config.feature), torch.randint(50, (batch,)), words, torch.randn(batch, config.text)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
@torch.no_grad()
def test_skipping_the_last_text_update_changes_nothing(depth: int, cross: bool) -> None:
    torch.manual_seed(0)
    model = open_gates(replace(TINY, depth=depth, cross=cross))
    batch = asked(TINY)
    torch.testing.assert_close(model(*batch), plain_noise(model, *batch), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_padding_is_attended_to_only_in_reference_mode() -> None:
    torch.manual_seed(0)
    model = open_gates(TINY)
    reference = CrossDiT(replace(TINY, compat="reference"))
    reference.load_state_dict(model.state_dict())
    z, t, words, pooled = asked(TINY)
    valid = torch.arange(5) < torch.tensor([2, 5, 1, 3])[:, None]
    words[~valid] = 1e3
    found, published = model(z, t, words, pooled, valid), reference(z, t, words, pooled, valid)
    for i, n in enumerate(valid.sum(1).tolist()):
        row = slice(i, i + 1)
        alone = plain_noise(model, z[row], t[row], words[row, :n], pooled[row])
        torch.testing.assert_close(found[row], alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(published, plain_noise(model, z, t, words, pooled), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found[0], published[0], atol=1e-3)


def test_a_new_network_predicts_no_noise_and_every_used_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    assert not CrossDiT(TINY)(*asked(TINY)).any()
    model = open_gates(TINY)
    for name, new in CrossDiT(TINY).named_parameters():
        model.get_parameter(name).requires_grad_(new.requires_grad)
    model(*asked(TINY)).square().sum().backward()
    still = {name.rsplit(".", 1)[0] for name, parameter in model.named_parameters() if parameter.grad is None}
    assert still == {"blocks.2.attn.proj_c", "blocks.2.mlp_c.fc1", "blocks.2.mlp_c.fc2"}
    assert all(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_missing_sentences_are_zero_and_the_rest_are_scaled_up() -> None:
    config = ZeroShotConfig(encoded=5, feature=3, text=4, pooled=8, tokens=2, width=12, depth=1, heads=2, cross=True)
    model = ZeroShot(config)
    model.sentence_mean.copy_(torch.tensor([[1.0] * 4, [2.0] * 4]))
    model.sentence_scale.fill_(10)
    words, pooled = model.embed_sentences(torch.full((2, 2, 4), 3.0), torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    assert words[:, :, 0].tolist() == [[20, 10], [0, 10]]
    torch.testing.assert_close(pooled[:, ::4], torch.tensor([[20, 10], [0, 10 * 2**0.5]]))
    model.projection.copy_(torch.eye(5)[:, :3])
    model.mean.fill_(1)
    assert torch.equal(model.project(torch.arange(5.0)[None]), torch.tensor([[-1.0, 0, 1]]))
