"""`SourcePlayer`: sources through a recogniser, on a thread of their own."""

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
from ..recognition.frames import step_frames
from ..recognition.recognizer import Recognizer

HISTORY_S = 20.0  # of decisions that are kept
LATENCIES = 300  # frames
MIN_GESTURE_S = 0.5  # of a gesture
_CLOSE_S = 2.0
_SET_BACK_S = 0.5  # earlier than the frame before that the recogniser took


@dataclass(frozen=True, slots=True)
class Observation:
    """One person at one moment.

    Attributes:
        frame: what was seen. decision: on it.
        clock: when, in seconds of `time.monotonic`.
        source: counts the sources that were opened; on another one everybody is somebody new.
    """

    frame: Frame
    decision: Decision
    clock: float
    source: int


class HistoryEntry(NamedTuple):
    """A decision in the history of a person: when, in seconds of `time.monotonic`, what and with what score."""

    clock: float
    label: str
    score: float


class SourcePlayer:
    """Steps a recogniser through one source after the other. Whoever looks never holds it up.

    Args:
        recognizer: but for labels, which may be changed meanwhile, nobody else uses it.
        sources: their names, played one after the other.
        open_named: opens one.
        loop: whether they begin again after the last.
    Attributes:
        seen: of every person the newest `Observation` that has not been taken; closed, maybe with an error, at the end.
        name: of the source that plays.
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
        self._stepping = threading.Lock()
        self._recent: deque[Frame] = deque()
        self._history: dict[int, deque[HistoryEntry]] = {}
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES)
        self._thread = threading.Thread(target=self._play, name="motionrt player", daemon=True)

    @property
    def dropped(self) -> int:
        """Frames and messages that were left out: overtaken by newer ones, or late."""
        return self._dropped + self.recognizer.counters["dropped"]

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stops, and frees the source."""
        self._closed = True
        self.observations.close()
        started = self._thread.ident is not None
        if self._source.address or not started:  # a listener may be waiting for its first message
            self._source.close()
        if started:
            self._thread.join(_CLOSE_S)

    def latencies_ms(self) -> list[float]:
        """Of the last `LATENCIES` decisions."""
        with self._stepping:
            return list(self._latencies_ms)

    def history(self) -> dict[int, list[HistoryEntry]]:
        """Decisions of the last `HISTORY_S` seconds, by person."""
        with self._stepping:
            return {person: list(told) for person, told in sorted(self._history.items())}

    def recent_motion(self, person: int, seconds: float) -> Motion:
        """What was last seen of a person in this source.

        Args:
            seconds: how far back, at most `HISTORY_S`.
        Raises:
            InputError: too little was seen.
        """
        recording = Recording()
        with self._stepping:
            frames = [frame for frame in self._recent if frame.person == person]
        for frame in frames:
            if frames[-1].t - frame.t <= seconds:
                recording.add(frame)
        motion = next(recording.motions("", self.name), None)
        if motion is None or motion.seconds < MIN_GESTURE_S:
            raise InputError(f"person {person} was in sight for {motion.seconds if motion else 0:.1f} s, "
                             f"expected at least {MIN_GESTURE_S} s")  # fmt: skip
        return motion

    def enroll(self, label: str, motion: Motion) -> None:
        """`Recognizer.enroll` between two frames."""
        with self._stepping:
            self.recognizer.enroll(label, [motion])

    def _play(self) -> None:
        error: Exception | None = None
        try:
            for name in cycle(self._sources) if self._loop else self._sources:
                if self._closed:
                    break
                self._play_one(name)
        except Exception as problem:  # else who waits for `seen` would wait for ever
            error = problem
        self.observations.close(error)

    def _play_one(self, name: str) -> None:
        source = self._source = self._open(name) if self._opened else self._source
        self._opened += 1
        self.name = source.name
        dropped_before = self._dropped
        with source:
            with self._stepping:
                self.recognizer.reset()
                self._recent.clear()
            for t, people in source.snapshots():
                if self._closed:
                    return
                self._step(t, people)
                self._dropped = dropped_before + source.dropped
            if source.frames_in == 0 and not self._closed:
                raise InputError(f"{source.name}: no frames, expected some")

    def _step(self, t: float, people: Sequence[Frame]) -> None:
        clock = time.monotonic()
        with self._stepping:
            try:
                decided = list(step_frames(self.recognizer, people))
            except InputError as error:
                raise type(error)(f"{self.name}: {error}") from error
            self.recognizer.evict(t)
            self._remember(clock, t, decided)
        self.observations.put(
            {frame.person: Observation(frame, decision, clock, self._opened) for frame, decision in decided}
        )

    def _remember(self, clock: float, t: float, decided: Iterable[tuple[Frame, Decision]]) -> None:
        for frame, decision in decided:
            if decision.status != "dropped":
                if self._recent and frame.t < self._recent[-1].t - _SET_BACK_S:  # the clock has been set back
                    self._recent.clear()
                self._recent.append(replace(frame, image=None, pixels=None))  # images are large
                self._latencies_ms.append(decision.latency_ms)
                told = HistoryEntry(clock, decision.label, decision.score)
                self._history.setdefault(frame.person, deque()).append(told)
        while self._recent and t - self._recent[0].t > HISTORY_S:
            self._recent.popleft()
        for person, history in list(self._history.items()):
            while history and clock - history[0].clock > HISTORY_S:
                history.popleft()
            if not history:
                del self._history[person]
