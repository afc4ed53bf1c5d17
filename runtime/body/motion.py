"""`Motion`: a clip of one or more skeletons, the input and output of the models."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from ..io.files import read, write
from .motion_data import MotionData


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Motion(MotionData):
    __doc__ = MotionData.__doc__

    @classmethod
    def load(
        cls,
        path: str | Path,
        layout: str | None = None,
        fps: float | None = None,
        *,
        scale: float | None = None,
        up: str | None = None,
    ) -> Motion:
        """Read a motion file.

        Args:
            path: .npz .npy .jsonl .bvh .glb .csv .trc .c3d .amc .mvnx and more, or a folder with OpenPose's frames;
                docs/formats.md lists them.
            layout, fps: for files that do not specify them; they override what a file specifies.
            scale: meters per unit of the file; None: 1, and for BVH detected from the height of the body.
            up: axis of the file that points up, "y", "z" or "-y"; None: y.
        Raises:
            InputError: the file is missing, damaged or of another kind; one line that names the file and the problem.
        """
        return cls.from_data(read(path, layout, fps, scale=scale, up=up))

    @classmethod
    def from_data(cls, data: MotionData) -> Motion:
        """A Motion with the same arrays."""
        return cls(**{field.name: getattr(data, field.name) for field in fields(data)})

    def save(self, path: str | Path, rig: str | None = None) -> None:
        """Write a motion file, atomically.

        Args:
            path: .npz (everything), .bvh or .glb (one person in 3-D without missing joints), .gif or .mp4 (a drawing).
            rig: names of the joints in .bvh and .glb: "mixamo", "vrm", "unreal" or "smplx", 22 joints in a T-pose that
                faces +z, without helper nodes; None: the layout's names and helpers for the last centimeter.
        Raises:
            InputError: the motion or the path does not fit, or the file cannot be written.
            MissingExtra: a package for this kind of file is not installed.
        """
        write(self, path, rig=rig)
