"""Text features of captions, each encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ...runtime.progress import progress
from ...runtime.text_encoder import TextFeatures

PROGRESS_FROM = 200  # captions


class CaptionEncoder(Protocol):
    """Interface of `TextEncoder` and `ClipText`."""

    width: int
    sha256: str
    clip: bool

    def encode(self, texts: Sequence[str]) -> TextFeatures: ...

    def ids(self, texts: Sequence[str]) -> np.ndarray: ...


class CaptionFeatures:
    """Features of a set of captions.

    Args:
        captions: all captions that will be used.
        encoder: encodes those that are not cached.
        folder: cache, one file per encoder, words in 16 bits; None: no cache.
    """

    def __init__(self, captions: Iterable[str], encoder: CaptionEncoder, folder: Path | None = None):
        self.encoder, self.width = encoder, encoder.width
        self._pooled: dict[str, np.ndarray] = {}
        self._words: dict[str, np.ndarray] = {}
        cache = None if folder is None else folder / f"texts-{encoder.sha256[:16]}.npz"
        if cache is not None and cache.is_file():
            self._read(cache)
        missing = [text for text in dict.fromkeys(captions) if text not in self._pooled]
        dtype = np.float32 if cache is None else np.float16
        for text in progress(missing, "captions") if len(missing) > PROGRESS_FROM else missing:
            features = encoder.encode([text])
            self._pooled[text], self._words[text] = features.pooled[0], features.tokens[0].astype(dtype)
        if cache is not None and missing:
            self._write(cache)

    def pooled(self, texts: Sequence[str]) -> np.ndarray:
        """Pooled features [N, W] float32."""
        return np.stack([self._pooled[text] for text in texts])

    def words(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Word features [N, L, W] float32 and their mask [N, L] bool."""
        longest = max(len(self._words[text]) for text in texts)
        features = np.zeros((len(texts), longest, self.width), np.float32)
        mask = np.zeros((len(texts), longest), bool)
        for i, text in enumerate(texts):
            words = self._words[text]
            features[i, : len(words)], mask[i, : len(words)] = words, True
        return features, mask

    def _read(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as kept:
            ends = np.cumsum(kept["lengths"])
            words = np.split(kept["words"], ends[:-1])
            texts = [str(text) for text in kept["texts"]]
            self._words = dict(zip(texts, words, strict=True))
            self._pooled = dict(zip(texts, kept["pooled"], strict=True))

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new.npz")
        np.savez(
            new,
            texts=np.array(list(self._words)),
            lengths=np.array([len(words) for words in self._words.values()]),
            words=np.concatenate(list(self._words.values())),
            pooled=np.stack(list(self._pooled.values())),
        )
        new.rename(path)
