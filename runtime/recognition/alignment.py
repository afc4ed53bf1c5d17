"""Matching by alignment: features and texts are projected to one space, and a text fits a feature by their cosine.

The space has several parts, each of which is scaled to its own length: parts of length sqrt(share), whose shares sum
to 1. So the dot product of a feature and a text is a weighted mean of cosines.

Shapes: B features of width F, K texts of S sentences, W text width, E width of the space, P parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

EPSILON = 1e-6


class Alignment:
    """Projections of features and texts.

    Args:
        motion_FE, motion_E: matrix and bias of features.
        text_SWE, text_SE: matrices and biases of the sentences of each slot.
        parts: widths of the parts. shares: of the parts, in the dot product.
    """

    max_texts = 1_000_000  # in a batch

    def __init__(
        self,
        motion_FE: np.ndarray,
        motion_E: np.ndarray,
        text_SWE: np.ndarray,
        text_SE: np.ndarray,
        parts: Sequence[int],
        shares: Sequence[float],
    ) -> None:
        self.motion_FE, self.motion_E, self.text_SE = motion_FE, motion_E, text_SE
        self.text_XE = text_SWE.reshape(-1, text_SWE.shape[2])  # X: slots and text width
        ends = [0, *accumulate(parts)]
        self.parts = [(slice(*ends), share**0.5) for ends, share in zip(pairwise(ends), shares, strict=True)]

    def condition(self, sentences_KSW: np.ndarray, mask_KS: np.ndarray) -> tuple[np.ndarray]:
        """Project texts to [K, E]; `mask_KS` is 1 for sentences that exist, else 0."""
        present_KX = (sentences_KSW * mask_KS[:, :, None]).reshape(len(mask_KS), -1)
        return (self._scale(present_KX @ self.text_XE + mask_KS @ self.text_SE),)

    def embed(self, z_BF: np.ndarray) -> np.ndarray:
        """Project features to [B, E]."""
        return self._scale(z_BF @ self.motion_FE + self.motion_E)

    def errors(self, z_BF: np.ndarray, embedding_KE: np.ndarray) -> np.ndarray:
        """1 - mean cosine of features and texts, [B, K]."""
        found: np.ndarray = 1 - self.embed(z_BF) @ embedding_KE.T
        return found

    def _scale(self, x_NE: np.ndarray) -> np.ndarray:
        for part, length in self.parts:
            norm_N1 = np.linalg.norm(x_NE[:, part], axis=1, keepdims=True)
            x_NE[:, part] *= length / np.maximum(norm_N1, EPSILON)
        return x_NE
