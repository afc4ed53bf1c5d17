"""The bundled text encoder: sentences to features."""

from __future__ import annotations

import hashlib
import logging
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .backends.onnx_session import one_line, open_session
from .backends.threads import check_threads
from .bundles.bundle import Bundle, bundled
from .bundles.schema import TOKENIZER, WEIGHTS, GenerationManifest, TextManifest
from .errors import BundleError, InputError

MAX_CHARACTERS = 512  # of a text
GIBBERISH_CHARACTERS = 2.0  # per token, of words that are none; rare words have more
MAX_DOUBTED = 1000  # texts that are logged once
_QUOTED_CHARACTERS = 40  # in messages
_UNKNOWN_TOKENS = ("[UNK]", "<unk>")
_OUTPUTS = ["tokens", "pooled"]
_PROBE = "a"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """Features of N texts, W wide; L is the length of the longest one in tokens.

    Attributes:
        tokens: [N, L, W] float32, of every token including the start and end markers; 0 where `mask` is False.
        mask: [N, L] bool, True at the tokens of a text.
        pooled: [N, W] float32, of the whole text.
    """

    tokens: np.ndarray
    mask: np.ndarray
    pooled: np.ndarray


class TextEncoder:
    """A sentence encoder. The features of a text do not depend, bit for bit, on the texts encoded with it.

    `pooled` is the mean over `tokens`, scaled to length 1: the dot product of two is their cosine similarity.

    Args:
        bundle: a verified bundle.
        threads: of ONNX Runtime; None: one, which is nearly as fast on short texts.
    Attributes:
        name: of the bundle. width: W. license: of the weights.
        clip: True for CLIP's encoder, whose `pooled` is not scaled, and which cuts texts of too many tokens.
        sha256: of weights and tokenizer, 64 hex digits, recorded by models trained with this encoder. A new export of
            the graph or another model card does not change it.
    Raises:
        BundleError: the graph or the tokenizer is unusable, or they do not match.
        InputError: `threads` is not a whole number from 1 to the number of CPUs that this process may use.
    """

    @classmethod
    def load(cls, name: str | Path = "text", threads: int | None = None) -> TextEncoder:
        """Load a bundled encoder by name, or one from its folder.

        Raises:
            BundleError: unknown name, or a bundle that is damaged or for another task.
        """
        return cls(Bundle.load(name, TextManifest), threads)

    @classmethod
    def of(cls, bundle: Bundle[GenerationManifest], threads: int | None = None) -> TextEncoder:
        """Load the encoder of a generation bundle: a bundled one, or one in a folder next to the bundle's.

        Raises:
            BundleError: it is missing or damaged.
        """
        name = bundle.manifest.text
        return cls.load(name if name in bundled() else bundle.path.absolute().parent / name, threads)

    def __init__(self, bundle: Bundle[TextManifest], threads: int | None = None) -> None:
        threads = 1 if threads is None else check_threads(threads)
        manifest = bundle.manifest
        self.name = manifest.name
        self.width = manifest.width
        self.license = manifest.license
        self.sha256 = _sha256(manifest)
        self.clip = manifest.is_clip
        self._max_tokens = manifest.max_tokens
        self._where = str(bundle.path / manifest.graphs["text"].file)
        self._tokenizer = _tokenizer(bundle)
        self._session = open_session(bundle, "text", threads)
        self._doubted: set[str] = set()  # texts that were logged
        self._run(self._ids("the probe", _PROBE))  # fails now rather than later

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Encode texts, one by one: about 4 ms for a sentence on one core.

        Raises:
            InputError: not a sequence of texts, or a text that is empty or has more than 512 characters or more tokens
                than the encoder has positions; the message names the text.
        """
        return gather(check_texts(texts), lambda i, text: self._run(self._ids(f"text {i}", text)), self.width)

    def check(self, text: str, name: str = "the description") -> None:
        """Validate a description, which messages call `name`, without encoding it.

        Raises:
            InputError: as `encode`, and as `check_words`.
        """
        check_text(text, name)
        self._ids(name, text)
        self.check_words([text], f"{name} ({_quote(text)})")

    def check_words(self, texts: Sequence[str], name: str) -> None:
        """Report a description of which the encoder knows no word; a doubtful one is logged, once.

        Args:
            texts: sentences that together describe one thing.
            name: of the description, for messages.
        Raises:
            InputError: there is no word at all, or none in the Latin script.
        """
        pieces = [piece for text in texts for piece in known_pieces(self._tokenizer, text)]
        if not pieces:
            raise InputError(f"{name} has no word that the text encoder knows, expected English")
        if max(pieces) <= GIBBERISH_CHARACTERS and name not in self._doubted:
            if len(self._doubted) < MAX_DOUBTED:
                self._doubted.add(name)
            logger.warning("the text encoder knows no word of %s, expected English", name)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of texts, [N, `max_tokens`] int64, 0 after the last. Raises the same errors as `encode`."""
        ids = np.zeros((len(texts), self._max_tokens), np.int64)
        for i, text in enumerate(check_texts(texts)):
            row = self._ids(f"text {i}", text)[0]
            ids[i, : len(row)] = row
        return ids

    def _ids(self, name: str, text: str) -> np.ndarray:
        ids = self._tokenizer.encode(text).ids
        if self.clip:
            ids = [*ids[:-1][: self._max_tokens - 1], ids[-1]]
        if len(ids) > self._max_tokens:
            raise InputError(f"{name} ({_quote(text)}) has {len(ids)} tokens, at most {self._max_tokens} are allowed")
        return np.array([ids], np.int64)

    def _run(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[1, L] -> tokens [L, W], pooled [W]."""
        try:
            tokens, pooled = self._session.run(_OUTPUTS, {"ids": ids, "mask": np.ones_like(ids)})
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise BundleError(f"{self._where}: cannot be run ({one_line(error)})") from error
        if tokens.shape != (1, ids.shape[1], self.width) or pooled.shape != (1, self.width):
            found = f"tokens {list(tokens.shape)} and pooled {list(pooled.shape)}"
            raise BundleError(f"{self._where}: returns {found} for {ids.shape[1]} tokens, width {self.width}")
        if not np.isfinite(pooled).all():
            raise BundleError(f"{self._where}: returns features that are not finite")
        return tokens[0], pooled[0]


def check_texts(texts: Sequence[str]) -> list[str]:
    """Validate texts; returns them as a list.

    Raises:
        InputError: not a sequence of texts, or a text that is empty, too long or not valid Unicode.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputError(f"texts is {str(texts)[:_QUOTED_CHARACTERS]!r}, expected a list of texts")
    for i, text in enumerate(texts):
        check_text(text, f"text {i}")
    return list(texts)


def check_text(text: str, name: str) -> None:
    """Raise InputError, which calls the text `name`, unless it is one that can be encoded."""
    if not isinstance(text, str):
        raise InputError(f"{name} is {str(text)[:_QUOTED_CHARACTERS]!r}, expected a string")
    if not text.strip():
        raise InputError(f"{name} is empty")
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{name} ({_quote(text)}) has {len(text)} characters, at most {MAX_CHARACTERS} are allowed")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{name} is not valid Unicode: it contains half of a surrogate pair")


