"""`SourcePlayer`: runs sources through a recognizer in a background thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import NamedTuple

from ..body.motion import Motion
from ..errors import InputError
from ..io.frame import Frame
from ..io.latest_queue import LatestQueue
from ..io.recording import Recording
from ..io.source import Source
from ..recognition.decision import Decision
from ..recognition.frames import Refusals, step_frames
from ..recognition.recognizer import Recognizer

HISTORY_S = 20.0  # length of the history
MAX_LATENCIES = 300  # frames
MIN_GESTURE_S = 0.5
_CLOSE_S = 2.0  # how long `close` waits for the thread
_SET_BACK_S = 0.5  # a timestamp that is earlier by this much means that the clock was set back


@dataclass(frozen=True, slots=True)
class Observation:
    """One person at one time.

    Attributes:
        frame: the frame of the person. decision: the decision on it.
        clock: time of the decision on `time.monotonic`, seconds.
        source: number of the source, counted as they are opened; people of different sources are unrelated.
    """

    frame: Frame
    decision: Decision
    clock: float
    source: int


class HistoryEntry(NamedTuple):
    """A past decision: time on `time.monotonic` in seconds, label and score."""

    clock: float
    label: str
    score: float


class SourcePlayer:
    """Steps a recognizer through one source after the other; reading the results never delays it.

    Args:
        recognizer: not used elsewhere, except for changing its labels.
        sources: names of the sources, played one after the other.
        open_named: opens a source by name.
        loop: whether to start over after the last one.
    Attributes:
        observations: newest `Observation` of each person; closed at the end, with an error if one occurred.
        name: name of the current source.
    Raises:
        InputError, MissingExtra: the first source cannot be opened.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        sources: Sequence[str],
        open_named: Callable[[str], Source],
        loop: bool = False,
    ) -> None:
        self.recognizer = recognizer
        self.observations: LatestQueue[Observation] = LatestQueue()
        self._sources, self._open, self._loop = sources, open_named, loop
        self._source = open_named(sources[0])
        self.name = self._source.name
        self._dropped = self._opened = 0
        self._closed = False
        self._lock = threading.Lock()
        self._recent: deque[Frame] = deque()
        self._history: dict[int, deque[HistoryEntry]] = {}
        self._latencies_ms: deque[float] = deque(maxlen=MAX_LATENCIES)
        self._thread = threading.Thread(target=self._play, name="motionrt player", daemon=True)

    @property
    def dropped(self) -> int:
        """Number of frames and messages that were dropped: overtaken by newer ones, or late."""
        return self._dropped + self.recognizer.counters["dropped"]

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop, and close the source."""
        self._closed = True
        self.observations.close()
        started = self._thread.ident is not None
        if self._source.address or not started:  # a network source may be waiting for its first message
            self._source.close()
        if started:
            self._thread.join(_CLOSE_S)

    def latencies_ms(self) -> list[float]:
        """Latencies of the last `MAX_LATENCIES` decisions."""
        with self._lock:
            return list(self._latencies_ms)

    def history(self) -> dict[int, list[HistoryEntry]]:
        """Decisions of the last `HISTORY_S` seconds, by person."""
        with self._lock:
            return {person: list(entries) for person, entries in sorted(self._history.items())}

    def recent_motion(self, person: int, seconds: float) -> Motion:
        """Last seconds of a person in the current source.

        Args:
            seconds: length, at most `HISTORY_S`.
        Raises:
            InputError: the person was not visible for long enough.
        """
        recording = Recording()
        with self._lock:
            frames = [frame for frame in self._recent if frame.person == person]
        for frame in frames:
            if frames[-1].t - frame.t <= seconds:
                recording.add(frame)
        motion = next(recording.motions("", self.name), None)
        if motion is None or motion.seconds < MIN_GESTURE_S:
            raise InputError(f"person {person} was visible for {motion.seconds if motion else 0:.1f} s, "
                             f"expected at least {MIN_GESTURE_S} s")  # fmt: skip
        return motion

    def enroll(self, label: str, motion: Motion) -> None:
        """Call `Recognizer.enroll` between two frames."""
        with self._lock:
            self.recognizer.enroll(label, [motion])

    def _play(self) -> None:
        error: Exception | None = None
        try:
            for name in cycle(self._sources) if self._loop else self._sources:
                if self._closed:
                    break
                self._play_one(name)
        except Exception as problem:  # passed on to the reader of `observations`, who would wait forever
            error = problem
        self.observations.close(error)

    def _play_one(self, name: str) -> None:
        source = self._source = self._open(name) if self._opened else self._source
        self._opened += 1
        self.name = source.name
        dropped_before = self._dropped
        with source:
            with self._lock:
                self.recognizer.reset()
                self._recent.clear()
            refusals = Refusals(source)
            for t, people in source.snapshots():
                if self._closed:
                    return
                self._step(t, people, refusals)
                self._dropped = dropped_before + source.dropped
            if source.frames_in == 0 and not self._closed:
                raise InputError(f"{source.name}: has no frames")

    def _step(self, t: float, people: Sequence[Frame], refusals: Refusals) -> None:
        clock = time.monotonic()
        with self._lock:
            decided = list(step_frames(self.recognizer, people, refusals))
            self.recognizer.evict(t)
            self._remember(clock, t, decided)
        self.observations.put(
            {frame.person: Observation(frame, decision, clock, self._opened) for frame, decision in decided}
        )

    def _remember(self, clock: float, t: float, decided: Iterable[tuple[Frame, Decision]]) -> None:
        for frame, decision in decided:
            if decision.status != "dropped":
                if self._recent and frame.t < self._recent[-1].t - _SET_BACK_S:  # the clock was set back
                    self._recent.clear()
                self._recent.append(replace(frame, image=None, pixels=None))  # images are large
                self._latencies_ms.append(decision.latency_ms)
                entry = HistoryEntry(clock, decision.label, decision.score)
                self._history.setdefault(frame.person, deque()).append(entry)
        while self._recent and t - self._recent[0].t > HISTORY_S:
            self._recent.popleft()
        for person, history in list(self._history.items()):
            while history and clock - history[0].clock > HISTORY_S:
                history.popleft()
            if not history:
                del self._history[person]
