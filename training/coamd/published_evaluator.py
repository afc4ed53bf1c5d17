"""The evaluators of the literature (Guo et al., CVPR 2022), as CoAMD's release uses them: on absolute joints.

Text is words with parts of speech, from the files of HumanML3D and KIT-ML; words are GloVe vectors. Unlike our own
evaluator's, embeddings are not of unit length, and a motion is padded with zeros to 196 frames, which its last
movements see.

Shapes: N batch, T frames, L words, W width of their vectors, P parts of speech, D width of the common space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ...runtime.errors import InputError
from ..data.motions import MAX_FRAMES
from ..runs import read_network, read_record

PARTS_OF_SPEECH = ("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV")
SPECIAL_WORDS = {  # groups of words that replace the part of speech
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise "
    "wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
GROUPS = {word: group for group, words in SPECIAL_WORDS.items() for word in words.split()}
TAGS = (*PARTS_OF_SPEECH, *SPECIAL_WORDS, "OTHER")  # P
MAX_WORDS = 20
STEP = 4  # frames of a movement
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedEvaluatorConfig:
    """Sizes of the networks; stored as JSON with the weights."""

    coordinates: int = 66
    channels: int = 512
    motion_hidden: int = 1024
    text_hidden: int = 512
    width: int = 512  # D
    words: int = 300  # W


class MovementEncoder(nn.Module):
    """Two strided convolutions and a linear layer: [N, T, F] -> [N, T / 4, C]."""

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        convs = [nn.Conv1d(inputs, channels, 4, 2, 1), nn.Conv1d(channels, channels, 4, 2, 1)]
        self.main = nn.Sequential(*(m for conv in convs for m in (conv, nn.Dropout(0.2), nn.LeakyReLU(0.2))))
        self.out_net = nn.Linear(channels, channels)

    def forward(self, x_NTF: Tensor) -> Tensor:
        return self.out_net(self.main(x_NTF.mT).mT)


class BiGru(nn.Module):
    """Last states of a bidirectional GRU, projected: [N, L, C] -> [N, D]."""

    def __init__(self, inputs: int, hidden: int, width: int):
        super().__init__()
        self.input_emb = nn.Linear(inputs, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, width)
        )
        self.hidden = nn.Parameter(torch.zeros(2, 1, hidden))

    def forward(self, x_NLC: Tensor, lengths_N: Tensor) -> Tensor:
        x = pack_padded_sequence(self.input_emb(x_NLC), lengths_N.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(x, self.hidden.repeat(1, len(x_NLC), 1))
        return self.output_net(torch.cat([last[0], last[1]], 1))


class TextEncoder(BiGru):
    """Words and one-hot parts of speech -> [N, D]."""

    def __init__(self, config: PublishedEvaluatorConfig):
        super().__init__(config.words, config.text_hidden, config.width)
        self.pos_emb = nn.Linear(len(TAGS), config.words)


class EvaluatorNetworks(nn.Module):
    """The three networks; modules are named as in the official checkpoint."""

    def __init__(self, config: PublishedEvaluatorConfig):
        super().__init__()
        self.config = config
        self.movement_encoder = MovementEncoder(config.coordinates, config.channels)
        self.motion_encoder = BiGru(config.channels, config.motion_hidden, config.width)
        self.text_encoder = TextEncoder(config)


class Vocabulary:
    """GloVe vectors by word; `unk` stands for unknown ones."""

    def __init__(self, words: Sequence[str], vectors: np.ndarray):
        self.vectors, self.index = np.asarray(vectors, np.float32), {word: i for i, word in enumerate(words)}

    def encode(self, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens "word/PART" -> vectors [L + 2, W] and one-hot parts of speech, with those of start and end."""
        chosen = ["sos/OTHER", *tokens[:MAX_WORDS], "eos/OTHER"]
        vectors = np.empty((len(chosen), self.vectors.shape[1]), np.float32)
        tags = np.zeros((len(chosen), len(TAGS)), np.float32)
        for i, token in enumerate(chosen):
            word, _, part = token.rpartition("/")
            known = word in self.index
            tag = GROUPS.get(word, part) if known else "OTHER"
            vectors[i] = self.vectors[self.index[word if known else "unk"]]
            tags[i, TAGS.index(tag if tag in TAGS else "OTHER")] = 1
        return vectors, tags


