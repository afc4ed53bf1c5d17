"""Networks of a published size with random weights, which do not affect speed."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ...training.coamd.pipeline import CoamdPipeline
from ...training.coamd.tasks import Normalization
from ...training.models.coamd import SIZES, AutoEncoder, LengthEstimator, MotionGenerator, MotionRecognizer


def random_pipeline(size: str) -> CoamdPipeline:
    """A generator of a published size with open gates; the other networks are small placeholders."""
    generator = MotionGenerator(SIZES[size].generator)
    for block in (*generator.blocks, *generator.head.blocks):
        nn.init.normal_(block.get_submodule("modulation").weight, std=0.02)
    for last in (generator.head.modulation, generator.head.out):
        nn.init.normal_(last.weight, std=0.02)
    small, width = SIZES["small"], generator.config.text
    coordinates = small.autoencoder.coordinates
    return CoamdPipeline(
        autoencoder=AutoEncoder(small.autoencoder).eval(),
        generator=generator.eval().requires_grad_(False),
        recognizer=MotionRecognizer(small.recognizer).eval(),
        lengths=LengthEstimator(width, generator.config.qualities).eval(),
        normalization=Normalization(mean=np.zeros(coordinates, np.float32), std=np.ones(coordinates, np.float32)),
        text=None,  # type: ignore[arg-type]
    )


def to_bf16(generator: MotionGenerator) -> MotionGenerator:
    """A copy of the generator with its matrices in bfloat16."""
    half = copy.deepcopy(generator)
    for module in half.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)
    return half
