"""The generator: a bidirectional trunk over tokens, some of them masked, and a flow head for single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from ....kernels.adaln_mlp import adaln_mlp, adaln_mlp_blocks
from .layers import attention, layer_norm, positions, sinusoids


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Architecture of a MotionGenerator.

    Attributes:
        latent: D, channels of a token. text: W, width of the text features.
        width, depth, heads: of the trunk. head_width, head_depth: of the flow head.
        qualities: number of capture qualities to condition on; 0: no such condition.
        objective: prediction of the head: "flow", the velocity from noise to token; "ddpm", the noise.
    """

    latent: int = 512
    text: int = 512
    width: int = 1024
    depth: int = 6
    heads: int = 16
    head_width: int = 1792
    head_depth: int = 16
    qualities: int = 0
    objective: str = "flow"
    dropout: float = 0.2


class TrunkAttention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x_BQE: Tensor, keys_BLE: Tensor, valid_BL: Tensor) -> Tensor:
        q, k, v = self.query(x_BQE), self.key(keys_BLE), self.value(keys_BLE)
        return self.proj(attention(q, k, v, self.heads, valid_BL, self.dropout if self.training else 0.0))


class TrunkBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition (adaLN-zero)."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        width = config.width
        self.attn = TrunkAttention(width, config.heads, config.dropout)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x_BLE: Tensor, modulation_BM: Tensor, valid_BL: Tensor, positions_BQ: Tensor | None = None
    ) -> Tensor:
        """Apply the block; with `positions`, at those only, [B, Q, E]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation_BM[:, None].split(6 * [x_BLE.shape[2]], -1)
        keys_BLE = layer_norm(x_BLE) * (1 + scale1) + shift1
        queries = keys_BLE
        if positions_BQ is not None:
            x_BLE, queries = gather_positions(x_BLE, positions_BQ), gather_positions(keys_BLE, positions_BQ)
        x_BLE = x_BLE + gate1 * self.dropout(self.attn(queries, keys_BLE, valid_BL))
        hidden = gelu(self.fc1(layer_norm(x_BLE) * (1 + scale2) + shift2), approximate="tanh")
        return x_BLE + gate2 * self.dropout(self.fc2(hidden))


def gather_positions(x_BLE: Tensor, positions_BQ: Tensor) -> Tensor:
    """Select positions of each sample, [B, Q, E]."""
    return x_BLE.gather(1, positions_BQ[:, :, None].expand(-1, -1, x_BLE.shape[2]))


class HeadBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, h_NE: Tensor, modulation_NM: Tensor) -> Tensor:
        return adaln_mlp(h_NE, modulation_NM, *self.weights)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Weight and bias of the normalization and of both layers."""
        return tuple(
            module.get_parameter(kind) for module in (self.norm, self.fc1, self.fc2) for kind in ("weight", "bias")
        )


class FlowHead(nn.Module):
    """Velocity of a noisy token, conditioned on the trunk's output there; 270,875,648 parameters as published."""

    FREQUENCIES = 256

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        width = config.head_width
        self.time1, self.time2 = nn.Linear(self.FREQUENCIES, width), nn.Linear(width, width)
        self.condition = nn.Linear(config.width, width)
        self.input = nn.Linear(config.latent, width)
        self.blocks = nn.ModuleList(HeadBlock(width) for _ in range(config.head_depth))
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, config.latent)
        self.stacked: tuple[Tensor, ...] | None = None

    def stack(self) -> None:
        """Stack the weights of all blocks for the fused kernel; parameters become views of the stacks."""
        blocks: Any = self.blocks
        parts = [block.weights for block in blocks]
        self.stacked = tuple(torch.stack(weights).detach() for weights in zip(*parts, strict=True))
        for k, weights in enumerate(parts):
            for weight, stack in zip(weights, self.stacked, strict=True):
                weight.data = stack[k]

    def forward(self, x_ND: Tensor, t_N: Tensor, z_NE: Tensor) -> Tensor:
        """Noisy tokens [N, D] at times [N] or [1], with the trunk's outputs [N, E] -> [N, D]."""
        return self.velocity(x_ND, self.modulations(t_N, z_NE))

    def modulations(self, t: Tensor, z_NE: Tensor) -> list[Tensor]:
        """Modulation of every layer at times [N], [1], or [S, 1] for S times of every token: [N or S, N, ...] each."""
        time = self.time2(silu(self.time1(sinusoids(t, self.FREQUENCIES))))
        y = silu(time + self.condition(z_NE))
        return [part.modulation(y) for part in (*self.blocks, self)]

    def velocity(self, x_ND: Tensor, modulations: Sequence[Tensor]) -> Tensor:
        """Velocity of noisy tokens, [N, D]; for modulations [G, N, ...] of several conditions, [G, N, D]."""
        *blocks, last = modulations
        h = self.input(x_ND)
        if self.stacked is not None:
            h = adaln_mlp_blocks(h, torch.stack(blocks), *self.stacked)
        else:
            for block, modulation in zip(self.blocks, blocks, strict=True):
                h = block(h, modulation)
        shift, scale = last.chunk(2, -1)
        return self.out(layer_norm(h) * (1 + scale) + shift)


