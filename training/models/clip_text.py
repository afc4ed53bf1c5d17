"""CLIP's text tower, for whoever has the weights of CLIP ViT-B/32; with the interface of `runtime.text.TextEncoder`."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from ...runtime.errors import InputError
from ...runtime.text_encoder import TextFeatures, check_texts, gather

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARIES = ("tokenizer.json", "merges.txt", "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt")
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_OTHER_TOWER = ("visual.", "vision_model.", "visual_projection.", "logit_scale")
_NOT_WEIGHTS = ("text_model.embeddings.position_ids", "input_resolution", "context_length", "vocab_size")

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTextConfig:
    """Sizes of the text tower; those of ViT-B/32."""

    vocabulary: int = 49408
    context: int = 77
    width: int = 512
    layers: int = 12
    heads: int = 8


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_NLD: Tensor) -> Tensor:
        N, L, D = x_NLD.shape
        qkv = F.linear(x_NLD, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(N, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(seen.transpose(1, 2).reshape(N, L, D))


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x_NLD: Tensor) -> Tensor:
        x_NLD = x_NLD + self.attn(self.ln_1(x_NLD))
        return x_NLD + self.mlp(self.ln_2(x_NLD))


class ClipTextNetwork(nn.Module):
    """CLIP's text tower. Its parameters have the names of OpenAI's state dict.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4.
    """

    def __init__(self, config: ClipTextConfig = ClipTextConfig()):
        super().__init__()
        D = config.width
        self.token_embedding = nn.Embedding(config.vocabulary, D)
        self.positional_embedding = nn.Parameter(torch.empty(config.context, D))
        blocks = nn.Sequential(*(Block(D, config.heads) for _ in range(config.layers)))
        self.transformer = nn.ModuleDict({"resblocks": blocks})
        self.ln_final = nn.LayerNorm(D)
        self.text_projection = nn.Parameter(torch.empty(D, D))

    def forward(self, ids_NL: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids of at most 77 tokens -> tokens [N, L, D], pooled [N, D]: the projected token of the highest id."""
        x_NLD = self.token_embedding(ids_NL) + self.positional_embedding[: ids_NL.shape[1]]
        x_NLD = self.ln_final(self.transformer["resblocks"](x_NLD))
        ends = x_NLD[torch.arange(len(ids_NL)), ids_NL.argmax(1)]
        return x_NLD, ends @ self.text_projection


class ClipText:
    """CLIP as a text encoder: `encode` as `runtime.text.TextEncoder`, `pooled` not normalised.

    A text has the same features, bit for bit, whatever it is encoded together with.

    Attributes:
        name: "clip". width: 512. sha256: of the weights as float32, whatever the file they came in.
        network: the tower, whose embeddings CoAMD's recogniser shares.
    """

    name = "clip"

    def __init__(self, network: ClipTextNetwork, tokenizer: Tokenizer, config: ClipTextConfig):
        self.network = network
        self.width = config.width
        self.sha256 = _sha256(network)
        self._context = config.context
        self._tokenizer = tokenizer
        self._begin, self._end = config.vocabulary - 2, config.vocabulary - 1

    @classmethod
    def load(
        cls,
        path: str | Path,
        vocabulary: str | Path | None = None,
        config: ClipTextConfig = ClipTextConfig(),
    ) -> ClipText:
        """Read published weights and their vocabulary.

        Args:
            path: a folder with model.safetensors as Hugging Face publishes it, or a file: such a one, or a state
                dict with OpenAI's names, saved by torch.save. The image tower, if there, is left out.
            vocabulary: tokenizer.json, merges.txt or OpenAI's bpe_simple_vocab_16e6.txt.gz; found beside the weights
                if left out.
            config: sizes that the weights must have.
        Raises:
            InputError: a missing or unreadable file; a tensor that is missing, left over or of another shape is named.
        """
        path = Path(path)
        file = path / "model.safetensors" if path.is_dir() else path
        network = ClipTextNetwork(config)
        network.load_state_dict(_named_as_openai(_read_weights(file), config, network, file))
        tokenizer = _read_vocabulary(Path(vocabulary) if vocabulary is not None else _beside(file), config)
        return cls(network.eval().requires_grad_(False), tokenizer, config)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids [N, 77] int64: begin, the words, end, then 0. What is too long is cut, as by the reference.

        Raises:
            InputError: not a sequence of texts; a text that is empty or has more than 512 characters.
        """
        ids = np.zeros((len(texts), self._context), np.int64)
        for i, text in enumerate(check_texts(texts)):
            row = self._tokens(text)
            ids[i, : len(row)] = row
        return ids

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Features of texts, in their order; each text runs alone. Raises as `ids` does."""
        return gather(check_texts(texts), lambda i, text: self._run(text), self.width)

    def _tokens(self, text: str) -> list[int]:
        words = self._tokenizer.encode(text, add_special_tokens=False).ids[: self._context - 2]
        return [self._begin, *words, self._end]

    @torch.inference_mode()
    def _run(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        tokens, pooled = self.network(torch.tensor([self._tokens(text)]))
        return tokens[0].numpy(), pooled[0].numpy()


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the weights of CLIP ViT-B/32") from None
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError) as error:
        why = f"cannot be read as weights ({str(error).splitlines()[0][:200]})"
        hint = "" if path.suffix == ".safetensors" else "; of a TorchScript archive save the state dict first"
        raise InputError(f"{path}: {why}{hint}") from None
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise InputError(f"{path}: expected a state dict, names to tensors")
    return weights


