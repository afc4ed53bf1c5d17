"""`MotionData`: the validated arrays of a clip of one or more skeletons, which readers return and writers take.

Shapes: T time, M people, V joints, D dimensions (3: meters, right-handed, y up; 2: pixels).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, LayoutError
from .layout import Layout
from .people import without_nobody

_DLPACK_CPU = 1  # kDLCPU, in `__dlpack_device__`
MAX_JOINTS = 256
MAX_PEOPLE = 16

Self = TypeVar("Self", bound="MotionData")  # as typing.Self of Python 3.11


@dataclass(frozen=True, slots=True, eq=False)
class MotionData:
    """A clip of skeletons in absolute coordinates.

    Args:
        joints: [T, V, D] or [T, M, V, D] float32; NaN where a joint or a person is missing. A pose with all joints in
            one point, such as zeros, is nobody and becomes NaN.
        fps: frames per second.
        layout: name of the skeleton layout.
        confidence: [T, (M,) V] float32, 0 where a joint is missing.
        timestamps: [T] float64 seconds, for clips with a variable rate.
        meta: other facts about the clip, such as its source and license.

    Raises:
        InputError: a wrong shape, rate or dtype, or a limit is exceeded.
        LayoutError: an unknown layout, or one with another number of joints.
    """

    joints: NDArray[np.float32]
    fps: float
    layout: str
    confidence: NDArray[np.float32] | None = None
    timestamps: NDArray[np.float64] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        joints = as_array("joints", self.joints, np.float32)
        if joints.ndim not in (3, 4):
            raise InputError(f"joints have shape {list(joints.shape)}, expected [T, V, 3] or [T, M, V, 3]")
        if joints.shape[0] == 0:
            raise InputError("the clip has no frames")
        people = joints.shape[1] if joints.ndim == 4 else 1
        if not 1 <= people <= MAX_PEOPLE:
            raise InputError(f"{people} people, expected 1 to {MAX_PEOPLE}")
        check_joints(joints.shape[-2:], self.layout)
        try:
            fps = float(self.fps)
        except (TypeError, ValueError):
            fps = np.nan
        if not (np.isfinite(fps) and fps > 0):
            raise InputError(f"fps is {self.fps}, expected a positive number")
        object.__setattr__(self, "joints", without_nobody(joints))
        object.__setattr__(self, "fps", fps)
        self._check("confidence", joints.shape[:-1], np.float32)
        self._check("timestamps", joints.shape[:1], np.float64)
        if self.timestamps is not None and not np.isfinite(self.timestamps).all():
            raise InputError("timestamps are not all finite")

    def __repr__(self) -> str:
        people = "" if self.people == 1 else f", {self.people} people"
        length = f"{self.frames} frames, {self.seconds:.2f} s at {self.fps:g} a second"
        return f"{type(self).__name__}({length}, {self.layout}{people})"

    @property
    def frames(self) -> int:
        """T."""
        return self.joints.shape[0]

    @property
    def people(self) -> int:
        """M."""
        return self.joints.shape[1] if self.joints.ndim == 4 else 1

    @property
    def times(self) -> NDArray[np.float64]:
        """Time of each frame, seconds [T]; starts at 0 if the clip has no timestamps."""
        return np.arange(self.frames) / self.fps if self.timestamps is None else self.timestamps

    @property
    def seconds(self) -> float:
        """Duration of the clip, including the last frame."""
        return float(self.times[-1] - self.times[0]) + 1 / self.fps

    def person(self: Self, m: int) -> Self:
        """The clip [T, V, D] of person `m`. Raises InputError if there is no such person."""
        if not 0 <= m < self.people:
            raise InputError(f"there is no person {m}: the clip has {self.people}")
        if self.joints.ndim == 3:
            return self
        confidence = None if self.confidence is None else self.confidence[:, m]
        return replace(self, joints=self.joints[:, m], confidence=confidence)

    def only_person(self: Self) -> Self:
        """The clip [T, V, D] of the only person; people missing in all frames do not count.

        Raises InputError if there are several.
        """
        if self.joints.ndim == 3:
            return self
        seen = np.asarray(np.isfinite(self.joints).all(axis=-1))  # [T, M, V]
        found = np.flatnonzero(seen.any(axis=(0, 2)))
        if len(found) > 1:
            raise InputError(f"a motion of {len(found)} people, expected one: select it with `motion.person`")
        return self.person(int(found[0]) if len(found) else 0)

    def _check(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        if getattr(self, name) is None:
            return
        array = as_array(name, getattr(self, name), dtype)
        if array.shape != shape:
            raise InputError(f"{name} has shape {list(array.shape)}, expected {list(shape)} like the joints")
        object.__setattr__(self, name, array)


def as_array(name: str, value: ArrayLike, dtype: type) -> NDArray[Any]:
    """Convert lists or an array, on the CPU or a GPU, to an array of `dtype`.

    Raises InputError unless it holds real numbers.
    """
    value = value if isinstance(value, np.ndarray) else _on_host(name, value)
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{name} is ragged, expected rows of equal length") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} holds {array.dtype.name}, expected numbers")
    with np.errstate(over="ignore"):  # overflow becomes infinite: a missing joint
        return array.astype(dtype, copy=False)


def _on_host(name: str, value: Any) -> Any:
    """Copy a GPU array (DLPack or CUDA array interface) to numpy; anything else is returned unchanged."""
    device = getattr(value, "__dlpack_device__", None)
    if not hasattr(value, "__cuda_array_interface__") and (device is None or device()[0] == _DLPACK_CPU):
        return value
    try:
        from torch.utils.dlpack import from_dlpack

        return from_dlpack(value).cpu().numpy()
    except (ImportError, RuntimeError, AssertionError, BufferError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name} is on a GPU and cannot be read from there: {reason}") from None


def check_joints(shape: tuple[int, ...], layout: str) -> None:
    """Raise InputError or LayoutError unless a pose of shape [V, D] fits `layout`."""
    if shape[0] > MAX_JOINTS:
        raise InputError(f"{shape[0]} joints, the limit is {MAX_JOINTS}")
    known = Layout.load(layout)
    expected = (len(known.joints), known.dims)
    if shape != expected:
        raise LayoutError(f"a pose has shape {list(shape)}, expected {list(expected)} for layout {layout}")


def check_person(person: object, name: str = "person") -> int:
    """A person's id as an int. Raises InputError, which calls it `name`, unless it is an integer of 64 bits."""
    if isinstance(person, bool) or not isinstance(person, int | np.integer) or not -(2**63) <= person < 2**63:
        raise InputError(f"{name} is {repr(person)[:40]}, expected a whole number of 64 bits")
    return int(person)
