"""Plausibility checks of timestamps: seconds that increase by what sensors need for a frame."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

MAX_TIME_S = 1e11  # beyond it a double cannot resolve a frame
MIN_RATE_HZ, MAX_RATE_HZ = 5.0, 250.0  # from a slow camera to motion capture
TYPICAL_RATE_HZ = 30.0
SLACK = 1.1  # of these rates, for clocks that are rounded or run fast
MAX_GAP_S = 0.5  # a recognizer starts over after a longer one
FRAMES = 30  # checked per stream: one second of a camera
CLEAR_FRAMES = 5  # enough if every one of them is implausible
MOSTLY = 0.4  # part of the frames
IRREGULAR = 0.3  # deviation of intervals, as part of the typical one, that no clock's unit explains
MAX_PEOPLE = 64  # whose times are remembered during the check
COARSE_S = 0.02  # resolution of a clock that cannot tell frames apart
UNITS_S = {
    "milliseconds": 1e-3,
    "microseconds": 1e-6,
    "ticks of 100 ns": 1e-7,
    "nanoseconds": 1e-9,
    "seconds / 1000": 1e3,
    "days": 86_400.0,
}
EPOCHS_S = {  # now, in seconds since the epochs of clocks that count finer units
    "milliseconds": 1.8e9,  # Unix
    "microseconds": 1.8e9,
    "nanoseconds": 1.8e9,
    "ticks of 100 ns since 1601": 1.34e10,  # Windows
    "ticks of 100 ns since the year 1": 6.39e10,  # .NET
}


def as_seconds(t: Any, name: str = "the timestamp") -> float:
    """A timestamp as a float. Raises InputError, which calls it `name`, unless it is a finite number of seconds."""
    if type(t) is not float:
        try:
            if isinstance(t, bool | np.bool_ | str | bytes | np.datetime64 | np.timedelta64):
                raise TypeError
            t = float(t)
        except OverflowError:
            raise InputError(f"{name} is too large, expected seconds") from None
        except (TypeError, ValueError):
            raise InputError(f"{name} is {repr(t)[:40]}, expected seconds") from None
    if not abs(t) <= MAX_TIME_S:
        raise InputError(f"{name} is {t:g}{_epoch(t)}, expected seconds, finite and within {MAX_TIME_S:g}")
    return float(t)


class TimeMonitor:
    """Checks the timestamps of the first frames of a stream, person by person.

    Attributes:
        is_done: whether enough frames were checked.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}  # time of a person's last frame
        self._before: float | None = None  # time of the frame before, of anybody
        self._times: list[float] = []
        self._steps: list[float] = []
        self._jumps = 0  # frames that are far from the frame before, but not from the last one of the same person
        self.is_done = False

    def check_frame(self, t: float, people: Sequence[Hashable]) -> str | None:
        """Take a frame of some people at time t; returns a problem of the stream, once, or None."""
        if self.is_done or not people:
            return None
        step = self._step(t, people)
        self._before = t
        self._last.update((person, t) for person in people if person in self._last or len(self._last) < MAX_PEOPLE)
        if step is None:
            return None
        self._times.append(t)
        self._steps.append(step)
        return self._judge()

    def _step(self, t: float, people: Sequence[Hashable]) -> float | None:
        """Time since the last frame of one of these people.

        After a long gap it is the time since anybody's last frame, as trackers may have numbered people anew by then;
        None if that is short: then somebody came into view.
        """
        if self._before is None:
            return None
        gap = t - self._before
        step = next((t - self._last[person] for person in people if person in self._last), gap)
        if abs(step) > MAX_GAP_S or not self._last.keys() & people:
            return gap if abs(gap) > MAX_GAP_S else None
        self._jumps += abs(gap) > MAX_GAP_S
        return step

    def _judge(self) -> str | None:
        steps = np.array(self._steps)
        is_clear = len(steps) == CLEAR_FRAMES and bool(np.all(steps > MAX_GAP_S))
        if not is_clear and len(steps) < FRAMES:
            return None
        problem = _problem(np.array(self._times), steps)
        if problem is None and self._jumps > MOSTLY * len(steps):
            problem = "the timestamps of different people are far apart, expected one clock for all of them"
        if problem is not None or len(steps) >= FRAMES:
            self.is_done = True
        return problem


def check_times(times_T: NDArray[np.float64]) -> str | None:
    """Describe a problem with the times of a clip's frames; None if there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _problem(times_T[1:], np.diff(times_T))


def _problem(times: NDArray[np.float64], steps: NDArray[np.float64]) -> str | None:
    """Describe a problem with the times of frames and the steps from the frames before."""
    if len(steps) == 0:
        return None
    forward, repeated, backward = steps[steps > 0], int((steps == 0).sum()), int((steps < 0).sum())
    resolution_s = float(np.spacing(np.abs(times).max().astype(np.float32)))
    if repeated and resolution_s > COARSE_S and np.array_equal(times, times.astype(np.float32)):
        return (
            f"{repeated} of {len(steps)} timestamps repeat, which looks like seconds in float32, whose resolution at "
            f"{times[-1]:g} is {resolution_s:g} s, expected float64"
        )
    if backward > MOSTLY * len(steps):
        return f"{backward} of {len(steps)} timestamps are earlier than the one before, expected increasing seconds"
    if len(forward) == 0:
        return f"{repeated} of {len(steps)} timestamps repeat, expected increasing seconds"
    typical, mean = _median(forward), float(forward.mean())
    if min(typical, mean) > SLACK / MIN_RATE_HZ or max(typical, mean) < 1 / (SLACK * MAX_RATE_HZ):
        return f"the frames are {typical:.3g} s apart{_unit(forward, typical, repeated)}"
    return None


def unit_of(frame_time: float) -> str | None:
    """The unit that a time between frames must have to be plausible; None: seconds, or unknown."""
    rates_hz = {unit: 1 / (frame_time * seconds) for unit, seconds in UNITS_S.items()}
    fitting = [unit for unit, rate_hz in rates_hz.items() if MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ]
    return min(fitting, key=lambda unit: abs(math.log(rates_hz[unit] / TYPICAL_RATE_HZ)), default=None)


def _unit(steps: NDArray[np.float64], typical: float, repeated: int) -> str:
    """The end of a message: the unit that steps look like, if any, and what was expected."""
    unit = unit_of(typical)
    if typical in (1, 2, 3) and np.array_equal(steps, steps.round()):
        unit = "frame numbers" if repeated < len(steps) else "whole seconds"
    if unit is not None and _median(abs(steps - typical)) < IRREGULAR * typical:
        return f", which looks like {unit}, expected seconds"
    hint = f"; recognition starts over after {MAX_GAP_S:g} s without a frame" if typical > MAX_GAP_S else ""
    return f", expected {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} frames per second{hint}"


def _epoch(t: float) -> str:
    """The end of a message about a time that is too late: the clock that it looks like."""
    for unit, now_s in EPOCHS_S.items():
        count = now_s / UNITS_S[unit.partition(" since")[0]]
        if count / 2 < t < 2 * count:
            return f", which looks like {unit}"
    return ", which looks like a unit finer than seconds" if math.isfinite(t) and t > 0 else ""


def _median(values: NDArray[np.float64]) -> float:
    """Without `np.median`, whose first call imports more than hundreds of frames take."""
    return float(np.sort(values)[len(values) // 2])
