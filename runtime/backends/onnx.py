"""ONNX Runtime on the CPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bundles.bundle import Bundle
from ..bundles.signatures import SIGNATURES
from ..errors import BundleError, InputError
from .onnx_session import one_line, open_session
from .protocols import Session

_STEP_OUTPUTS = list(SIGNATURES["recognition"].graphs["step"].outputs)
_CLIP_OUTPUTS = list(SIGNATURES["recognition"].graphs["clip"].outputs)


class OnnxBackend:
    """Runs a bundle's step and clip graphs.

    The weights are bound from the bundle's own buffer: both graphs share them, and no file is opened.

    Args:
        bundle: a verified bundle.
        threads: threads of one operator.
    Raises:
        BundleError: ONNX Runtime rejects a graph, or its inputs and outputs differ from the manifest.
    """

    name = "onnx"

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._bundle = bundle
        self._threads = threads
        self._step = self._open("step")
        self._clip: Session | None = None
        self._try_step()

    def streams(self, people: int) -> "OnnxStreams":
        """New streams for `people` people."""
        return OnnxStreams(self._step, people, self._bundle.manifest.state)

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames [T, V, 3] float32 -> logits [T, C], features [T, D]."""
        if self._clip is None:
            if "clip" not in self._bundle.manifest.graphs:
                raise InputError(f"{self._bundle.path}: this bundle has no clip graph")
            self._clip = self._open("clip")
        logits, features = self._clip.run(_CLIP_OUTPUTS, {"frames": frames[None]})
        return logits[0], features[0]

    def _open(self, graph: str) -> Session:
        return open_session(self._bundle, graph, self._threads)

    @staticmethod
    def _to_numpy(output: np.ndarray) -> np.ndarray:
        return output

    def _try_step(self) -> None:
        """Run a step on zeros, so that errors surface now and not in the middle of a stream."""
        manifest = self._bundle.manifest
        where = str(self._bundle.path / manifest.graphs["step"].file)
        frames = np.zeros((1, manifest.joints, 3), np.float32)
        try:
            state = np.zeros((1, manifest.state), np.float32)
            outputs = self._step.run(_STEP_OUTPUTS, {"frame": frames, "state": state})
            outputs = [self._to_numpy(output) for output in outputs]
        except Exception as error:
            raise BundleError(f"{where}: the first step failed ({one_line(error)})") from error
        sizes = (len(manifest.labels), manifest.features, manifest.state)
        for name, array, size in zip(_STEP_OUTPUTS, outputs, sizes, strict=True):
            if array.shape != (1, size) or array.dtype != np.float32:
                found = f"{array.dtype} {list(array.shape)}"
                raise BundleError(f"{where}: {name} is {found}, expected float32 [1, {size}]")
            if not np.isfinite(array).all():
                raise BundleError(f"{where}: {name} of the first step is not finite")


class OnnxStreams:
    """States of several people, `size` floats each. `capacity`: maximum number of people."""

    def __init__(self, session: Session, people: int, size: int) -> None:
        self.capacity = people
        self._session, self._size = session, size
        self._states = [self._zeros()] * people  # by slot; never written to

    def begin(self, slot: int) -> None:
        """Restart the stream in this slot."""
        self._states[slot] = self._zeros()

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One frame of each slot [M, V, 3] -> logits [M, C], features [M, D]."""
        states = [self._states[slot] for slot in slots]
        state = states[0] if len(states) == 1 else self._join(states)
        logits, features, state = self._session.run(_STEP_OUTPUTS, {"frame": frames, "state": state})
        for i, slot in enumerate(slots):
            self._states[slot] = state[i : i + 1]
        return logits, features

    def _zeros(self) -> Any:
        return np.zeros((1, self._size), np.float32)

    @staticmethod
    def _join(states: Sequence[Any]) -> Any:
        return np.concatenate(states)