def known_pieces(tokenizer: Tokenizer, text: str) -> list[float]:
    """Characters per token of every word in the Latin script; infinite for a word that is one token."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    words: dict[int | None, list[int]] = {}
    for i, word in enumerate(encoding.word_ids):
        words.setdefault(word, []).append(i)
    found = []
    for tokens in words.values():
        characters = text[encoding.offsets[tokens[0]][0] : encoding.offsets[tokens[-1]][1]]
        plain = "".join(one for one in unicodedata.normalize("NFKD", characters) if not unicodedata.combining(one))
        if plain.isascii() and plain.isalnum() and encoding.tokens[tokens[0]] not in _UNKNOWN_TOKENS:
            found.append(math.inf if len(tokens) == 1 else len(plain) / len(tokens))
    return found


def gather(
    texts: Sequence[str], encode: Callable[[int, str], tuple[np.ndarray, np.ndarray]], width: int
) -> TextFeatures:
    """Encode texts one by one, equal ones once, and pad them.

    Args:
        encode: index and text -> tokens [L, W], pooled [W].
        width: W.
    """
    done: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for i, text in enumerate(texts):
        if text not in done:
            done[text] = encode(i, text)
    longest = max((len(tokens) for tokens, _ in done.values()), default=0)
    features = TextFeatures(
        tokens=np.zeros((len(texts), longest, width), np.float32),
        mask=np.zeros((len(texts), longest), bool),
        pooled=np.zeros((len(texts), width), np.float32),
    )
    for i, text in enumerate(texts):
        tokens, pooled = done[text]
        features.tokens[i, : len(tokens)], features.mask[i, : len(tokens)], features.pooled[i] = tokens, True, pooled
    return features


def _tokenizer(bundle: Bundle[TextManifest]) -> Tokenizer:
    where = bundle.path / TOKENIZER
    try:
        tokenizer = Tokenizer.from_str(bundle.files[TOKENIZER].decode())
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except Exception as error:  # the tokenizers package raises plain exceptions
        raise BundleError(f"{where}: not a tokenizer ({one_line(error)})") from error
    return tokenizer


def _sha256(manifest: TextManifest) -> str:
    return hashlib.sha256("".join(manifest.files[file].sha256 for file in (WEIGHTS, TOKENIZER)).encode()).hexdigest()


def _quote(text: str) -> str:
    return f"{text[:_QUOTED_CHARACTERS]!r}{'...' if len(text) > _QUOTED_CHARACTERS else ''}"
