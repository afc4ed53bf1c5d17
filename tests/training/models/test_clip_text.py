"""CLIP's text tower loads from either published layout, strictly, and gives the features of its formula."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.text_encoder import TextFeatures  # noqa: E402
from motionrt.training.models.clip_text import ClipText, ClipTextConfig, bpe, clip_text_network  # noqa: E402

MERGES = ["w a", "wa l", "wal k</w>", "a n", "an d</w>", "t h", "th e</w>"]
VOCABULARY = 512 + len(MERGES) + 2
BEGIN, END = VOCABULARY - 2, VOCABULARY - 1
SIZES = {"vocabulary": VOCABULARY, "context": 12, "width": 32, "layers": 3, "heads": 4}
CONFIG = ClipTextConfig(**SIZES)
TEXTS = ["walk", "walk and walk the dog", "the end"]

Weights = dict[str, Tensor]


def merges_text() -> str:
    return "#version: 0.2\n" + "\n".join(MERGES) + "\n"


def hugging_face(dtype: torch.dtype = torch.float32) -> Weights:
    """Random weights in the published layout, with a bit of the image tower."""
    generator = torch.Generator().manual_seed(0)
    D = CONFIG.width

    def normal(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=generator) * 0.3).to(dtype)

    weights = {
        "text_model.embeddings.token_embedding.weight": normal(VOCABULARY, D),
        "text_model.embeddings.position_embedding.weight": normal(CONFIG.context, D),
        "text_model.embeddings.position_ids": torch.arange(CONFIG.context)[None],
        "text_model.final_layer_norm.weight": normal(D),
        "text_model.final_layer_norm.bias": normal(D),
        "text_projection.weight": normal(D, D),
        "visual_projection.weight": normal(D, 7),
        "vision_model.embeddings.class_embedding": normal(7),
        "logit_scale": torch.tensor(4.6),
    }
    for i in range(CONFIG.layers):
        layer = f"text_model.encoder.layers.{i}"
        for name, rows, columns in (
            *((f"self_attn.{part}_proj", D, D) for part in "qkv"),
            ("self_attn.out_proj", D, D),
            ("mlp.fc1", 4 * D, D),
            ("mlp.fc2", D, 4 * D),
        ):
            weights |= {f"{layer}.{name}.weight": normal(rows, columns), f"{layer}.{name}.bias": normal(rows)}
        for name in ("layer_norm1", "layer_norm2"):
            weights |= {f"{layer}.{name}.weight": normal(D), f"{layer}.{name}.bias": normal(D)}
    return weights


def openai(weights: Weights) -> Weights:
    """The same under the names of OpenAI's state dict."""
    text = "text_model"
    named = {
        "token_embedding.weight": weights[f"{text}.embeddings.token_embedding.weight"],
        "positional_embedding": weights[f"{text}.embeddings.position_embedding.weight"],
        "ln_final.weight": weights[f"{text}.final_layer_norm.weight"],
        "ln_final.bias": weights[f"{text}.final_layer_norm.bias"],
        "text_projection": weights["text_projection.weight"].T.contiguous(),
        "visual.conv1.weight": torch.zeros(3),
        "logit_scale": torch.tensor(4.6),
        "context_length": torch.tensor(77),
    }
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    pairs["attn.out_proj"] = "self_attn.out_proj"
    for i in range(CONFIG.layers):
        ours, theirs = f"transformer.resblocks.{i}", f"{text}.encoder.layers.{i}"
        for kind in ("weight", "bias"):
            for a, b in pairs.items():
                named[f"{ours}.{a}.{kind}"] = weights[f"{theirs}.{b}.{kind}"]
            qkv = [weights[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            named[f"{ours}.attn.in_proj_{kind}"] = torch.cat(qkv)
    return named


def folder(path: Path, weights: Weights) -> Path:
    path.mkdir(exist_ok=True)
    save_file(weights, path / "model.safetensors")
    (path / "tokenizer.json").write_text(bpe(merges_text(), VOCABULARY).to_str())
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("clip"), hugging_face())


@pytest.fixture(scope="module")
def clip(published: Path) -> ClipText:
    return ClipText.load(published, config=CONFIG)


@pytest.fixture(scope="module")
def features(clip: ClipText) -> TextFeatures:
    return clip.encode(TEXTS)


def by_hand(weights: Weights, ids: list[int]) -> tuple[Tensor, Tensor]:
    """The tower written out, one head and one row after the other."""
    D, size = CONFIG.width, CONFIG.width // CONFIG.heads

    def norm(x: Tensor, name: str) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["text_model.embeddings.token_embedding.weight"][ids]
    x = x + weights["text_model.embeddings.position_embedding.weight"][: len(ids)]
    for i in range(CONFIG.layers):
        layer = f"text_model.encoder.layers.{i}"
        h = norm(x, f"{layer}.layer_norm1")
        q, k, v = (linear(h, f"{layer}.self_attn.{part}_proj") for part in "qkv")
        seen = torch.zeros(len(ids), D)
        for head in range(CONFIG.heads):
            own = slice(head * size, (head + 1) * size)
            for t in range(len(ids)):
                scores = (k[: t + 1, own] @ q[t, own]) / math.sqrt(size)
                seen[t, own] = scores.softmax(0) @ v[: t + 1, own]
        x = x + linear(seen, f"{layer}.self_attn.out_proj")
        h = linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1")
        x = x + linear(h * (1.702 * h).sigmoid(), f"{layer}.mlp.fc2")
    x = norm(x, "text_model.final_layer_norm")
    return x, weights["text_projection.weight"] @ x[-1]


def test_features_are_those_of_the_formula(clip: ClipText, features: TextFeatures) -> None:
    assert clip.width == 32 and features.tokens.dtype == features.pooled.dtype == np.float32
    for i, ids in enumerate(clip.ids(TEXTS)):
        length = int(features.mask[i].sum())
        tokens, pooled = by_hand(hugging_face(), ids[:length].tolist())
        np.testing.assert_allclose(features.tokens[i, :length], tokens, atol=2e-4)
        np.testing.assert_allclose(features.pooled[i], pooled, atol=2e-4)


def test_features_are_those_of_transformers(published: Path, clip: ClipText, features: TextFeatures) -> None:
    config = transformers.CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=128,
        projection_dim=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=12,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=END,
    )
    model = transformers.CLIPTextModelWithProjection(config).eval()
    keys = set(model.state_dict())
    model.load_state_dict({name: weight for name, weight in hugging_face().items() if name in keys}, strict=True)
    with torch.no_grad():
        out = model(input_ids=torch.from_numpy(clip.ids(TEXTS)))
    np.testing.assert_allclose(features.pooled, out.text_embeds, atol=1e-5)
    tokens = out.last_hidden_state[:, : features.mask.shape[1]].numpy()
    np.testing.assert_allclose(features.tokens[features.mask], tokens[features.mask], atol=1e-5)


