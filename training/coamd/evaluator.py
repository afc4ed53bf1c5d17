"""The evaluator: motion and text in one space, trained separately from all that generates or guides.

The architecture is that of the text-to-motion evaluators (Guo et al., CVPR 2022): a convolutional movement encoder and
a bidirectional GRU for motion, a bidirectional GRU over words for text. Words are features of a text encoder instead of
GloVe with parts of speech, and the loss is InfoNCE without false negatives.

Shapes: N batch, T frames, V joints, L words, W text width, C channels, D width of the common space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, leaky_relu, normalize
from torch.nn.utils.rnn import pack_padded_sequence

from ...runtime.errors import InputError
from ..distributed import all_gather

MIN_FRAMES = 4  # one step of the movement encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatorConfig:
    """Architecture and loss of an Evaluator; stored as JSON with the weights."""

    text_width: int  # W
    joints: int = 22
    channels: int = 512  # of the movement encoder
    motion_hidden: int = 1024  # units per direction
    text_hidden: int = 512  # units per direction
    width: int = 512  # D
    dropout: float = 0.2
    temperature: float = 0.1
    same_caption: float = 0.8  # above this cosine, captions are not negatives of each other


def full_config(text_width: int, joints: int = 22) -> EvaluatorConfig:
    """Configuration of the published size."""
    return EvaluatorConfig(text_width=text_width, joints=joints)


def small_config(text_width: int, joints: int = 22) -> EvaluatorConfig:
    """Configuration for some thousand clips."""
    return EvaluatorConfig(
        text_width=text_width, joints=joints, channels=128, motion_hidden=256, text_hidden=128, width=128, dropout=0.3
    )


class Evaluator(nn.Module):
    """Embeds motion and text as unit vectors, for which Euclidean distance and cosine rank alike.

    Attributes:
        mean, std: [V * 3] of the joints in meters, used by `normalize_joints`; stored with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EvaluatorConfig):
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.joints * 3))
        self.register_buffer("std", torch.ones(config.joints * 3))
        self.movement = Movement(config.joints * 3, config.channels, config.dropout)
        self.motion = RecurrentHead(config.channels, config.motion_hidden, config.width, config.dropout)
        self.text = RecurrentHead(config.text_width, config.text_hidden, config.width, config.dropout)

    def set_normalization(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Set mean and std [V * 3] of the training clips, in meters."""
        for name, values in (("mean", mean), ("std", std)):
            buffer = getattr(self, name)
            values = np.asarray(values, np.float32).reshape(-1)
            if values.shape != buffer.shape:
                raise InputError(f"{name}: has {len(values)} numbers, expected {len(buffer)}")
            buffer.copy_(torch.from_numpy(values))

    def normalize_joints(self, joints_TV3: np.ndarray) -> Tensor:
        """Normalize joints [T, V, 3] in meters: [T, V * 3], mean 0 and deviation 1."""
        flat = torch.from_numpy(np.ascontiguousarray(joints_TV3, np.float32)).flatten(1).to(self.mean)
        return (flat - self.mean) / self.std

    def embed_motion(self, x_NTF: Tensor, lengths_N: Tensor) -> Tensor:
        """Embed motion; padding has no influence.

        Args:
            x_NTF: [N, T, V * 3] normalized joints, 20 frames a second.
            lengths_N: [N] frames of every clip, 4 to T.
        Returns:
            [N, D] float32, unit length.
        Raises:
            InputError: a length outside 4..T, or joints of another skeleton.
        """
        if x_NTF.shape[2] != self.config.joints * 3:
            raise InputError(f"motion of {x_NTF.shape[2]} numbers a frame, expected {self.config.joints * 3}")
        if int(lengths_N.min()) < MIN_FRAMES or int(lengths_N.max()) > x_NTF.shape[1]:
            span = f"{int(lengths_N.min())} to {int(lengths_N.max())}"
            raise InputError(f"clips of {span} frames, expected {MIN_FRAMES} to {x_NTF.shape[1]}")
        return self.motion(self.movement(x_NTF, lengths_N), lengths_N // MIN_FRAMES)

    def embed_text(self, tokens_NLW: Tensor, mask_NL: Tensor) -> Tensor:
        """Embed text; padding has no influence.

        Args:
            tokens_NLW: [N, L, W] features of the words.
            mask_NL: [N, L] bool, True at words, which come first.
        Returns:
            [N, D] float32, unit length.
        Raises:
            InputError: a text without words.
        """
        lengths = mask_NL.sum(1)
        if int(lengths.min()) < 1:
            raise InputError(f"text {int(lengths.argmin())} has no words")
        return self.text(tokens_NLW, lengths)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """`loss`, under the name that wrappers for several processes call."""
        return self.loss(batch)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Symmetric InfoNCE between motion and text of a batch over all processes, without false negatives.

        Args:
            batch: motion [N, T, V * 3] normalized, lengths [N]; tokens [N, L, W], mask [N, L] and pooled [N, W] of
                the captions; group [N] int64: clips of one group are not negatives of each other.
        Returns:
            A float32 scalar.
        """
        motion = all_gather(self.embed_motion(batch["motion"], batch["lengths"]))
        text = all_gather(self.embed_text(batch["tokens"], batch["mask"]))
        captions, group = normalize(all_gather(batch["pooled"].float()), dim=1), all_gather(batch["group"])
        alike = (captions @ captions.T > self.config.same_caption) | (group[:, None] == group)
        return info_nce(motion, text, alike, self.config.temperature)


def info_nce(motion_ND: Tensor, text_ND: Tensor, alike_NN: Tensor, temperature: float) -> Tensor:
    """-1/2N sum_i [log softmax_j(m_i.t_j / tau)_i + log softmax_j(t_i.m_j / tau)_i], j over i and its negatives.

    Args:
        motion_ND, text_ND: unit vectors; row i of one belongs to row i of the other.
        alike_NN: bool, symmetric: pairs that are not negatives; the diagonal is ignored.
    Source: van den Oord et al. 2018; the removal as in TMR (Petrovich et al., ICCV 2023).
    """
    own = torch.eye(len(motion_ND), dtype=torch.bool, device=motion_ND.device)
    with torch.autocast(motion_ND.device.type, enabled=False):
        similarity = motion_ND.float() @ text_ND.float().T / temperature
    similarity = similarity.masked_fill(alike_NN & ~own, -torch.inf)
    target = torch.arange(len(motion_ND), device=motion_ND.device)
    return (cross_entropy(similarity, target) + cross_entropy(similarity.T, target)) / 2


class Movement(nn.Module):
    """Two strided convolutions and a linear layer: [N, T, F] -> [N, T // 4, C]."""

    def __init__(self, inputs: int, channels: int, dropout: float):
        super().__init__()
        self.first = nn.Conv1d(inputs, channels, 4, 2, 1)
        self.second = nn.Conv1d(channels, channels, 4, 2, 1)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(channels, channels)

    def forward(self, x_NTF: Tensor, lengths_N: Tensor) -> Tensor:
        x = zero_padding(x_NTF.transpose(1, 2), lengths_N)
        x = leaky_relu(self.dropout(self.first(x)), 0.2)
        x = zero_padding(x, lengths_N // 2)  # where the convolution wrote beyond the end
        x = leaky_relu(self.dropout(self.second(x)), 0.2)
        return self.out(x.transpose(1, 2))


class RecurrentHead(nn.Module):
    """A bidirectional GRU's last states, projected to unit vectors: [N, T, C] -> [N, D]."""

    def __init__(self, inputs: int, hidden: int, width: int, dropout: float):
        super().__init__()
        self.embed = nn.Linear(inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.start = nn.Parameter(torch.zeros(2, 1, hidden))
        self.out = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, width)
        )

    def forward(self, x_NTC: Tensor, lengths_N: Tensor) -> Tensor:
        x = self.dropout(self.embed(x_NTC))
        with torch.autocast(x.device.type, enabled=False):  # a GRU does not support mixed precision
            packed = pack_padded_sequence(x.float(), lengths_N.cpu(), batch_first=True, enforce_sorted=False)
            _, last = self.gru(packed, self.start.expand(-1, len(x), -1).contiguous())
            return normalize(self.out(torch.cat([last[0], last[1]], 1)), dim=1)


def zero_padding(x_NCT: Tensor, lengths_N: Tensor) -> Tensor:
    valid = torch.arange(x_NCT.shape[2], device=x_NCT.device) < lengths_N[:, None]
    return x_NCT.masked_fill(~valid[:, None], 0)


class TextFeatureEncoder(Protocol):
    """A text encoder, such as `motionrt.runtime.text_encoder.TextEncoder`."""

    def encode(self, texts: Sequence[str]) -> Any: ...


class TrainedEvaluator:
    """A trained Evaluator with its text encoder, for lists of clips and of texts.

    Example:
        evaluator = TrainedEvaluator.load(Path("runs/coamd-evaluator"), TextEncoder.load("text"))
        evaluator.motions([joints])  # [1, D]
    """

    def __init__(self, network: Evaluator, encoder: TextFeatureEncoder, batch: int = 64):
        self.network, self.encoder, self.batch = network.eval(), encoder, batch

    @staticmethod
    def load(run: Path, encoder: TextFeatureEncoder) -> TrainedEvaluator:
        """Load a training run: recipe.json (`model`: the config; `text_sha256`, if present) and model.safetensors.

        Raises:
            InputError: not the run of an evaluator, a damaged one, or one trained with another text encoder.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            about = json.loads((run / "recipe.json").read_text())
            network = Evaluator(EvaluatorConfig(**about["model"]))
            network.load_state_dict(load_file(run / "model.safetensors"))
        except FileNotFoundError as error:
            raise InputError(f"{run}: no {Path(error.filename or 'model.safetensors').name}, expected the folder of a "
                             "finished run of recipe coamd-evaluator") from None  # fmt: skip
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(f"{run}: not a run of recipe coamd-evaluator, or damaged: {reason}") from None
        expected, actual = about.get("text_sha256"), getattr(encoder, "sha256", None)
        if expected and actual and expected != actual:
            raise InputError(f"{run}: trained with text encoder {expected[:12]}…, not with this one, {actual[:12]}…")
        return TrainedEvaluator(network.to("cuda" if torch.cuda.is_available() else "cpu"), encoder)

    @torch.no_grad()
    def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips [T, V, 3], meters, 20 frames a second, in the canonical frame: [N, D] float32."""
        device = self.network.mean.device
        order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
        embedded = np.empty((len(clips), self.network.config.width), np.float32)
        for start in range(0, len(order), self.batch):
            part = order[start : start + self.batch]
            frames = [self.network.normalize_joints(clips[i]) for i in part]
            x = nn.utils.rnn.pad_sequence(frames, batch_first=True)
            lengths = torch.tensor([len(f) for f in frames], device=device)
            embedded[part] = self.network.embed_motion(x, lengths).cpu().numpy()
        return embedded

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: [N, D] float32."""
        device = self.network.mean.device
        distinct = list(dict.fromkeys(texts))
        embedded: dict[str, np.ndarray] = {}
        for start in range(0, len(distinct), self.batch):
            part = distinct[start : start + self.batch]
            features = self.encoder.encode(part)
            tokens, mask = (torch.from_numpy(np.asarray(a)).to(device) for a in (features.tokens, features.mask))
            embedded |= dict(zip(part, self.network.embed_text(tokens.float(), mask).cpu().numpy(), strict=True))
        return np.stack([embedded[text] for text in texts])
