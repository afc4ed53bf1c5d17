"""`read` and `write`: motion files, by their ending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..motion import Motion
from .arrays import read_npy, read_npz, write_npz
from .bvh import metres_per_unit, read_bvh
from .clip_json import read_clip_json
from .jsonl import read_jsonl
from .ntu import read_ntu

Reader = Callable[[Path, str | None, float | None], Motion]

READERS: dict[str, Reader] = {
    ".npz": read_npz,
    ".npy": read_npy,
    ".jsonl": read_jsonl,
    ".bvh": read_bvh,
    ".skeleton": read_ntu,
    ".json": read_clip_json,
}


def read(
    path: str | Path, layout: str | None = None, fps: float | None = None, *, scale: float | None = None
) -> Motion:
    """Reads one motion file.

    Args:
        path: .npz, .npy, .jsonl, .bvh, .skeleton (NTU RGB+D) or .json (NW-UCLA, Kinetics-Skeleton).
        layout, fps: for files that do not say; they win over what a file says.
        scale: metres per unit of the file. Default 1; for BVH see `bvh.metres_per_unit`.

    Raises:
        InputError: one line that names the file, what is wrong and what was expected.
    """
    path = Path(path)
    check_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: cannot read {_ending(path)}, expected {', '.join(READERS)}")
    try:
        motion = reader(path, layout, fps)
        if not np.isfinite(motion.joints).any():
            raise InputError("no joint is finite in any frame")
        if scale is None and path.suffix.lower() == ".bvh":
            scale = metres_per_unit(motion)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file, expected {path.suffix} text") from None
    return motion if scale is None else replace(motion, joints=motion.joints * np.float32(scale))


def write(motion: Motion, path: str | Path, *, overwrite: bool = True) -> None:
    """Writes an .npz; the file appears whole or not at all.

    Raises InputError for another ending, FileExistsError where there is a file that is not to be overwritten.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise InputError(f"{path}: cannot write {_ending(path)}, expected .npz")
    try:
        write_npz(motion, path, overwrite=overwrite)
    except FileExistsError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def check_file(path: Path) -> None:
    """Raises InputError unless `path` is a file that can be opened and is not empty."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: not a file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path}: the file is empty")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from None


def _ending(path: Path) -> str:
    return path.suffix or "a file without an ending"