def test_the_published_sizes_are_those_of_vit_b_32() -> None:
    with torch.device("meta"):
        network = clip_text_network()
    assert sum(weight.numel() for weight in network.parameters()) == 63_428_096


def test_a_text_has_the_same_bits_alone_and_with_others(clip: ClipText, features: TextFeatures) -> None:
    for i, text in enumerate(TEXTS):
        alone = clip.encode([text])
        L = alone.mask.shape[1]
        assert alone.mask.all() and features.mask[i].sum() == L
        np.testing.assert_array_equal(alone.tokens[0], features.tokens[i, :L])
        np.testing.assert_array_equal(alone.pooled[0], features.pooled[i])
        assert not features.tokens[i, L:].any()


def test_ids_are_begin_words_end_and_zeros(clip: ClipText) -> None:
    walk, the = 512 + MERGES.index("wal k</w>"), 512 + MERGES.index("th e</w>")
    ids = clip.ids(["Walk  WALK", "walk the walk"])
    assert ids.dtype == np.int64
    assert ids.tolist() == [
        [BEGIN, walk, walk, END] + [0] * 8,
        [BEGIN, walk, the, walk, END] + [0] * 7,
    ]
    assert clip.ids([]).shape == (0, 12)


def test_a_text_over_the_context_is_truncated_and_still_ends(clip: ClipText) -> None:
    ids = clip.ids(["walk " * 50])[0]
    assert ids[0] == BEGIN and ids[-1] == END and (ids[1:-1] == 512 + MERGES.index("wal k</w>")).all()
    assert clip.encode(["walk " * 50]).mask.shape == (1, 12)


@pytest.mark.parametrize("texts", ["walk", ["walk", ""], [7], ["x" * 513]])
def test_inputs_that_are_not_texts_are_rejected(clip: ClipText, texts: Any) -> None:
    for call in (clip.encode, clip.ids):
        with pytest.raises(InputError, match="text"):
            call(texts)


def test_openai_state_dict_gives_the_same_features(clip: ClipText, tmp_path: Path, features: TextFeatures) -> None:
    torch.save(openai(hugging_face()), tmp_path / "clip.pt")
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress((merges_text() + "more merges\n").encode()))
    other = ClipText.load(tmp_path / "clip.pt", config=CONFIG)
    assert other.sha256 == clip.sha256
    np.testing.assert_array_equal(other.ids(TEXTS), clip.ids(TEXTS))
    np.testing.assert_array_equal(other.encode(TEXTS).tokens, features.tokens)
    np.testing.assert_array_equal(other.encode(TEXTS).pooled, features.pooled)


