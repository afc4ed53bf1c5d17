"""Matches features of motion with texts and examples: the matcher of a zero-shot bundle.

Shapes: B features of width D, F width after projection, T texts of S sentences, K labels without "none", N labels with
examples, W text width, E width of a space of features and texts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..backends.onnx_session import one_line, open_session
from ..bundles.bundle import Bundle
from ..bundles.schema import MATCHER, SLOTS, ZeroShotManifest
from ..bundles.signatures import MATCHER_GRAPHS
from ..errors import BundleError
from ..fork import survive_fork
from ..text_encoder import TextEncoder
from .alignment import Alignment
from .gesture_head import fit_head
from .label_texts import NONE, Text

CACHE_SIZE = 2048  # texts, and sentences
MAX_COSINE = 0.98  # of the sentences of two labels that can be distinguished
BATCH_SIZE = 64  # sentences or texts that are encoded together
MAX_ROWS = 1024  # positions per feature that are matched together
NO_MATCH = -30.0  # logit of a label before the first match


Conditioning = tuple[np.ndarray, ...]
"""What a network computes from texts alone; texts are the first axis of every array."""


class Network(Protocol):
    """Compares projected features with texts. `max_texts`: in a batch."""

    @property
    def max_texts(self) -> int: ...

    def condition(self, sentences_TSW: np.ndarray, mask_TS: np.ndarray) -> Conditioning: ...

    def errors(self, z_BF: np.ndarray, *conditioning: np.ndarray) -> np.ndarray: ...


class GraphNetwork:
    """The graphs `condition` and `match` of a bundle in ONNX Runtime."""

    def __init__(self, bundle: Bundle[ZeroShotManifest], threads: int) -> None:
        self._bundle = bundle
        self._sessions = {name: open_session(bundle, name, threads) for name in MATCHER_GRAPHS}
        noises = len(_array(bundle, "noises", None, bundle.manifest.matched))
        self.max_texts = max(1, MAX_ROWS // (noises * (1 + len(SLOTS))))

    def condition(self, sentences_TSW: np.ndarray, mask_TS: np.ndarray) -> Conditioning:
        return tuple(self._run("condition", {"sentences": sentences_TSW, "mask": mask_TS}))

    def errors(self, z_BF: np.ndarray, *conditioning: np.ndarray) -> np.ndarray:
        names = self._bundle.manifest.graphs["condition"].outputs
        return self._run("match", {"z": z_BF, **dict(zip(names, conditioning, strict=True))})[0]

    def _run(self, graph: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        about = self._bundle.manifest.graphs[graph]
        try:
            found: list[np.ndarray] = self._sessions[graph].run(list(about.outputs), inputs)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise BundleError(f"{self._bundle.path / about.file}: cannot be run ({one_line(error)})") from error
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Labels, prepared for matching.

    Attributes:
        labels: labels with a text, then labels with examples only, then "none".
        texts: number of labels with a text.
        conditioning: of these texts and then of the background texts, in batches.
        offset_T: added to the errors of these texts.
        prototypes_NF: projected features of all examples.
        head_HD, bias_H: linear head on centered features that tells the labels with examples apart; "none", if it has
            examples, is one of them.
        enrolled: indices of these labels.
    """

    labels: tuple[str, ...]
    texts: int
    conditioning: tuple[Conditioning, ...]
    offset_T: np.ndarray
    prototypes_NF: np.ndarray
    head_HD: np.ndarray
    bias_H: np.ndarray
    enrolled: tuple[int, ...]


