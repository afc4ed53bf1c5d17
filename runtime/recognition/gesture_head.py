"""A linear head on features that tells gestures apart: multinomial logistic regression on a few examples.

Shapes: N examples, D features, H classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PENALTY = 0.003  # of the squared weights; chosen on UTD-MHAD and HDM05, see bench/results/enrolled.json
STEPS = 300


def fit_head(features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Fit the head on the features [n, D] of each class: weights [H, D] and bias [H], float32.

    Classes count alike, whatever their numbers of examples. One class alone has weights of 0.
    """
    x_ND = np.concatenate(features).astype(np.float64)
    H, mean_D = len(features), x_ND.mean(0)
    class_N = np.repeat(np.arange(H), [len(rows) for rows in features])
    weight_N1 = np.concatenate([np.full((len(rows), 1), 1 / (H * len(rows))) for rows in features])
    target_NH = np.eye(H)[class_N]
    x_NE = np.column_stack([x_ND - mean_D, np.ones(len(x_ND))])
    smoothness = 0.5 * np.linalg.norm(np.sqrt(weight_N1) * x_NE, 2) ** 2 + PENALTY
    w_EH = ahead_EH = np.zeros((x_NE.shape[1], H))
    t = 1.0
    for _ in range(STEPS):  # Nesterov's accelerated gradient
        scores_NH = x_NE @ ahead_EH
        probs_NH = np.exp(scores_NH - scores_NH.max(1, keepdims=True))
        probs_NH /= probs_NH.sum(1, keepdims=True)
        gradient_EH = x_NE.T @ (weight_N1 * (probs_NH - target_NH)) + PENALTY * ahead_EH
        before_EH, w_EH = w_EH, ahead_EH - gradient_EH / smoothness
        before, t = t, (1 + np.sqrt(1 + 4 * t**2)) / 2
        ahead_EH = w_EH + (before - 1) / t * (w_EH - before_EH)
    weights_HD = w_EH[:-1].T
    return weights_HD.astype(np.float32), (w_EH[-1] - weights_HD @ mean_D).astype(np.float32)
