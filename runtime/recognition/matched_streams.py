"""An encoder's streams whose logits come from a matcher, a few times a second.

Shapes: P slots of people, N frames, F features, B features matched together, K labels including "none".
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..backends.protocols import Streams
from ..bundles.schema import ZeroShotManifest
from ..io.latest_queue import LatestQueue
from .matcher import NO_MATCH, Matcher, Vocabulary

WHOLE = 1.5  # windows; a clip that is not longer is one window
MAX_WINDOWS = 20  # of a clip
QUIET = 0.25  # movement of a quiet window, of that of the liveliest one
REST = 0.9  # probability of no action in it


class MatchRequest(NamedTuple):
    """A person's mean feature to match. `epoch` counts the streams that `slot` has held."""

    slot: int
    epoch: int
    feature_F: np.ndarray


class MatchedStreams:
    """The encoder's streams, with the logits of the latest match.

    `lock` must be held for everything except `match`.

    Attributes:
        background: whether features go to `requests`, to be matched on a thread, instead of being matched in `step`.
        error: the exception that stopped the thread.
        window: frames that are matched together.
    """

    def __init__(self, streams: Streams, matcher: Matcher, manifest: ZeroShotManifest) -> None:
        P, settings = streams.capacity, manifest.matching
        self.capacity = P
        self.lock = threading.Lock()
        self.background = True
        self.requests: LatestQueue[MatchRequest] = LatestQueue()
        self.error: Exception | None = None
        self.vocabulary: Vocabulary
        self._streams, self._matcher = streams, matcher
        self._interval = max(1, round(settings.every_s * manifest.fps))  # frames
        self.window = max(1, round(settings.window_s * manifest.fps))
        self._windows_PNF = np.zeros((P, self.window, manifest.features), np.float32)
        self._frames_P, self._due_P, self._epoch_P = np.zeros((3, P), int)  # frames so far, frame of the next match

    def _after_fork(self) -> None:
        """Continue in a forked child: what was being matched there is matched again."""
        self.lock, self.requests = threading.Lock(), LatestQueue()
        self._due_P[self._frames_P >= self._interval] = 0

    def relabel(self, vocabulary: Vocabulary) -> None:
        """Switch to other labels: all logits are cleared, and everyone matched before is matched at the next frame."""
        self.vocabulary = vocabulary
        self.logits_PK = np.full((self.capacity, len(vocabulary.labels)), NO_MATCH, np.float32)
        self.logits_PK[:, -1] = 0
        self._due_P[self._frames_P >= self._interval] = 0

    def begin(self, slot: int) -> None:
        self._streams.begin(slot)
        self._epoch_P[slot] += 1
        self._frames_P[slot], self._due_P[slot] = 0, self._interval
        self.logits_PK[slot], self.logits_PK[slot, -1] = NO_MATCH, 0

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As the encoder's `step`, with logits [M, K] of the current labels."""
        _, features = self._streams.step(slots, frames)
        self._windows_PNF[slots, self._frames_P[slots] % self.window] = features
        self._frames_P[slots] += 1
        due = [self._request(slot) for slot in slots if self._frames_P[slot] >= self._due_P[slot]]
        if due and self.background:
            self.requests.put({request.slot: request for request in due})
        elif due:
            self._publish(due, self._logits(due, self.vocabulary))
        return self.logits_PK[slots], features

    def match(self, requests: Sequence[MatchRequest]) -> None:
        """Match on another thread; results for labels or people that have changed meanwhile are discarded."""
        vocabulary = self.vocabulary
        logits_BK = self._logits(requests, vocabulary)
        with self.lock:
            if vocabulary is self.vocabulary:
                self._publish(requests, logits_BK)

    def _request(self, slot: int) -> MatchRequest:
        frames = self._frames_P[slot]
        self._due_P[slot] = frames + self._interval
        return MatchRequest(int(slot), self._epoch_P[slot], self._windows_PNF[slot, :frames].mean(0))

    def _logits(self, requests: Sequence[MatchRequest], vocabulary: Vocabulary) -> np.ndarray:
        return self._matcher.logits(np.stack([request.feature_F for request in requests]), vocabulary)

    def _publish(self, requests: Sequence[MatchRequest], logits_BK: np.ndarray) -> None:
        for request, logits_K in zip(requests, logits_BK, strict=True):
            if request.epoch == self._epoch_P[request.slot]:
                self.logits_PK[request.slot] = logits_K


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """The frames of a clip: features [F], mean movement of the joints, and probability of no action.

    Shapes: W windows of at most `size` frames.
    """

    features: list[np.ndarray] = field(default_factory=list)
    movement: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)

    def mean(self, part: slice = slice(None)) -> np.ndarray:
        """Mean feature of a part, [F] float32."""
        found: np.ndarray = np.stack(self.features[part]).astype(np.float64).mean(0)
        return found.astype(np.float32)

    def windows(self, size: int) -> np.ndarray:
        """Mean features of the parts that are not quiet, [W, F]; of the whole clip if it is hardly longer than one.

        Quiet is a window that moves little compared with the liveliest one, and that the encoder takes for no action.
        """
        frames = len(self.features)
        if frames <= WHOLE * size:
            return self.mean()[None]
        starts = np.linspace(0, frames - size, 2 + 2 * (frames - size - 1) // size).astype(int)
        parts = [slice(start, start + size) for start in starts]
        movement_W, rest_W = (np.array([np.mean(x[part]) for part in parts]) for x in (self.movement, self.rest))
        lively = np.flatnonzero((movement_W >= QUIET * movement_W.max()) | (rest_W < REST))
        chosen = lively[np.linspace(0, len(lively) - 1, min(len(lively), MAX_WINDOWS)).astype(int)]
        return np.stack([self.mean(parts[i]) for i in chosen])


class ClipStreams:
    """The encoder's streams of one person, with a record of the frames since the last reset.

    Args:
        none: index of the encoder's logit of no action; -1: it has none.
    """

    def __init__(self, streams: Streams, none: int) -> None:
        self.capacity, self._streams, self._none = streams.capacity, streams, none
        self.record = ClipRecord()
        self._last: np.ndarray | None = None

    def begin(self, slot: int) -> None:
        self._streams.begin(slot)
        self.record, self._last = ClipRecord(), None

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, features = self._streams.step(slots, frames)
        record, frame = self.record, np.array(frames[0])
        record.features.append(features[0].copy())
        record.movement.append(0.0 if self._last is None else float(np.abs(frame - self._last).mean()))
        probs_C = np.exp(logits[0] - logits[0].max())
        record.rest.append(float(probs_C[self._none] / probs_C.sum()) if self._none >= 0 else 1.0)
        self._last = frame
        return logits, features
