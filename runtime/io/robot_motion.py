"""Files of a robot's motion: .npz, .csv and .jsonl, each with angles in radians and lengths in meters."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .atomic_write import atomic_write

SUFFIXES = (".npz", ".csv", ".jsonl")
VIDEO_SUFFIXES = (".gif", ".mp4")


def check_robot_target(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raise InputError unless a robot's motion can be written to `path`."""
    if path.suffix.lower() not in suffixes or path.is_dir():
        raise InputError(f"{path}: expected a file with the extension {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder does not exist")


def write_robot_motion(motion: Mapping[str, Any], path: Path) -> None:
    """Write a robot's motion in the form of the path's extension.

    Args:
        motion: `robot` (its name), `joints` (names) and, by frame, `t`, `root_position`, `root_quaternion`, `angles`,
            `velocities`, `contacts`, `errors`, `held` and `unreached`.
        path: .npz, .csv or .jsonl.
    Raises:
        InputError: another extension, or the file cannot be written.
    """
    check_robot_target(path)
    data = {".npz": _npz, ".csv": _csv, ".jsonl": _jsonl}[path.suffix.lower()](motion)
    try:
        with atomic_write(path) as file:
            file.write(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _npz(motion: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    arrays = {name: value for name, value in motion.items() if name not in ("t", "unreached")}
    np.savez_compressed(file, timestamps=motion["t"], **arrays)
    return file.getvalue()


def _csv(motion: Mapping[str, Any]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["t", *(f"root_{axis}" for axis in "xyz"), *(f"root_q{part}" for part in "wxyz"), *motion["joints"]])
    table = np.column_stack([motion[name] for name in ("t", "root_position", "root_quaternion", "angles")])
    rows.writerows([repr(float(value)) for value in row] for row in table)
    return text.getvalue().encode()


def _jsonl(motion: Mapping[str, Any]) -> bytes:
    by_frame = ("root_position", "root_quaternion", "angles", "velocities", "contacts", "held")
    lines = []
    for i, t in enumerate(motion["t"]):
        message = {"t": round(float(t), 6), "robot": motion["robot"]}
        message |= {name: motion[name][i].tolist() for name in by_frame}
        lines.append(json.dumps(message | {"unreached": motion["unreached"][i]}))
    return "\n".join([*lines, ""]).encode()
