"""Files of enrolled gestures: an .npz with labels and the encoder's features of their examples, or a .safetensors with
the features by label, which is that of the C API, too (runtime/csrc/src/gestures.hpp).

Shapes: N labels, E examples, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ..bundles.safetensors import read_metadata, unpack
from ..errors import BundleError, InputError
from ..io.arrays import load_arrays
from ..io.atomic_write import atomic_write
from ..io.files import check_file

MAX_RECORDINGS = 50  # of a label, enrolled together
MAX_FEATURES = 200  # examples of a label: parts of its recordings
_ARRAYS = {"labels", "counts", "features", "encoder"}
_SHARED = ".safetensors"
_MODEL = "model"  # missing in files of earlier versions


def write_gestures(path: str | Path, examples: Mapping[str, np.ndarray], encoder: str, model: str) -> None:
    """Write features [n, F] by label, atomically.

    Args:
        path: .npz or .safetensors.
        encoder: sha256 of the encoder that computed the features.
        model: name of its bundle.
    Raises:
        InputError: there are no examples, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".npz", _SHARED):
        raise InputError(f"{path}: expected a name ending in .npz or {_SHARED}")
    if not examples:
        raise InputError(f"{path}: nothing is enrolled, no file was written")
    counts = [len(features) for features in examples.values()]
    features = np.concatenate(list(examples.values()))
    try:
        with atomic_write(path, overwrite=True) as file:
            if path.suffix.lower() == _SHARED:
                rows = {label: np.asarray(one, np.float32) for label, one in examples.items()}
                file.write(save(rows, {"encoder": encoder, "model": model}))
                return
            np.savez(
                file, labels=np.array(list(examples)), counts=counts, features=features, encoder=encoder, model=model
            )
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def read_gestures(path: str | Path, width: int, encoder: str) -> dict[str, np.ndarray]:
    """Read the features [n, F] by label of a file of `write_gestures`.

    Args:
        width: F.
        encoder: sha256 of the encoder that must have computed them.
    Raises:
        InputError: the file is missing, damaged or made with another encoder.
    """
    path = Path(path)
    check_file(path)
    try:
        if path.suffix.lower() == _SHARED:
            return _read_shared(path.read_bytes(), width, encoder)
        arrays = load_arrays(path)
        model = str(arrays.pop(_MODEL, "of an earlier version"))[:64]
        if set(arrays) != _ARRAYS:
            raise InputError(f"contains {', '.join(arrays) or 'nothing'}, expected {', '.join(sorted(_ARRAYS))}")
        if str(arrays["encoder"]) != encoder:
            raise _other(model, str(arrays["encoder"]), encoder)
        labels, counts, features = (arrays[name] for name in ("labels", "counts", "features"))
        valid = labels.ndim == counts.ndim == 1 and len(labels) == len(counts) == len(set(labels.tolist())) > 0
        valid &= labels.dtype.kind == "U" and counts.dtype.kind in "iu" and features.dtype == np.float32
        if not valid or counts.min() < 1 or counts.max() > MAX_FEATURES:
            raise InputError(f"expected labels with 1 to {MAX_FEATURES} examples each")
        if features.shape != (counts.sum(), width) or not np.isfinite(features).all():
            raise InputError(f"features are {list(features.shape)}, expected finite ones [{counts.sum()}, {width}]")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return dict(zip(labels.tolist(), np.split(features, np.cumsum(counts)[:-1]), strict=True))


def _read_shared(data: bytes, width: int, encoder: str) -> dict[str, np.ndarray]:
    try:
        examples, about = unpack(data, "gestures"), read_metadata(data)
    except BundleError as error:
        raise InputError(str(error)) from None
    if about.get("encoder") != encoder:
        raise _other(about.get(_MODEL, "unknown"), about.get("encoder", "unknown"), encoder)
    for label, features in examples.items():
        valid = features.dtype == np.float32 and features.shape[1:] == (width,) and 1 <= len(features) <= MAX_FEATURES
        if not valid or not np.isfinite(features).all():
            shape = f"1 to {MAX_FEATURES}, {width}"
            raise InputError(f"features of {label!r} are {list(features.shape)}, expected finite ones [{shape}]")
    if not examples:
        raise InputError("contains nothing, expected features by label")
    return examples


def _other(model: str, found: str, encoder: str) -> InputError:
    about = f"{model[:64]!r}, sha256 {found[:64]}, expected {encoder}"
    return InputError(f"made with the encoder of another model ({about})")
