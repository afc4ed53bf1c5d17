"""CLIP's text tower (ViT-B/32) from published weights, with the interface of `runtime.text_encoder.TextEncoder`.

The network is that of transformers (extra `clip`); nothing is downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from ...runtime.errors import InputError
from ...runtime.extras import require
from ...runtime.text_encoder import TextFeatures, check_texts, gather

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARIES = ("tokenizer.json", "merges.txt", "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt")
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_OTHER_TOWER = ("visual.", "vision_model.", "visual_projection.", "logit_scale")
_NOT_WEIGHTS = ("text_model.embeddings.position_ids", "input_resolution", "context_length", "vocab_size")
_PROJECTION = "text_projection.weight"  # transposed in OpenAI's files

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTextConfig:
    """Sizes of the text tower, by default those of ViT-B/32."""

    vocabulary: int = 49408
    context: int = 77
    width: int = 512
    layers: int = 12
    heads: int = 8


def clip_text_network(config: ClipTextConfig = ClipTextConfig()) -> nn.Module:
    """The text tower with random weights, named as in Hugging Face's files.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4.
    Raises:
        MissingExtra: transformers is not installed.
    """
    transformers = require("transformers", "clip", "CLIP's text encoder")
    network: nn.Module = transformers.CLIPTextModelWithProjection(
        transformers.CLIPTextConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            projection_dim=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.context,
            hidden_act="quick_gelu",
            bos_token_id=config.vocabulary - 2,
            eos_token_id=config.vocabulary - 1,
            pad_token_id=config.vocabulary - 1,
        )
    )
    return network


class ClipText:
    """CLIP as a text encoder: `encode` like `TextEncoder`, with `pooled` not normalized.

    The features of a text are the same, bit for bit, whatever other texts are encoded with it.

    Attributes:
        name: "clip". width: 512. sha256: of the weights as float32, independent of the file format.
        config, tokenizer: of the network; the tokenizer adds no begin and end.
        token_embeddings, position_embeddings: [49408, 512] and [77, 512], which CoAMD's recognizer shares.
    """

    name, clip = "clip", True

    def __init__(self, network: nn.Module, tokenizer: Tokenizer, config: ClipTextConfig):
        self.network = network
        self.width = config.width
        self.sha256 = _sha256(network.state_dict(), config)
        self.config, self.tokenizer = config, tokenizer
        self._begin, self._end = config.vocabulary - 2, config.vocabulary - 1

    @classmethod
    def load(
        cls,
        path: str | Path,
        vocabulary: str | Path | None = None,
        config: ClipTextConfig = ClipTextConfig(),
    ) -> ClipText:
        """Load published weights and their vocabulary.

        Args:
            path: a folder with Hugging Face's model.safetensors, or a file: the same, or a state dict with OpenAI's
                names, saved by torch.save. An image tower is ignored.
            vocabulary: tokenizer.json, merges.txt or OpenAI's bpe_simple_vocab_16e6.txt.gz; by default, the one in the
                folder of the weights.
            config: sizes that the weights must have.
        Raises:
            InputError: a missing or unreadable file, or names a tensor that is missing, unexpected or of another shape.
            MissingExtra: transformers is not installed.
        """
        path = Path(path)
        file = path / "model.safetensors" if path.is_dir() else path
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced
            network = clip_text_network(config)
        network.load_state_dict(_text_weights(_read_weights(file), network.state_dict(), config, file))
        tokenizer = _read_vocabulary(Path(vocabulary) if vocabulary is not None else _find_vocabulary(file), config)
        return cls(network.eval().requires_grad_(False), tokenizer, config)

    @property
    def token_embeddings(self) -> Tensor:
        return self.network.get_parameter("text_model.embeddings.token_embedding.weight")

    @property
    def position_embeddings(self) -> Tensor:
        return self.network.get_parameter("text_model.embeddings.position_embedding.weight")

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids [N, 77] int64: begin, the words, end, then 0. Longer texts are truncated, as in the reference.

        Raises:
            InputError: not a sequence of texts; a text that is empty or has more than 512 characters.
        """
        ids = np.zeros((len(texts), self.config.context), np.int64)
        for i, text in enumerate(check_texts(texts)):
            row = self._tokens(text)
            ids[i, : len(row)] = row
        return ids

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Features of texts, one network call per text. Raises the same errors as `ids`."""
        return gather(check_texts(texts), lambda i, text: self._run(text), self.width)

    def _tokens(self, text: str) -> list[int]:
        words = self.tokenizer.encode(text, add_special_tokens=False).ids[: self.config.context - 2]
        return [self._begin, *words, self._end]

    @torch.inference_mode()
    def _run(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        output: Any = self.network(input_ids=torch.tensor([self._tokens(text)]))
        return output.last_hidden_state[0].numpy(), output.text_embeds[0].numpy()


def _read_weights(path: Path) -> Weights:
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


def _text_weights(weights: Weights, expected: Weights, config: ClipTextConfig, path: Path) -> Weights:
    """The text tower's weights as float32 under Hugging Face's names, checked under the names in the file."""
    weights = {
        name: weight
        for name, weight in weights.items()
        if not name.startswith(_OTHER_TOWER) and name not in _NOT_WEIGHTS
    }
    if "positional_embedding" not in weights:
        return _checked(weights, expected, path)
    weights = _checked(weights, _to_openai(expected, config), path)
    named: Weights = {}
    for name, parts in _openai_names(config).items():
        named |= zip(parts, weights[name].chunk(len(parts)), strict=True)
    return named | {_PROJECTION: named[_PROJECTION].T}


def _openai_names(config: ClipTextConfig) -> dict[str, list[str]]:
    """OpenAI's tensor names -> Hugging Face's names of the tensors that each concatenates."""
    pairs = {"ln_final": ["text_model.final_layer_norm"]}
    for i in range(config.layers):
        ours, theirs = f"transformer.resblocks.{i}", f"text_model.encoder.layers.{i}"
        pairs |= {
            f"{ours}.attn.in_proj": [f"{theirs}.self_attn.{part}_proj" for part in "qkv"],
            f"{ours}.attn.out_proj": [f"{theirs}.self_attn.out_proj"],
            f"{ours}.ln_1": [f"{theirs}.layer_norm1"],
            f"{ours}.ln_2": [f"{theirs}.layer_norm2"],
            f"{ours}.mlp.c_fc": [f"{theirs}.mlp.fc1"],
            f"{ours}.mlp.c_proj": [f"{theirs}.mlp.fc2"],
        }
    names = {
        "token_embedding.weight": ["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": ["text_model.embeddings.position_embedding.weight"],
        "text_projection": [_PROJECTION],
    }
    for module, parts in pairs.items():
        for kind in ("weight", "bias"):
            joint = "_" if module.endswith("in_proj") else "."
            names[f"{module}{joint}{kind}"] = [f"{part}.{kind}" for part in parts]
    return names


def _to_openai(weights: Weights, config: ClipTextConfig) -> Weights:
    """Weights with Hugging Face's names under OpenAI's names."""
    weights = weights | {_PROJECTION: weights[_PROJECTION].T}
    return {name: torch.cat([weights[part] for part in parts]) for name, parts in _openai_names(config).items()}


def _checked(weights: Mapping[str, Tensor], expected: Weights, path: Path) -> Weights:
    for name in [*expected, *weights]:
        if name not in weights:
            raise InputError(f"{path}: {name} is missing")
        if name not in expected:
            raise InputError(f"{path}: {name} is not part of a text tower of this size")
        weight, shape = weights[name], expected[name].shape
        if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.shape != shape:
            found = f"{weight.dtype} {list(weight.shape)}" if isinstance(weight, Tensor) else type(weight).__name__
            raise InputError(f"{path}: {name} is {found}, expected floats {list(shape)}")
    return {name: weight.float() for name, weight in weights.items()}


def _find_vocabulary(weights: Path) -> Path:
    for name in VOCABULARIES:
        if (weights.parent / name).is_file():
            return weights.parent / name
    raise InputError(f"{weights.parent}: no vocabulary next to the weights, expected one of {', '.join(VOCABULARIES)}")


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
    """CLIP's byte-pair tokenizer; unlike OpenAI's code, it does not replace curly quotes by straight ones.

    Args:
        text: contents of the published file: a comment, then two symbols per line in the order of merging.
        vocabulary: number of tokens: 256 bytes, the same at the end of a word, the merges, begin and end.
    Raises:
        ValueError: too few merges.
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
    """A visible character for each byte, in the vocabulary's order: visible Latin-1, then characters from U+0100."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(code) for code in visible] + [chr(0x100 + i) for i in range(256 - len(visible))]


def _sha256(weights: Weights, config: ClipTextConfig) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(_to_openai(weights, config).items()):
        digest.update(name.encode() + weight.contiguous().numpy().tobytes())
    return digest.hexdigest()
