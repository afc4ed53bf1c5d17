"""MAR, the recognizer: motion and text in one space, for recognition, retrieval and guidance."""

from __future__ import annotations

from collections.abc import Sequence
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
        patch: frames per position of the motion encoders.
        feature: width of the common space, equal to that of the pooled text features that represent labels.
        words: input of the text tower: "clip", token ids with CLIP's frozen embeddings; "features", word features
            [B, L, W] of the text encoder.
        timestep: include the published model's unused time embedding, for its weights.
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
    """Features of motions, [B, feature] each: of all streams fused, and of each stream."""

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
    """A post-norm transformer layer with the parameters of PyTorch's TransformerEncoderLayer."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.self_attn = SelfAttention(width)
        self.linear1, self.linear2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)


class Tower(nn.Module):
    """Transformer layers over a learned query and a sequence."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        width = config.width
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, config.feature)
        self.dropout: nn.Module = nn.Identity()


class MotionEncoder(Tower):
    """Encoder of one stream: a learned query before the frames, whose last state is the feature."""

    def __init__(self, config: MotionRecognizerConfig):
        width = config.width
        super().__init__(config)
        self.query = nn.Parameter(torch.randn(1, width))
        self.embed = nn.Linear(3 * len(config.parents) * config.patch, width)
        self.dropout = nn.Dropout(config.dropout)
        if config.timestep:
            self.time1, self.time2 = nn.Linear(256, width), nn.Linear(width, width)


