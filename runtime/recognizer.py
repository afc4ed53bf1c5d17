"""Recognise actions in a live skeleton, one frame at a time."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from . import backends
from ._core import Pushed, Session
from .bundle import Bundle
from .errors import BundleError, InputError, LayoutError
from .motion import MAX_PEOPLE, Motion, check_joints, numbers
from .skeleton import Layout

MIN_CLIP_FRAMES = 2

Status = Literal["ok", "dropped", "missing", "lost"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What one person is doing.

    Attributes:
        label: the most probable label; "" before the first model frame of a model without a "none" label.
        score: its probability, 0 to 1.
        event: "onset" or "offset" if an action starts or ends with this frame, else None.
        event_label: the action that starts or ends.
        since: of an onset, when its action began: time of the first frame of the movement, seconds.
        latency_ms: from the frame (or clip) being handed in to this decision.
        probs: [C] float32, probabilities in the order of `labels`.
        labels: the C labels.
        status: "ok"; "dropped": not later than the frame before, ignored; "missing": nobody seen yet; "lost":
            unseen for too long, the person's state was reset.
    """

    label: str
    score: float
    event: Literal["onset", "offset"] | None
    event_label: str | None
    since: float | None
    latency_ms: float
    probs: np.ndarray
    labels: tuple[str, ...]
    status: Status = "ok"

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable labels with their probabilities, best first."""
        order = np.argsort(-self.probs, kind="stable")[: max(k, 0)]
        return [(self.labels[index], float(self.probs[index])) for index in order]


class Recognizer:
    """A streaming recogniser: a frame costs the same, whatever came before. Not for several threads at once.

    Attributes:
        labels: what it can say. layout: name of the skeleton it takes. fps: frames a second of its model.
        receptive_field, delay: in model frames. license: of its weights. name: of its bundle.
        backend: what runs its network.
    """

    def __init__(self, bundle: Bundle, backend: backends.Backend) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.labels = manifest.labels
        self.layout = manifest.layout
        self.license = manifest.license
        self.name = manifest.name
        self.fps = manifest.fps
        self.receptive_field = manifest.receptive_field
        self.delay = manifest.delay
        self.backend = backend.name
        self._backend = backend
        self._layout = Layout.load(manifest.layout)
        self._session = _session(bundle, self._layout)
        self._sources: dict[str, tuple[Layout, int]] = {}  # layout name -> (layout, its number in the session)
        self._states: dict[int, np.ndarray] = {}  # person -> [1, S]
        self._clocks: dict[int, float] = {}  # person -> time of the last frame, s

    @classmethod
    def load(cls, name: str | Path, backend: str = "auto", threads: int = 1) -> "Recognizer":
        """Load a recogniser.

        Args:
            name: a bundled model's name, or the path of a bundle.
            backend: "auto", "native", "onnx", "tensorrt" or "cuda".
            threads: CPU threads of one step.
        Raises:
            BundleError: unknown name, or a bundle that is damaged.
            InputError: an unknown backend or one that cannot be used here.
        """
        bundle = Bundle.load(name)
        return cls(bundle, backends.create(backend, bundle, threads))

    @property
    def counters(self) -> dict[str, int]:
        """Totals since loading: frames handed in, of these dropped; resets after gaps; people lost."""
        return dict(self._session.counters)

    def step(
        self,
        joints: ArrayLike,
        timestamp: float | None = None,
        person: int = 0,
        confidence: ArrayLike | None = None,
        layout: str | None = None,
    ) -> Decision:
        """Take one frame of one person.

        Args:
            joints: [V, 3] metres, y up; NaN where a joint was not seen.
            timestamp: seconds, rising; None: one model period (1 / fps) after the person's last frame.
            person: any whole number that stays with the person, up to 16 people at once.
            confidence: [V]; a joint with 0 or less was not seen.
            layout: name of the skeleton of `joints`; None: the model's own.
        Returns:
            The decision after this frame.
        Raises:
            LayoutError: unknown layout, or joints that do not fit it.
            InputError: not [V, 3] numbers, 2-D joints, too many joints or people, a timestamp not finite.
        """
        started = time.perf_counter()
        pushed = self._push(joints, timestamp, person, confidence, layout or self.layout)
        result = self._session.decision(person)
        return Decision(
            label=self._label(result.label) or "",
            score=float(result.score),
            event=result.event,
            event_label=self._label(result.event_label),
            since=self._clocks[person] - result.event_age_s if result.event == "onset" else None,
            latency_ms=(time.perf_counter() - started) * 1e3,
            probs=result.probs,
            labels=self.labels,
            status=pushed.status,
        )

    def recognize(self, motion: Motion) -> Decision:
        """Decide on a whole clip, stepping through it; people followed live are not disturbed.

        Of several people the one with the most joints seen counts; of a clip with gaps, its longest part.

        Args:
            motion: at least two frames, in any 3-D layout.
        Returns:
            The clip's decision: `probs` are the softmax of logits averaged over time, `latency_ms` covers the clip.
        Raises:
            InputError: fewer than two frames, or nobody is visible in any of them.
            LayoutError: unknown layout.
        """
        started = time.perf_counter()
        if motion.frames < MIN_CLIP_FRAMES:
            raise InputError(f"the clip has {motion.frames} frame(s), expected at least {MIN_CLIP_FRAMES}")
        motion = _most_visible(motion)
        apart = Recognizer(self.bundle, self._backend)
        frames, longest, result = 0, 0, None
        for index, timestamp in enumerate(motion.times):
            confidence = None if motion.confidence is None else motion.confidence[index]
            pushed = apart._push(motion.joints[index], float(timestamp), 0, confidence, motion.layout)
            frames = len(pushed.frames) + (0 if pushed.reset else frames)
            if frames > longest:
                longest, result = frames, apart._session.clip(0)
        if result is None:
            raise InputError(f"nobody is visible in any of the clip's {motion.frames} frames")
        return Decision(
            label=self._label(result.label) or "",
            score=float(result.score),
            event=None,
            event_label=None,
            since=None,
            latency_ms=(time.perf_counter() - started) * 1e3,
            probs=result.probs,
            labels=self.labels,
        )

    def reset(self, person: int | None = None) -> None:
        """Forget one person, or everybody."""
        self._session.reset(person)
        for table in (self._states, self._clocks):
            if person is None:
                table.clear()
            else:
                table.pop(person, None)

    def _push(
        self,
        joints: ArrayLike,
        timestamp: float | None,
        person: int,
        confidence: ArrayLike | None,
        layout: str,
    ) -> Pushed:
        """Hand one frame to the session and run the network on the model frames that are due."""
        source, number = self._source(layout)
        pose = _check_pose(joints, source)
        seen = None if confidence is None else _check_confidence(confidence, source)
        person = _check_person(person)
        if timestamp is None:
            timestamp = self._clocks[person] + 1 / self.fps if person in self._clocks else 0.0
        try:
            pushed = self._session.push(person, float(timestamp), pose, seen, number)
        except ValueError as error:
            raise InputError(str(error)) from error
        if pushed.reset:
            self._forget_strangers()
            self._states[person] = self._backend.new_state(1)
        if pushed.status != "dropped":
            self._clocks[person] = float(timestamp)
        state = self._states[person]
        for frame in pushed.frames:
            logits, _, state = self._backend.step(state, frame[None])
            self._observe(person, logits[0])
        self._states[person] = state
        return pushed

    def _observe(self, person: int, logits: np.ndarray) -> None:
        try:
            self._session.observe(person, logits)
        except ValueError as error:
            raise BundleError(f"{self.bundle.path}: {error}") from error

    def _source(self, name: str) -> tuple[Layout, int]:
        """The layout of incoming joints and its number in the session."""
        if name not in self._sources:
            source = Layout.load(name)
            if source.dims != 3:
                raise InputError(
                    f"layout {name!r} is {source.dims}-D, model {self.name!r} takes 3-D joints in metres; "
                    "a 2-D layout needs a model trained for it"
                )
            self._sources[name] = source, self._session.add_layout(self._layout.map_from(source))
        return self._sources[name]

    def _forget_strangers(self) -> None:
        """Drop what is kept of people whom the session has given up to make room."""
        known = set(self._session.people)
        for table in (self._states, self._clocks):
            for person in [person for person in table if person not in known]:
                del table[person]

    def _label(self, index: int) -> str | None:
        return self.labels[index] if index >= 0 else None


def _session(bundle: Bundle, layout: Layout) -> Session:
    manifest = bundle.manifest
    if len(layout.joints) != manifest.joints:
        raise BundleError(
            f"{bundle.path}: its graphs take {manifest.joints} joints, layout {layout.name!r} has {len(layout.joints)}"
        )
    return manifest.frontend.session(
        layout,
        len(manifest.labels),
        none=manifest.none_index,
        max_people=MAX_PEOPLE,
        **asdict(manifest.decision),
    )


def _check_pose(joints: ArrayLike, layout: Layout) -> np.ndarray:
    """joints as float32 [V, 3] of `layout`."""
    pose = numbers("joints", joints, np.float32)
    if pose.ndim != 2:
        raise InputError(f"joints have shape {list(pose.shape)}, expected [V, 3]: one frame of one person")
    check_joints(pose.shape, layout.name)
    return pose


def _check_confidence(confidence: ArrayLike, layout: Layout) -> np.ndarray:
    array = numbers("confidence", confidence, np.float32)
    if array.shape != (len(layout.joints),):
        raise LayoutError(
            f"confidence has shape {list(array.shape)}, expected [{len(layout.joints)}] for layout {layout.name}"
        )
    return array


def _check_person(person: int) -> int:
    if isinstance(person, bool) or not isinstance(person, int | np.integer) or not -(2**63) <= person < 2**63:
        raise InputError(f"person is {person!r}, expected a whole number")
    return int(person)


def _most_visible(motion: Motion) -> Motion:
    """The person with the most joints seen."""
    if motion.people == 1:
        return motion.person(0)
    seen = np.isfinite(motion.joints).all(axis=-1)  # [T, M, V]
    if motion.confidence is not None:
        seen &= motion.confidence > 0
    return motion.person(int(seen.sum(axis=(0, 2)).argmax()))
