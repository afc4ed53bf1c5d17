"""`Motion`: a clip of one or more skeletons, the type that models take and return."""

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
        cls, path: str | Path, layout: str | None = None, fps: float | None = None, *, scale: float | None = None
    ) -> Motion:
        """Reads a motion file; arguments and errors are those of `runtime.io.read`."""
        return cls.from_data(read(path, layout, fps, scale=scale))

    @classmethod
    def from_data(cls, data: MotionData) -> Motion:
        """The same arrays as a `Motion`."""
        return cls(**{field.name: getattr(data, field.name) for field in fields(data)})

    def save(self, path: str | Path) -> None:
        """Writes a motion file, .npz, .bvh, .glb, .gif or .mp4; see `runtime.io.write`."""
        write(self, path)
