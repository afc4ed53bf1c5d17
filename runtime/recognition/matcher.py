"""Features of motion against texts and examples: the matcher of a zero-shot bundle in ONNX Runtime. No torch.

Shapes: B features, D their width, F their width when they are matched, T texts of S sentences, K labels but "none",
N labels with examples, W text width; R and M floats that the network is told of a sentence and of a text.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..backends.onnx_session import one_line, open_session
from ..bundles.bundle import Bundle
from ..bundles.schema import MATCHER, SLOTS, ZeroShotManifest
from ..errors import BundleError
from ..text_encoder import TextEncoder

NONE = "none"
KEPT = 2048  # texts whose features are kept
TOGETHER = 64  # sentences that are encoded at once, and texts that are told
ROWS = 1024  # positions that are matched at once, of one feature
NO_MATCH = -30.0  # logit of a label before anything has been matched


Text = Mapping[str, str]
"""What is said of a label: sentences by `SLOTS`, some of them."""


class Told(NamedTuple):
    """What the network is told of texts: of their sentences [T, S, R], and of each as a whole [T, M]."""

    read: np.ndarray
    told: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """What features are matched with.

    Attributes:
        labels: those with a text, others with examples, "none".
        texts: how many have one.
        told: of these texts and of the background's after them, in parts.
        examples_NF, of_N: mean feature of the examples, and the place of its label.
    """

    labels: tuple[str, ...]
    texts: int
    told: tuple[Told, ...]
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
        self._sessions = {name: open_session(bundle, name, threads) for name in ("told", "match")}
        manifest, texts = bundle.manifest, (*self.settings.labels.values(), *self.settings.background.values())
        self._mean = _array(bundle, "mean", manifest.features)
        self._projection = _array(bundle, "projection", manifest.features, manifest.matched)
        self._noises = len(_array(bundle, "noises", None, manifest.matched))
        known_TSW = _array(bundle, "known", len(texts), len(SLOTS), text.width)
        rows = zip(texts, known_TSW, strict=True)
        self._known = {text[slot]: row_SW[SLOTS.index(slot)] for text, row_SW in rows for slot in text}
        self._kept: OrderedDict[tuple[str, ...], Told] = OrderedDict()  # the text asked for last is the last
        self._lock = threading.Lock()  # of these

    def vocabulary(self, texts: Mapping[str, Text], examples: Mapping[str, np.ndarray]) -> Vocabulary:
        """Labels with their texts, and labels with features [n, D] of examples, made ready to be matched.

        Raises:
            InputError: a text that cannot be encoded.
        """
        labels = list(dict.fromkeys([*texts, *examples]))
        means = [self._z(features_ND).mean(0) for features_ND in examples.values()]
        return Vocabulary(
            labels=(*labels, NONE),
            texts=len(texts),
            told=self._parts([*texts.values(), *self.settings.background.values()]),
            examples_NF=np.array(means, np.float32).reshape(len(means), self._projection.shape[1]),
            of_N=np.array([labels.index(label) for label in examples], int),
        )

    def logits(self, features_BD: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
        """[B, K + 1] float32 of features as the encoder gives them; that of "none", the last, is 0."""
        settings, z_BF, K = self.settings, self._z(features_BD), vocabulary.texts
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

    def errors(self, z_BF: np.ndarray, texts: Sequence[Text]) -> np.ndarray:
        """Mean squared error of the noise that is found in features, as they are matched, under each text, [B, T]."""
        return self._errors(z_BF, self._parts(texts))

    def _z(self, features_BD: np.ndarray) -> np.ndarray:
        z_BF: np.ndarray = (features_BD - self._mean) @ self._projection
        return z_BF

    def _errors(self, z_BF: np.ndarray, parts: Sequence[Told]) -> np.ndarray:
        return np.concatenate([self._run("match", {"z": z_BF, **told._asdict()})[0] for told in parts], 1)

    def _parts(self, texts: Sequence[Text]) -> tuple[Told, ...]:
        """What the network is told of texts, so many together as are matched at once."""
        told, size = self._told(texts), max(1, ROWS // (self._noises * (1 + len(SLOTS))))
        parts = [told[begin : begin + size] for begin in range(0, len(told), size)]
        return tuple(Told(*map(np.stack, zip(*part, strict=True))) for part in parts)

    def _told(self, texts: Sequence[Text]) -> list[Told]:
        """Of each text, those that are not known computed together."""
        asked = [tuple(text.get(slot, "") for slot in SLOTS) for text in texts]
        with self._lock:
            known = {text: self._kept[text] for text in asked if text in self._kept}
            fresh = [text for text in dict.fromkeys(asked) if text not in known]
            encoded = self._encoded({sentence for text in fresh for sentence in text if sentence})
            for begin in range(0, len(fresh), TOGETHER):
                part = fresh[begin : begin + TOGETHER]
                nothing = np.zeros(self._text.width, np.float32)
                rows = [[encoded[sentence] if sentence else nothing for sentence in text] for text in part]
                said = [[bool(sentence) for sentence in text] for text in part]
                inputs = {"sentences": np.array(rows, np.float32), "said": np.array(said, np.float32)}
                rows_of = zip(*self._run("told", inputs), strict=True)
                known |= {
                    text: Told(read.copy(), told.copy()) for text, (read, told) in zip(part, rows_of, strict=True)
                }
            for text in asked:
                self._kept[text] = known[text]
                self._kept.move_to_end(text)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return [known[text] for text in asked]

    def _encoded(self, sentences: Collection[str]) -> dict[str, np.ndarray]:
        """Features [W] of sentences, those of similar length encoded together."""
        found = {sentence: self._known[sentence] for sentence in sentences if sentence in self._known}
        fresh = sorted(set(sentences) - found.keys(), key=lambda sentence: (len(sentence), sentence))
        for begin in range(0, len(fresh), TOGETHER):
            part = fresh[begin : begin + TOGETHER]
            found |= dict(zip(part, self._text.encode(part).pooled, strict=True))
        return found

    def _run(self, graph: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        about = self._bundle.manifest.graphs[graph]
        try:
            found: list[np.ndarray] = self._sessions[graph].run(list(about.outputs), inputs)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise BundleError(f"{self._bundle.path / about.file}: cannot be run ({one_line(error)})") from error
        return found


def _array(bundle: Bundle, name: str, *shape: int | None) -> np.ndarray:
    """Weights of a matcher that no graph has. Raises BundleError where they are not of this shape."""
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
