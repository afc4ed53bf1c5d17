"""A small split of the open vocabulary, in which every label has a place of its own."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from motionrt.bench.studies.unseen_labels import Split, names
from motionrt.runtime.text_encoder import TextEncoder, TextFeatures
from motionrt.training.data.unseen_labels import splits
from motionrt.training.data.vocabulary import open_labels
from motionrt.training.tdsm.encoders import EncodedClips

SPLIT = "draw-throw-bow"
K = len(open_labels())
UNSEEN = np.isin(np.arange(K), splits()[SPLIT].unseen)
WIDTH = 128
PLACES = np.random.default_rng(0).normal(size=(K + 1, WIDTH)).astype(np.float32)  # of every label and of rest


class Texts(TextEncoder):
    """A fast encoder: every text has its own random feature."""

    def __init__(self) -> None:
        self.width, self.clip, self.sha256 = 32, False, "0" * 64

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        pooled = np.stack([np.random.default_rng(crc32(text.encode())).normal(size=32) for text in texts])
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        return TextFeatures(
            tokens=np.zeros((len(texts), 1, 32), np.float32),
            mask=np.ones((len(texts), 1), bool),
            pooled=pooled.astype(np.float32),
        )


def make_split() -> Split:
    """Every label and rest at their own places, with ten training and eight test clips."""
    draw = np.random.default_rng(1)

    def clips(labels: list[str], count: int) -> EncodedClips:
        of = [label for label in labels for _ in range(count)]
        features = np.stack([PLACES[names().index(label)] + 0.1 * draw.normal(size=WIDTH) for label in of])
        return EncodedClips(features_ND=features.astype(np.float32), labels=tuple(of))

    hidden = [label for label, is_hidden in zip(open_labels(), UNSEEN, strict=True) if is_hidden]
    seen = [label for label in names() if label not in hidden]
    return Split(clips(seen, 10), clips(list(names()), 8), clips(hidden, 4), UNSEEN, Texts())
