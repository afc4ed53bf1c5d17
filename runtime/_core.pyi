"""The recognition engine: poses, people, the streaming network, scores and events. Compiled from csrc/.

Shapes: V joints of the model, Vs joints of a sensor, C labels, n frames. Arrays of other float or integer types, or not
C-contiguous, are copied. Invalid arguments raise a ValueError that names the argument and the expected value.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

class PushResult(NamedTuple):
    frames: npt.NDArray[np.float32]  # [n, V, 3] meters, for the model, in order; often none or one
    reset: bool  # zero this person's network state before these frames: new, back after a gap, or lost
    status: Literal["ok", "dropped", "missing", "lost"]

class Decision(NamedTuple):
    label: int  # most probable; -1 before the first logits of a model without a none label
    score: float  # 0..1, of label
    probs: npt.NDArray[np.float32]  # [C] smoothed
    event: Literal["onset", "offset"] | None
    event_label: int  # -1 without an event
    event_age_s: float  # of an onset: time since the start of its action

class ClipDecision(NamedTuple):
    label: int
    score: float
    probs: npt.NDArray[np.float32]  # [C] mean over the frames, over actions only if there was one

class Outcome(NamedTuple):
    person: int
    status: Literal["ok", "dropped", "missing", "lost"]
    reset: bool  # new, back after a gap, or lost
    frames: int  # fed to the network
    decision: Decision

class Config:
    """Settings of a Session or an Engine.

    Args:
        joints: V, 1 to 256.
        root: joint that poses are centered on.
        left, right: hip and shoulder joints; left minus right gives the facing direction.
        parents: [V] of every joint, -1 for a root; needed with `bones`.
        bones: [V] lengths of the bones to the parents, 0 to 10 m, that every pose gets; empty: poses keep their own.
        flat: whether 2-D layouts are taken, too; needs `parents`, by which the shoulders have one parent, the neck.
        rate_hz: of the model's input frames, at most 1000.
        facing_s: time constant of the facing direction; 0: poses are not rotated.
        reach_m: a joint farther than this from the root counts as missing, at most 1000.
        max_gap_s: longest gap that is filled, at most 60; after a longer one the person is lost or starts over.
        max_people: at the same time; one more replaces the person away longest, if for more than max_gap_s.
        labels: C.
        none: label that means "no action"; -1 without one.
        temperature: logits are divided by it.
        smooth_s: time constant of the scores; 0: not smoothed.
        on, off: score at which an action starts, and below which it ends; 0 <= off <= on <= 1.
        hold_s: how long the score must stay at `on`.
        others: if labels are chosen, share of the probability of the rest that counts as none, 0 to 1.
        on_C, off_C: `on` and `off` by label; empty: the same for all.
        flat_on_C, flat_off_C: the same for 2-D poses; empty: as for 3-D ones.
    """

    def __init__(
        self,
        *,
        joints: int,
        root: int,
        left: list[int],
        right: list[int],
        parents: Sequence[int] = (),
        bones: Sequence[float] = (),
        flat: bool = False,
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
        others: float = 1.0,
        on_C: list[float] = ...,
        off_C: list[float] = ...,
        flat_on_C: list[float] = ...,
        flat_off_C: list[float] = ...,
    ) -> None: ...

class Session:
    """State around the network, for several people. Not thread-safe.

    Poses are mapped to the model's joints, missing joints are filled, and the result is resampled to rate_hz, centered
    on the root and rotated to face +z. Logits are calibrated, smoothed and converted to onsets and offsets of actions.
    """

    def __init__(self, config: Config) -> None: ...
    def add_layout(self, weights: npt.NDArray[Any], flat: bool = False) -> int:
        """Adds a sensor's skeleton by its weights [V, Vs], not negative; returns its number. Flat: it is in 2-D."""

    def relabel(self, labels: int, none: int = -1) -> None:
        """Changes the labels: a current action ends without an event, scores are reset, everything else stays."""

    def choose(self, labels: Sequence[int]) -> None:
        """Limits the labels to some of the network's, in this order, and none; empty: all. Otherwise as `relabel`."""

    def push(
        self,
        person: int,
        t: float,
        joints: npt.NDArray[Any],
        confidence: npt.NDArray[Any] | None,
        layout: int,
    ) -> PushResult:
        """Takes one pose and returns the frames that are due for the model.

        Args:
            person: any id; a new one starts a new person.
            t: seconds, finite, below 1e11; a pose not later than the person's last one is dropped.
            joints: [Vs, 3] meters, y up, or [Vs, 2] in any unit for a flat layout; not finite: missing.
            confidence: [Vs]; 0, less or NaN: missing.
            layout: number that add_layout returned.
        """

    def observe(self, person: int, logits: npt.NDArray[Any]) -> None:
        """Takes the logits, finite, of all the network's labels for one frame that push returned."""

    def decision(self, person: int) -> Decision:
        """Current smoothed scores; returns the pending event once."""

    def clip(self, person: int) -> ClipDecision:
        """One label for everything observed since the person's last reset."""

    def reset(self, person: int | None = None) -> None:
        """Forgets a person, including clock and pending event, or everybody."""

    @property
    def people(self) -> list[int]:
        """Ids of the known people, ascending."""

    @property
    def counters(self) -> dict[str, int]:
        """Totals of the session: frames (pushed), dropped, resets (gaps), lost."""

