"""Positions with names, as many formats have them, to the joints of a layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..errors import LayoutError

TO_Y_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)  # from z up: positions @ TO_Y_UP.T


def joints_by_name(
    names: Sequence[str], positions: NDArray[np.floating], layout: str | None
) -> tuple[NDArray[np.float32], str]:
    """Joints [..., V, D] and the name of the layout that fits the names, of positions [..., B, D].

    Raises LayoutError if `layout` does not fit or, if it is None, no layout of D dimensions does.
    """
    dims = positions.shape[-1]
    if layout is None and dims == 2:
        layout = _largest_flat(names)
    known, order = Layout.match(names, layout)
    return positions[..., order, :].astype(np.float32), known.name


def _largest_flat(names: Sequence[str]) -> str:
    """The largest 2-D layout whose joints are all among `names`."""
    flat = [layout for layout in map(Layout.load, Layout.names()) if layout.dims == 2]
    for layout in sorted(flat, key=lambda layout: -len(layout.joints)):
        try:
            return Layout.match(names, layout.name)[0].name
        except LayoutError:
            continue
    raise LayoutError(
        f"the {len(names)} joint names ({', '.join(names[:8])}) do not contain all joints of any of "
        + ", ".join(layout.name for layout in flat)
    )
