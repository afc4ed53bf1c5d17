"""`FeatureMatcher`: TDSM as published, on features from files.

Shapes: B features of width F, J noises, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._core import choose_labels
from ..backends.onnx_session import one_line, open_session
from ..bundles.bundle import Bundle
from ..bundles.isolation import load_isolated
from ..bundles.schema import MATCHER, MatcherManifest
from ..errors import BundleError, InputError
from .labels import check_names

MAX_ROWS = 24  # features with a noise each that run together


class FeatureMatcher:
    """Tells which label's text predicts the noise in a feature best, in ONNX Runtime.

    Args:
        bundle: a verified bundle.
        threads: of one operator.
    Attributes:
        manifest: of the bundle.
    Raises:
        BundleError: the graph cannot be used, or arrays are missing.
    """

    def __init__(self, bundle: Bundle[MatcherManifest], threads: int = 1) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        manifest, K = bundle.manifest, len(bundle.manifest.labels)
        self._words_KLW = self._array("texts.words", (K, manifest.tokens, manifest.text))
        self._pooled_KP = self._array("texts.pooled", (K, manifest.pooled))
        noises_JF = bundle.weights.get(MATCHER + "noises")
        noises = 1 if noises_JF is None else max(1, len(noises_JF))
        self._batch = max(1, MAX_ROWS // noises)
        self._session = open_session(bundle, "match", threads)

    @classmethod
    def load(cls, name: str | Path, threads: int = 1, isolate: bool = False) -> FeatureMatcher:
        """Load the bundle of a matcher; `isolate`: see `Recognizer.load`. Raises BundleError."""
        load = load_isolated if isolate else Bundle.load
        bundle: Bundle[Any] = load(name, MatcherManifest)
        return cls(bundle, threads)

    def choose(self, labels: Sequence[str] | None = None) -> tuple[str, ...]:
        """The labels, or by default the unseen ones. Raises InputError: one is repeated or unknown, or alone."""
        if labels is None:
            return self.manifest.unseen
        try:
            chosen = choose_labels(self.manifest.name, self.manifest.labels, -1, check_names(labels))
        except ValueError as error:
            raise InputError(str(error)) from None
        return tuple(self.manifest.labels[label] for label in chosen)

    def errors(self, z_BF: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Mean squared error over all noises under the text of each label, [B, K]; the smallest wins."""
        columns = []
        for index in map(self.manifest.labels.index, labels):
            text = {"words": self._words_KLW[index], "pooled": self._pooled_KP[index]}
            parts = [z_BF[start : start + self._batch] for start in range(0, len(z_BF), self._batch)]
            columns.append(np.concatenate([self._run({"z": part, **text}) for part in parts]))
        return np.stack(columns, 1)

    def _run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        try:
            (errors_B,) = self._session.run(["errors"], inputs)
        except BundleError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise BundleError(f"{self.bundle.path}: match cannot be run ({one_line(error)})") from error
        return errors_B

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = self.bundle.weights.get(name)
        if array is None or array.dtype != np.float32 or array.shape != shape:
            raise BundleError(f"{self.bundle.path}: {name} is missing or not float32 {list(shape)}")
        return array


def read_features(path: Path, width: int) -> np.ndarray:
    """Features [N, F] in a file of TDSM's code, .npy [N, F] or [N, 1, F].

    Raises:
        InputError: an unreadable file, another width, nothing in it, or a number that is not finite.
    """
    try:
        z = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as .npy ({str(error).splitlines()[0]})") from None
    if not isinstance(z, np.ndarray) or z.dtype.kind not in "fiu":
        raise InputError(f"{path}: not an array of numbers, expected features [N, {width}]")
    if z.ndim < 2 or not len(z) or z.shape[1:] not in ((width,), (1, width)):
        raise InputError(f"{path}: features {list(z.shape)}, expected [N, {width}]")
    if not np.isfinite(z).all():
        raise InputError(f"{path}: a feature is not finite")
    found: np.ndarray = z.reshape(len(z), width).astype(np.float32)
    return found