class PublishedEvaluator:
    """The networks with their vocabulary, for lists of clips and of captions of a data set."""

    def __init__(
        self,
        networks: EvaluatorNetworks,
        vocabulary: Vocabulary,
        mean: np.ndarray,
        std: np.ndarray,
        tokens: Mapping[str, Sequence[str]],
    ):
        self.networks, self.vocabulary, self.mean, self.std, self.tokens = networks, vocabulary, mean, std, tokens

    @classmethod
    def load(cls, folder: Path, data: Path) -> PublishedEvaluator:
        """Load the folder of `motionrt import evaluator`, for the captions of a folder of HumanML3D or KIT-ML.

        Raises:
            InputError: not such a folder, or damaged.
        """
        networks, record = read_network(folder, EvaluatorNetworks, PublishedEvaluatorConfig)
        try:
            with np.load(folder / "glove.npz", allow_pickle=False) as file:
                vocabulary = Vocabulary(file["words"].tolist(), file["vectors"])
            mean, std = (np.array(record[name], np.float32) for name in ("mean", "std"))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"{folder}: not the folder of an imported evaluator, or damaged ({error})") from None
        networks.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(networks, vocabulary, mean, std, read_tokens(data))

    @torch.no_grad()
    def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips [T, V, 3] of 4 to 196 frames: [N, D]. Raises InputError: other clips."""
        parts, device = [], self.networks.text_encoder.hidden.device
        for start in range(0, len(clips), BATCH):
            chosen = clips[start : start + BATCH]
            lengths = torch.tensor([len(clip) for clip in chosen])
            x = torch.zeros(len(chosen), MAX_FRAMES, len(self.mean))
            for i, clip in enumerate(chosen):
                flat = np.asarray(clip, np.float32).reshape(len(clip), -1)
                if not STEP <= len(clip) <= MAX_FRAMES or flat.shape[1] != len(self.mean):
                    raise InputError(f"a motion {list(np.shape(clip))}, expected {STEP} to {MAX_FRAMES} frames of "
                                     f"{len(self.mean) // 3} joints")  # fmt: skip
                x[i, : len(clip)] = torch.from_numpy((flat - self.mean) / self.std)
            movements = self.networks.movement_encoder(x.to(device))
            parts.append(self.networks.motion_encoder(movements, lengths // STEP).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed captions of the data set: [N, D]. Raises InputError: another text, without parts of speech."""
        parts, device = [], self.networks.text_encoder.hidden.device
        for start in range(0, len(texts), BATCH):
            encoded = []
            for text in texts[start : start + BATCH]:
                if text not in self.tokens:
                    raise InputError(f"{text[:60]!r} is no caption of the data set, whose words have parts of speech")
                encoded.append(self.vocabulary.encode(self.tokens[text]))
            lengths = torch.tensor([len(vectors) for vectors, _ in encoded])
            words, tags = (
                nn.utils.rnn.pad_sequence([torch.from_numpy(pair[k]) for pair in encoded], batch_first=True).to(device)
                for k in range(2)
            )
            encoder = self.networks.text_encoder
            parts.append(encoder(words + encoder.pos_emb(tags), lengths).cpu().numpy())
        return np.concatenate(parts)


def is_published(folder: Path) -> bool:
    """True for the folder of an imported evaluator."""
    return read_record(folder).get("official", {}).get("kind") == "evaluator"


def read_tokens(data: Path) -> dict[str, list[str]]:
    """Words with parts of speech by caption, from the files `texts/*.txt`. Raises InputError: there are none."""
    tokens: dict[str, list[str]] = {}
    for path in sorted((data / "texts").glob("*.txt")):
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                fields = line.strip().split("#")
                if len(fields) == 4:
                    tokens.setdefault(fields[0].strip(), fields[1].split())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
    if not tokens:
        raise InputError(f"{data / 'texts'}: no captions with words, expected caption#tokens#from#to")
    return tokens


def record_of(config: PublishedEvaluatorConfig, mean: np.ndarray, std: np.ndarray) -> dict[str, Any]:
    """Entries of recipe.json."""
    return {"recipe": {"name": "evaluator"}, "model": asdict(config), "mean": mean.tolist(), "std": std.tolist()}


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    (folder / "recipe.json").write_text(json.dumps(record, indent=1) + "\n")
