"""MAR, the recogniser: motion and text in one space. It names motion, finds it, and its gradient guides generation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, pad

from .layers import attention, positions
from .views import SMPL22, Scales

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
    def __init__(self, width: int):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)


class EncoderLayer(nn.Module):
    """A transformer layer, normalized after each half; names and numbers of PyTorch's TransformerEncoderLayer."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.self_attn = SelfAttention(width)
        self.linear1, self.linear2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)


class Tower(nn.Module):
    """Layers over a learned query and what it is asked of."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        width = config.width
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, config.feature)
        self.dropout: nn.Module = nn.Identity()


class MotionEncoder(Tower):
    """One stream: a learned query before the frames, read off after the last layer."""

    def __init__(self, config: MotionRecognizerConfig):
        width = config.width
        super().__init__(config)
        self.query = nn.Parameter(torch.randn(1, width))
        self.embed = nn.Linear(3 * len(config.parents) * config.patch, width)
        self.dropout = nn.Dropout(config.dropout)
        if config.timestep:
            self.time1, self.time2 = nn.Linear(256, width), nn.Linear(width, width)


class TextTower(Tower):
    """Descriptions as points of the common space.

    Of CLIP's token ids, every position is attended to, padding too, as the published weights expect.
    """

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__(config)
        width, self.words = config.width, config.words
        if config.words == "clip":
            self.tokens = nn.Embedding(CLIP_VOCABULARY, width).requires_grad_(False)
            self.places = nn.Parameter(torch.zeros(CLIP_CONTEXT, width), requires_grad=False)
        else:
            self.query = nn.Parameter(torch.randn(1, width))
            self.embed = nn.Linear(config.text, width)

    def forward(self, words: Tensor, valid_BL: Tensor | None = None) -> Tensor:
        """Ids [B, 77], or features [B, L, W] and which of them are words -> [B, feature]."""
        if self.words != "clip":
            assert valid_BL is not None
            return pool_query([self], words[None], valid_BL)[0]
        x_BLE, at = self.tokens(words) + self.places, words.argmax(1)  # the end of the text has the largest id
        x_BLE = run_layers([self], x_BLE[None], None)[0]
        return self.out(self.norm(x_BLE[torch.arange(len(at), device=at.device), at]))


# Towers of one shape, S of them, are computed side by side: [S, B, L, E].


def stack_params(kind: str, modules: Iterable[nn.Module]) -> Tensor:
    """A parameter of several modules: [S, ...]."""
    return torch.stack([module.get_parameter(kind) for module in modules])


def project(x_SBLE: Tensor, weight_SFE: Tensor, bias_SF: Tensor) -> Tensor:
    """[S, B, L, F], one matrix per module."""
    x_SNE = x_SBLE.flatten(1, 2)
    return torch.baddbmm(bias_SF[:, None], x_SNE, weight_SFE.mT).unflatten(1, x_SBLE.shape[1:3])


def linear(x_SBLE: Tensor, modules: Sequence[nn.Module]) -> Tensor:
    return project(x_SBLE, stack_params("weight", modules), stack_params("bias", modules))


def normalized(x_SBLE: Tensor, norms: Sequence[nn.Module]) -> Tensor:
    weight, bias = (stack_params(kind, norms)[:, None, None] for kind in ("weight", "bias"))
    return layer_norm(x_SBLE, x_SBLE.shape[-1:]) * weight + bias


def attended(x_SBLE: Tensor, valid_BL: Tensor | None, of_SBQE: Tensor, layers: Sequence[EncoderLayer]) -> Tensor:
    """What the positions in question draw from all."""
    S, B, _, E = x_SBLE.shape
    weight, bias = (
        stack_params(f"in_proj_{kind}", [layer.self_attn for layer in layers]) for kind in ("weight", "bias")
    )
    q = project(of_SBQE, weight[:, :E], bias[:, :E])
    k, v = project(x_SBLE, weight[:, E:], bias[:, E:]).chunk(2, 3)
    dropout = layers[0].dropout.p if layers[0].training else 0.0
    valid = None if valid_BL is None else valid_BL.repeat(S, 1)
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    found = attention(q, k, v, layers[0].heads, valid, dropout).unflatten(0, (S, B))
    return linear(found, [layer.self_attn.out_proj for layer in layers])


def run_layers(towers: Sequence[Tower], x_SBLE: Tensor, valid_BL: Tensor | None, first: bool = False) -> Tensor:
    """All positions after the last layer or, [S, B, 1, E], the first alone."""
    for k in range(len(towers[0].layers)):
        layers: Any = [tower.layers[k] for tower in towers]
        dropout = layers[0].dropout
        of = x_SBLE[:, :, :1] if first and k == len(towers[0].layers) - 1 else x_SBLE
        of = normalized(of + dropout(attended(x_SBLE, valid_BL, of, layers)), [layer.norm1 for layer in layers])
        hidden = dropout(gelu(linear(of, [layer.linear1 for layer in layers])))
        again = dropout(linear(hidden, [layer.linear2 for layer in layers]))
        x_SBLE = normalized(of + again, [layer.norm2 for layer in layers])
    return x_SBLE


def pool_query(towers: Sequence[MotionEncoder | TextTower], x_SBLC: Tensor, valid_BL: Tensor) -> Tensor:
    """What the queries of towers draw from what they are asked of, [S, B, feature]."""
    x_SBLE = linear(x_SBLC, [tower.embed for tower in towers])
    S, B, L, E = x_SBLE.shape
    query = stack_params("query", towers)[:, None].expand(S, B, 1, E)
    x_SBLE = towers[0].dropout(torch.cat([query, x_SBLE], 2) + positions(L + 1, E, x_SBLE.device))
    x_SBLE = run_layers(towers, x_SBLE, pad(valid_BL, (1, 0), value=True), first=True)
    x_SBLE = normalized(x_SBLE, [tower.norm for tower in towers])
    return linear(x_SBLE, [tower.out for tower in towers])[:, :, 0]


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
        patch = self.config.patch
        x_SBLC = torch.stack(views).mul(inside_BT1).unflatten(2, (-1, patch)).flatten(3)
        joint, bone, moved = pool_query((self.joint, self.bone, self.motion), x_SBLC, valid_BT[:, ::patch])
        fused = self.fusion(self.fusion_norm(torch.cat([joint, bone, moved], 1)))
        return MotionFeatures(fused, joint, bone, moved)

    def describe(self, words: Tensor, valid_BL: Tensor | None = None) -> Tensor:
        """Descriptions -> [B, feature]; see TextTower."""
        return self.text(words, valid_BL)
