"""`read` and `write`: motion files, by their extension."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..body.input_check import report_file
from ..body.motion_data import MotionData
from ..body.quadruped import is_quadruped
from ..body.units import UNITS_M, guess_unit, turn
from ..errors import InputError, LayoutError
from ..extras import require
from .amass import read_npz_or_amass, write_amass
from .arrays import read_npy, write_npz
from .asf_amc import read_amc
from .atomic_write import atomic_write
from .bag import is_bag_folder, read_bag
from .bvh import read_bvh, write_bvh
from .c3d_file import read_c3d
from .character import SUFFIXES as CHARACTERS
from .character import read_character, write_character
from .csv_table import read_csv, write_csv
from .glb import write_glb
from .gltf import read_gltf
from .jsonl import read_jsonl
from .kinect_text import looks_numeric, read_kinect_text
from .mvnx import read_mvnx
from .ntu import read_ntu
from .nwucla_kinetics import read_nwucla_kinetics
from .openpose import is_openpose_folder, read_openpose
from .optitrack import is_optitrack, read_optitrack
from .preview import write_gif, write_mp4
from .rigs import check_rig
from .trc import read_trc
from .utd_mhad import read_utd_mhad

log = logging.getLogger(__name__)
Reader = Callable[[Path, str | None, float | None], MotionData]
Writer = Callable[[MotionData, BinaryIO], None]

READERS: dict[str, Reader] = {
    ".npz": read_npz_or_amass,
    ".npy": read_npy,
    ".jsonl": read_jsonl,
    ".bvh": read_bvh,
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".vrm": read_gltf,
    ".vrma": read_gltf,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".trc": read_trc,
    ".c3d": read_c3d,
    ".amc": read_amc,
    ".mvnx": read_mvnx,
    ".skeleton": read_ntu,
    ".json": read_nwucla_kinetics,
    ".txt": read_kinect_text,
    ".mat": read_utd_mhad,
    ".mcap": read_bag,
    ".db3": read_bag,
}
WITHOUT_UNIT: tuple[Reader, ...] = (read_bvh, read_csv, read_amc)  # the length unit is guessed by the body's height
WRITERS: dict[str, tuple[Writer, tuple[str, ...]]] = {  # with the optional packages they need
    ".npz": (write_npz, ()),
    ".bvh": (write_bvh, ()),
    ".glb": (write_glb, ("pygltflib",)),
    ".csv": (write_csv, ()),
    ".gif": (write_gif, ("PIL",)),
    ".mp4": (write_mp4, ("PIL", "av")),
}
AMASS = "amass"  # the rig of .npz files with its parameters
FARTHEST = 1e9  # coordinate of a joint that is written to .bvh and .glb, or drawn
NOT_READ = {  # what to do with formats that are not read
    ".fbx": "export it from Blender as glTF 2.0 (.glb) or as Motion Capture (.bvh)",
    ".blend": "export it from Blender as glTF 2.0 (.glb) or as Motion Capture (.bvh)",
    ".asf": "it is the skeleton of motions: name an .amc beside it",
    ".mot": "it has joint angles of an OpenSim model: write points, as a .trc, with OpenSim's Point Kinematics",
    ".sto": "it has values of an OpenSim model: write points, as a .trc, with OpenSim's Point Kinematics",
    ".mvn": "export it from Xsens MVN as .mvnx",
    ".pkl": "reading it can run code: save its arrays as an .npz",
    ".h5": "save its arrays as an .npz",
    ".usd": "export it from Blender as glTF 2.0 (.glb)",
}
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read(
    path: str | Path,
    layout: str | None = None,
    fps: float | None = None,
    *,
    scale: float | None = None,
    up: str | None = None,
    check: bool = True,
) -> MotionData:
    """Read a motion file.

    Args:
        path: a file of one of the kinds in `READERS`, or a folder with OpenPose's frames or a bag of ROS 2.
        layout, fps: override the file's; required for files that do not specify them.
        scale: meters per unit of the file. Default 1; for formats without a unit, see `units.guess_unit`.
        up: axis of the file that points up: y (default), z or -y.
        check: log what would make a recognizer's output meaningless, such as a body that lies.

    Raises:
        InputError: the message names the file, the problem and the expectation in one line.
    """
    path = Path(path)
    if scale is not None and not 0 < scale < np.inf:
        raise InputError(f"scale is {scale!r}, expected meters per unit, above 0")
    reader = _reader(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # overflow becomes infinite: a missing joint
            motion = reader(path, layout, fps)
            if not np.isfinite(motion.joints).any():
                raise InputError("no joint is finite in any frame, or all joints are in one point")
            if layout is None and is_quadruped(motion):
                raise LayoutError(
                    "the build is that of an animal on four legs, expected a person; for a person name the layout "
                    "(--layout NAME)"
                )
            if scale is None and reader in WITHOUT_UNIT and motion.joints.shape[-1] == 3:
                unit, doubt = guess_unit(motion)
                scale = UNITS_M[unit]
                if doubt is not None:
                    log.warning("%s: %s", path, doubt)
            joints = motion.joints if scale is None else motion.joints * np.float32(scale)
            motion = replace(motion, joints=turn(joints, up or "y"))
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file, expected {path.suffix} text") from None
    if check:
        report_file(motion, str(path))
    return motion


def is_motion_file(path: Path) -> bool:
    """True for a file with the extension of a motion; a .txt must consist of numbers, too."""
    suffix = path.suffix.lower()
    return suffix in READERS and not path.name.startswith(".") and (suffix != ".txt" or looks_numeric(path))


def write(motion: MotionData, path: str | Path, *, overwrite: bool = True, rig: str | None = None) -> None:
    """Write a motion file atomically: it appears complete or not at all, and an old file stays until then.

    Args:
        motion: one person in 3-D with all joints for .bvh, .glb and AMASS; at least one joint for .gif and .mp4.
        path: .npz (everything), .csv (coordinates), .bvh or .glb (an animated skeleton, see `bvh.write_bvh` and
            `glb.write_glb`), .gif or .mp4 (a rendering, see `preview`).
        rig: of .bvh and .glb, the program whose joint names they have, see `rigs.RIGS`; of .glb, also a file of a
            character, see `write_character`; "amass": of .npz, parameters, see `write_amass`. None: the layout's.

    Raises:
        InputError: the message names the file, the problem and the expectation in one line.
        MissingExtra: a package that this file type needs is not installed.
        FileExistsError: the file exists and `overwrite` is False.
    """
    path = Path(path)
    writer = check_target(path, rig)
    far = np.abs(motion.joints[np.isfinite(motion.joints)]).max(initial=0)
    if far > FARTHEST and writer is not write_npz:
        raise InputError(f"{path}: cannot be written: a joint is at {far:.3g}, expected at most {FARTHEST:g}")
    try:
        with atomic_write(path, overwrite) as file:
            writer(motion, file)
    except FileExistsError:
        raise
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def check_target(path: Path, rig: str | None = None) -> Writer:
    """The writer of a file. Raises the InputError or MissingExtra that `write` would raise for any motion."""
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
    return _writer(path, rig)


def _writer(path: Path, rig: str | None) -> Writer:
    suffix = path.suffix.lower()
    if rig is None:
        return WRITERS[suffix][0]
    is_character = Path(rig).suffix.lower() in CHARACTERS
    if not is_character and rig != AMASS:
        check_rig(rig)
    expected = (".glb",) if is_character else (".npz",) if rig == AMASS else (".bvh", ".glb")
    if suffix not in expected:
        raise InputError(f"{path}: rig is {rig!r}, expected a {' or '.join(expected)} file for it")
    if is_character:
        return partial(write_character, character=read_character(Path(rig)))
    return write_amass if rig == AMASS else partial(write_bvh if suffix == ".bvh" else write_glb, rig_name=rig)


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
            beginning = file.read(len(LFS_POINTER))
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from None
    if not beginning:
        raise InputError(f"{path}: the file is empty")
    if beginning == LFS_POINTER:
        raise InputError(f"{path}: a pointer of Git LFS, not the file itself: get it with `git lfs pull`")


def _reader(path: Path) -> Reader:
    """The reader of a file or folder. Raises InputError if there is none."""
    if is_openpose_folder(path):
        return read_openpose
    if is_bag_folder(path):
        return read_bag
    check_file(path)
    suffix = path.suffix.lower()
    if suffix in NOT_READ:
        raise InputError(f"{path}: {suffix} is not read: {NOT_READ[suffix]}")
    if suffix not in READERS:
        raise InputError(f"{path}: cannot read {_extension(path)}, expected {', '.join(READERS)}")
    reader = READERS[suffix]
    return read_optitrack if reader is read_csv and is_optitrack(path) else reader


def _extension(path: Path) -> str:
    return path.suffix or "a file without an extension"
