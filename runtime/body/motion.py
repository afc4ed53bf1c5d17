"""`Motion`: a clip of one or more skeletons, the input and output of the models."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..io.files import read, write
from .cycle import hold, loop
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

    def loop(self) -> Motion:
        """The part of a person's motion that repeats best, whose last frame has the pose of the first.

        Up to a quarter is cut at each end, and in the last half second poses blend into the first one. The path of the
        root is kept: what plays the file moves on with it, or see `in_place`. A path that ends within 0.3 m of where it
        begins, and a heading within 45 degrees, are closed, too.

        Raises:
            InputError: several people, a missing joint, fewer than 8 frames, or frames at uneven times.
        """
        joints, part = loop(self)
        confidence = self.only_person().confidence
        return replace(self, joints=joints, confidence=None if confidence is None else confidence[part])

    def in_place(self) -> Motion:
        """A person's motion with the root held above where it is first: x and z stay, height and heading change.

        Raises:
            InputError: several people, 2-D joints, or a frame without the root.
        """
        return replace(self, joints=hold(self), confidence=self.only_person().confidence)

    def save(self, path: str | Path, rig: str | Path | None = None) -> None:
        """Write a motion file, atomically.

        Args:
            path: .npz (everything), .csv (coordinates of joints), .bvh or .glb (one person in 3-D without missing
                joints), .gif or .mp4 (a drawing).
            rig: names of the joints in .bvh and .glb: "mixamo", "vrm", "smplx" (in a T-pose that faces +z) or "unreal"
                (in an A-pose), 22 joints without helper nodes; for .glb also a character's file, .glb or .vrm, which is
                written with the motion, in its own proportions. "amass": an .npz with SMPL-H's parameters, z up. None:
                the layout's names and helpers for the last centimeter.
        Raises:
            InputError: the motion or the path does not fit, or the file cannot be written.
            MissingExtra: a package for this kind of file is not installed.
        """
        write(self, path, rig=None if rig is None else str(rig))
