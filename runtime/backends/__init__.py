"""What runs a bundle's network, one frame after the other; each backend is imported on demand."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from ..bundle import Bundle
from ..errors import InputError, MissingExtra

NAMES = ("native", "onnx", "tensorrt", "cuda")
AUTO = ("native", "onnx")  # what "auto" tries, in this order


class Streams(Protocol):
    """What a network remembers of several people, each in a slot of 0 to `capacity` - 1."""

    @property
    def capacity(self) -> int: ...

    def begin(self, slot: int) -> None:
        """The stream in this slot starts anew."""

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One frame of each of M different slots, [M, V, 3] -> logits [M, C], features [M, D]."""


class Backend(Protocol):
    """What every backend offers. M people, T frames, V joints, C labels, D features."""

    name: str

    def streams(self, people: int) -> Streams:
        """New streams of `people` people."""

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A whole clip of one person: frames [T, V, 3] -> logits [T, C], features [T, D]."""


def available() -> dict[str, str | None]:
    """Backend name -> None if it can be used here, else the reason why not."""
    reasons: dict[str, str | None] = dict.fromkeys(NAMES, "not built in this version")
    reasons["native"] = None
    reasons["onnx"] = None if find_spec("onnxruntime") else "onnxruntime is not installed"
    return reasons


def pick(name: str = "auto") -> str:
    """The backend to use.

    Args:
        name: "auto" for the best one that exists here, or one of `NAMES`.
    Raises:
        InputError: unknown name, or a backend that cannot be used here (with the reason).
    """
    reasons = available()
    if name == "auto":
        for candidate in AUTO:
            if reasons[candidate] is None:
                return candidate
        why = "; ".join(f"{candidate}: {reasons[candidate]}" for candidate in AUTO)
        raise MissingExtra(f"no backend can be used here: {why}")
    if name not in reasons:
        raise InputError(f"unknown backend {name!r}, expected auto, {', '.join(NAMES)}")
    if reasons[name] is not None:
        raise MissingExtra(f"backend {name!r} cannot be used here: {reasons[name]}")
    return name


def create(name: str, bundle: Bundle, threads: int = 1, precision: str = "fp32") -> Backend:
    """Make the backend `name` (or "auto") for `bundle`.

    Args:
        threads: CPU threads of a step; the native engine uses one.
        precision: of the weights, see NativeBackend.
    """
    if type(threads) is not int or threads < 1:
        raise InputError(f"threads is {threads!r}, expected a whole number of 1 or more")
    from .native import NativeBackend, supports

    chosen = pick(name)
    if name == "auto" and chosen == "native" and not supports(bundle):
        chosen = pick("onnx")
    if chosen == "native":
        return NativeBackend(bundle, precision)
    if precision != "fp32":
        raise InputError(f"precision {precision!r} needs the native backend, {chosen} runs fp32")
    from .onnx import OnnxBackend

    return OnnxBackend(bundle, threads)
