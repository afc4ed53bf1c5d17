"""What runs a bundle's network, one frame after the other; each backend is imported on demand."""

from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from ..bundle import Bundle
from ..errors import InputError, MissingExtra

NAMES = ("native", "onnx", "tensorrt", "cuda")
AUTO = ("native", "onnx")  # what "auto" tries, in this order


class Backend(Protocol):
    """What every backend offers. M people, T frames, V joints, C labels, D features, S state."""

    name: str

    def new_state(self, people: int) -> np.ndarray:
        """State of `people` new people, [M, S] float32."""

    def step(self, state: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """state [M, S], frames [M, V, 3] -> logits [M, C], features [M, D], the next state [M, S]."""

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A whole clip of one person: frames [T, V, 3] -> logits [T, C], features [T, D]."""


def available() -> dict[str, str | None]:
    """Backend name -> None if it can be used here, else the reason why not."""
    reasons: dict[str, str | None] = dict.fromkeys(NAMES, "not built in this version")
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


def create(name: str, bundle: Bundle, threads: int = 1) -> Backend:
    """Make the backend `name` (or "auto") for `bundle`, with that many CPU threads."""
    if type(threads) is not int or threads < 1:
        raise InputError(f"threads is {threads!r}, expected a whole number of 1 or more")
    makers: dict[str, Any] = {"onnx": _onnx}
    return makers[pick(name)](bundle, threads)


def _onnx(bundle: Bundle, threads: int) -> Backend:
    from .onnx import OnnxBackend

    return OnnxBackend(bundle, threads=threads)
