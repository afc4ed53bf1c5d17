"""Clip sets on disk: `NAME.npz` (joints, root_xz, start) with `NAME.json` (joint names, fps, one record per clip)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..body.layout import Layout
from ..body.motion import Motion
from ..errors import InputError, LayoutError


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSet:
    """A set of one-person clips with their records; `set[i]` is clip i as a Motion in absolute meters."""

    name: str
    layout: Layout
    joints: np.ndarray  # [F, V, 3] float16, x and z relative to the root
    root_xz: np.ndarray  # [F, 2] float32
    start: np.ndarray  # [N + 1]
    clips: tuple[dict[str, Any], ...]
    fps: float | None  # None: each record has its own `fps`

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Motion:
        frames = slice(self.start[i], self.start[i + 1])
        joints = self.joints[frames].astype(np.float32)
        joints[..., [0, 2]] += self.root_xz[frames, None]
        if self.layout.dims == 2:  # a picture, in meters
            joints = joints[..., :2] * np.array([1, -1], np.float32)
        fps = float(self.fps or self.clips[i]["fps"])
        return Motion(joints=joints, fps=fps, layout=self.layout.name, meta=dict(self.clips[i]))

    def __iter__(self) -> Iterator[Motion]:
        return (self[i] for i in range(len(self)))

    @classmethod
    def load(cls, path: str | Path) -> ClipSet:
        """Read `path` (with or without extension).

        Raises:
            InputError: a file is missing, damaged or inconsistent with the other.
        """
        path = Path(path).with_suffix("")
        record, data = path.with_suffix(".json"), path.with_suffix(".npz")
        for file in (record, data):
            if not file.is_file():
                raise InputError(f"{file}: no such file; a clip set consists of NAME.npz and NAME.json")
        try:
            content = json.loads(record.read_text())
            names, clips, fps = [str(name) for name in content["joints"]], content["clips"], content.get("fps")
            for clip in clips:
                if not float(fps or clip["fps"]) > 0:
                    raise ValueError("fps must be above 0")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            expected = "expected `joints`, `clips` and `fps`, here or in every clip"
            raise InputError(f"{record}: not the record of a clip set, {expected} ({error!r})") from None
        try:
            with np.load(data, allow_pickle=False) as arrays:
                joints, root_xz, start = (arrays[key] for key in ("joints", "root_xz", "start"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{data}: not a readable clip set with joints, root_xz, start ({error})") from None
        F = len(joints)
        if joints.shape != (F, len(names), 3) or root_xz.shape != (F, 2):
            raise InputError(
                f"{data}: joints {joints.shape} and root_xz {root_xz.shape}, "
                f"expected [F, {len(names)}, 3] and [F, 2] for the joints named in {record.name}"
            )
        if joints.dtype.kind != "f" or root_xz.dtype.kind != "f" or start.dtype.kind not in "iu":
            raise InputError(f"{data}: joints and root_xz must be floating-point numbers, start integers")
        if start.shape != (len(clips) + 1,) or start[0] != 0 or start[-1] != F or (np.diff(start) <= 0).any():
            raise InputError(f"{data}: start must increase from 0 to {F} in {len(clips)} clips")
        try:
            layout = Layout.find(names)
        except LayoutError as error:
            raise LayoutError(f"{record}: {error}") from None
        return cls(
            name=path.name,
            layout=layout,
            joints=joints,
            root_xz=root_xz,
            start=start,
            clips=tuple(clips),
            fps=fps,
        )
