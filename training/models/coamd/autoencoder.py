"""The autoencoder: four frames of joints to one token and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, relu

from ....runtime.generation.schedule import STRIDE
from .views import SMPL22, Scales


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoEncoderConfig:
    """Architecture of an AutoEncoder."""

    parents: tuple[int, ...] = SMPL22
    width: int = 512
    latent: int = 512  # D
    dilations: tuple[int, ...] = (9, 3, 1)
    dropout: float = 0.2

    @property
    def coordinates(self) -> int:
        return 3 * len(self.parents)


class Conv(nn.Conv1d):
    """A 1-D convolution over [B, T, C] as one matrix product over its concatenated taps; weights as in Conv1d."""

    def forward(self, x_BTC: Tensor) -> Tensor:
        (kernel,), (stride,), (dilation,) = self.kernel_size, self.stride, self.dilation
        if kernel == 1:
            return linear(x_BTC, self.weight[:, :, 0], self.bias)
        padding = int(self.padding[0])
        x_BTC = pad(x_BTC, (0, 0, padding, padding))
        last = x_BTC.shape[1] - dilation * (kernel - 1)
        taps = [x_BTC[:, dilation * k : dilation * k + last : stride] for k in range(kernel)]
        return linear(torch.cat(taps, 2), self.weight.transpose(1, 2).flatten(1), self.bias)


class Residual(nn.Module):
    """A residual block of two convolutions, without normalization."""

    def __init__(self, width: int, dilation: int, dropout: float):
        super().__init__()
        self.conv1 = Conv(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = Conv(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTC: Tensor, mask_BT1: Tensor | float) -> Tensor:
        return x_BTC + self.dropout(self.conv2(relu(self.conv1(relu(x_BTC) * mask_BT1))))


class Level(nn.Module):
    """A convolution that halves or doubles the rate, and residual blocks of decreasing dilation."""

    def __init__(self, config: AutoEncoderConfig, resample: Conv):
        super().__init__()
        self.blocks = nn.ModuleList(Residual(config.width, d, config.dropout) for d in config.dilations)
        self.resample = resample

    def forward(self, x_BTC: Tensor, mask_BT1: Tensor | float) -> Tensor:
        for block in self.blocks:
            x_BTC = block(x_BTC, mask_BT1)
        return x_BTC


class TokenEncoder(nn.Module):
    """Stems of joints, bones and motion, averaged, then two levels down."""

    def __init__(self, config: AutoEncoderConfig):
        super().__init__()
        self.joint, self.bone, self.motion = (Conv(config.coordinates, config.width, 3, padding=1) for _ in range(3))
        down = [Conv(config.width, config.width, 4, stride=2, padding=1) for _ in range(2)]
        self.levels = nn.ModuleList(Level(config, conv) for conv in down)
        self.out = Conv(config.width, config.latent, 3, padding=1)

    def forward(self, x_BTC: Tensor, lengths_B: Tensor | None, scales: Scales) -> Tensor:
        mask = length_mask(lengths_B, x_BTC.shape[1])
        x_BTC = x_BTC * mask
        joint, bone, motion = scales.views(x_BTC)
        h = relu((self.joint(joint) + self.bone(bone) + self.motion(motion * mask)) / 3)
        for k, level in enumerate(self.levels):
            h = level.get_submodule("resample")(h * mask)
            mask = length_mask(lengths_B, h.shape[1], 2 ** (k + 1))
            h = level(h, mask)
        return self.out(h * mask)


class TokenDecoder(nn.Module):
    """Two levels up."""

    def __init__(self, config: AutoEncoderConfig):
        super().__init__()
        width = config.width
        self.first = Conv(config.latent, width, 3, padding=1)
        up = [Conv(width, width, 3, padding=1) for _ in range(2)]
        self.levels = nn.ModuleList(Level(config, conv) for conv in up)
        self.last = Conv(width, width, 3, padding=1)
        self.out = Conv(width, config.coordinates, 3, padding=1)

    def forward(self, z_BLD: Tensor, lengths_B: Tensor | None) -> Tensor:
        mask = length_mask(lengths_B, z_BLD.shape[1], STRIDE)
        h = relu(self.first(z_BLD * mask))
        for k, level in enumerate(self.levels):
            h = repeat_frames(level(h, mask))
            mask = length_mask(lengths_B, h.shape[1], STRIDE // 2 ** (k + 1))
            h = level.get_submodule("resample")(h * mask)
        return self.out(relu(self.last(h * mask)) * mask)


class AutoEncoder(nn.Module):
    """Motion to tokens and back; 19,035,202 parameters at the published size.

    Frames beyond a motion's length are zeroed before every convolution, so results do not depend on the padding.
    Without `lengths`, padding is treated as motion, as in the released code.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: AutoEncoderConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = TokenEncoder(config), TokenDecoder(config)
        self.scales = Scales(config.parents)
        # of the encoder's outputs; 0 and 1 in the published model, which does not normalize tokens
        self.register_buffer("shift", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))

    def encode(self, x_BTC: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Encode normalized joints [B, T, C], T a multiple of 4, lengths in frames, to tokens [B, T/4, D]."""
        return (self.encoder(x_BTC, lengths_B, self.scales) - self.shift) / self.scale

    def decode(self, z_BLD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Decode tokens [B, L, D], lengths in frames, to normalized joints [B, 4L, C]."""
        return self.decoder(z_BLD * self.scale + self.shift, lengths_B) @ self.scales.mix

    def forward(self, x_BTC: Tensor, lengths_B: Tensor | None = None, noise_B: Tensor | None = None) -> Tensor:
        """Encode and decode; `noise` is the standard deviation of noise on the tokens, relative to the batch's."""
        z_BLD = self.encode(x_BTC, lengths_B)
        if noise_B is not None:
            valid_BL1 = torch.ones_like(z_BLD[:, :, :1]) * length_mask(lengths_B, z_BLD.shape[1], STRIDE)
            std_D = z_BLD[valid_BL1[:, :, 0] > 0].std(0).detach()
            z_BLD = z_BLD + noise_B[:, None, None] * std_D * torch.randn_like(z_BLD)
        return self.decode(z_BLD, lengths_B)


def length_mask(lengths_B: Tensor | None, size: int, frames: int = 1) -> Tensor | float:
    """1 within a motion of `lengths` frames, 0 beyond, [B, size, 1]; a position is `frames` frames."""
    if lengths_B is None:
        return 1.0
    valid_BL = torch.arange(size, device=lengths_B.device) * frames < lengths_B[:, None]
    return valid_BL[:, :, None].to(torch.get_default_dtype())


def repeat_frames(x_BTC: Tensor) -> Tensor:
    """Upsample by 2: every frame twice."""
    B, T, C = x_BTC.shape
    return x_BTC[:, :, None].expand(B, T, 2, C).reshape(B, 2 * T, C)
