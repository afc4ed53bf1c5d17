"""Search index of a `Retriever`: directions with texts and metadata, and the file format that stores them.

Shapes: N entries, F features of a direction, a unit vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..bundles.safetensors import pack, unpack
from ..bundles.strict_json import load_object
from ..errors import BundleError, InputError
from ..io.atomic_write import atomic_write
from ..io.files import check_file

_MIN_ROWS = 64
_TENSORS = ("features", "about", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A search result.

    Attributes:
        score: cosine similarity to the query, -1 to 1.
        index: number of the entry, in the order of adding.
        text: of the entry.
        meta: metadata of its motion.
    """

    score: float
    index: int
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


class MotionIndex:
    """Entries in the order in which they were added.

    Args:
        width: F.
        model: sha256 of the weights that computed the directions, 64 hex digits.
    Attributes:
        texts, metas: of every entry, as values that JSON can hold.
        notes: any other data to store in the file.
    """

    def __init__(self, width: int, model: str) -> None:
        self.width, self.model = width, model
        self.texts: list[str] = []
        self.metas: list[dict[str, Any]] = []
        self.notes: dict[str, Any] = {}
        self._rows = np.empty((0, width), np.float32)  # with spare capacity

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def features(self) -> np.ndarray:
        """Directions, [N, F] float32; read-only by convention."""
        return self._rows[: len(self)]

    def add(self, features_NF: np.ndarray, texts: Sequence[str], metas: Sequence[dict[str, Any]]) -> None:
        """Append entries, in amortized constant time."""
        start, end = len(self), len(self) + len(features_NF)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * start, _MIN_ROWS), self._rows.shape[1]), np.float32)
            grown[:start] = self.features
            self._rows = grown
        self._rows[start:end] = features_NF
        self.metas += metas
        self.texts += texts

    def nearest(self, feature_F: np.ndarray, k: int) -> list[Hit]:
        """Find the k entries, or all, with the highest cosine similarity, best first; ties in the order of adding.

        Raises:
            InputError: `k` is not a whole number of 1 or more.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k is {k!r}, expected a whole number of 1 or more")
        scores = np.einsum("nf,f->n", self.features, feature_F)  # memory-bound, on the calling thread only
        threshold = np.partition(scores, -k)[-k] if k < len(scores) else -np.inf
        candidates = np.flatnonzero(scores >= threshold)
        best = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
        return [
            Hit(score=min(1.0, float(scores[i])), index=int(i), text=self.texts[i], meta=self.metas[i]) for i in best
        ]

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, atomically.

        Raises:
            InputError: the file cannot be written.
        """
        about = {"model": self.model, "texts": self.texts, "metas": self.metas, "notes": self.notes}
        features, record = self.features, json.dumps(about, allow_nan=False).encode()
        arrays = features, np.frombuffer(record, np.uint8), np.frombuffer(_digest(features, record), np.uint8)
        try:
            with atomic_write(Path(path), overwrite=True) as file:
                file.write(pack(dict(zip(_TENSORS, arrays, strict=True))))
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None

    @classmethod
    def read(cls, path: str | Path, width: int, model: str) -> MotionIndex:
        """Read a file that `save` wrote.

        Raises:
            InputError: no such file, not an index, a damaged one, or one of another model.
        """
        path = Path(path)
        check_file(path)
        try:
            tensors = unpack(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        if set(tensors) != set(_TENSORS):
            raise BundleError(f"{path}: contains {', '.join(tensors) or 'nothing'}, expected {', '.join(_TENSORS)}")
        features, record = tensors["features"], tensors["about"].tobytes()
        if tensors["sha256"].tobytes() != _digest(features, record):
            raise BundleError(f"{path}: damaged: the content does not match its sha256")
        about = load_object(record, str(path))
        if about.get("model") != model:
            raise BundleError(f"{path}: made by another model (weights {about.get('model')}, expected {model})")
        index = cls(width, model)
        try:
            index.texts, index.metas, index.notes = (about[key] for key in ("texts", "metas", "notes"))
        except KeyError as error:
            raise BundleError(f"{path}: {error} is missing") from None
        if not len(index.texts) == len(index.metas) == len(features) or features.shape[1:] != (width,):
            raise BundleError(f"{path}: features {list(features.shape)} for {len(index)} texts, expected [N, {width}]")
        index._rows = features
        return index


def _digest(features: np.ndarray, record: bytes) -> bytes:
    digest = sha256(record)
    digest.update(features.data)
    return digest.digest()