class TextTower(Tower):
    """Embeds descriptions in the common space.

    With CLIP's token ids, padding is attended to, too, as the published weights expect.
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
        """Embed ids [B, 77], or word features [B, L, W] with their mask: [B, feature]."""
        if self.words != "clip":
            assert valid_BL is not None
            return pool_query([self], words[None], valid_BL)[0]
        x_BLE = run_layers([self], (self.tokens(words) + self.places)[None], None)[0]
        is_end_BL = words == words.amax(1, keepdim=True)  # the end marker has the largest id
        return self.out(self.norm((x_BLE * is_end_BL[:, :, None]).sum(1)))


# S towers of one shape run as one batch: [S, B, L, E].


def stack_params(kind: str, modules: Sequence[nn.Module]) -> Tensor:
    """Stack a parameter of several modules: [S, ...]; from `MotionRecognizer.stack` if that was called."""
    stacked: dict[str, Tensor] | None = getattr(modules[0], "stacked", None)
    if stacked is not None:
        return stacked[kind]
    return torch.stack([module.get_parameter(kind) for module in modules])


def project(x_SBLE: Tensor, weight_SFE: Tensor, bias_SF: Tensor) -> Tensor:
    """Apply one affine map per tower: [S, B, L, F]."""
    x_SNE = x_SBLE.flatten(1, 2)
    return torch.baddbmm(bias_SF[:, None], x_SNE, weight_SFE.mT).unflatten(1, x_SBLE.shape[1:3])


def stacked_linear(x_SBLE: Tensor, modules: Sequence[nn.Module]) -> Tensor:
    return project(x_SBLE, stack_params("weight", modules), stack_params("bias", modules))


def stacked_layer_norm(x_SBLE: Tensor, norms: Sequence[nn.Module]) -> Tensor:
    weight, bias = (stack_params(kind, norms)[:, None, None] for kind in ("weight", "bias"))
    return layer_norm(x_SBLE, x_SBLE.shape[-1:]) * weight + bias


def attend(queries_SBQE: Tensor, x_SBLE: Tensor, valid_BL: Tensor | None, layers: Sequence[EncoderLayer]) -> Tensor:
    """Attention of queries to all valid positions, [S, B, Q, E]."""
    S, B, _, E = x_SBLE.shape
    weight, bias = (
        stack_params(f"in_proj_{kind}", [layer.self_attn for layer in layers]) for kind in ("weight", "bias")
    )
    q = project(queries_SBQE, weight[:, :E], bias[:, :E])
    k, v = project(x_SBLE, weight[:, E:], bias[:, E:]).chunk(2, 3)
    dropout = layers[0].dropout.p if layers[0].training else 0.0
    valid = None if valid_BL is None else valid_BL.repeat(S, 1)
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    found = attention(q, k, v, layers[0].heads, valid, dropout).unflatten(0, (S, B))
    return stacked_linear(found, [layer.self_attn.out_proj for layer in layers])


def run_layers(towers: Sequence[Tower], x_SBLE: Tensor, valid_BL: Tensor | None, first: bool = False) -> Tensor:
    """Run all layers: the states of all positions or, with `first`, of the first alone, [S, B, 1, E]."""
    for k in range(len(towers[0].layers)):
        layers: Any = [tower.layers[k] for tower in towers]
        dropout = layers[0].dropout
        x_SBQE = x_SBLE[:, :, :1] if first and k == len(towers[0].layers) - 1 else x_SBLE
        x_SBQE = x_SBQE + dropout(attend(x_SBQE, x_SBLE, valid_BL, layers))
        x_SBQE = stacked_layer_norm(x_SBQE, [layer.norm1 for layer in layers])
        hidden = dropout(gelu(stacked_linear(x_SBQE, [layer.linear1 for layer in layers])))
        x_SBQE = x_SBQE + dropout(stacked_linear(hidden, [layer.linear2 for layer in layers]))
        x_SBLE = stacked_layer_norm(x_SBQE, [layer.norm2 for layer in layers])
    return x_SBLE


def pool_query(towers: Sequence[MotionEncoder | TextTower], x_SBLC: Tensor, valid_BL: Tensor) -> Tensor:
    """Run towers over sequences [S, B, L, C] and project the states of their queries: [S, B, feature]."""
    x_SBLE = stacked_linear(x_SBLC, [tower.embed for tower in towers])
    S, B, L, E = x_SBLE.shape
    query = stack_params("query", towers)[:, None].expand(S, B, 1, E)
    x_SBLE = towers[0].dropout(torch.cat([query, x_SBLE], 2) + positions(L + 1, E, x_SBLE.device))
    x_SBLE = run_layers(towers, x_SBLE, pad(valid_BL, (1, 0), value=True), first=True)
    x_SBLE = stacked_layer_norm(x_SBLE, [tower.norm for tower in towers])
    return stacked_linear(x_SBLE, [tower.out for tower in towers])[:, :, 0]


class MotionRecognizer(nn.Module):
    """Three motion encoders, their fusion and the text tower; 95,757,312 parameters as published."""

    def __init__(self, config: MotionRecognizerConfig):
        super().__init__()
        self.config = config
        self.joint, self.bone, self.motion = (MotionEncoder(config) for _ in range(3))
        self.fusion_norm = nn.LayerNorm(3 * config.feature)
        self.fusion = nn.Linear(3 * config.feature, config.feature)
        self.text = TextTower(config)
        self.scales = Scales(config.parents)

    def forward(
        self, x_BTC: Tensor, lengths_B: Tensor, words: Tensor, valid_BL: Tensor | None = None
    ) -> tuple[MotionFeatures, Tensor]:
        return self.encode(x_BTC, lengths_B), self.describe(words, valid_BL)

    def encode(self, x_BTC: Tensor, lengths_B: Tensor) -> MotionFeatures:
        """Embed normalized joints [B, T, C], T a multiple of the patch, lengths in frames."""
        valid_BT = torch.arange(x_BTC.shape[1], device=x_BTC.device) < lengths_B[:, None]
        valid_BT1 = valid_BT[:, :, None]
        views = self.scales.views(x_BTC * valid_BT1)
        patch = self.config.patch
        x_SBLC = torch.stack(views).mul(valid_BT1).unflatten(2, (-1, patch)).flatten(3)
        joint, bone, motion = pool_query((self.joint, self.bone, self.motion), x_SBLC, valid_BT[:, ::patch])
        fused = self.fusion(self.fusion_norm(torch.cat([joint, bone, motion], 1)))
        return MotionFeatures(fused, joint, bone, motion)

    def stack(self, matrices: torch.dtype = torch.float32) -> None:
        """Stack the weights of the three encoders once instead of in each call; to be called after `to`.

        Parameters become views of the stacks, those of `matrices` in another type do not: autocast converts no more.
        """
        for towers in zip(self.joint.modules(), self.bone.modules(), self.motion.modules(), strict=True):
            dtype = matrices if isinstance(towers[0], nn.Linear | SelfAttention) else torch.float32
            stacked: dict[str, Tensor] = {}
            for kind, _ in towers[0].named_parameters(recurse=False):
                stack = torch.stack([module.get_parameter(kind) for module in towers]).detach()
                stacked[kind] = stack.to(dtype)
                if dtype == stack.dtype:
                    for module, own in zip(towers, stack, strict=True):
                        module.get_parameter(kind).data = own
            towers[0].stacked = stacked  # type: ignore[assignment]

    def describe(self, words: Tensor, valid_BL: Tensor | None = None) -> Tensor:
        """Embed descriptions: [B, feature]; see TextTower."""
        return self.text(words, valid_BL)
