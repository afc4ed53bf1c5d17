"""Model sizes: `small`, which is bundled, and `xl`, as published."""

from __future__ import annotations

from dataclasses import dataclass

from .autoencoder import AutoEncoderConfig
from .generator import GeneratorConfig
from .recognizer import MotionRecognizerConfig

TEXT = 384  # width of the bundled text encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Configurations of networks that fit each other."""

    autoencoder: AutoEncoderConfig
    generator: GeneratorConfig
    recognizer: MotionRecognizerConfig


SIZES = {
    "small": Size(
        autoencoder=AutoEncoderConfig(width=160, latent=64, dropout=0.0),
        generator=GeneratorConfig(
            latent=64, text=TEXT, width=192, depth=4, heads=4, head_width=256, head_depth=6, qualities=2, dropout=0.1
        ),
        recognizer=MotionRecognizerConfig(
            patch=4,
            width=128,
            depth=3,
            heads=4,
            hidden=256,
            feature=TEXT,
            words="features",
            text=TEXT,
            dropout=0.1,
            timestep=False,
        ),
    ),
    "xl": Size(autoencoder=AutoEncoderConfig(), generator=GeneratorConfig(), recognizer=MotionRecognizerConfig()),
}
