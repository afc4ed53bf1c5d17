"""NumPy files: .npz with named arrays, and bare .npy such as HumanML3D's `new_joints` or its vectors."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..body.motion_data import MotionData, as_array
from ..errors import InputError
from .humanml3d import recover_joints
from .text import check_bytes, check_size

MAX_BYTES = 1 << 30
NPY_MAGIC = b"\x93NUMPY"
HUMANML3D_FPS = 20.0
_FIELDS = ("joints", "fps", "layout", "confidence", "timestamps")
_META = "meta_"  # before the name of a scalar of `meta` that is a field's, too


def read_npz(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """`joints` [T, (M,) V, D], `fps`, `layout`, `confidence`, `timestamps`; other scalars are `meta`."""
    arrays = load_arrays(path)
    needed = ["joints", *(["fps"] if fps is None else []), *(["layout"] if layout is None else [])]
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise InputError(
            f"has no {' and no '.join(missing)}, only {', '.join(arrays) or 'no arrays'}"
            + (f"; pass layout (--layout), one of {', '.join(Layout.names())}" if "layout" in missing else "")
            + ("; pass fps (--fps), frames per second" if "fps" in missing else "")
        )
    _check_joints(arrays["joints"])
    scalars = {key: value.item() for key, value in arrays.items() if key not in _FIELDS and value.ndim == 0}
    return MotionData(
        arrays["joints"],
        _scalar(arrays["fps"]) if fps is None else fps,
        str(_scalar(arrays["layout"])) if layout is None else layout,
        confidence=arrays.get("confidence"),
        timestamps=arrays.get("timestamps"),
        meta={key.removeprefix(_META) if key.removeprefix(_META) in _FIELDS else key: scalars[key] for key in scalars},
    )


def read_npy(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Joints [T, (M,) V, D]; 22 joints are HumanML3D (smpl22, 20 fps) by default, as are vectors [T, 263].

    Others need `fps`, and `layout` unless exactly one layout has this shape.
    """
    with path.open("rb") as file:
        if file.read(len(NPY_MAGIC)) != NPY_MAGIC:
            raise InputError("is not a .npy file")
    check_bytes(path, MAX_BYTES)
    with _damage_as_input_error("the file"):
        joints = np.load(path, allow_pickle=False)
    if joints.ndim == 2:
        joints, known, rate = recover_joints(as_array("vectors", joints, np.float32))
        return MotionData(joints, rate if fps is None else fps, layout or known)
    if joints.ndim not in (3, 4):
        raise InputError(f"joints have shape {list(joints.shape)}, expected [T, V, 3] or [T, M, V, 3]")
    _check_joints(joints)
    if layout is None:
        layout = "smpl22" if joints.shape[-2:] == (22, 3) else layout_of_shape(joints.shape[-2:])
    if fps is None and layout == "smpl22":
        fps = HUMANML3D_FPS
    if fps is None:
        raise InputError("an .npy file does not store its frame rate: pass fps (--fps)")
    return MotionData(joints, fps, layout)


def write_npz(motion: MotionData, file: BinaryIO) -> None:
    """Write a motion for `read_npz`; of `meta`, only text and numbers."""
    arrays: dict[str, Any] = {
        _META + key if key in _FIELDS else key: value
        for key, value in motion.meta.items()
        if isinstance(value, str | int | float)
    }
    for name in _FIELDS:
        if getattr(motion, name) is not None:
            arrays[name] = getattr(motion, name)
    np.savez_compressed(file, **arrays)


def array_names(path: Path) -> set[str]:
    """Names of the arrays of an .npz. Raises InputError if it is damaged."""
    if not zipfile.is_zipfile(path):
        raise InputError("is not an .npz archive, or is cut short")
    with _damage_as_input_error("the archive"), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def load_arrays(path: Path, only: Set[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz (those in `only`, if there) by name.

    Raises InputError if it is damaged, too large or contains Python objects.
    """
    if not zipfile.is_zipfile(path):
        raise InputError("is not an .npz archive, or is cut short")
    with _damage_as_input_error("the archive"):
        with zipfile.ZipFile(path) as archive:
            wanted = [one for one in archive.infolist() if only is None or one.filename.removesuffix(".npy") in only]
            size = sum(member.file_size for member in wanted)
        arrays = np.load(path, allow_pickle=False) if size <= MAX_BYTES else None
    if arrays is None:
        raise InputError(f"unpacks to {size} bytes, the limit is {MAX_BYTES}")
    loaded: dict[str, NDArray[Any]] = {}
    with arrays:
        for name in arrays.files if only is None else [name for name in arrays.files if name in only]:
            with _damage_as_input_error(f"array {name!r}"):
                value = arrays[name]
            if isinstance(value, np.ndarray):  # other files in the archive are bytes
                loaded[name] = value
    return loaded


@contextmanager
def _damage_as_input_error(what: str) -> Iterator[None]:
    """Convert the errors of numpy and zipfile for damaged files to InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # from a header, see below
            yield
    except (
        ValueError,
        EOFError,
        OSError,
        MemoryError,
        RuntimeError,
        OverflowError,
        SyntaxError,
        TokenError,  # numpy parses a header as Python
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if "allow_pickle" in str(error):
            raise InputError(f"{what} contains Python objects, expected numbers or text") from None
        raise InputError(f"{what} is damaged or cut short") from None


def _check_joints(joints: NDArray[Any]) -> None:
    """Raise InputError if joints [T, (M,) V, D], which may be of one byte each, are too many to be computed with."""
    if joints.ndim in (3, 4) and joints.size:
        check_size(len(joints), joints[0, ..., 0].size)


def _scalar(array: NDArray[Any]) -> Any:
    return array.item() if array.size == 1 else array


def layout_of_shape(shape: tuple[int, ...]) -> str:
    fitting = [name for name in Layout.names() if (len(Layout.load(name).joints), Layout.load(name).dims) == shape]
    if len(fitting) != 1:
        candidates = " and ".join(fitting) + " fit" if fitting else "no layout fits"
        raise InputError(
            f"poses of shape {list(shape)} do not identify a layout ({candidates}): pass layout (--layout)"
        )
    return fitting[0]
