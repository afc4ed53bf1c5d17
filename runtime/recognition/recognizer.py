"""Recognise actions in a live skeleton, one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .. import backends, nvtx
from .._core import Config, Engine, Outcome
from ..backends.protocols import Backend, Streams
from ..body.input_check import InputMonitor
from ..body.layout import Layout
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE, as_array, check_joints
from ..bundles.bundle import Bundle
from ..bundles.schema import ZeroShotManifest
from ..errors import BundleError, InputError, LayoutError
from .decision import Decision, Descriptions, clip_decision

if TYPE_CHECKING:
    from ..io.tracker import Tracker

MIN_CLIP_FRAMES = 2

T = TypeVar("T")


class Recognizer:
    """A streaming recogniser: a frame costs the same, whatever came before. Not for several threads at once.

    Attributes:
        labels: what it can say. layout: name of the skeleton it takes. fps: frames a second of its model.
        receptive_field, delay: in model frames. license: of its weights. name: of its bundle.
        backend: what runs its network.
        background: whether texts are matched on a thread of its own, so that no frame waits for it; else a frame does
            that itself, and the same frames give the same decisions. Models of fixed labels do nothing like that.
    """

    background = True

    def __init__(self, bundle: Bundle, backend: Backend, streams: Streams | None = None) -> None:
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
        self._engine = Engine(_config(bundle, self._layout), streams or backend.streams(MAX_PEOPLE), *nvtx.push_pop())
        self._sources: dict[str, tuple[Layout, int]] = {}  # layout name -> (layout, its number in the engine)
        self._clocks: dict[int, float] = {}  # person -> time of the last frame, s
        self._tracker: Tracker | None = None
        self._monitor = InputMonitor()

    @classmethod
    def load(cls, name: str | Path, backend: str = "auto", threads: int = 1, precision: str = "fp32") -> Recognizer:
        """Load a recogniser.

        Args:
            name: a bundled model's name, or the path of a bundle.
            backend: "auto", "native", "onnx", "tensorrt" or "cuda".
            threads: CPU threads of one step; the native engine uses one.
            precision: of the native engine's weights, "fp32" or "bf16" (half the memory); of TensorRT's products,
                "fp32", "fp16" or "bf16".
        Raises:
            BundleError: unknown name, or a bundle that is damaged.
            InputError: an unknown backend or one that cannot be used here.
        """
        bundle = Bundle.load(name)
        if isinstance(bundle.manifest, ZeroShotManifest):
            from .zero_shot import ZeroShotRecognizer

            return ZeroShotRecognizer.of(bundle, backend, threads, precision)
        return cls(bundle, backends.create(backend, bundle, threads, precision))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.backend}, {self.layout}, {len(self.labels)} labels)"

    def clone(self) -> Recognizer:
        """One more recogniser with the same labels, which shares the network and follows people of its own."""
        return Recognizer(self.bundle, self._backend)

    @property
    def counters(self) -> dict[str, int]:
        """Totals since loading: frames handed in, of these dropped; resets after gaps; people lost."""
        return dict(self._engine.session.counters)

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
            timestamp: seconds, rising; None: one model period (1 / fps) after the person's last frame. Of a clock that
                has been set back, the first frame is dropped, and the second starts anew.
            person: any whole number that stays with the person, up to 16 people at once.
            confidence: [V]; a joint with 0 or less was not seen.
            layout: name of the skeleton of `joints`; None: the model's own.
        Returns:
            The decision after this frame.
        Raises:
            LayoutError: unknown layout, or joints that do not fit it.
            InputError: not [V, 3] numbers, 2-D joints, too many joints or people, a timestamp not finite; poses that
                look like millimetres or centimetres, of which a stream's first 30 whole ones are looked at.
        """
        started = time.perf_counter()
        source, number = self._source(layout or self.layout)
        pose = _check_pose(joints, source)
        seen = None if confidence is None else _check_confidence(confidence, (len(source.joints),), source)[None]
        self._monitor.check_frame(pose[None], seen, source)
        return self._step(started, timestamp, [_check_person(person)], pose[None], seen, number)[0]

    def step_people(
        self,
        joints: ArrayLike,
        timestamp: float | None = None,
        people: Sequence[int] | None = None,
        confidence: ArrayLike | None = None,
        layout: str | None = None,
    ) -> list[Decision]:
        """Take what is seen of several people at one moment; they go through the network together.

        Args:
            joints: [M, V, 3], otherwise as in `step`.
            timestamp: seconds; None: one model period after the last frame of any of them.
            people: M different numbers that stay with the people; None: given by where they are, see `Tracker`.
            confidence: [M, V].
        Returns:
            A decision each, in their order; its `latency_ms` is that of the call.
        Raises:
            LayoutError, InputError: as `step`; more than 16 people; a person twice.
        """
        started = time.perf_counter()
        source, number = self._source(layout or self.layout)
        poses = as_array("joints", joints, np.float32)
        if poses.ndim != 3 or len(poses) > MAX_PEOPLE:
            raise InputError(
                f"joints have shape {list(poses.shape)}, expected [M, V, 3] of at most {MAX_PEOPLE} people"
            )
        check_joints(poses.shape[1:], source.name)
        seen = None if confidence is None else _check_confidence(confidence, poses.shape[:2], source)
        if people is None:
            ids = self._track(timestamp, poses, seen)
        else:
            ids = [_check_person(person) for person in people]
            if len(ids) != len(poses):
                raise InputError(f"people has {len(ids)} numbers, joints are of {len(poses)} people")
        self._monitor.check_frame(poses, seen, source)
        return self._step(started, timestamp, ids, poses, seen, number)

    def evict(self, timestamp: float) -> list[Decision]:
        """Forget whoever has not been handed in for 0.5 s (the model's max_gap_s).

        Call it now and then, for example with every moment of a camera: without it an action of somebody who left goes
        on until they return.

        Args:
            timestamp: seconds, on the clock of `step`.
        Returns:
            The last decision on each, with status "lost" and the offset of the action that was going on.
        """
        started = time.perf_counter()
        try:
            outcomes = self._engine.evict(float(timestamp))
        except ValueError as error:
            raise InputError(str(error)) from error
        decisions = [self._decision(outcome, started, 0.0) for outcome in outcomes]
        for decision in decisions:
            self._clocks.pop(decision.person, None)
        return decisions

    def recognize(self, motion: Motion) -> Decision:
        """Decide on a whole clip, stepping through it; people followed live are not disturbed.

        Of several people the one with the most joints seen counts; of a clip with gaps, its longest part.

        Args:
            motion: at least two frames, in any 3-D layout.
        Returns:
            The clip's decision: `probs` are the softmax of logits averaged over time, `latency_ms` covers the clip.
        Raises:
            InputError: fewer than two frames, nobody visible in any of them, or not in metres.
            LayoutError: unknown layout.
        """
        started = time.perf_counter()
        apart = Recognizer(self.bundle, self._backend)
        apart._monitor = self._monitor
        result = apart._longest(motion, lambda: apart._engine.session.clip(0))
        return clip_decision(started, result.label, result.probs, self.labels)

    def set_labels(self, labels: Sequence[str], descriptions: Descriptions | None = None) -> None:
        """Choose what is recognised, at any time and from any thread; nobody who is followed is lost.

        Args:
            labels: any texts. What is done in those of `manifest.matching.labels` is known.
            descriptions: of some of them, what is done: a sentence, or one for the motion and for each of head, hands,
                arms, hips, legs and feet, or some of these. The more is said, the better an action is recognised.
        Raises:
            InputError: a model of fixed labels; no labels, too many, one of them twice or "none"; a text that is no
                text or too long.
        """
        raise self._fixed()

    def enroll(self, label: str, motions: Sequence[Motion]) -> None:
        """Recognise an action by examples; those of the same label that were there are replaced.

        Args:
            label: any text; one of `set_labels` is then recognised by either.
            motions: 1 to 10 clips, in any 3-D layout.
        Raises:
            InputError: a model of fixed labels, a label as in `set_labels`, or clips in which nobody can be followed.
            LayoutError: unknown layout.
        """
        raise self._fixed()

    def forget(self, label: str) -> None:
        """Drop the examples of a label, and the label if it has no text.

        Raises:
            InputError: a model of fixed labels, or a label without examples.
        """
        raise self._fixed()

    def save_gestures(self, path: str | Path) -> None:
        """Write all examples to one .npz file; it appears whole or not at all.

        Raises:
            InputError: a model of fixed labels, nothing is enrolled, or the file cannot be written.
        """
        raise self._fixed()

    def load_gestures(self, path: str | Path) -> None:
        """Enroll what `save_gestures` wrote, besides what is enrolled.

        Raises:
            InputError: a model of fixed labels, no such file, one that is damaged, or examples for another encoder.
        """
        raise self._fixed()

    def reset(self, person: int | None = None) -> None:
        """Forget one person, or everybody."""
        self._engine.session.reset(person)
        if person is None:
            self._clocks.clear()
            self._tracker = None
            self._monitor.restart()
        else:
            self._clocks.pop(person, None)

    def _fixed(self) -> InputError:
        return InputError(
            f"the labels of model {self.name!r} are fixed, those of model 'zero-shot' (--model zero-shot) are any texts"
        )

    def _longest(self, motion: Motion, read: Callable[[], T]) -> T:
        """Steps through a clip; what `read` gives at the end of its longest part without a gap."""
        if motion.frames < MIN_CLIP_FRAMES:
            raise InputError(f"the clip has {motion.frames} frame(s), expected at least {MIN_CLIP_FRAMES}")
        motion = _most_visible(motion)
        source, number = self._source(motion.layout)
        check_joints(motion.joints.shape[1:], source.name)
        self._monitor.check_clip(motion.joints, motion.confidence, source)
        frames, longest, result = 0, 0, None
        for index, timestamp in enumerate(motion.times):
            confidence = None if motion.confidence is None else motion.confidence[index, None]
            [outcome] = self._run(float(timestamp), [0], motion.joints[index, None], confidence, number)
            frames = outcome.frames + (0 if outcome.reset else frames)
            if frames > longest:
                longest, result = frames, read()
        if result is None:
            raise InputError(f"nobody is visible in any of the clip's {motion.frames} frames")
        return result

    def _step(
        self,
        started: float,
        timestamp: float | None,
        people: list[int],
        joints: np.ndarray,
        confidence: np.ndarray | None,
        layout: int,
    ) -> list[Decision]:
        """Poses [M, S, 3] of M people, checked, -> their decisions; `started` is when they were handed in."""
        t = self._next_time(people) if timestamp is None else float(timestamp)
        outcomes = self._run(t, people, joints, confidence, layout)
        if len(self._clocks) > MAX_PEOPLE:
            known = set(self._engine.session.people)
            self._clocks = {person: clock for person, clock in self._clocks.items() if person in known}
        for outcome in outcomes:
            if outcome.status != "dropped":
                self._clocks[outcome.person] = t
        return [self._decision(outcome, started, t) for outcome in outcomes]

    def _run(
        self, t: float, people: list[int], joints: np.ndarray, confidence: np.ndarray | None, layout: int
    ) -> list[Outcome]:
        try:
            return self._engine.step(t, people, joints, confidence, layout)
        except ValueError as error:
            raise InputError(str(error)) from error
        except BundleError as error:
            raise BundleError(f"{self.bundle.path}: {error}") from error

    def _next_time(self, people: Sequence[int]) -> float:
        clocks = [self._clocks[person] for person in people if person in self._clocks]
        return max(clocks) + 1 / self.fps if clocks else 0.0

    def _track(self, timestamp: float | None, poses: np.ndarray, confidence: np.ndarray | None) -> list[int]:
        if self._tracker is None:
            from ..io.tracker import Tracker

            self._tracker = Tracker()
        t = self._next_time(list(self._clocks)) if timestamp is None else float(timestamp)
        return self._tracker.assign(t, list(poses), None if confidence is None else list(confidence))

    def _decision(self, outcome: Outcome, started: float, t: float) -> Decision:
        result = outcome.decision
        return Decision(
            person=outcome.person,
            label=self._label(result.label) or "",
            score=result.score,
            event=result.event,
            event_label=self._label(result.event_label),
            since=t - result.event_age_s if result.event == "onset" else None,
            latency_ms=(time.perf_counter() - started) * 1e3,
            probs=result.probs,
            labels=self.labels,
            status=outcome.status,
        )

    def _source(self, name: str) -> tuple[Layout, int]:
        """The layout of incoming joints and its number in the session."""
        if name not in self._sources:
            source = Layout.load(name)
            if source.dims != 3:
                raise InputError(
                    f"layout {name!r} is {source.dims}-D, model {self.name!r} takes 3-D joints in metres; "
                    "a 2-D layout needs a model trained for it"
                )
            self._sources[name] = source, self._engine.add_layout(self._layout.map_from(source))
        return self._sources[name]

    def _label(self, index: int) -> str | None:
        return self.labels[index] if index >= 0 else None


def _config(bundle: Bundle, layout: Layout) -> Config:
    manifest = bundle.manifest
    if len(layout.joints) != manifest.joints:
        raise BundleError(
            f"{bundle.path}: its graphs take {manifest.joints} joints, layout {layout.name!r} has {len(layout.joints)}"
        )
    return manifest.frontend.config(
        layout,
        len(manifest.labels),
        none=manifest.none_index,
        max_people=MAX_PEOPLE,
        **asdict(manifest.decision),
    )


def _check_pose(joints: ArrayLike, layout: Layout) -> np.ndarray:
    """joints as float32 [V, 3] of `layout`."""
    pose = as_array("joints", joints, np.float32)
    if pose.ndim != 2:
        raise InputError(f"joints have shape {list(pose.shape)}, expected [V, 3]: one frame of one person")
    check_joints(pose.shape, layout.name)
    return pose


def _check_confidence(confidence: ArrayLike, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    array = as_array("confidence", confidence, np.float32)
    if array.shape != shape:
        raise LayoutError(f"confidence has shape {list(array.shape)}, expected {list(shape)} for layout {layout.name}")
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
