"""Positions with names, as many formats have them, to the joints of a layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout


def joints_by_name(
    names: Sequence[str], positions: NDArray[np.floating], layout: str | None
) -> tuple[NDArray[np.float32], str]:
    """Joints [..., V, D] and the name of the layout that fits the names, of positions [..., B, D].

    Raises LayoutError if `layout`, or any layout of D dimensions, does not fit.
    """
    known, order = Layout.match(names, layout, dims=positions.shape[-1])
    return positions[..., order, :].astype(np.float32), known.name
