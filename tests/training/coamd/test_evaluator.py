"""The evaluator: padding and the batch do not matter, false negatives do not repel, and it learns."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.coamd.evaluator import (  # noqa: E402
    Evaluator,
    EvaluatorConfig,
    TrainedEvaluator,
    full_config,
    info_nce,
    small_config,
)
from motionrt.training.loop import MovingAverage  # noqa: E402

WORDS = ["walks", "waves", "bows", "kicks", "jumps", "sits"]
TINY = EvaluatorConfig(
    text_width=8, joints=3, channels=16, motion_hidden=12, text_hidden=10, width=6, dropout=0.0, same_caption=0.9
)


def tiny(**changes: object) -> Evaluator:
    torch.manual_seed(0)
    return Evaluator(replace(TINY, **changes)).eval()  # type: ignore[arg-type]


class WordEncoder:
    """A word is a fixed random vector; `encode` pads as the real encoder does."""

    sha256 = "0" * 64

    def encode(self, texts: Sequence[str]) -> SimpleNamespace:
        words = [[self.vector(word) for word in text.split()] for text in texts]
        longest = max(map(len, words))
        tokens = np.stack([np.pad(np.stack(w), ((0, longest - len(w)), (0, 0))) for w in words])
        mask = np.arange(longest) < np.array([len(w) for w in words])[:, None]
        return SimpleNamespace(tokens=tokens, mask=mask, pooled=tokens.sum(1))

    @staticmethod
    def vector(word: str) -> np.ndarray:
        return np.random.default_rng(list(word.encode())).normal(size=8).astype(np.float32)


def batch(network: Evaluator, actions: Sequence[int], rng: np.random.Generator) -> dict[str, Tensor]:
    """Clips that oscillate with the frequency of their action, noisy, captioned by one of `WORDS`."""
    T = 32
    features = WordEncoder().encode([f"somebody {WORDS[a]}" for a in actions])
    t = np.arange(T)[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (len(actions), 1, 9))
    x = np.sin(0.25 * (1 + np.array(actions))[:, None, None] * t + phase) + 0.1 * rng.normal(size=(len(actions), T, 9))
    return {
        "motion": torch.from_numpy(x.astype(np.float32)),
        "lengths": torch.full((len(actions),), T),
        "tokens": torch.from_numpy(features.tokens),
        "mask": torch.from_numpy(features.mask),
        "pooled": torch.from_numpy(features.pooled),
        "group": torch.tensor(list(actions)),
    }


@pytest.mark.parametrize("frames", [4, 5, 6, 7, 8, 21, 40])
def test_a_clip_is_embedded_alike_alone_and_padded_with_garbage(frames: int) -> None:
    network, x = tiny(), torch.randn(1, frames, 9)
    alone = network.embed_motion(x, torch.tensor([frames]))
    padded = torch.full((2, 47, 9), 1e6)
    padded[1], padded[0, :frames] = torch.randn(47, 9), x[0]
    together = network.embed_motion(padded, torch.tensor([frames, 47]))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)
    last = 4 * (frames // 4) - 1
    changed = x.clone()
    changed[0, last] += 1
    assert (network.embed_motion(changed, torch.tensor([frames])) - alone).abs().max() > 1e-4, "the last frame matters"


def test_a_text_is_embedded_alike_alone_and_padded_with_garbage() -> None:
    network, tokens = tiny(), torch.randn(1, 3, 8)
    alone = network.embed_text(tokens, torch.ones(1, 3, dtype=torch.bool))
    padded = torch.full((2, 6, 8), torch.nan)
    padded[0, :3], padded[1] = tokens[0], torch.randn(6, 8)
    mask = torch.tensor([[True] * 3 + [False] * 3, [True] * 6])
    torch.testing.assert_close(network.embed_text(padded, mask)[:1], alone, atol=1e-5, rtol=0)
    swapped = network.embed_text(tokens[:, [1, 0, 2]], torch.ones(1, 3, dtype=torch.bool))
    assert (swapped - alone).abs().max() > 1e-4, "the order of words matters"


def test_embeddings_are_unit_vectors_of_the_configured_width() -> None:
    for config in (full_config(384), small_config(384), small_config(512, joints=21)):
        network = Evaluator(config).eval()
        F = config.joints * 3
        motion = network.embed_motion(torch.randn(2, 20, F), torch.tensor([20, 16]))
        text = network.embed_text(torch.randn(2, 5, config.text_width), torch.ones(2, 5, dtype=torch.bool))
        assert motion.shape == text.shape == (2, config.width)
        torch.testing.assert_close(torch.cat([motion, text]).norm(dim=1), torch.ones(4))
    full = full_config(384)
    assert (full.channels, full.motion_hidden, full.text_hidden, full.width) == (
        512,
        1024,
        512,
        512,
    )


def test_info_nce_equals_the_formula() -> None:
    motion, text = torch.eye(3), torch.eye(3)[[1, 0, 2]]  # the first two are swapped
    none = torch.zeros(3, 3, dtype=torch.bool)
    e = np.exp(1 / 0.5)
    wrong, right = -np.log(1 / (e + 2)), -np.log(e / (e + 2))
    assert float(info_nce(motion, text, none, 0.5)) == pytest.approx((2 * wrong + right) / 3, rel=1e-5)


def test_alike_pairs_are_not_negatives_but_the_positive_pair_stays() -> None:
    motion, text = torch.eye(3), torch.eye(3)[[1, 0, 2]]
    alike = torch.eye(3, dtype=torch.bool)
    alike[0, 1] = alike[1, 0] = True
    e = np.exp(1 / 0.5)
    expected = (2 * -np.log(1 / 2) - np.log(e / (e + 2))) / 3
    assert float(info_nce(motion, text, alike, 0.5)) == pytest.approx(expected, rel=1e-5)
    everything = torch.ones(3, 3, dtype=torch.bool)
    assert float(info_nce(motion, text, everything, 0.5)) == pytest.approx(0, abs=1e-6)


def test_the_loss_omits_negatives_of_the_same_group_and_of_similar_captions() -> None:
    network, rng = tiny(), np.random.default_rng(0)
    samples = batch(network, [0, 1, 2, 3], rng)
    with torch.no_grad():
        apart = float(network.loss(samples))
        one_group = float(network.loss(samples | {"group": torch.zeros(4, dtype=torch.int64)}))
        similar_captions = float(network.loss(samples | {"pooled": torch.tensor([[1.0], [2], [3], [4]]).expand(4, 8)}))
    assert apart > 0.1
    assert one_group == pytest.approx(0, abs=1e-6) and similar_captions == pytest.approx(0, abs=1e-6)


def test_it_learns_to_match_motion_and_text() -> None:
    network, rng = tiny().train(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(150):
        actions = rng.integers(0, len(WORDS), 24)
        loss = network.loss(batch(network, actions.tolist(), rng))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    unseen = batch(network, list(range(len(WORDS))), np.random.default_rng(1))
    with torch.no_grad():
        motion = network.embed_motion(unseen["motion"], unseen["lengths"])
        text = network.embed_text(unseen["tokens"], unseen["mask"])
    assert (text @ motion.T).argmax(1).tolist() == list(range(len(WORDS)))


def test_it_trains_under_autocast_and_every_parameter_gets_a_gradient() -> None:
    network = tiny().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network.loss(batch(network, [0, 1, 2, 3], np.random.default_rng(0)))
    assert loss.dtype == torch.float32
    loss.backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_loop_can_average_it_with_its_normalization() -> None:
    network = tiny()
    network.set_normalization(np.arange(9), np.arange(1, 10))
    average = MovingAverage(network, 0.9)
    average.update_parameters(network)
    assert average.module.mean.tolist() == list(range(9)) and average.module.std.tolist() == list(range(1, 10))


def test_joints_are_normalized_by_the_stored_mean_and_deviation() -> None:
    network = tiny()
    network.set_normalization(np.arange(9), np.full(9, 2.0))
    joints = np.zeros((5, 3, 3), np.float32)
    assert network.normalize_joints(joints)[0].tolist() == [-i / 2 for i in range(9)]
    with pytest.raises(InputError, match="mean: has 66 numbers, expected 9"):
        network.set_normalization(np.zeros(66), np.ones(66))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda n: n.embed_motion(torch.zeros(1, 3, 9), torch.tensor([3])), "3 to 3 frames, expected 4 to 3"),
        (lambda n: n.embed_motion(torch.zeros(1, 8, 9), torch.tensor([9])), "9 to 9 frames, expected 4 to 8"),
        (lambda n: n.embed_motion(torch.zeros(1, 8, 66), torch.tensor([8])), "66 numbers a frame, expected 9"),
        (lambda n: n.embed_text(torch.zeros(2, 3, 8), torch.tensor([[True] * 3, [False] * 3])), "text 1 has no words"),
    ],
)
def test_invalid_inputs_are_named(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(tiny())  # type: ignore[operator]


def test_a_trained_evaluator_keeps_the_order_of_clips_and_texts() -> None:
    network, rng = tiny(), np.random.default_rng(0)
    evaluator = TrainedEvaluator(network, WordEncoder(), batch=2)
    clips = [rng.normal(size=(n, 3, 3)).astype(np.float32) for n in (30, 8, 17, 9, 12)]
    together = evaluator.motions(clips)
    assert together.shape == (5, 6)
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_allclose(evaluator.motions([clip])[0], row, atol=1e-5)
    texts = ["somebody walks", "somebody waves", "somebody walks", "bows", "somebody kicks and jumps"]
    rows = evaluator.texts(texts)
    assert rows.shape == (5, 6) and (rows[0] == rows[2]).all()
    for text, row in zip(texts, rows, strict=True):
        np.testing.assert_allclose(evaluator.texts([text])[0], row, atol=1e-5)


def write_run(run: Path, network: Evaluator, **about: str) -> None:
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps({"model": asdict(network.config)} | about))
    save_file(network.state_dict(), run / "model.safetensors")


def test_a_run_is_read_back(tmp_path: Path) -> None:
    network = tiny()
    network.set_normalization(np.arange(9), np.full(9, 2.0))
    write_run(tmp_path / "run", network, text_sha256=WordEncoder.sha256)
    clip = np.random.default_rng(0).normal(size=(12, 3, 3)).astype(np.float32)
    loaded = TrainedEvaluator.load(tmp_path / "run", WordEncoder())
    assert (loaded.motions([clip]) == TrainedEvaluator(network, WordEncoder()).motions([clip])).all()


def test_a_missing_or_damaged_run_or_one_with_another_text_encoder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe.json, expected the folder of a finished run"):
        TrainedEvaluator.load(tmp_path, WordEncoder())
    write_run(tmp_path / "run", tiny(), text_sha256="1" * 64)
    with pytest.raises(InputError, match="trained with text encoder 111111111111"):
        TrainedEvaluator.load(tmp_path / "run", WordEncoder())
    (tmp_path / "run" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="or damaged"):
        TrainedEvaluator.load(tmp_path / "run", WordEncoder())
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        TrainedEvaluator.load(tmp_path / "run", WordEncoder())