class Matcher:
    """The matching networks of a bundle. Thread-safe.

    Attributes:
        mean: of the encoder's features, [D].

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
        self._text = text
        manifest, texts = bundle.manifest, (*self.settings.labels.values(), *self.settings.background.values())
        self.mean = _array(bundle, "mean", manifest.features)
        self._projection = _array(bundle, "projection", manifest.features, manifest.matched)
        self._network = GraphNetwork(bundle, threads) if manifest.space is None else _alignment(bundle, text.width)
        known_TSW = _array(bundle, "known", len(texts), len(SLOTS), text.width)
        rows = zip(texts, known_TSW, strict=True)
        self._known = {text[slot]: row_SW[SLOTS.index(slot)] for text, row_SW in rows for slot in text}
        self._trained = {_motion(text) for text in self.settings.labels.values()}
        self._cache: OrderedDict[tuple[str, ...], Conditioning] = OrderedDict()  # least recently used first
        self._sentences: OrderedDict[str, np.ndarray] = OrderedDict()  # features, least recently used first
        self._lock = threading.Lock()  # of the caches
        survive_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def vocabulary(self, texts: Mapping[str, Text], examples: Mapping[str, np.ndarray]) -> Vocabulary:
        """Prepare labels for matching: sentences by label, and features [n, D] of examples by label.

        Examples of "none" are motion that is none of the labels with examples.

        Raises:
            InputError: a text that cannot be encoded.
        """
        labels = [*(label for label in dict.fromkeys([*texts, *examples]) if label != NONE), NONE]
        gestures = [features_ND for label, features_ND in examples.items() if label != NONE]
        D, F = self._projection.shape
        head_HD, bias_H = np.zeros((0, D), np.float32), np.zeros(0, np.float32)
        if gestures:
            head_HD, bias_H = fit_head([features_ND - self.mean for features_ND in examples.values()])
        background = [*self.settings.background.values(), *self._rivals(texts)]
        offset_T = np.zeros(len(texts) + len(background), np.float32)
        offset_T[: len(texts)] = [
            0 if _motion(text) in self._trained else -self.settings.new for text in texts.values()
        ]
        return Vocabulary(
            labels=tuple(labels),
            texts=len(texts),
            conditioning=self._batches([*texts.values(), *background]),
            offset_T=offset_T,
            prototypes_NF=self.project(np.concatenate(gestures)) if gestures else np.zeros((0, F), np.float32),
            head_HD=head_HD,
            bias_H=bias_H,
            enrolled=tuple(labels.index(label) for label in examples) if gestures else (),
        )

    def encode(self, text: Text) -> None:
        """Encode the sentences of a text ahead of `vocabulary`, which takes much less time then."""
        with self._lock:
            self._encode(set(text.values()))

    def check_words(self, texts: Mapping[str, Text]) -> None:
        """Report labels of whose sentences the text encoder knows no word. Raises InputError as it does."""
        for label, text in texts.items():
            if self._known.keys().isdisjoint(text.values()):  # those from training consist of words
                self._text.check_words(list(text.values()), f"label {label!r}")

    def find_similar(self, texts: Mapping[str, Text]) -> list[tuple[str, str, float]]:
        """Pairs of labels that the text encoder cannot distinguish, with the cosine of their features.

        All sentences of the two are compared, slot by slot; a slot that only one of them has distinguishes them.
        """
        labels = list(texts)
        with self._lock:
            features = self._encode({sentence for text in texts.values() for sentence in text.values()})
        cosine_KK = np.ones((len(labels), len(labels)), np.float32)
        for slot in SLOTS:
            present_K = np.array([slot in text for text in texts.values()], bool)
            rows = [features[text[slot]] if slot in text else np.zeros(self._text.width) for text in texts.values()]
            x_KW = np.array(rows, np.float32)
            absent_KK = ~present_K[:, None] & ~present_K
            cosine_KK = np.minimum(cosine_KK, np.where(absent_KK, 1, x_KW @ x_KW.T))
        pairs = np.argwhere(np.triu(cosine_KK > MAX_COSINE, 1))
        return [(labels[i], labels[j], float(cosine_KK[i, j])) for i, j in pairs]

    def logits(self, features_BD: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
        """[B, K + 1] float32 of the encoder's features; "none" is last and its logit is 0."""
        settings, z_BF, K = self.settings, self.project(features_BD), vocabulary.texts
        logits = np.full((len(z_BF), len(vocabulary.labels)), -np.inf, np.float32)
        if K:
            errors_BT = self._errors(z_BF, vocabulary.conditioning) + vocabulary.offset_T
            none_B1 = errors_BT[:, K:].min(1, keepdims=True)
            logits[:, :K] = settings.scale * (none_B1 - errors_BT[:, :K]) - settings.none
        logits[:, -1] = 0
        if vocabulary.enrolled:
            columns = list(vocabulary.enrolled)
            logits[:, columns] = np.maximum(logits[:, columns], self._example_logits(features_BD, z_BF, vocabulary))
        return logits

    def _example_logits(self, features_BD: np.ndarray, z_BF: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
        """[B, H] that any example is near, by its distance, plus the log of each label's share in it, by the head."""
        settings = self.settings
        distance_B1 = ((z_BF[:, None] - vocabulary.prototypes_NF) ** 2).mean(2).min(1, keepdims=True)
        near_B1 = settings.prototype_scale * (settings.prototype_offset - distance_B1)
        scores_BH = (features_BD - self.mean) @ vocabulary.head_HD.T + vocabulary.bias_H
        scores_BH -= scores_BH.max(1, keepdims=True)
        found: np.ndarray = near_B1 + scores_BH - np.log(np.exp(scores_BH).sum(1, keepdims=True))
        return found

    def errors(self, z_BF: np.ndarray, texts: Sequence[Text]) -> np.ndarray:
        """Mean squared error [B, T] of the noise predicted from projected features under each text."""
        return self._errors(z_BF, self._batches(texts))

    def project(self, features_BD: np.ndarray) -> np.ndarray:
        """Centered features, projected to [B, F]."""
        z_BF: np.ndarray = (features_BD - self.mean) @ self._projection
        return z_BF

    def _errors(self, z_BF: np.ndarray, batches: Sequence[Conditioning]) -> np.ndarray:
        return np.concatenate([self._network.errors(z_BF, *batch) for batch in batches], 1)

    def _rivals(self, texts: Mapping[str, Text]) -> list[Text]:
        """Texts of labels from training that differ from all of `texts` in the space."""
        trained, limit = [*self.settings.labels.values()], self.settings.rivals
        if limit is None or not texts:
            return []
        chosen_KE, trained_LE = (
            np.stack([row for (row,) in self._conditioning(some)]) for some in ([*texts.values()], trained)
        )
        likeness_L = (trained_LE @ chosen_KE.T).max(1)
        return [text for text, likeness in zip(trained, likeness_L, strict=True) if likeness <= limit]

    def _batches(self, texts: Sequence[Text]) -> tuple[Conditioning, ...]:
        """Conditioning of texts, in batches that the network can compare at once."""
        rows, size = self._conditioning(texts), self._network.max_texts
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        return tuple(tuple(map(np.stack, zip(*part, strict=True))) for part in parts)

    def _conditioning(self, texts: Sequence[Text]) -> list[Conditioning]:
        """Conditioning of each text; those not in the cache are computed in batches."""
        keys = [tuple(text.get(slot, "") for slot in SLOTS) for text in texts]
        with self._lock:
            known = {key: self._cache[key] for key in keys if key in self._cache}
            new = [key for key in dict.fromkeys(keys) if key not in known]
            features = self._encode({sentence for key in new for sentence in key if sentence})
            empty = np.zeros(self._text.width, np.float32)
            for start in range(0, len(new), BATCH_SIZE):
                batch = new[start : start + BATCH_SIZE]
                rows = [[features[sentence] if sentence else empty for sentence in key] for key in batch]
                present = [[bool(sentence) for sentence in key] for key in batch]
                arrays = self._network.condition(np.array(rows, np.float32), np.array(present, np.float32))
                outputs = zip(*arrays, strict=True)
                known |= {key: tuple(x.copy() for x in of_text) for key, of_text in zip(batch, outputs, strict=True)}
            for key in keys:
                self._cache[key] = known[key]
                self._cache.move_to_end(key)
            while len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return [known[key] for key in keys]

    def _encode(self, sentences: Collection[str]) -> dict[str, np.ndarray]:
        """Features [W] by sentence; sentences of similar length are encoded together. Holds the lock."""
        known = [self._known, self._sentences]
        features = {one: source[one] for source in known for one in sentences if one in source}
        new = sorted(set(sentences) - features.keys(), key=lambda sentence: (len(sentence), sentence))
        for start in range(0, len(new), BATCH_SIZE):
            batch = new[start : start + BATCH_SIZE]
            features |= dict(zip(batch, self._text.encode(batch).pooled, strict=True))
        for sentence in sentences:
            if sentence not in self._known:
                self._sentences[sentence] = features[sentence]
                self._sentences.move_to_end(sentence)
        while len(self._sentences) > CACHE_SIZE:
            self._sentences.popitem(last=False)
        return features


def _motion(text: Text) -> str:
    """The sentence that identifies a motion, under any name; the name, if there is none."""
    return text.get(SLOTS[1], text[SLOTS[0]])


def _alignment(bundle: Bundle[ZeroShotManifest], text_width: int) -> Alignment:
    """The matcher of a bundle that has a space of features and texts. Raises BundleError if its weights do not fit."""
    manifest, space = bundle.manifest, bundle.manifest.space
    assert space is not None
    E, S = sum(space.parts), len(SLOTS)
    return Alignment(
        motion_FE=_array(bundle, "motion.weight", manifest.matched, E),
        motion_E=_array(bundle, "motion.bias", E),
        text_SWE=_array(bundle, "text.weight", S, text_width, E),
        text_SE=_array(bundle, "text.bias", S, E),
        parts=space.parts,
        shares=space.shares,
    )


def _array(bundle: Bundle, name: str, *shape: int | None) -> np.ndarray:
    """One of the matcher's weights outside the graphs. Raises BundleError unless it has this shape (None: any)."""
    array = bundle.weights.get(MATCHER + name)
    if (
        array is None
        or len(array.shape) != len(shape)
        or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True))
    ):
        found = "missing" if array is None else list(array.shape)
        wanted = ["any" if n is None else n for n in shape]
        raise BundleError(f"{bundle.path}: weights: {MATCHER}{name}: {found}, expected {wanted}")
    return array
