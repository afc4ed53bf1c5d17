"""What was enrolled, as a file: an .npz of labels and of the encoder's features of their examples.

Shapes: N labels, E examples, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..io.arrays import load_arrays
from ..io.atomic_write import atomic_write
from ..io.files import check_file

MAX_EXAMPLES = 10  # of a label
_ARRAYS = {"labels", "counts", "features", "encoder"}


def write_gestures(path: str | Path, examples: Mapping[str, np.ndarray], encoder: str) -> None:
    """Write features [n, F] by label; the file appears whole or not at all.

    Args:
        path: .npz.
        encoder: sha256 of what made the features.
    Raises:
        InputError: there is nothing to write, or it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise InputError(f"{path}: expected a name that ends in .npz")
    if not examples:
        raise InputError(f"{path}: not written, nothing is enrolled")
    counts = [len(features) for features in examples.values()]
    features = np.concatenate(list(examples.values()))
    try:
        with atomic_write(path, overwrite=True) as file:
            np.savez(file, labels=np.array(list(examples)), counts=counts, features=features, encoder=encoder)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def read_gestures(path: str | Path, width: int, encoder: str) -> dict[str, np.ndarray]:
    """Features [n, F] by label, as `write_gestures` was given them.

    Args:
        width: F.
        encoder: sha256 of what is to have made them.
    Raises:
        InputError: no such file, one that is damaged, or made by another encoder.
    """
    path = Path(path)
    check_file(path)
    try:
        arrays = load_arrays(path)
        if set(arrays) != _ARRAYS:
            raise InputError(f"holds {', '.join(arrays) or 'nothing'}, expected {', '.join(sorted(_ARRAYS))}")
        if str(arrays["encoder"]) != encoder:
            raise InputError(f"made by another encoder (sha256 {str(arrays['encoder'])[:64]}, expected {encoder})")
        labels, counts, features = (arrays[name] for name in ("labels", "counts", "features"))
        good = labels.ndim == counts.ndim == 1 and len(labels) == len(counts) == len(set(labels.tolist())) > 0
        good &= labels.dtype.kind == "U" and counts.dtype.kind in "iu" and features.dtype == np.float32
        if not good or counts.min() < 1 or counts.max() > MAX_EXAMPLES:
            raise InputError(f"expected labels with 1 to {MAX_EXAMPLES} examples each")
        if features.shape != (counts.sum(), width) or not np.isfinite(features).all():
            raise InputError(f"features are {list(features.shape)}, expected finite ones [{counts.sum()}, {width}]")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return dict(zip(labels.tolist(), np.split(features, np.cumsum(counts)[:-1]), strict=True))