def _named_as_openai(
    weights: Mapping[str, Tensor], config: ClipTextConfig, network: nn.Module, path: Path
) -> dict[str, Tensor]:
    """The text tower's weights as float32, under the network's names, checked under those of the file."""
    weights = {
        name: weight
        for name, weight in weights.items()
        if not name.startswith(_OTHER_TOWER) and name not in _NOT_WEIGHTS
    }
    if "positional_embedding" in weights:
        return _checked(weights, {name: tuple(weight.shape) for name, weight in network.state_dict().items()}, path)
    published = _checked(weights, _published_shapes(config), path)
    named = {
        "token_embedding.weight": published.pop("text_model.embeddings.token_embedding.weight"),
        "positional_embedding": published.pop("text_model.embeddings.position_embedding.weight"),
        "text_projection": published.pop("text_projection.weight").T,
    }
    for i in range(config.layers):
        attention = f"text_model.encoder.layers.{i}.self_attn"
        for kind in ("weight", "bias"):
            parts = [published.pop(f"{attention}.{part}_proj.{kind}") for part in "qkv"]
            named[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(parts)
    for name, weight in published.items():
        for theirs, ours in _RENAMED:
            name = name.replace(theirs, ours)
        named[name] = weight
    return named


_RENAMED = (
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.final_layer_norm", "ln_final"),
    (".self_attn.", ".attn."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".fc1.", ".c_fc."),
    (".fc2.", ".c_proj."),
)


def _published_shapes(config: ClipTextConfig) -> Shapes:
    """The text tower's tensors in the layout of Hugging Face."""
    D = config.width
    shapes: Shapes = {
        "text_model.embeddings.token_embedding.weight": (config.vocabulary, D),
        "text_model.embeddings.position_embedding.weight": (config.context, D),
        "text_projection.weight": (D, D),
    }
    weights: Shapes = {"text_model.final_layer_norm": (D,)}
    for i in range(config.layers):
        layer = f"text_model.encoder.layers.{i}"
        weights |= {f"{layer}.self_attn.{part}_proj": (D, D) for part in ("q", "k", "v", "out")}
        weights |= {f"{layer}.layer_norm1": (D,), f"{layer}.layer_norm2": (D,)}
        weights |= {f"{layer}.mlp.fc1": (4 * D, D), f"{layer}.mlp.fc2": (D, 4 * D)}
    for name, shape in weights.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def _checked(weights: Mapping[str, Tensor], expected: Shapes, path: Path) -> dict[str, Tensor]:
    for name in [*expected, *weights]:
        if name not in weights:
            raise InputError(f"{path}: {name} is missing")
        if name not in expected:
            raise InputError(f"{path}: {name} is no part of a text tower of this size")
        weight = weights[name]
        if not isinstance(weight, Tensor) or not weight.is_floating_point() or tuple(weight.shape) != expected[name]:
            found = f"{weight.dtype} {list(weight.shape)}" if isinstance(weight, Tensor) else type(weight).__name__
            raise InputError(f"{path}: {name} is {found}, expected floats {list(expected[name])}")
    return {name: weight.float() for name, weight in weights.items()}


def _beside(weights: Path) -> Path:
    for name in VOCABULARIES:
        if (weights.parent / name).is_file():
            return weights.parent / name
    raise InputError(f"{weights.parent}: no vocabulary beside the weights, expected one of {', '.join(VOCABULARIES)}")


def _read_vocabulary(path: Path, config: ClipTextConfig) -> Tokenizer:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        tokenizer = Tokenizer.from_str(text) if path.suffix == ".json" else bpe(text, config.vocabulary)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the vocabulary of CLIP") from None
    except Exception as error:  # the tokenizers package raises plain exceptions
        raise InputError(f"{path}: not the vocabulary of CLIP ({str(error).splitlines()[0][:200]})") from None
    size, last = tokenizer.get_vocab_size(), [tokenizer.id_to_token(config.vocabulary - i) for i in (2, 1)]
    if size != config.vocabulary or last != [BEGIN, END]:
        found = f"{size} tokens, {last} where {[BEGIN, END]} should be"
        raise InputError(f"{path}: {found}; expected {config.vocabulary}, those two last")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def bpe(text: str, vocabulary: int) -> Tokenizer:
    """CLIP's byte-pair tokenizer. It leaves curly quotes as they are, which OpenAI's code straightens first.

    Args:
        text: of the published file: a comment, then two symbols a line, the earlier merged first.
        vocabulary: number of tokens: 256 bytes, the same at the end of a word, the merges, begin and end.
    Raises:
        ValueError: there are too few merges.
    """
    symbols = _byte_symbols()
    count = vocabulary - 2 * len(symbols) - 2
    merges = [(first, second) for first, second in (line.split() for line in text.splitlines()[1 : count + 1])]
    if len(merges) != count:
        raise ValueError(f"{len(merges)} merges, expected {count}")
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *(a + b for a, b in merges), BEGIN, END]
    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(ids, merges, end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(BEGIN, special=True), AddedToken(END, special=True)])
    return tokenizer


def _byte_symbols() -> list[str]:
    """A visible character for each byte, in the vocabulary's order: Latin-1's visible ones, then those from U+0100."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(code) for code in visible] + [chr(0x100 + i) for i in range(256 - len(visible))]


def _sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode() + weight.contiguous().numpy().tobytes())
    return digest.hexdigest()