class MotionGenerator(nn.Module):
    """Trunk and head; 385,265,152 parameters at the published size and depth 6."""

    text_mean: Tensor
    text_std: Tensor

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.mask = nn.Parameter(torch.zeros(config.latent))  # the mask token
        self.embed = nn.Linear(config.latent, config.width)
        self.text = nn.Linear(config.text, config.width)
        self.quality = nn.Embedding(config.qualities, config.width) if config.qualities else None
        self.blocks = nn.ModuleList(TrunkBlock(config) for _ in range(config.depth))
        self.head = FlowHead(config)
        self.dropout = nn.Dropout(config.dropout)
        # of the text features; 0 and 1 in the published model
        self.register_buffer("text_mean", torch.zeros(config.text))
        self.register_buffer("text_std", torch.ones(config.text))
        self.reset()

    def reset(self) -> None:
        """Initialize the weights with all gates closed, so that every block starts as the identity."""
        trunk = [m for part in (self.embed, self.text, self.blocks) for m in part.modules()]
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if module in trunk or module in (self.head.time1, self.head.time2):
                    nn.init.normal_(module.weight, std=0.02)
                else:
                    nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        closed = [block.modulation for block in (*self.blocks, *self.head.blocks)]
        for last in (*closed, self.head.modulation, self.head.out):
            nn.init.zeros_(last.weight)
        if self.quality is not None:
            nn.init.normal_(self.quality.weight, std=0.02)

    def to_bf16(self) -> None:
        """Convert matrices and the whole head to bfloat16; to be called under autocast afterwards."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)
        self.head.to(torch.bfloat16)

    def condition(self, text_BW: Tensor, quality_B: Tensor | None = None) -> Tensor:
        """Condition vector [B, E]; zeros for the text mean no text."""
        c_BE = self.text(self.standardize(text_BW))
        if self.quality is None:
            return c_BE
        assert quality_B is not None, "a generator with qualities needs one"
        return c_BE + self.quality(quality_B)

    def standardize(self, text_BW: Tensor) -> Tensor:
        """Text features of mean 0 and deviation 1; no text stays zeros."""
        has_text_B1 = (text_BW != 0).any(1, keepdim=True)
        return torch.where(has_text_B1, (text_BW - self.text_mean) / self.text_std, 0)

    def forward(
        self,
        tokens_BLD: Tensor,
        text_BW: Tensor,
        valid_BL: Tensor,
        quality_B: Tensor | None,
        predicted_BL: Tensor,
        x_ND: Tensor,
        t_N: Tensor,
    ) -> Tensor:
        """Prediction of the head for noisy tokens at times, [N, D]; N is a multiple of the predicted positions."""
        z_NE = self.trunk(tokens_BLD, self.modulations(self.condition(text_BW, quality_B)), valid_BL)[predicted_BL]
        return self.head(x_ND, t_N, z_NE.repeat(len(x_ND) // len(z_NE), 1))

    def modulations(self, c_BE: Tensor) -> list[Tensor]:
        """Modulation of every block by a condition, [B, 6E] each."""
        return [block.get_submodule("modulation")(silu(c_BE)) for block in self.blocks]

    def trunk(
        self, tokens_BLD: Tensor, modulations: Sequence[Tensor], valid_BL: Tensor, positions_BQ: Tensor | None = None
    ) -> Tensor:
        """Run the trunk over tokens, some of them masked: the head's condition at each position, [B, L, E].

        With `positions`, at those only, [B, Q, E]; the last block computes no others.
        """
        x_BLE = self.embed(tokens_BLD)
        x_BLE = self.dropout(x_BLE + positions(x_BLE.shape[1], x_BLE.shape[2], x_BLE.device))
        for block, modulation in zip(self.blocks[:-1], modulations[:-1], strict=True):
            x_BLE = block(x_BLE, modulation, valid_BL)
        return self.blocks[-1](x_BLE, modulations[-1], valid_BL, positions_BQ)
