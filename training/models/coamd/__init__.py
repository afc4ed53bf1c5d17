"""CoAMD: networks that recognize, retrieve, generate and edit motion as absolute joint coordinates.

An auto-encoder turns four frames into a token. A masked-autoregressive trunk and a flow network for single tokens
generate them from text. A recognizer of three streams embeds motion and text, and its gradient guides generation.

Shapes: B batch, T frames, C = 3V coordinates, L tokens, D channels of a token, W width of the text features.
Source: Kuang et al., "CoAMD" (arXiv 2604.17090) and its released code; the generator descends from MARDM.
"""

from .autoencoder import AutoEncoder, AutoEncoderConfig
from .generator import GeneratorConfig, MotionGenerator
from .length import LengthEstimator
from .recognizer import MotionFeatures, MotionRecognizer, MotionRecognizerConfig
from .sizes import SIZES, Size

__all__ = [
    "SIZES",
    "AutoEncoder",
    "AutoEncoderConfig",
    "GeneratorConfig",
    "LengthEstimator",
    "MotionFeatures",
    "MotionGenerator",
    "MotionRecognizer",
    "MotionRecognizerConfig",
    "Size",
]
