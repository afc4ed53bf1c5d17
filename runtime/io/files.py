"""`read` and `write`: motion files, by their extension."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..body.motion_data import MotionData
from ..errors import InputError
from ..extras import require
from .arrays import read_npy, read_npz, write_npz
from .atomic_write import atomic_write
from .bvh import meters_per_unit, read_bvh, write_bvh
from .glb import write_glb
from .jsonl import read_jsonl
from .ntu import read_ntu
from .nwucla_kinetics import read_nwucla_kinetics
from .preview import write_gif, write_mp4

Reader = Callable[[Path, str | None, float | None], MotionData]
Writer = Callable[[MotionData, BinaryIO], None]

READERS: dict[str, Reader] = {
    ".npz": read_npz,
    ".npy": read_npy,
    ".jsonl": read_jsonl,
    ".bvh": read_bvh,
    ".skeleton": read_ntu,
    ".json": read_nwucla_kinetics,
}
WRITERS: dict[str, tuple[Writer, tuple[str, ...]]] = {  # with the optional packages they need
    ".npz": (write_npz, ()),
    ".bvh": (write_bvh, ()),
    ".glb": (write_glb, ("pygltflib",)),
    ".gif": (write_gif, ("PIL",)),
    ".mp4": (write_mp4, ("PIL", "av")),
}


def read(
    path: str | Path, layout: str | None = None, fps: float | None = None, *, scale: float | None = None
) -> MotionData:
    """Read a motion file.

    Args:
        path: .npz, .npy, .jsonl, .bvh, .skeleton (NTU RGB+D) or .json (NW-UCLA, Kinetics-Skeleton).
        layout, fps: override the file's; required for files that do not specify them.
        scale: meters per unit of the file. Default 1; for BVH see `bvh.meters_per_unit`.

    Raises:
        InputError: the message names the file, the problem and the expectation in one line.
    """
    path = Path(path)
    check_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: cannot read {_extension(path)}, expected {', '.join(READERS)}")
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # overflow becomes infinite: a missing joint
            motion = reader(path, layout, fps)
            if not np.isfinite(motion.joints).any():
                raise InputError("no joint is finite in any frame")
            if scale is None and path.suffix.lower() == ".bvh":
                scale = meters_per_unit(motion)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file, expected {path.suffix} text") from None
    return motion if scale is None else replace(motion, joints=motion.joints * np.float32(scale))


def write(motion: MotionData, path: str | Path, *, overwrite: bool = True) -> None:
    """Write a motion file atomically: it appears complete or not at all, and an old file stays until then.

    Args:
        motion: one person in 3-D with all joints for .bvh and .glb; at least one joint for .gif and .mp4.
        path: .npz (everything), .bvh or .glb (an animated skeleton, see `bvh.write_bvh` and `glb.write_glb`), .gif or
            .mp4 (a rendering, see `preview`).

    Raises:
        InputError: the message names the file, the problem and the expectation in one line.
        MissingExtra: a package that this file type needs is not installed.
        FileExistsError: the file exists and `overwrite` is False.
    """
    path = Path(path)
    check_target(path)
    writer, _ = WRITERS[path.suffix.lower()]
    try:
        with atomic_write(path, overwrite) as file:
            writer(motion, file)
    except FileExistsError:
        raise
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def check_target(path: Path) -> None:
    """Raise the InputError or MissingExtra that `write` would raise for `path` with any motion."""
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path}: cannot write {_extension(path)}, expected {', '.join(WRITERS)}")
    if path.is_dir():
        raise InputError(f"{path}: cannot be written: is a folder")
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written: no permission to write into {path.parent}")
    for module in WRITERS[path.suffix.lower()][1]:
        require(module, "files", f"writing {path.suffix}")


def check_file(path: Path) -> None:
    """Raise InputError unless `path` is a file that can be opened and is not empty."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: a folder, expected files, as in FOLDER/*.npz")
    if not path.is_file():
        raise InputError(f"{path}: not a file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path}: the file is empty")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from None


def _extension(path: Path) -> str:
    return path.suffix or "a file without an extension"
