"""A published BERT is exported to a bundle with 8-bit weights whose features match the original."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import WordPiece  # noqa: E402
from tokenizers.normalizers import BertNormalizer  # noqa: E402
from tokenizers.pre_tokenizers import BertPreTokenizer  # noqa: E402
from tokenizers.processors import BertProcessing  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from motionrt.export.text import SENTENCES, Float32Rows, Int8Rows, SentenceEncoder, export_text, load_published, shapes  # noqa: E402
from motionrt.runtime.backends.onnx_session import open_session  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.bundles.schema import TextManifest  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({word.lower() for text in SENTENCES for word in text.split()})]
D, LAYERS, HEADS, POSITIONS = 32, 2, 4, 40
CONFIG = {
    "vocab_size": len(WORDS),
    "hidden_size": D,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
TEXTS = ["a person walks forward", "kicks", "someone waves with the left hand and then stops", "zebra"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def published(folder: Path) -> Path:
    """A folder like the published one, with random weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(random_weights(), folder / "model.safetensors")
    return folder


def random_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    config = load_config()
    weights = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes(config, POSITIONS).items()}
    weights |= {name: 1 + weight for name, weight in weights.items() if name.endswith("LayerNorm.weight")}
    weights["embeddings.word_embeddings.weight"][0] = 0
    weights["pooler.dense.weight"] = torch.zeros(D, D)
    weights["embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    return weights


def load_config() -> Any:
    from motionrt.export.text import BertConfig

    return BertConfig(
        vocabulary=len(WORDS), width=D, hidden=64, layers=LAYERS, heads=HEADS, max_tokens=POSITIONS, epsilon=1e-12
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def bundle(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle[TextManifest]:
    return export_text(source, tmp_path_factory.mktemp("out") / "tiny")


def by_torch(weights: dict[str, Tensor], ids: list[int]) -> Tensor:
    """The last hidden state [L, D], by torch's own encoder layers."""
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    norm = {kind: weights[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")}
    x = nn.functional.layer_norm(x, (D,), norm["weight"], norm["bias"], 1e-12)[None]
    for i in range(LAYERS):
        layer = nn.TransformerEncoderLayer(D, HEADS, 64, 0.0, "gelu", 1e-12, batch_first=True).eval()
        named = {}
        for kind in ("weight", "bias"):
            own = {name: weights[f"encoder.layer.{i}.{name}.{kind}"] for name in LAYER}
            named[f"self_attn.in_proj_{kind}"] = torch.cat(
                [own[f"attention.self.{n}"] for n in ("query", "key", "value")]
            )
            named |= {f"{ours}.{kind}": own[name] for name, ours in LAYER.items() if ours}
        layer.load_state_dict(named)
        with torch.no_grad():
            x = layer(x)
    return x[0]


LAYER = {
    "attention.self.query": "",
    "attention.self.key": "",
    "attention.self.value": "",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def token_ids(text: str) -> list[int]:
    return [2, *(WORDS.index(word) if word in WORDS else 1 for word in text.split()), 3]


def test_the_exact_network_is_bert(source: Path) -> None:
    network = SentenceEncoder(*load_published(source), Float32Rows).eval()
    for text in TEXTS:
        ids = torch.tensor([token_ids(text)])
        tokens, pooled = network(ids, torch.ones_like(ids))
        expected = by_torch(random_weights(), token_ids(text))
        torch.testing.assert_close(tokens[0], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(pooled[0], nn.functional.normalize(expected.mean(0), dim=0), atol=1e-5, rtol=1e-5)


def test_the_exact_network_matches_transformers(source: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = transformers.BertModel(transformers.BertConfig(**CONFIG), add_pooling_layer=False).eval()
    weights, config = load_published(source)
    model.load_state_dict(weights)
    ids, mask = torch.tensor([[2, 5, 7, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
    tokens, _ = SentenceEncoder(weights, config, Float32Rows).eval()(ids, mask)
    torch.testing.assert_close(tokens, expected * mask[..., None], atol=1e-5, rtol=1e-5)


def test_the_bundles_features_match_the_original(bundle: Bundle[TextManifest]) -> None:
    features = TextEncoder(bundle).encode(TEXTS)
    assert features.mask.sum(1).tolist() == [6, 3, 11, 3]  # nothing is cut or padded, as the published file would
    for i, text in enumerate(TEXTS):
        expected = by_torch(random_weights(), token_ids(text)).numpy()
        found = features.tokens[i, : len(expected)]
        cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosine.min() > 0.999
    assert bundle.manifest.metrics["cosine_min"] > 0.999 and bundle.manifest.metrics["sentences"] == len(SENTENCES)


def test_features_do_not_depend_on_padding_or_batch_mates(bundle: Bundle[TextManifest]) -> None:
    session = open_session(bundle, "text", 1)
    rows = [token_ids(text) for text in TEXTS]
    longest = max(map(len, rows))
    ids = np.array([row + [7] * (longest - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    tokens, pooled = session.run(["tokens", "pooled"], {"ids": ids, "mask": mask})
    alone = TextEncoder(bundle).encode(TEXTS)
    np.testing.assert_allclose(pooled, alone.pooled, atol=1e-5)
    np.testing.assert_allclose(tokens, alone.tokens, atol=1e-5)


def test_every_large_weight_is_8_bit_and_no_graph_holds_one(bundle: Bundle[TextManifest]) -> None:
    matrices = {name: array for name, array in bundle.weights.items() if array.ndim == 2 and min(array.shape) > 1}
    assert {name for name, array in matrices.items() if array.dtype != np.int8} == {"positions"}
    assert len(matrices) == 2 + 4 * LAYERS
    assert set(bundle.read_graph("text.onnx").external) == set(bundle.weights)
    graph = onnx.load_from_string(bundle.graphs["text.onnx"]).graph
    inside = [tensor for tensor in graph.initializer if tensor.data_location != onnx.TensorProto.EXTERNAL]
    assert all(np.prod(tensor.dims) <= 64 for tensor in inside)


def test_a_text_longer_than_the_position_table_is_refused(bundle: Bundle[TextManifest]) -> None:
    encoder = TextEncoder(bundle)
    assert encoder.encode(["a " * (POSITIONS - 2)]).tokens.shape == (1, POSITIONS, D)
    with pytest.raises(InputError, match=f"has {POSITIONS + 1} tokens, at most {POSITIONS} are allowed"):
        encoder.encode(["a " * (POSITIONS - 1)])


def test_the_same_folder_gives_the_same_bundle(source: Path, bundle: Bundle[TextManifest], tmp_path: Path) -> None:
    assert export_text(source, tmp_path / "tiny").sha256 == bundle.sha256


def test_rounding_of_a_row_is_at_most_half_a_step() -> None:
    matrix = torch.randn(50, 33) * torch.logspace(-6, 3, 50)[:, None]
    matrix[7] = 0
    rows = Int8Rows(matrix)
    assert rows.integers.dtype == torch.int8 and (rows.integers.abs().amax(1) == 127).sum() == 49
    assert ((rows.matrix() - matrix).abs() <= rows.scale * 0.5001).all() and not rows.matrix()[7].any()
    torch.testing.assert_close(rows.rows(torch.tensor([[3, 9]])), rows.matrix()[None, [3, 9]])


KEY = "encoder.layer.1.intermediate.dense.weight"
BAD_WEIGHTS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (lambda weights: weights.pop(KEY), f"{KEY} is missing"),
    "another shape": (lambda w: w.update({KEY: torch.zeros(64, 31)}), rf"{KEY} is \[64, 31\], expected \[64, 32\]"),
    "deeper": (
        lambda weights: weights.update({KEY.replace("1", "2"): torch.zeros(64, 32)}),
        "encoder.layer.2.intermediate.dense.weight is not part of the encoder",
    ),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_mismatched_weights_are_named(tmp_path: Path, name: str) -> None:
    alter, message = BAD_WEIGHTS[name]
    folder = published(tmp_path / "published")
    weights = dict(load_file(folder / "model.safetensors"))
    alter(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=f"model.safetensors: {message}"):
        export_text(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


BAD_FILES = {
    "no config": ("config.json", None, "config.json: no such file; expected the folder of the published"),
    "config that is no JSON": ("config.json", "{", "config.json: not JSON"),
    "config that is a list": ("config.json", "[]", "config.json: expected a JSON object"),
    "config of another model": ("config.json", '{"hidden_act": "gelu"}', "config.json: has no 'max_position_emb"),
    "another activation": ("config.json", json.dumps(CONFIG | {"hidden_act": "relu"}), "expected hidden_act gelu"),
    "no weights": ("model.safetensors", None, "model.safetensors: cannot be read"),
    "weights that are none": ("model.safetensors", "x" * 99, "model.safetensors: cannot be read"),
    "no tokenizer": ("tokenizer.json", None, "tokenizer.json: no such file"),
    "tokenizer that is none": ("tokenizer.json", "{}", "tokenizer.json: not a tokenizer"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_folder_that_is_not_as_published_is_refused(tmp_path: Path, name: str) -> None:
    file, content, message = BAD_FILES[name]
    folder = published(tmp_path / "published")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        export_text(folder, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_8_bits_are_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = Int8Rows.__init__

    def spoil(self: Int8Rows, matrix: Tensor) -> None:
        coarse(self, torch.cat([matrix[:, :1] * 1000, matrix[:, 1:]], 1))

    monkeypatch.setattr(Int8Rows, "__init__", spoil)
    with pytest.raises(RuntimeError, match="8-bit weights change the features too much"):
        export_text(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
