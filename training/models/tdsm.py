"""TDSM's network: predicts the noise in a skeleton feature, conditioned on the text of a class.

A frozen recognizer's feature is noised and denoised under the text of every class; the class with the smallest error
wins. Modules are named as in the official checkpoints, which therefore load with `load_state_dict`.

Source: Do and Kim, "Bridging the Skeleton-Text Modality Gap: Diffusion-Powered Modality Alignment for Zero-shot
Skeleton-based Action Recognition" (TDSM, ICCV 2025) and its released code.
Shapes: B batch, F skeleton feature, K classes, L tokens of a text, W text width, E width, S = 1 + L positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from ...kernels.joint_attention import joint_attention
from ...runtime.bundles.schema import SLOTS
from ..data.vocabulary import labels
from .coamd.layers import attention, layer_norm, sinusoids
from .coamd.sizes import TEXT

STEPS = 50  # of the diffusion
BETAS = (0.00085, 0.012)  # first and last
FREQUENCIES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossDiTConfig:
    """Architecture of a CrossDiT; stored as JSON next to the weights.

    Attributes:
        feature: F. text: W. tokens: maximum per text.
        pooled: width of the pooled text feature; None: W.
        cross: the feature attends to the text, but the text neither to the feature nor to the step. The text's keys and
            values are then the same for all features, so each additional feature is cheap.
        compat: "corrected" masks the padding of a text; "reference" attends to it, as the published weights expect.
    """

    feature: int = 256
    text: int = 2048
    pooled: int | None = None
    tokens: int = 35
    width: int = 768
    depth: int = 12
    heads: int = 12
    cross: bool = False
    compat: str = "corrected"


@dataclass(frozen=True, kw_only=True, slots=True)
class ZeroShotConfig(CrossDiTConfig):
    """Architecture of a ZeroShot; `encoded` is the width of the encoder's features."""

    encoded: int


SIZES = {
    "small": ZeroShotConfig(  # of `live`
        encoded=128,
        feature=len(labels()),
        text=TEXT,
        pooled=len(SLOTS) * TEXT,
        tokens=len(SLOTS),
        width=128,
        depth=2,
        heads=4,
        cross=True,
    ),
    "xl": CrossDiTConfig(compat="reference"),
}


def alpha_bar() -> np.ndarray:
    """alpha-bar_t = prod_s<=t (1 - beta_s) with evenly spaced sqrt(beta): [STEPS], falling only to 0.76."""
    first, last = (beta**0.5 for beta in BETAS)
    return np.cumprod(1 - np.linspace(first, last, STEPS) ** 2)


class EncodedTexts(NamedTuple):
    """Everything the network computes from texts alone, B rows each."""

    pooled_BE: Tensor
    text_BLE: Tensor
    keys: tuple[Tensor, ...]  # a cross network's keys and values in every block, [B, L, 2E]; otherwise empty
    valid_BL: Tensor | None  # None: all positions are valid

    def rows(self, index_N: Tensor) -> EncodedTexts:
        """The texts with these indices, with repetition."""
        pooled_NE, text_NLE, *keys = (part.index_select(0, index_N) for part in (*self[:2], *self.keys))
        return EncodedTexts(pooled_NE, text_NLE, tuple(keys), None if self.valid_BL is None else self.valid_BL[index_N])


class StepConditioning(NamedTuple):
    """Everything the network computes from texts and a step, independent of the feature; B rows each."""

    text_BLE: Tensor
    keys: tuple[Tensor, ...]  # text inputs of the first block's attention; of all blocks in a cross network
    blocks: tuple[tuple[Tensor, ...], ...]  # shifts, scales and gates of both streams, [B, 1, 6E]; cross: of one
    last: Tensor  # shift and scale of the output, [B, 1, 2E]
    valid_BS: Tensor | None  # None: all positions are valid

    def rows(self, index_R: Tensor, length: int, padded: bool) -> StepConditioning:
        """The first `length` tokens of the texts with these indices; `padded`: some of these tokens are padding."""
        return StepConditioning(
            self.text_BLE[index_R, :length],
            tuple(key[index_R, :length] for key in self.keys),
            tuple(tuple(stream[index_R] for stream in block) for block in self.blocks),
            self.last[index_R],
            self.valid_BS[index_R, : 1 + length] if self.valid_BS is not None and padded else None,
        )


