"""TDSM's network: the noise in a skeleton feature, judged under the text of a class.

A frozen recogniser's feature is noised and denoised under the text of every class; the class whose text gives the
smallest error is the answer. Modules are named as in the official checkpoints, so that those load with
`load_state_dict`.

Source: Do and Kim, "Bridging the Skeleton-Text Modality Gap: Diffusion-Powered Modality Alignment for Zero-shot
Skeleton-based Action Recognition" (TDSM, ICCV 2025) and its released code.
Shapes: B batch, F skeleton feature, L tokens of a text, W text width, E width, S = 1 + L positions.
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
    """Architecture of a CrossDiT; stored as JSON beside the weights.

    Attributes:
        feature: F. text: W. tokens: of a text, at most.
        pooled: width of a whole text's feature; None: W.
        cross: whether the feature attends to the text, but the text neither to the feature nor to the step: what is
            made of a text is then the same for all features, and asking for one more of them is cheap.
        compat: "corrected": what pads a text is not attended to; "reference": it is, as the published weights expect.
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
    """That of a ZeroShot; `encoded`: width of the encoder's features."""

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
    """alpha-bar_t = prod_s<=t (1 - beta_s), the square roots of beta evenly spaced: [STEPS], falling to 0.76 only."""
    first, last = (beta**0.5 for beta in BETAS)
    return np.cumprod(1 - np.linspace(first, last, STEPS) ** 2)


class EncodedTexts(NamedTuple):
    """What the network makes of texts alone, B rows each."""

    pooled_BE: Tensor
    text_BLE: Tensor
    keys: tuple[Tensor, ...]  # and values of all blocks, [B, L, 2E], of a cross network; else none
    valid_BL: Tensor | None  # None: all positions are

    def rows(self, of_N: Tensor) -> EncodedTexts:
        """These texts, as often as they are named."""
        pooled_NE, text_NLE, *keys = (part.index_select(0, of_N) for part in (*self[:2], *self.keys))
        return EncodedTexts(pooled_NE, text_NLE, tuple(keys), None if self.valid_BL is None else self.valid_BL[of_N])


class StepConditioning(NamedTuple):
    """What the network is told of texts at a step, B rows each: all that does not depend on the feature."""

    text_BLE: Tensor
    keys: tuple[Tensor, ...]  # what the attention of the first block makes of the text, of a cross network all blocks'
    blocks: tuple[tuple[Tensor, ...], ...]  # shifts, scales and gates of both streams, [B, 1, 6E]; cross: of one
    last: Tensor  # shift and scale of the output, [B, 1, 2E]
    valid_BS: Tensor | None  # None: all positions are

    def rows(self, of_R: Tensor, length: int, padded: bool) -> StepConditioning:
        """Of some texts, in that order, the first `length` tokens; `padded`: not all of them are words of all texts."""
        return StepConditioning(
            self.text_BLE[of_R, :length],
            tuple(key[of_R, :length] for key in self.keys),
            tuple(tuple(stream[of_R] for stream in block) for block in self.blocks),
            self.last[of_R],
            self.valid_BS[of_R, : 1 + length] if self.valid_BS is not None and padded else None,
        )


class CrossDiT(nn.Module):
    """Blocks over one feature token and the tokens of a text; 261,208,576 parameters as published."""

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
        for unread in (last.get_submodule("attn.proj_c"), last.get_submodule("mlp_c")):
            unread.requires_grad_(False)  # nothing reads the text after the last block
        self.reset()

    def reset(self) -> None:
        """The initial weights: all gates closed, no noise found."""
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
        of_B: Tensor | None = None,
    ) -> Tensor:
        """Noisy features at steps 0 to 49, under texts -> their noise, [B, F]; `of`: whose text, None: the own."""
        read = self.encode_texts(words_KLW, pooled_KW, valid_KL)
        return self.predict_noise(self.x_embedder(z_BF), self.condition(t_B, read if of_B is None else read.rows(of_B)))

    def encode_texts(self, words_BLW: Tensor, pooled_BW: Tensor, valid_BL: Tensor | None = None) -> EncodedTexts:
        """See Read."""
        pooled_BE = self.fc_embedder(pooled_BW)
        text_BLE = self.fl_embedder(words_BLW) + self.fl_pos_embed[:, : words_BLW.shape[1]]
        read_BLE, keys = text_BLE, []
        for k in range(len(self.blocks) if self.config.cross else 0):
            block: Any = self.blocks[k]
            key_BLM, read_BLE = block.run_text(read_BLE, pooled_BE, valid_BL, last=k == len(self.blocks) - 1)
            keys.append(key_BLM)
        return EncodedTexts(pooled_BE, text_BLE, tuple(keys), valid_BL)

    def condition(self, t_B: Tensor, read: EncodedTexts) -> StepConditioning:
        """See Told; t is [B] or [1]."""
        c_BE = self.t_embedder(t_B) + read.pooled_BE
        streams = ("",) if self.config.cross else ("", "_c")
        told = tuple(
            tuple(block.get_submodule(f"adaLN_modulation{of}")(c_BE)[:, None] for of in streams)
            for block in self.blocks
        )
        first: Any = self.blocks[0]
        keys = read.keys or (first.text_qkv(read.text_BLE, told[0][1]),)
        valid_BL = None if self.config.compat == "reference" else read.valid_BL
        attended = None if valid_BL is None else pad(valid_BL, (1, 0), value=True)
        return StepConditioning(read.text_BLE, keys, told, self.final_layer.adaLN_modulation(c_BE)[:, None], attended)

    def predict_noise(self, x_BE: Tensor, told: StepConditioning) -> Tensor:
        """What is in embedded features, [B, F]."""
        x_B1E, text_BLE, last = x_BE[:, None], told.text_BLE, len(self.blocks) - 1
        for k, (block, of) in enumerate(zip(self.blocks, told.blocks, strict=True)):
            key_BLM = told.keys[k] if k < len(told.keys) else None
            x_B1E, text_BLE = block(x_B1E, text_BLE, key_BLM, of, told.valid_BS, last=self.config.cross or k == last)
        return self.final_layer(x_B1E, told.last)[:, 0]


