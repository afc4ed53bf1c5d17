"""A matcher by alignment, fitted in closed form; `runtime/recognition/alignment.py` runs it.

Features and texts are projected to a space of two parts, with a share in the cosine each:

- sentences, by ESZSL (Romera-Paredes and Torr, ICML 2015), with cosines in the span of the trained texts;
- attributes of motion (`attributes.json`), by ridge regressions from features, and from the sentences of each slot.

Shapes: N samples, D encoder features, F discriminants, K classes, S slots, W text width, A attributes, E width of the
space, P width of its first part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ...runtime.bundles.schema import SLOTS
from ...runtime.recognition.alignment import Alignment
from ...runtime.text_encoder import TextEncoder
from ..data.unseen_labels import attributes
from ..data.vocabulary import alternates
from .calibration import balanced_weights, discriminants
from .encoders import EncodedClips
from .sentences import LabelSentences

RIDGE = 1.0  # penalty of regressions from features
TEXT_RIDGE = 1.0  # of regressions from texts
SENTENCE_RIDGE = 0.3  # of texts in ESZSL
SCATTER = 0.15  # added to the standard deviation that attributes are scaled to
SHARES = (0.7, 0.3)
TOO_NEAR = 0.6  # cosine with an unseen label above which another action teaches nothing, see `attributes.json`


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignedMatcher:
    """Projection of features to discriminants, mean [D] and matrix [D, F], and the alignment."""

    mean_D: np.ndarray
    projection_DF: np.ndarray
    alignment: Alignment
    parts: tuple[int, ...]

    def project(self, features_ND: np.ndarray) -> np.ndarray:
        """Centered features, projected to [N, F]."""
        z_NF: np.ndarray = (features_ND - self.mean_D) @ self.projection_DF
        return z_NF

    def distances(self, features_ND: np.ndarray, texts: LabelSentences) -> np.ndarray:
        """Distance of features from texts, [N, K]."""
        (embedding_KE,) = self.alignment.condition(texts.features.numpy(), texts.present.numpy())
        return self.alignment.errors(self.project(features_ND), embedding_KE)


def fit_alignment(
    trained: EncodedClips,
    text: TextEncoder,
    unseen: Collection[str] = (),
    shares: Sequence[float] = SHARES,
    sentence_ridge: float = SENTENCE_RIDGE,
) -> AlignedMatcher:
    """Fit a matcher to features with labels of the open vocabulary or `BACKGROUND`.

    Args:
        unseen: labels whose texts, and texts like them, teach nothing.
        shares: of sentences and of attributes.
        sentence_ridge: penalty of texts in ESZSL.
    """
    seen = sorted(set(trained.labels))
    target_N = np.array([seen.index(label) for label in trained.labels])
    mean_D, projection_DF = discriminants(
        trained.features_ND, target_N, min(len(seen) - 1, trained.features_ND.shape[1])
    )
    z_NF = (trained.features_ND - mean_D) @ projection_DF
    scale = z_NF.std()
    projection_DF, z_NF = projection_DF / scale, z_NF / scale
    weight_N = balanced_weights(target_N)
    texts_KSW = LabelSentences.for_labels(seen, text).features.numpy()
    motion, texts = zip(
        fit_sentences(z_NF, target_N, weight_N, texts_KSW, sentence_ridge),
        fit_attributes(z_NF, target_N, weight_N, texts_KSW, seen, unseen, text),
        strict=True,
    )
    motion_FE, motion_E, text_SWE, text_SE = (
        np.concatenate(arrays, -1).astype(np.float32) for side in (motion, texts) for arrays in zip(*side, strict=True)
    )
    parts = tuple(part[0].shape[-1] for part in motion)
    return AlignedMatcher(
        mean_D=mean_D,
        projection_DF=projection_DF.astype(np.float32),
        alignment=Alignment(motion_FE, motion_E, text_SWE, text_SE, parts, shares),
        parts=parts,
    )


Projection = tuple[np.ndarray, np.ndarray]
"""Matrix and bias."""


def fit_sentences(
    z_NF: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray, texts_KSW: np.ndarray, ridge: float
) -> tuple[Projection, Projection]:
    """Projections of features [F, P], [P], and of sentences [S, W, P], [S, P]."""
    K, S, W = texts_KSW.shape
    mean_SW, mean_F = texts_KSW.mean(0), weight_N @ z_NF
    texts_KX = (texts_KSW - mean_SW).reshape(K, -1)
    texts_KX /= np.linalg.norm(texts_KX, axis=1, keepdims=True)
    centered_NF = z_NF - mean_F
    weighted_FN = (centered_NF * weight_N[:, None]).T
    inner_FF = weighted_FN @ centered_NF + RIDGE * np.eye(z_NF.shape[1])
    inner_KK = texts_KX @ texts_KX.T + ridge * np.eye(K)
    bilinear_FK = np.linalg.solve(inner_FF, weighted_FN @ (2 * np.eye(K)[target_N] - 1)) @ np.linalg.inv(inner_KK)
    left_KP, size_P, axes_PX = np.linalg.svd(texts_KX, full_matrices=False)
    motion_FP, text_SWP = bilinear_FK @ (left_KP * size_P), axes_PX.T.reshape(S, W, -1)
    return (motion_FP, -mean_F @ motion_FP), (text_SWP, -np.einsum("sw,swp->sp", mean_SW, text_SWP))


def fit_attributes(
    z_NF: np.ndarray,
    target_N: np.ndarray,
    weight_N: np.ndarray,
    texts_KSW: np.ndarray,
    seen: Sequence[str],
    unseen: Collection[str],
    text: TextEncoder,
) -> tuple[Projection, Projection]:
    """Projections of features [F, A], [A], and of sentences [S, W, A], [S, A]."""
    of_labels, of_others = attributes()
    known_KA = np.array([of_labels[label] for label in seen])
    center_A, scale_A = known_KA.mean(0), known_KA.std(0) + SCATTER
    known_KA = (known_KA - center_A) / scale_A
    motion = fit_ridge(z_NF, known_KA[target_N], weight_N, RIDGE)
    names, others = [(name, k) for k, label in enumerate(seen) for name in (label, *alternates(label))], list(of_others)
    others_XW, unseen_UW = text.encode(others).pooled, encode_names(unseen, text)
    is_used = (others_XW @ unseen_UW.T).max(1, initial=-1) < TOO_NEAR
    words_XW = np.concatenate([text.encode([name for name, _ in names]).pooled, others_XW[is_used]])
    others_XA = (np.array([of_others[name] for name in others]) - center_A) / scale_A
    words_XA = np.concatenate([known_KA[[k for _, k in names]], others_XA[is_used]])
    slots = []
    for s in range(len(SLOTS)):
        x_XW, y_XA = {
            0: (words_XW, words_XA),
            1: (np.concatenate([texts_KSW[:, s], words_XW]), np.concatenate([known_KA, words_XA])),
        }.get(s, (texts_KSW[:, s], known_KA))
        slots.append(fit_ridge(x_XW, y_XA, np.full(len(x_XW), 1 / len(x_XW)), TEXT_RIDGE / len(x_XW)))
    return motion, (np.stack([matrix for matrix, _ in slots]), np.stack([bias for _, bias in slots]))


def encode_names(labels: Collection[str], text: TextEncoder) -> np.ndarray:
    """Text features of labels and of their other names."""
    names = [name for label in sorted(labels) for name in (label, *alternates(label))]
    found: np.ndarray = text.encode(names).pooled if names else np.zeros((0, text.width), np.float32)
    return found


def fit_ridge(x_NF: np.ndarray, y_NA: np.ndarray, weight_N: np.ndarray, penalty: float) -> Projection:
    """Ridge regression with weights that sum to 1: matrix [F, A] and bias [A]."""
    mean_F, mean_A = weight_N @ x_NF, weight_N @ y_NA
    centered_NF = x_NF - mean_F
    weighted_FN = (centered_NF * weight_N[:, None]).T
    inner_FF = weighted_FN @ centered_NF + penalty * np.eye(x_NF.shape[1])
    matrix_FA = np.linalg.solve(inner_FF, weighted_FN @ (y_NA - mean_A))
    return matrix_FA, mean_A - mean_F @ matrix_FA
