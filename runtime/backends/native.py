"""The C++ engine: StreamGCN on one CPU thread."""

import numpy as np

from .._core import StreamGCN, Streams
from ..bundles.bundle import Bundle
from ..errors import InputError

PRECISIONS = ("fp32", "bf16")


def supports(bundle: Bundle) -> bool:
    """True if the engine can run the bundle's network."""
    return "channels" in bundle.manifest.model


class NativeBackend:
    """Runs a bundle's StreamGCN.

    Args:
        bundle: a verified bundle.
        precision: of the weights, "fp32" or "bf16" (half the memory).
    Raises:
        BundleError: its network is not a StreamGCN, or the weights are not those of its architecture.
        InputError: unknown precision.
    """

    name = "native"

    def __init__(self, bundle: Bundle, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision {precision!r}, expected {' or '.join(PRECISIONS)}")
        self._network = StreamGCN(bundle.manifest_file, bundle.weights_file, str(bundle.path), precision)

    @property
    def weight_bytes(self) -> int:
        """Size of the weights in memory."""
        return self._network.weight_bytes

    def streams(self, people: int) -> Streams:
        """New streams for `people` people."""
        return self._network.streams(people)

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames [T, V, 3] float32 -> logits [T, C], features [T, D], frame by frame."""
        streams = self.streams(1)
        logits, features = zip(*(streams.step([0], frame[None]) for frame in frames), strict=True)
        return np.concatenate(logits), np.concatenate(features)