def test_half_precision_weights_run_in_float32(clip: ClipText, tmp_path: Path, features: TextFeatures) -> None:
    half = ClipText.load(folder(tmp_path / "half", hugging_face(torch.float16)), config=CONFIG)
    found = half.encode(TEXTS).pooled
    assert found.dtype == np.float32 and half.sha256 != clip.sha256
    np.testing.assert_allclose(found, features.pooled, atol=0.05)


def test_the_vocabulary_can_be_in_another_folder(published: Path, clip: ClipText, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text(merges_text())
    other = ClipText.load(published / "model.safetensors", tmp_path / "merges.txt", CONFIG)
    np.testing.assert_array_equal(other.ids(TEXTS), clip.ids(TEXTS))


KEY = "text_model.encoder.layers.1.mlp.fc1.weight"
BAD_WEIGHTS: dict[str, tuple[Callable[[Weights], Any], str]] = {
    "missing": (lambda weights: weights.pop(KEY), f"{KEY} is missing"),
    "another shape": (
        lambda weights: weights.update({KEY: torch.zeros(128, 31)}),
        rf"{KEY} is torch.float32 \[128, 31\], expected floats \[128, 32\]",
    ),
    "whole numbers": (
        lambda weights: weights.update({KEY: torch.zeros(128, 32, dtype=torch.int32)}),
        rf"{KEY} is torch.int32",
    ),
    "deeper": (
        lambda weights: weights.update({KEY.replace("1", "3", 1): torch.zeros(128, 32)}),
        "text_model.encoder.layers.3.mlp.fc1.weight is not part of a text tower of this size",
    ),
    "wider vocabulary": (
        lambda weights: weights.update({"text_model.embeddings.token_embedding.weight": torch.zeros(9, 32)}),
        r"text_model.embeddings.token_embedding.weight is torch.float32 \[9, 32\], expected floats \[521, 32\]",
    ),
    "foreign": (lambda weights: weights.update({"lm_head.weight": torch.zeros(1)}), "lm_head.weight is not part"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_errors_name_weights_that_do_not_match(tmp_path: Path, name: str) -> None:
    alter, message = BAD_WEIGHTS[name]
    weights = hugging_face()
    alter(weights)
    with pytest.raises(InputError, match=f"model.safetensors: {message}"):
        ClipText.load(folder(tmp_path / "clip", weights), config=CONFIG)


@pytest.mark.parametrize("key", ["ln_final.bias", "transformer.resblocks.2.attn.in_proj_weight", "text_projection"])
def test_a_missing_weight_of_openai_is_named_as_there(tmp_path: Path, key: str) -> None:
    weights = openai(hugging_face())
    del weights[key]
    torch.save(weights, tmp_path / "clip.pt")
    with pytest.raises(InputError, match=f"clip.pt: {key} is missing"):
        ClipText.load(tmp_path / "clip.pt", config=CONFIG)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-run"),))


def test_code_in_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"positional_embedding": Payload()}, tmp_path / "clip.pt")
    with pytest.raises(InputError, match="clip.pt: cannot be read as weights") as caught:
        ClipText.load(tmp_path / "clip.pt", config=CONFIG)
    assert not (tmp_path / "was-run").exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize("file, content", [("model.safetensors", b"x" * 100), ("clip.pt", b"x" * 100)])
def test_a_file_without_weights_is_rejected(tmp_path: Path, file: str, content: bytes) -> None:
    with pytest.raises(InputError, match=f"{file}: no such file"):
        ClipText.load(tmp_path / file, config=CONFIG)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{file}: cannot be read as weights") as caught:
        ClipText.load(tmp_path / file, config=CONFIG)
    assert "\n" not in str(caught.value)


BAD_VOCABULARIES = {
    "tokenizer.json": ("{}", "tokenizer.json: not the vocabulary of CLIP"),
    "merges.txt": ("#version: 0.2\nw a\n", "merges.txt: not the vocabulary of CLIP .1 merges, expected 7"),
}


@pytest.mark.parametrize("file", BAD_VOCABULARIES)
def test_an_invalid_vocabulary_is_rejected(tmp_path: Path, file: str) -> None:
    text, message = BAD_VOCABULARIES[file]
    save_file(hugging_face(), tmp_path / "model.safetensors")
    with pytest.raises(
        InputError, match="no vocabulary next to the weights, expected one of tokenizer.json, merges.txt"
    ):
        ClipText.load(tmp_path, config=CONFIG)
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=message):
        ClipText.load(tmp_path, config=CONFIG)


def test_a_vocabulary_of_another_size_is_rejected(published: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(bpe(merges_text(), VOCABULARY - 1).to_str())
    with pytest.raises(InputError, match="tokenizer.json: 520 tokens, .* expected 521, those two last"):
        ClipText.load(published, tmp_path / "tokenizer.json", CONFIG)