class CrossDiT(nn.Module):
    """Transformer over one feature token and the tokens of a text; 261,208,576 parameters in the published size."""

    def __init__(self, config: CrossDiTConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.fl_pos_embed = nn.Parameter(torch.zeros(1, config.tokens, width))
        self.x_embedder = nn.Linear(config.feature, width)
        self.t_embedder = StepEmbedder(width)
        self.fc_embedder = nn.Sequential(
            nn.Linear(config.pooled or config.text, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.fl_embedder = nn.Linear(config.text, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(config)
        last = self.blocks[-1]
        for unused in (last.get_submodule("attn.proj_c"), last.get_submodule("mlp_c")):
            unused.requires_grad_(False)  # nothing reads the text after the last block
        self.reset()

    def reset(self) -> None:
        """Initialize the weights: all gates are closed and the predicted noise is 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.t_embedder.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.fl_pos_embed, std=0.02)
        for name, parameter in self.named_parameters():
            if "adaLN_modulation" in name or name.startswith("final_layer.linear"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        z_BF: Tensor,
        t_B: Tensor,
        words_KLW: Tensor,
        pooled_KW: Tensor,
        valid_KL: Tensor | None = None,
        class_B: Tensor | None = None,
    ) -> Tensor:
        """Predict the noise [B, F] in features at steps 0 to 49; `class_B`: index of each feature's text."""
        texts = self.encode_texts(words_KLW, pooled_KW, valid_KL)
        conditioning = self.condition(t_B, texts if class_B is None else texts.rows(class_B))
        return self.predict_noise(self.x_embedder(z_BF), conditioning)

    def encode_texts(self, words_BLW: Tensor, pooled_BW: Tensor, valid_BL: Tensor | None = None) -> EncodedTexts:
        """Encode texts; for a cross network, through all blocks."""
        pooled_BE = self.fc_embedder(pooled_BW)
        text_BLE = self.fl_embedder(words_BLW) + self.fl_pos_embed[:, : words_BLW.shape[1]]
        hidden_BLE, keys = text_BLE, []
        for k in range(len(self.blocks) if self.config.cross else 0):
            block: Any = self.blocks[k]
            key_BLM, hidden_BLE = block.forward_text(hidden_BLE, pooled_BE, valid_BL, last=k == len(self.blocks) - 1)
            keys.append(key_BLM)
        return EncodedTexts(pooled_BE, text_BLE, tuple(keys), valid_BL)

    def condition(self, t_B: Tensor, texts: EncodedTexts) -> StepConditioning:
        """Condition on steps [B] or [1] and texts."""
        c_BE = self.t_embedder(t_B) + texts.pooled_BE
        streams = ("",) if self.config.cross else ("", "_c")
        blocks = tuple(
            tuple(block.get_submodule(f"adaLN_modulation{stream}")(c_BE)[:, None] for stream in streams)
            for block in self.blocks
        )
        first: Any = self.blocks[0]
        keys = texts.keys or (first.text_qkv(texts.text_BLE, blocks[0][1]),)
        valid_BL = None if self.config.compat == "reference" else texts.valid_BL
        valid_BS = None if valid_BL is None else pad(valid_BL, (1, 0), value=True)
        return StepConditioning(
            texts.text_BLE, keys, blocks, self.final_layer.adaLN_modulation(c_BE)[:, None], valid_BS
        )

    def predict_noise(self, x_BE: Tensor, conditioning: StepConditioning) -> Tensor:
        """Predict the noise [B, F] in embedded features."""
        x_B1E, text_BLE, last = x_BE[:, None], conditioning.text_BLE, len(self.blocks) - 1
        for k, (block, modulation) in enumerate(zip(self.blocks, conditioning.blocks, strict=True)):
            key_BLM = conditioning.keys[k] if k < len(conditioning.keys) else None
            x_B1E, text_BLE = block(
                x_B1E, text_BLE, key_BLM, modulation, conditioning.valid_BS, last=self.config.cross or k == last
            )
        return self.final_layer(x_B1E, conditioning.last)[:, 0]


class ZeroShot(CrossDiT):
    """A CrossDiT together with the projections of encoder features and sentences into its spaces.

    A text is up to `tokens` sentences, each on a fixed subject and each one token; its pooled feature is their
    concatenation. Missing sentences are 0.
    """

    mean: Tensor
    projection: Tensor
    sentence_mean: Tensor
    sentence_scale: Tensor

    def __init__(self, config: ZeroShotConfig):
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(config.encoded))
        self.register_buffer("projection", torch.zeros(config.encoded, config.feature))
        self.register_buffer("sentence_mean", torch.zeros(config.tokens, config.text))
        self.register_buffer("sentence_scale", torch.ones(1))

    def project(self, encoded_BD: Tensor) -> Tensor:
        """Project encoder features into the matcher's space, [B, F]."""
        return (encoded_BD - self.mean) @ self.projection

    def embed_sentences(self, sentences_KLW: Tensor, present_KL: Tensor) -> tuple[Tensor, Tensor]:
        """Words [K, L, W] and pooled features [K, L W] of texts, see `encode_texts`.

        Args:
            present_KL: 0 or 1, which sentences exist; at least one per text.
        """
        words_KLW = (sentences_KLW - self.sentence_mean) * self.sentence_scale * present_KL[:, :, None]
        scale_K11 = (present_KL.shape[1] / present_KL.sum(1, keepdim=True))[:, :, None] ** 0.5
        return words_KLW, (scale_K11 * words_KLW).flatten(1)


class Block(nn.Module):
    """Joint attention of both streams and an MLP for each, shifted, scaled and gated by step and text (adaLN-zero)."""

    def __init__(self, config: CrossDiTConfig):
        super().__init__()
        width = config.width
        self.attn = JointAttention(width, config.heads)
        self.mlp, self.mlp_c = Mlp(width), Mlp(width)
        self.adaLN_modulation = modulation_layer(width, 6)
        self.adaLN_modulation_c = modulation_layer(width, 6)

    def text_qkv(self, text_BLE: Tensor, modulation_B1M: Tensor) -> Tensor:
        """Queries, keys and values of the text, [B, L, 3E]."""
        shift, scale, *_ = modulation_B1M.chunk(6, 2)
        return self.attn.qkv_c(modulate(text_BLE, shift, scale))

    def forward_text(
        self, text_BLE: Tensor, pooled_BE: Tensor, valid_BL: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor]:
        """Keys and values [B, L, 2E] of a text that attends to itself only, and the text after the block."""
        modulation_B1M = self.adaLN_modulation_c(pooled_BE)[:, None]
        qkv_BLM = self.text_qkv(text_BLE, modulation_B1M)
        key_BLM = qkv_BLM[:, :, self.attn.width :]
        if last:
            return key_BLM, text_BLE
        _, _, gate, *mlp = modulation_B1M.chunk(6, 2)
        q, k, v = qkv_BLM.chunk(3, 2)
        attended_BLE = self.attn.proj_c(attention(q, k, v, self.attn.heads, valid_BL, 0.0))
        return key_BLM, self.mlp_c(torch.addcmul(text_BLE, gate, attended_BLE), *mlp)

    def forward(
        self,
        x_B1E: Tensor,
        text_BLE: Tensor,
        key_BLM: Tensor | None,
        modulation: tuple[Tensor, ...],
        valid_BS: Tensor | None,
        last: bool,
    ) -> tuple[Tensor, Tensor]:
        """Both streams after the block; the last block that reads the text leaves it unchanged.

        Args:
            key_BLM: see `StepConditioning.keys`.
        """
        x_modulation_B1M, *text_modulation = modulation
        if key_BLM is None:
            key_BLM = self.text_qkv(text_BLE, text_modulation[0])
        shift, scale, gate, *mlp = x_modulation_B1M.chunk(6, 2)
        attended, attended_text = self.attn(self.attn.qkv(modulate(x_B1E, shift, scale)), key_BLM, valid_BS, last)
        x_B1E = self.mlp(torch.addcmul(x_B1E, gate, attended), *mlp)
        if attended_text is not None:
            _, _, gate, *mlp = text_modulation[0].chunk(6, 2)
            text_BLE = self.mlp_c(torch.addcmul(text_BLE, gate, attended_text), *mlp)
        return x_B1E, text_BLE


class JointAttention(nn.Module):
    """Attention among the feature's token and the text's tokens, with separate weights for the two streams."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, width
        self.qkv, self.qkv_c = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.proj, self.proj_c = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, qkv_B1M: Tensor, text_BLM: Tensor, valid_BS: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of each stream to both; of the feature only if `last`."""
        attended, attended_text = joint_attention(qkv_B1M, text_BLM, self.heads, valid_BS, text=not last)
        return self.proj(attended), None if attended_text is None else self.proj_c(attended_text)


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BLE: Tensor, shift_B1E: Tensor, scale_B1E: Tensor, gate_B1E: Tensor) -> Tensor:
        """x + gate * MLP(modulated x)."""
        hidden = gelu(self.fc1(modulate(x_BLE, shift_B1E, scale_B1E)), approximate="tanh")
        return torch.addcmul(x_BLE, gate_B1E, self.fc2(hidden))


class StepEmbedder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B: Tensor) -> Tensor:
        return self.mlp(sinusoids(t_B, FREQUENCIES))


class FinalLayer(nn.Module):
    def __init__(self, config: CrossDiTConfig):
        super().__init__()
        self.linear = nn.Linear(config.width, config.feature)
        self.adaLN_modulation = modulation_layer(config.width, 2)

    def forward(self, x_B1E: Tensor, modulation_B1M: Tensor) -> Tensor:
        return self.linear(modulate(x_B1E, *modulation_B1M.chunk(2, 2)))


def modulation_layer(width: int, parts: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


def modulate(x_BLE: Tensor, shift_B1E: Tensor, scale_B1E: Tensor) -> Tensor:
    return torch.addcmul(shift_B1E, layer_norm(x_BLE), 1 + scale_B1E)
