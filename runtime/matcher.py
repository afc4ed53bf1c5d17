"""Features of motion against texts and examples: the matcher of a zero-shot bundle in ONNX Runtime. No torch.

Shapes: B features, F their width, T texts, K labels but "none", N labels with examples, L tokens of a text; R and M
floats that the network is told of a token and of a text.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .bundle import Bundle
from .errors import BundleError
from .manifest import MATCHER, ZeroShotManifest
from .onnx_session import one_line, open_session
from .text import TextEncoder

NONE = "none"
KEPT = 2048  # texts whose features are kept
TOGETHER = 64  # texts that are told at once
ROWS = 1024  # tokens that are matched at once, of one feature
NO_MATCH = -30.0  # logit of a label before anything has been matched


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the network is told of texts, short ones padded.

    Attributes:
        read: [T, L, R]. told: [T, M]. counts: [T] int64, tokens of each.
    """

    read: np.ndarray
    told: np.ndarray
    counts: np.ndarray

    @classmethod
    def together(cls, texts: Sequence[Told]) -> Told:
        """Of single texts."""
        told, counts = (np.concatenate([getattr(text, name) for text in texts]) for name in ("told", "counts"))
        read = np.zeros((len(texts), counts.max(), texts[0].read.shape[2]), np.float32)
        for row_LR, text in zip(read, texts, strict=True):
            row_LR[: text.read.shape[1]] = text.read[0]
        return cls(read=read, told=told, counts=counts)

    def __getitem__(self, i: int) -> Told:
        """Of one text alone, copied."""
        row = slice(i, i + 1)
        read = self.read[row, : int(self.counts[i])].copy()
        return Told(read=read, told=self.told[row].copy(), counts=self.counts[row].copy())


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """What features are matched with.

    Attributes:
        labels: those with a text, others with examples, "none".
        texts: how many have one.
        told: of these texts and of the background's after them, parts of similar length with their places.
        examples_NF, of_N: mean feature of the examples, and the place of its label.
    """

    labels: tuple[str, ...]
    texts: int
    told: tuple[tuple[np.ndarray, Told], ...]
    examples_NF: np.ndarray
    of_N: np.ndarray


class Matcher:
    """The networks of a bundle. For several threads at once.

    Args:
        bundle: a verified bundle.
        text: encodes texts.
        threads: of one operator.
    Raises:
        BundleError: the graphs cannot be used, or another text encoder is needed.
    """

    def __init__(self, bundle: Bundle[ZeroShotManifest], text: TextEncoder, threads: int = 1) -> None:
        self.settings = bundle.manifest.matching
        if text.sha256 != self.settings.text_sha256:
            raise BundleError(f"{bundle.path}: trained with another text encoder than {text.name!r}")
        self._bundle, self._text = bundle, text
        self._sessions = {name: open_session(bundle, name, threads, ("counts",)) for name in ("told", "match")}
        self._mean, self._std, noises_JF = (bundle.weights[MATCHER + name] for name in ("mean", "std", "noises"))
        self._noises = len(noises_JF)
        self._kept: OrderedDict[str, Told] = OrderedDict()  # the text asked for last is the last
        self._lock = threading.Lock()  # of these

    def vocabulary(self, texts: Mapping[str, str], examples: Mapping[str, np.ndarray]) -> Vocabulary:
        """Labels with their texts, and labels with features [n, F] of examples, made ready to be matched.

        Raises:
            InputError: a text that cannot be encoded.
        """
        labels = list(dict.fromkeys([*texts, *examples]))
        means = [self._z(features_NF).mean(0) for features_NF in examples.values()]
        return Vocabulary(
            labels=(*labels, NONE),
            texts=len(texts),
            told=self._parts([*texts.values(), *self.settings.background]),
            examples_NF=np.array(means, np.float32).reshape(len(means), len(self._mean)),
            of_N=np.array([labels.index(label) for label in examples], int),
        )

    def logits(self, features_BF: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
        """[B, K + 1] float32 of features as the encoder gives them; that of "none", the last, is 0."""
        settings, z_BF, K = self.settings, self._z(features_BF), vocabulary.texts
        errors_BT = self._errors(z_BF, vocabulary.told)
        logits = np.full((len(z_BF), len(vocabulary.labels)), -np.inf, np.float32)
        none_B1 = errors_BT[:, K:].min(1, keepdims=True)
        logits[:, :K] = settings.scale * (none_B1 - errors_BT[:, :K]) - settings.none
        if len(vocabulary.of_N):
            distance_BN = ((z_BF[:, None] - vocabulary.examples_NF) ** 2).mean(2)
            near_BN = settings.prototype_scale * (settings.prototype_offset - distance_BN)
            logits[:, vocabulary.of_N] = np.maximum(logits[:, vocabulary.of_N], near_BN)
        logits[:, -1] = 0
        return logits

    def errors(self, z_BF: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Mean squared error of the noise that is found in standardised features under each text, [B, T]."""
        return self._errors(z_BF, self._parts(texts))

    def _z(self, features_BF: np.ndarray) -> np.ndarray:
        return (features_BF - self._mean) / self._std

    def _errors(self, z_BF: np.ndarray, parts: Sequence[tuple[np.ndarray, Told]]) -> np.ndarray:
        errors_BT = np.empty((len(z_BF), sum(len(places) for places, _ in parts)), np.float32)
        for places, told in parts:
            inputs = {"z": z_BF, "read": told.read, "told": told.told, "counts": told.counts}
            errors_BT[:, places] = self._run("match", inputs)[0]
        return errors_BT

    def _parts(self, texts: Sequence[str]) -> tuple[tuple[np.ndarray, Told], ...]:
        """Texts of similar length at a time, the longest first: their places, what the network is told of them."""
        told = self._told(texts)
        order, parts = sorted(range(len(texts)), key=lambda i: -int(told[i].counts[0])), []
        while order:
            size = max(1, ROWS // (self._noises * (1 + int(told[order[0]].counts[0]))))
            places, order = order[:size], order[size:]
            parts.append((np.array(places), Told.together([told[i] for i in places])))
        return tuple(parts)

    def _told(self, texts: Sequence[str]) -> list[Told]:
        """Of each text, those that are not known computed together."""
        with self._lock:
            known = {text: self._kept[text] for text in texts if text in self._kept}
            fresh = [text for text in dict.fromkeys(texts) if text not in known]
            for begin in range(0, len(fresh), TOGETHER):
                part = fresh[begin : begin + TOGETHER]
                features = self._text.encode(part)
                words = features.tokens[:, : self._bundle.manifest.tokens]
                counts = features.mask[:, : words.shape[1]].sum(1)
                inputs = {"words": words, "counts": counts, "pooled": features.pooled}
                read, told_TM = self._run("told", inputs)
                told = Told(read=read, told=told_TM, counts=counts)
                known |= {text: told[i] for i, text in enumerate(part)}
            for asked in texts:
                self._kept[asked] = known[asked]
                self._kept.move_to_end(asked)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return [known[text] for text in texts]

    def _run(self, graph: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        about = self._bundle.manifest.graphs[graph]
        try:
            found: list[np.ndarray] = self._sessions[graph].run(list(about.outputs), inputs)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise BundleError(f"{self._bundle.path / about.file}: cannot be run ({one_line(error)})") from error
        return found
