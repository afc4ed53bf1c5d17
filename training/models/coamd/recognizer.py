"""MAR, the recogniser: motion and text in one space. It names motion, finds it, and its gradient guides generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, pad

from .layers import attention, positions
from .streams import SMPL22, Scales

CLIP_VOCABULARY, CLIP_CONTEXT = 49408, 77


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionRecognizerConfig:
    """Architecture of a MotionRecognizer.

    Attributes:
        patch: frames that go into one position of the motion encoders.
        feature: width of the common space: that of the pooled text features, which labels are compared with.
        words: what the text tower reads: "clip", token ids with CLIP's frozen embeddings; "features", those of the text
            encoder [B, L, W].
        timestep: whether the unused time embedding of the published model has its place among the weights.
    """

    parents: tuple[int, ...] = SMPL22
    patch: int = 1
    width: int = 512
    depth: int = 8
    heads: int = 8
    hidden: int = 1024
    feature: int = 512
    words: str = "clip"
    text: int = 512
    dropout: float = 0.2
    timestep: bool = True


class MotionFeatures(NamedTuple):
    """Of a batch of motions, each [B, feature]: all streams together, and each."""

    fused: Tensor
    joint: Tensor
    bone: Tensor
    motion: Tensor


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x_BLE: Tensor, valid_BL: Tensor | None, of_BQE: Tensor) -> Tensor:
        """What the positions in question, [B, Q, E], draw from all."""
        (E, *_), (weight, bias) = self.out_proj.weight.shape, (self.in_proj_weight, self.in_proj_bias)
        if of_BQE is x_BLE:
            q, k, v = linear(x_BLE, weight, bias).chunk(3, 2)
        else:
            q = linear(of_BQE, weight[:E], bias[:E])
            k, v = linear(x_BLE, weight[E:], bias[E:]).chunk(2, 2)
        return self.out_proj(attention(q, k, v, self.heads, valid_BL, self.dropout if self.training else 0.0))


class EncoderLayer(nn.Module):
    """A transformer layer, normalised after each half; names and numbers of PyTorch's TransformerEncoderLayer."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        width = config.width
        self.self_attn = SelfAttention(width, config.heads, config.dropout)
        self.linear1, self.linear2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BLE: Tensor, valid_BL: Tensor | None, first: bool = False) -> Tensor:
        """All positions or, [B, 1, E], the first alone."""
        of_BQE = x_BLE[:, :1] if first else x_BLE
        of_BQE = self.norm1(of_BQE + self.dropout(self.self_attn(x_BLE, valid_BL, of_BQE)))
        return self.norm2(of_BQE + self.dropout(self.linear2(self.dropout(gelu(self.linear1(of_BQE))))))


class MotionEncoder(nn.Module):
    """One stream: a learned query before the frames, read off after the last layer."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        width, self.patch = config.width, config.patch
        self.query = nn.Parameter(torch.randn(1, width))
        self.embed = nn.Linear(3 * len(config.parents) * config.patch, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, config.feature)
        self.dropout = nn.Dropout(config.dropout)
        if config.timestep:
            self.time1, self.time2 = nn.Linear(256, width), nn.Linear(width, width)

    def forward(self, x_BTC: Tensor, valid_BT: Tensor) -> Tensor:
        x_BLE = self.embed(x_BTC.unflatten(1, (-1, self.patch)).flatten(2))
        x_BLE = torch.cat([self.query.expand(x_BLE.shape[0], 1, -1), x_BLE], 1)
        x_BLE = self.dropout(x_BLE + positions(x_BLE.shape[1], x_BLE.shape[2], x_BLE.device))
        valid_BL = pad(valid_BT[:, :: self.patch], (1, 0), value=True)
        for k, layer in enumerate(self.layers):
            x_BLE = layer(x_BLE, valid_BL, first=k == len(self.layers) - 1)
        return self.out(self.norm(x_BLE[:, 0]))


class TextTower(nn.Module):
    """Descriptions as points of the common space.

    Of CLIP's token ids, every position is attended to, padding too, as the published weights expect.
    """

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        width, self.words = config.width, config.words
        if config.words == "clip":
            self.tokens = nn.Embedding(CLIP_VOCABULARY, width).requires_grad_(False)
            self.places = nn.Parameter(torch.zeros(CLIP_CONTEXT, width), requires_grad=False)
        else:
            self.query = nn.Parameter(torch.randn(1, width))
            self.embed = nn.Linear(config.text, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, config.feature)

    def forward(self, words: Tensor, valid_BL: Tensor | None = None) -> Tensor:
        """Ids [B, 77], or features [B, L, W] and which of them are words -> [B, feature]."""
        if self.words == "clip":
            x_BLE, at = self.tokens(words) + self.places, words.argmax(1)  # the end of the text has the largest id
            valid_BL = None
        else:
            assert valid_BL is not None
            x_BLE = self.embed(words)
            x_BLE = torch.cat([self.query.expand(x_BLE.shape[0], 1, -1), x_BLE], 1)
            x_BLE = x_BLE + positions(x_BLE.shape[1], x_BLE.shape[2], x_BLE.device)
            valid_BL, at = pad(valid_BL, (1, 0), value=True), x_BLE.new_zeros(x_BLE.shape[0], dtype=torch.long)
        for layer in self.layers:
            x_BLE = layer(x_BLE, valid_BL)
        x_BE = self.norm(x_BLE)[torch.arange(at.shape[0], device=at.device), at]
        return self.out(x_BE)


class MotionRecognizer(nn.Module):
    """Three motion encoders, their fusion and the text tower; 95,757,312 parameters as published."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        self.config = config
        self.joint, self.bone, self.motion = (MotionEncoder(config) for _ in range(3))
        self.fusion_norm = nn.LayerNorm(3 * config.feature)
        self.fusion = nn.Linear(3 * config.feature, config.feature)
        self.text = TextTower(config)
        self.scales = Scales(3 * len(config.parents))

    def forward(
        self, x_BTC: Tensor, lengths_B: Tensor, words: Tensor, valid_BL: Tensor | None = None
    ) -> tuple[MotionFeatures, Tensor]:
        return self.encode(x_BTC, lengths_B), self.describe(words, valid_BL)

    def encode(self, x_BTC: Tensor, lengths_B: Tensor) -> MotionFeatures:
        """Normalised joints [B, T, C], T a multiple of the patch, lengths in frames -> features."""
        valid_BT = torch.arange(x_BTC.shape[1], device=x_BTC.device) < lengths_B[:, None]
        inside_BT1 = valid_BT[:, :, None]
        views = self.scales.views(x_BTC * inside_BT1, self.config.parents)
        encoders = self.joint, self.bone, self.motion
        joint, bone, moved = (encode(view * inside_BT1, valid_BT) for encode, view in zip(encoders, views, strict=True))
        fused = self.fusion(self.fusion_norm(torch.cat([joint, bone, moved], 1)))
        return MotionFeatures(fused, joint, bone, moved)

    def describe(self, words: Tensor, valid_BL: Tensor | None = None) -> Tensor:
        """Descriptions -> [B, feature]; see TextTower."""
        return self.text(words, valid_BL)
