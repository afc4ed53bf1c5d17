"""Static balance: whether a point is over the feet that rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def distance_inside(point: NDArray[np.float64], corners: NDArray[np.float64]) -> float:
    """Meters from a point [2] to the edge of the convex hull of corners [N, 2], N >= 3; negative outside of it.

    NaN if the point is not finite.
    """
    hull = _convex_hull(corners)
    begin, edge = hull, np.roll(hull, -1, axis=0) - hull
    along = np.clip(((point - begin) * edge).sum(axis=1) / (edge**2).sum(axis=1), 0, 1)[:, None]
    distance = float(np.linalg.norm(begin + along * edge - point, axis=1).min())
    is_left = _cross(edge, point - begin) >= 0  # the hull is counterclockwise
    return distance if is_left.all() else -distance


def _convex_hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of the hull, counterclockwise (Andrew's monotone chain, 1979)."""
    ordered = points[np.lexsort(points.T[::-1])]
    halves = []
    for half in (ordered, ordered[::-1]):
        chain: list[NDArray[np.float64]] = []
        for point in half:
            while len(chain) > 1 and _cross(chain[-1] - chain[-2], point - chain[-2]) <= 0:
                chain.pop()
            chain.append(point)
        halves += chain[:-1]
    return np.array(halves)


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
