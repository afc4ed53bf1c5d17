"""What a `Retriever` searches: directions, each with a text and what is known of its motion, and a file to keep them.

Shapes: N entries, F floats of a direction, which has length 1.
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

_LEAST_ROWS = 64
_TENSORS = ("features", "about", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An entry that was found.

    Attributes:
        score: cosine of the angle to what was asked for, -1 to 1.
        index: its number in the library, in the order of adding.
        text: that it was added with.
        meta: what is known of its motion.
    """

    score: float
    index: int
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


class MotionIndex:
    """Entries in the order in which they were added.

    Args:
        width: F.
        model: sha256 of the weights that made the directions, 64 hex digits.
    Attributes:
        texts, metas: of every entry; JSON can hold them.
        notes: anything else that is to be kept with it.
    """

    def __init__(self, width: int, model: str) -> None:
        self.width, self.model = width, model
        self.texts: list[str] = []
        self.metas: list[dict[str, Any]] = []
        self.notes: dict[str, Any] = {}
        self._rows = np.empty((0, width), np.float32)  # with room for more than there are

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def features(self) -> np.ndarray:
        """[N, F] float32, not to be written."""
        return self._rows[: len(self)]

    def add(self, features_NF: np.ndarray, texts: Sequence[str], metas: Sequence[dict[str, Any]]) -> None:
        """Append entries; on average one takes no longer where there are many."""
        begin, end = len(self), len(self) + len(features_NF)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * begin, _LEAST_ROWS), self._rows.shape[1]), np.float32)
            grown[:begin] = self.features
            self._rows = grown
        self._rows[begin:end] = features_NF
        self.metas += metas
        self.texts += texts

    def nearest(self, feature_F: np.ndarray, k: int) -> list[Hit]:
        """The k entries, or all, of the highest cosine, best first; of equal ones the first added.

        Raises:
            InputError: `k` is not a whole number of 1 or more.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k is {k!r}, expected a whole number of 1 or more")
        scores = np.einsum("nf,f->n", self.features, feature_F)  # as fast as memory, on this thread alone
        least = np.partition(scores, -k)[-k] if k < len(scores) else -np.inf
        chosen = np.flatnonzero(scores >= least)
        best = chosen[np.argsort(-scores[chosen], kind="stable")][:k]
        return [
            Hit(score=min(1.0, float(scores[i])), index=int(i), text=self.texts[i], meta=self.metas[i]) for i in best
        ]

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file; it appears whole or not at all.

        Raises:
            InputError: it cannot be written.
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
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, it is no library or damaged, or another model made it.
        """
        path = Path(path)
        check_file(path)
        try:
            tensors = unpack(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        if set(tensors) != set(_TENSORS):
            raise BundleError(f"{path}: holds {', '.join(tensors) or 'nothing'}, expected {', '.join(_TENSORS)}")
        features, record = tensors["features"], tensors["about"].tobytes()
        if tensors["sha256"].tobytes() != _digest(features, record):
            raise BundleError(f"{path}: the library is damaged: its content does not match its sha256")
        about = load_object(record, str(path))
        if about.get("model") != model:
            raise BundleError(f"{path}: made by another model (weights {about.get('model')}, expected {model})")
        library = cls(width, model)
        try:
            library.texts, library.metas, library.notes = (about[key] for key in ("texts", "metas", "notes"))
        except KeyError as error:
            raise BundleError(f"{path}: has no {error}") from None
        if not len(library.texts) == len(library.metas) == len(features) or features.shape[1:] != (width,):
            raise BundleError(f"{path}: features {list(features.shape)} of {len(library)} texts, expected [N, {width}]")
        library._rows = features
        return library


def _digest(features: np.ndarray, record: bytes) -> bytes:
    content = sha256(record)
    content.update(features.data)
    return content.digest()
