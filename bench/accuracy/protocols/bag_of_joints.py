"""Retrieval baseline: statistics of joint positions, mapped to text features by ridge regression.

Shapes: T frames, V joints, N clips, P statistics, W text width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....runtime.errors import InputError
from ....training.metrics.motion import check_motion

RIDGES = tuple(10.0**power for power in range(-3, 5))  # candidate penalties, per clip


class BagOfJoints:
    """Mean and deviation over time of joint positions and velocities -> text features, by ridge regression.

    The penalty is chosen by generalized cross-validation (Golub, Heath and Wahba, 1979) on the clips of the fit.
    """

    def __init__(self, clips: Sequence[np.ndarray], text_NW: np.ndarray, fps: float = 20.0):
        """Fit to clips [T, V, 3] and the features [N, W] of their texts. Raises InputError below 2 clips."""
        if len(clips) != len(text_NW) or len(clips) < 2:
            raise InputError(f"{len(clips)} clips with {len(text_NW)} texts, expected as many, at least 2")
        self.fps = fps
        x_NP, y_NW = self.statistics(clips), np.asarray(text_NW, np.float64)
        self.x_mean, self.x_std, self.y_mean = x_NP.mean(0), x_NP.std(0) + 1e-6, y_NW.mean(0)
        U, s, Vt = np.linalg.svd((x_NP - self.x_mean) / self.x_std, full_matrices=False)
        projected = U.T @ (y_NW - self.y_mean)
        self.weights_PW = min(
            (self._fit(U, s, Vt, projected, y_NW - self.y_mean, ridge * len(clips)) for ridge in RIDGES),
            key=lambda fit: fit[0],
        )[1]

    @staticmethod
    def _fit(
        U: np.ndarray, s: np.ndarray, Vt: np.ndarray, projected: np.ndarray, y: np.ndarray, penalty: float
    ) -> tuple[float, np.ndarray]:
        """The cross-validated error of a penalty, and its weights [P, W]."""
        shrinkage = s**2 / (s**2 + penalty)
        residual = y - U @ (shrinkage[:, None] * projected)
        error = (residual**2).mean() / max(1e-9, 1 - (shrinkage.sum() + 1) / len(y)) ** 2
        return float(error), Vt.T @ ((s / (s**2 + penalty))[:, None] * projected)

    def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips: unit vectors [N, W]."""
        return unit((self.statistics(clips) - self.x_mean) / self.x_std @ self.weights_PW)

    def texts(self, text_NW: np.ndarray) -> np.ndarray:
        """Embed the features of texts: unit vectors [N, W]."""
        return unit(np.asarray(text_NW, np.float64) - self.y_mean)

    def statistics(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """[N, P = 12 V]: mean and deviation of positions (m) and velocities (m/s)."""
        rows = []
        for joints_TV3 in clips:
            joints = check_motion("motion", joints_TV3, 2)
            velocity = np.diff(joints, axis=0) * self.fps
            rows.append(np.stack([joints.mean(0), joints.std(0), velocity.mean(0), velocity.std(0)]).ravel())
        return np.stack(rows)


def unit(x_NW: np.ndarray) -> np.ndarray:
    return x_NW / np.maximum(np.linalg.norm(x_NW, axis=1, keepdims=True), 1e-9)
