"""Metrics of embedded motion and text for text-to-motion and retrieval. Rates are percent.

Rank 1 is the best. On equal distances the wrong answer ranks first, so a constant embedding scores 0.

Shapes: N clips, M other clips, Q queries, G gallery, R generations of one text, D width, K components.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

import numpy as np
from numpy.random import Generator

from ...runtime.errors import InputError

TIE = 1e-12  # difference at which two relative squared distances count as equal


def fid(real_ND: np.ndarray, other_MD: np.ndarray) -> float:
    """Frechet distance of two Gaussians: |mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), covariances with N - 1.

    The trace of (S1 S2)^(1/2) is that of the symmetric (A S2 A)^(1/2), A = S1^(1/2), taken by eigenvalues. The
    covariance of N clips has rank N - 1: with fewer clips than dimensions project first (`pca`), and compare only
    distances between sets of the same size, with the distance of real motion from real motion (`halves`) as reference.

    Args:
        real_ND, other_MD: embedded motion, at least 2 clips each.
    Raises:
        InputError: too few clips, wrong shapes, or values that are not finite.
    Source: Heusel et al., NeurIPS 2017.
    """
    real, other = check_features("real motion", real_ND, 2), check_features("other motion", other_MD, 2)
    check_same_width(real, other)
    S1, S2 = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, other))
    values, vectors = np.linalg.eigh(S1)
    A = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(A @ S2 @ A), 0, None)).sum()
    distance = ((real.mean(0) - other.mean(0)) ** 2).sum() + np.trace(S1) + np.trace(S2) - 2 * cross
    return max(0.0, float(distance))


def pca(real_ND: np.ndarray, dims: int = 64) -> np.ndarray:
    """Principal directions [D, K] of real motion, K = min(dims, D, N - 1): `fid(real @ K, other @ K)`."""
    real = check_features("real motion", real_ND, 2)
    if dims < 1:
        raise InputError(f"{dims} principal components, expected at least 1")
    return np.linalg.svd(real - real.mean(0), full_matrices=False)[2][: min(dims, len(real) - 1)].T


def halves(n: int, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint random halves of n clips, n // 2 each: the FID between real halves is a lower bound."""
    if n < 4:
        raise InputError(f"{n} clips, expected at least 4 to halve")
    order = rng.permutation(n)
    return order[: n // 2], order[n // 2 : 2 * (n // 2)]


def r_precision(
    text_ND: np.ndarray,
    motion_ND: np.ndarray,
    rng: Generator,
    descriptions: Sequence[Hashable] | None = None,
    ks: Sequence[int] = (1, 2, 3),
    batch: int = 32,
) -> tuple[float, ...]:
    """R-precision@k: % of texts whose own motion is among the k nearest in its batch; see `batched_ranks`.

    Chance is 100 k / batch.
    """
    ranks = batched_ranks(text_ND, motion_ND, rng, descriptions, batch)
    return tuple(recall(ranks[ranks > 0], k) for k in ks)


def batched_ranks(
    query_ND: np.ndarray,
    gallery_ND: np.ndarray,
    rng: Generator,
    descriptions: Sequence[Hashable] | None = None,
    batch: int = 32,
) -> np.ndarray:
    """Rank of every query's own row among its random batch of the gallery, by Euclidean distance.

    Args:
        query_ND, gallery_ND: row i of one belongs to row i of the other.
        descriptions: [N] description of each clip; a batch has no description twice, because a correct answer would
            count as wrong.
        batch: size; an incomplete batch is dropped.
    Returns:
        [N] int, 1 to batch; 0 for dropped queries.
    Raises:
        InputError: fewer distinct descriptions than `batch`, or shapes that do not match.
    Source: Guo et al., CVPR 2022 (batches of 32).
    """
    query, gallery = check_features("queries", query_ND, 1), check_features("gallery", gallery_ND, 1)
    check_pairs(query, gallery)
    names = list(range(len(query))) if descriptions is None else list(descriptions)
    if len(names) != len(query):
        raise InputError(f"{len(names)} descriptions of {len(query)} clips")
    if batch < 2:
        raise InputError(f"batches of {batch}, expected at least 2")
    if len(set(names)) < batch:
        raise InputError(f"{len(set(names))} distinct descriptions, expected at least the {batch} of a batch")
    ranks = np.zeros(len(query), int)
    for chosen in batches(names, batch, rng):
        distance = distances(query[chosen], gallery[chosen])
        ranks[chosen] = (distance <= distance.diagonal()[:, None] + TIE).sum(1)
    return ranks


def batches(names: Sequence[Hashable], size: int, rng: Generator) -> list[np.ndarray]:
    """Random disjoint batches of indices, each without duplicate names; as many as can be filled."""
    queue: list[int] = rng.permutation(len(names)).tolist()
    filled: list[np.ndarray] = []
    while True:
        chosen: dict[Hashable, int] = {}
        for i in queue:
            if len(chosen) < size:
                chosen.setdefault(names[i], i)
        if len(chosen) < size:
            return filled
        filled.append(np.array(list(chosen.values())))
        taken = set(chosen.values())
        queue = [i for i in queue if i not in taken]


def gallery_ranks(query_QD: np.ndarray, gallery_GD: np.ndarray, correct_QG: np.ndarray | None = None) -> np.ndarray:
    """Rank [Q] of the nearest correct answer in the whole gallery, by Euclidean distance.

    Args:
        correct_QG: bool, the correct answers of every query, at least one each; None: row i of the gallery.
    Raises:
        InputError: shapes that do not match, or a query without a correct answer.
    """
    query, gallery = check_features("queries", query_QD, 1), check_features("gallery", gallery_GD, 1)
    check_same_width(query, gallery)
    if correct_QG is None:
        check_pairs(query, gallery)
        correct_QG = np.eye(len(query), dtype=bool)
    if correct_QG.shape != (len(query), len(gallery)):
        raise InputError(
            f"correct answers of shape {list(correct_QG.shape)}, expected [queries, gallery] = "
            f"{[len(query), len(gallery)]}"
        )
    if not correct_QG.any(1).all():
        raise InputError(f"query {int(correct_QG.any(1).argmin())} has no correct answer in the gallery")
    distance = distances(query, gallery)
    best = np.where(correct_QG, distance, np.inf).min(1)
    return 1 + (~correct_QG & (distance <= best[:, None] + TIE)).sum(1)


def recall(ranks_Q: np.ndarray, k: int) -> float:
    """R@k: % of queries whose correct answer ranks k or better."""
    return 100 * float(np.mean(check_not_empty("ranks", ranks_Q) <= k))


def median_rank(ranks_Q: np.ndarray) -> float:
    """MedR: median rank of the correct answers, 1 is the best."""
    return float(np.median(check_not_empty("ranks", ranks_Q)))


def mm_dist(text_ND: np.ndarray, motion_ND: np.ndarray) -> float:
    """Mean Euclidean distance of the embeddings of matched text and motion (Guo et al., CVPR 2022)."""
    return float(np.linalg.norm(differences(text_ND, motion_ND), axis=1).mean())


def clip_like_score(text_ND: np.ndarray, motion_ND: np.ndarray) -> float:
    """Mean cosine of the embeddings of matched text and motion (as CLIPScore, Hessel et al., EMNLP 2021, unscaled)."""
    text, motion = check_features("text", text_ND, 1), check_features("motion", motion_ND, 1)
    check_pairs(text, motion)
    lengths = np.linalg.norm(text, axis=1) * np.linalg.norm(motion, axis=1)
    if not lengths.all():
        raise InputError(f"pair {int(lengths.argmin())} has an embedding of length 0, which has no direction")
    return float(((text * motion).sum(1) / lengths).mean())


def diversity(motion_ND: np.ndarray, rng: Generator, pairs: int = 300, independent: bool = False) -> float:
    """Mean Euclidean distance over random pairs of different clips, each used at most once on either side.

    Args:
        pairs: at most N.
        independent: the sides are drawn independently as in the released code, so that some pairs are of one clip.
    Source: Guo et al., CVPR 2022 (300 pairs).
    """
    motion = check_features("motion", motion_ND, 2)
    first, second = random_pairs(len(motion), pairs, rng)
    if independent:
        second = rng.permutation(len(motion))[:pairs]
    return float(np.linalg.norm(motion[first] - motion[second], axis=1).mean())


def multimodality(motion_NRD: np.ndarray, rng: Generator, pairs: int = 10, independent: bool = False) -> float:
    """Mean Euclidean distance over random pairs of generations of one text, over texts.

    Args:
        motion_NRD: [N, R, D] R generations of N texts, R at least `pairs` and 2.
        independent: as in `diversity`; all texts then share the pairs.
    Source: Guo et al., CVPR 2022 (30 generations, 10 pairs a text).
    """
    if motion_NRD.ndim != 3:
        raise InputError(f"generations of shape {list(motion_NRD.shape)}, expected [texts, generations, width]")
    if independent:
        seed = int(rng.integers(1 << 32))
        values = [diversity(one_RD, np.random.default_rng(seed), pairs, independent) for one_RD in motion_NRD]
    else:
        values = [diversity(one_RD, rng, pairs) for one_RD in motion_NRD]
    return float(np.mean(check_not_empty("texts", np.array(values))))


def top1_any(predictions: Sequence[Hashable], labels: Sequence[Collection[Hashable]]) -> float:
    """% of clips whose prediction is one of their labels; with one label each, top-1 accuracy."""
    return 100 * float(hits(predictions, labels).mean())


def hits(predictions: Sequence[Hashable], labels: Sequence[Collection[Hashable]]) -> np.ndarray:
    """[N] bool: whether each prediction is one of the clip's labels."""
    if len(predictions) != len(labels) or not len(predictions):
        raise InputError(f"{len(predictions)} predictions for {len(labels)} clips, expected one per clip, at least one")
    return np.array([prediction in own for prediction, own in zip(predictions, labels, strict=True)])


def random_pairs(n: int, pairs: int, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two index arrays [pairs], each without repetition, nowhere equal."""
    if n < 2 or not 1 <= pairs <= n:
        raise InputError(f"{pairs} pairs of {n} clips, expected at least 2 clips and 1 to {n} pairs")
    order = rng.permutation(n)
    return order[:pairs], np.roll(order, 1)[:pairs]


def distances(query_QD: np.ndarray, gallery_GD: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances [Q, G] relative to the largest squared lengths, so that `TIE` is a rounding error."""
    query, gallery = (query_QD**2).sum(1), (gallery_GD**2).sum(1)
    squared = query[:, None] + gallery - 2 * (query_QD @ gallery_GD.T)
    return squared / max(query.max() + gallery.max(), np.finfo(float).tiny)


def differences(text_ND: np.ndarray, motion_ND: np.ndarray) -> np.ndarray:
    text, motion = check_features("text", text_ND, 1), check_features("motion", motion_ND, 1)
    check_pairs(text, motion)
    return text - motion


def check_features(name: str, values: np.ndarray, least: int) -> np.ndarray:
    """Convert to float64 [N, D]. Raises InputError: another shape, too few rows, or values that are not finite."""
    array = np.asarray(values, np.float64)
    if array.ndim != 2:
        raise InputError(f"{name}: shape {list(array.shape)}, expected [clips, width]")
    if len(array) < least:
        raise InputError(f"{name}: {len(array)} clips, expected at least {least}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: row {int((~np.isfinite(array).all(1)).argmax())} has a number that is not finite")
    return array


def check_same_width(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape[1] != other.shape[1]:
        raise InputError(f"embeddings of widths {one.shape[1]} and {other.shape[1]}, expected the same")


def check_pairs(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape:
        raise InputError(f"embeddings of shapes {list(one.shape)} and {list(other.shape)}, expected pairs")


def check_not_empty(name: str, values: np.ndarray) -> np.ndarray:
    if not len(values):
        raise InputError(f"{name}: none, expected at least 1")
    return np.asarray(values)
