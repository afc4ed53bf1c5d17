"""Everything around the recognition network: poses, people, scores and events. Compiled from csrc/.

V joints of the model, Vs joints of a sensor, C labels, n frames. Arrays of another float or integer type, or
not C-contiguous, are copied. What does not fit is a ValueError that names it and what was expected.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

class Pushed(NamedTuple):
    frames: npt.NDArray[np.float32]  # [n, V, 3] metres, for the model, in order; often none or one
    reset: bool  # zero this person's network state, before these frames: new, back after a gap, or lost
    status: Literal["ok", "dropped", "missing", "lost"]

class Decision(NamedTuple):
    label: int  # most probable; -1 before the first logits of a model without a none label
    score: float  # 0..1, of label
    probs: npt.NDArray[np.float32]  # [C] smoothed
    event: Literal["onset", "offset"] | None
    event_label: int  # -1 without an event
    event_age_s: float  # of an onset: how long its action has been going on

class ClipDecision(NamedTuple):
    label: int
    score: float
    probs: npt.NDArray[np.float32]  # [C] softmax of the mean logits, over actions alone if there was one

class Session:
    """State around the network, for several people. Not for several threads at once.

    A pose is mapped to the model's joints, its missing joints are filled, and it is resampled to rate_hz,
    centred on the root and turned to face +z; logits are calibrated, smoothed and turned into onsets and
    offsets of actions.

    Args:
        joints: V, 1 to 256.
        root: joint that poses are centred on.
        left, right: hip and shoulder joints; left minus right tells where the person faces.
        rate_hz: of the frames the model is given, at most 1000.
        facing_s: time constant of the facing direction; 0: poses are not turned.
        reach_m: a joint farther than this from the root counts as missing, at most 1000.
        max_gap_s: longest time that is filled, at most 60; beyond it the person is lost or starts anew.
        max_people: tracked at once; one more replaces whoever was away longest, if for over max_gap_s.
        labels: C.
        none: label that means "no action"; -1 without one.
        temperature: logits are divided by it.
        smooth_s: time constant of the scores; 0: not smoothed.
        on, off: score at which an action starts, and below which it ends; 0 <= off <= on <= 1.
        hold_s: how long the score must stay at `on`.
    """

    def __init__(
        self,
        *,
        joints: int,
        root: int,
        left: list[int],
        right: list[int],
        rate_hz: float,
        facing_s: float = 1.0,
        reach_m: float = 2.0,
        max_gap_s: float = 0.5,
        max_people: int = 16,
        labels: int,
        none: int = -1,
        temperature: float = 1.0,
        smooth_s: float = 0.2,
        on: float = 0.6,
        off: float = 0.3,
        hold_s: float = 0.1,
    ) -> None: ...
    def add_layout(self, weights: npt.NDArray[Any]) -> int:
        """Registers a sensor's skeleton by its weights [V, Vs], not negative; returns its number."""

    def push(
        self,
        person: int,
        t: float,
        joints: npt.NDArray[Any],
        confidence: npt.NDArray[Any] | None,
        layout: int,
    ) -> Pushed:
        """Takes one pose and returns the frames that are due to the model.

        Args:
            person: any id; a new one starts a new person.
            t: seconds, finite, below 1e11; a pose that is not later than the person's last one is dropped.
            joints: [Vs, 3] metres, y up; not finite: missing.
            confidence: [Vs]; 0, less or NaN: missing.
            layout: number that add_layout returned.
        """

    def observe(self, person: int, logits: npt.NDArray[Any]) -> None:
        """Takes the logits [C], finite, of one frame that push returned."""

    def decision(self, person: int) -> Decision:
        """Smoothed scores now; hands out the pending event once."""

    def clip(self, person: int) -> ClipDecision:
        """One label for everything observed since the person's last reset."""

    def reset(self, person: int | None = None) -> None:
        """Forgets a person, clock and pending event included, or everybody."""

    @property
    def people(self) -> list[int]:
        """Ids of the people known, ascending."""

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the session was made: frames (pushed), dropped, resets (gaps), lost."""
