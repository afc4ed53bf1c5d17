"""Sentences that describe each class, as text features.

Shapes: K classes, S sentences, W text width, M pooled width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...runtime.bundles.schema import SLOTS
from ...runtime.text_encoder import TextEncoder
from ..data.caption_features import CaptionFeatures
from ..data.unseen_labels import sentences
from .matching import ClassTexts


class LabelSentences(NamedTuple):
    """Features of the sentences of every class [K, S, W], and which sentences exist [K, S], 0 or 1."""

    features: Tensor
    present: Tensor

    @classmethod
    def encode(cls, texts: Sequence[Mapping[str, str]], encoder: TextEncoder) -> LabelSentences:
        """Encode the sentences of each class, by slot (see `SLOTS`)."""
        encoded = CaptionFeatures((sentence for by_slot in texts for sentence in by_slot.values()), encoder)
        features_KSW = torch.zeros(len(texts), len(SLOTS), encoder.width)
        present_KS = torch.zeros(len(texts), len(SLOTS))
        for k, by_slot in enumerate(texts):
            slots = [SLOTS.index(slot) for slot in by_slot]
            features_KSW[k, slots] = torch.from_numpy(encoded.pooled(list(by_slot.values())))
            present_KS[k, slots] = 1
        return cls(features_KSW, present_KS)

    @classmethod
    def for_labels(cls, names: Sequence[str], encoder: TextEncoder, slots: Sequence[str] = SLOTS) -> LabelSentences:
        """Encode our own sentences for labels of the vocabulary, all or only those of some slots."""
        return cls.encode([{slot: sentences(name)[slot] for slot in slots} for name in names], encoder)


def drop_sentences(present_KS: Tensor, rng: np.random.Generator, keep_all: float) -> Tensor:
    """Mask [K, S] that keeps all sentences of a class with probability `keep_all`, else about half, at least one."""
    score_KS = rng.random(tuple(present_KS.shape)) * present_KS.numpy()
    kept_KS = (
        (score_KS > 0.5) | (rng.random((len(present_KS), 1)) < keep_all) | (score_KS == score_KS.max(1, keepdims=True))
    )
    return torch.from_numpy(kept_KS.astype(np.float32)) * present_KS


def class_texts(words_KLW: Tensor, pooled_KM: Tensor) -> ClassTexts:
    """Texts whose tokens are all valid."""
    valid_KL = torch.ones(words_KLW.shape[:2], dtype=torch.bool, device=words_KLW.device)
    return ClassTexts(words_KLW=words_KLW, valid_KL=valid_KL, pooled_KW=pooled_KM)