class ZeroShot(CrossDiT):
    """A CrossDiT with the two spaces that it works in, of an encoder's features and of sentences on labels.

    A text is up to `tokens` sentences, each a token and each on another matter; its pooled feature is all of them side
    by side. What nothing is said of is 0.
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
        """An encoder's features as those that are matched, [B, F]."""
        return (encoded_BD - self.mean) @ self.projection

    def embed_sentences(self, sentences_KLW: Tensor, said_KL: Tensor) -> tuple[Tensor, Tensor]:
        """Features of sentences, and which there are, 0 or 1, at least one a text -> words and pooled; see `read`."""
        words_KLW = (sentences_KLW - self.sentence_mean) * self.sentence_scale * said_KL[:, :, None]
        louder_K11 = (said_KL.shape[1] / said_KL.sum(1, keepdim=True))[:, :, None] ** 0.5
        return words_KLW, (louder_K11 * words_KLW).flatten(1)


class Block(nn.Module):
    """Joint attention of both streams and an MLP for each, shifted, scaled and gated by step and text (adaLN-zero)."""

    def __init__(self, config: CrossDiTConfig):
        super().__init__()
        width = config.width
        self.attn = JointAttention(width, config.heads)
        self.mlp, self.mlp_c = Mlp(width), Mlp(width)
        self.adaLN_modulation = modulation_layer(width, 6)
        self.adaLN_modulation_c = modulation_layer(width, 6)

    def text_qkv(self, text_BLE: Tensor, of_text_B1M: Tensor) -> Tensor:
        """Queries, keys and values of the text, [B, L, 3E]."""
        shift, scale, *_ = of_text_B1M.chunk(6, 2)
        return self.attn.qkv_c(modulate(text_BLE, shift, scale))

    def run_text(
        self, text_BLE: Tensor, pooled_BE: Tensor, valid_BL: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of a text that attends to itself alone, [B, L, 2E], and the text after the block."""
        of_text_B1M = self.adaLN_modulation_c(pooled_BE)[:, None]
        qkv_BLM = self.text_qkv(text_BLE, of_text_B1M)
        key_BLM = qkv_BLM[:, :, self.attn.width :]
        if last:
            return key_BLM, text_BLE
        _, _, gate, *of_mlp = of_text_B1M.chunk(6, 2)
        q, k, v = qkv_BLM.chunk(3, 2)
        found_BLE = self.attn.proj_c(attention(q, k, v, self.attn.heads, valid_BL, 0.0))
        return key_BLM, self.mlp_c.added(torch.addcmul(text_BLE, gate, found_BLE), *of_mlp)

    def forward(
        self,
        x_B1E: Tensor,
        text_BLE: Tensor,
        key_BLM: Tensor | None,
        of: tuple[Tensor, ...],
        valid_BS: Tensor | None,
        last: bool,
    ) -> tuple[Tensor, Tensor]:
        """Both streams after the block; the text as it was if the block is the last to read it. `key`: see Told."""
        of_x_B1M, *of_text = of
        if key_BLM is None:
            key_BLM = self.text_qkv(text_BLE, of_text[0])
        shift, scale, gate, *of_mlp = of_x_B1M.chunk(6, 2)
        found, found_text = self.attn(self.attn.qkv(modulate(x_B1E, shift, scale)), key_BLM, valid_BS, last)
        x_B1E = self.mlp.added(torch.addcmul(x_B1E, gate, found), *of_mlp)
        if found_text is not None:
            _, _, gate, *of_mlp = of_text[0].chunk(6, 2)
            text_BLE = self.mlp_c.added(torch.addcmul(text_BLE, gate, found_text), *of_mlp)
        return x_B1E, text_BLE


class JointAttention(nn.Module):
    """Attention among the feature's token and the text's, with weights of its own for each stream."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, width
        self.qkv, self.qkv_c = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.proj, self.proj_c = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, qkv_B1M: Tensor, text_BLM: Tensor, valid_BS: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor | None]:
        """What each stream draws from both; where only keys and values of the text are read, the text nothing."""
        found, found_text = joint_attention(qkv_B1M, text_BLM, self.heads, valid_BS, text=not last)
        return self.proj(found), None if found_text is None else self.proj_c(found_text)


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def added(self, x_BLE: Tensor, shift_B1E: Tensor, scale_B1E: Tensor, gate_B1E: Tensor) -> Tensor:
        """x and, through the gate, what is made of it."""
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

    def forward(self, x_B1E: Tensor, of_B1M: Tensor) -> Tensor:
        return self.linear(modulate(x_B1E, *of_B1M.chunk(2, 2)))


def modulation_layer(width: int, parts: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


def modulate(x_BLE: Tensor, shift_B1E: Tensor, scale_B1E: Tensor) -> Tensor:
    return torch.addcmul(shift_B1E, layer_norm(x_BLE), 1 + scale_B1E)