class StreamGCN:
    """The immutable network of a bundle, from the contents of its manifest and weights.

    Raises BundleError if it is not a StreamGCN, or if the weights do not fit the architecture.
    """

    def __init__(self, manifest: bytes, weights: bytes, where: str, precision: str = "fp32") -> None: ...
    @property
    def weight_bytes(self) -> int:
        """Size of the weights in memory."""

    def streams(self, capacity: int) -> Streams:
        """Creates streams for this many people."""

class Streams:
    """Streams of several people."""

    @property
    def capacity(self) -> int:
        """Maximum number of people."""

    def begin(self, slot: int) -> None:
        """Starts the stream in this slot from zero."""

    def step(
        self, slots: Sequence[int], frames: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One frame of each of N different slots [N, V, 3] -> logits [N, C], features [N, D]."""

class Engine:
    """The recognizer: a Session around the streams of a network. Not thread-safe.

    Args:
        streams: `Streams`, or an object with the same `capacity`, `begin` and `step`.
        push_range, pop_range: called around the phases "map", "step" and "decide".
        flat_streams: for 2-D poses; None: the same as for 3-D ones.
    """

    def __init__(
        self,
        config: Config,
        streams: Any,
        push_range: Callable[[str], Any] | None = None,
        pop_range: Callable[[], Any] | None = None,
        flat_streams: Any = None,
    ) -> None: ...
    def add_layout(self, weights: npt.NDArray[Any], flat: bool = False) -> int:
        """Adds a sensor's skeleton by its weights [V, Vs], not negative; returns its number. Flat: it is in 2-D."""

    def relabel(self, labels: int, none: int = -1) -> None:
        """As `Session.relabel`; only for streams implemented in Python, which must then return as many logits."""

    def choose(self, labels: Sequence[int]) -> None:
        """As `Session.choose`."""

    def step(
        self,
        t: float,
        people: Sequence[int],
        joints: npt.NDArray[Any],
        confidence: npt.NDArray[Any] | None,
        layout: int,
    ) -> list[Outcome]:
        """Takes the poses of N different people at time t (s), [N, Vs, 3] or, in a flat layout, [N, Vs, 2]; returns
        their outcomes."""

    def evict(self, t: float) -> list[Outcome]:
        """Forgets everybody who was not seen for longer than max_gap_s; returns their last outcomes."""

    @property
    def session(self) -> Session:
        """People, clip decisions and counters."""

class Tracker:
    """Assigns ids that persist from frame to frame, by predicted position and body shape. Not thread-safe.

    Args:
        forget_s: seconds out of sight after which an id is released.
        max_people: tracked at the same time, 1 to 1024; ids are below it.
        parents: [V] of every joint, -1 for a root; empty: shapes are not compared.
    """

    def __init__(self, forget_s: float = 0.5, max_people: int = 16, parents: Sequence[int] = ()) -> None: ...
    def assign(
        self, t: float, poses: Sequence[npt.NDArray[Any]], confidence: Sequence[npt.NDArray[Any]] | None = None
    ) -> list[int]:
        """Ids of the poses [V, 2] or [V, 3] at time t (s); -1: without joints, or one too many."""

    def reset(self) -> None:
        """Forgets everybody."""

class Retargeter:
    """A person's joints to a robot's angles, frame by frame. Not thread-safe.

    Args:
        robot: name of a built-in robot, or of the one in `json`, for messages.
        weights: [22, Vs] that compute the joints of smpl22 from the person's.
        json: text of a robot file.
    """

    def __init__(self, robot: str, weights: npt.NDArray[Any], json: str | None = None) -> None: ...
    def step(
        self, t: float, joints: npt.NDArray[Any], confidence: npt.NDArray[Any] | None
    ) -> Literal["tracked", "dropped", "missing"]:
        """Takes joints [Vs, 3] (meters, y up; not finite: missing) and their confidence [Vs] at time t (s)."""

    def reset(self) -> None:
        """Starts over with the next frame."""

    @property
    def joints(self) -> list[tuple[str, float, float, float]]:
        """Name, lower and upper limit (rad) and largest velocity (rad/s) of each joint."""

    def pose(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Position [3] and quaternion [4] (w, x, y, z) of the root, and angles [J]."""

    def tracking(
        self,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.float64], float]:
        """Keypoints [14, 3], their targets [14, 3], which feet rest [2], center of mass [3], clearance of the parts.

        Meters; NaN where the robot file has no masses or no capsules.
        """

    def soles(self) -> list[npt.NDArray[np.float64]]:
        """Corners [n, 3] of the left and of the right sole, in meters."""

def choose_labels(model: str, labels: Sequence[str], none: int, chosen: Sequence[str]) -> list[int]:
    """Indices of the chosen labels, without none. An error names the nearest labels."""

def thresholds_at(
    rates: Sequence[float],
    on: Sequence[Sequence[float]],
    off: Sequence[Sequence[float]],
    per_minute: float,
    model: str,
) -> tuple[list[float], list[float]]:
    """Thresholds on [C] and off [C], interpolated between those [B][C] for the false alarms per minute `rates` [B]."""

def project_lengths(
    joints: npt.NDArray[np.float64],
    bones: Sequence[tuple[int, int, float]],
    is_free: npt.NDArray[np.bool_],
    projections: int,
) -> float:
    """Move joints [V, 3, T] that are free, [V], so that bones (two joints and a length) get their lengths; in place.

    Returns by how much a length is still off, at most, of bones with a free end.
    """

def cut_image(
    image: npt.NDArray[np.uint8],
    origin: Sequence[float],
    right: Sequence[float],
    down: Sequence[float],
    size: int,
    goes_on: bool,
) -> npt.NDArray[np.float32]:
    """Colors [size, size, 3] in 0..1 of `image` [H, W, 3] at origin + x right + y down (pixels), bilinear.

    They are rounded as OpenCV 4 does it: places to 1/32 of a pixel, colors to 1/255. Beyond the border the image goes
    on with its last color, or is black.
    """

def parse_json_clip(
    text: bytes, min_frames: int, max_frames: int, max_joints: int, max_others: int
) -> tuple[npt.NDArray[np.float32], bytes]:
    """The "joints" [T, V, 2 or 3] of a JSON object, NaN for null; and the rest of its text, at most `max_others` bytes.

    An error names the first problem. Other threads run meanwhile.
    """

def instruction_set() -> str:
    """Instruction set that the network uses here: avx512, avx2, neon or portable."""

def peak_flops(seconds: float) -> float:
    """Highest measured rate of multiply-adds of one thread, in FLOP/s (fp32)."""

def layout_weights(target: str, source: str, needs_legs: bool = True) -> npt.NDArray[np.float32]:
    """Weights [V, Vs] from one built-in layout to another, as computed by the C library."""
