"""`Recognizer`: actions in a live skeleton, one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._core import Outcome
from ..backends import factory
from ..backends.paired import PairedBackend
from ..backends.protocols import Backend
from ..body.input_check import InputMonitor
from ..body.layout import Layout
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE, as_array, check_joints, check_person
from ..body.time_check import as_seconds
from ..bundles.bundle import Bundle
from ..bundles.isolation import load_isolated
from ..bundles.schema import ClipManifest, RecognitionManifest, ZeroShotManifest
from ..errors import BundleError, InputError, LayoutError
from .clips import ClipNetworks, WindowEngine
from .decision import Decision, Descriptions, clip_decision
from .engine import StreamEngine
from .labels import FixedLabels, LabelStrategy

if TYPE_CHECKING:
    from ..io.tracker import Tracker


NOBODY = -1  # person of a decision on a pose that is nobody's


class Recognizer:
    """A streaming recognizer: every frame costs the same, whatever came before.

    Thread-safe: concurrent calls run one after the other. It goes on in a forked child process.

    Attributes:
        labels: the current labels. layout: name of the skeleton layout it takes. fps: frames per second of its model.
        receptive_field, delay: in model frames. license: of its weights. name: of its bundle.
        backend: name of the backend that runs its network.
        bundle: the bundle it was loaded from.
        alarms_per_minute: false alarms per minute that its thresholds are for; None: the model's default ones.
        takes_2d: whether it takes joints in 2-D layouts, too.
        label_strategy: decides the labels; `label_strategy.fixed` is False for a zero-shot model.
        background: for models with open labels. True: labels are matched on a background thread, so that no frame waits
            for it. False: frames match them inline, and the same frames give the same decisions.
    """

    background = True

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        labels: LabelStrategy | None = None,
        alarms_per_minute: float | None = None,
    ) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.layout = manifest.layout
        self.license = manifest.license
        self.name = manifest.name
        self.fps = manifest.fps
        self.receptive_field = manifest.receptive_field
        self.delay = manifest.delay
        self.backend = backend.name
        self.alarms_per_minute = alarms_per_minute
        self.label_strategy = labels or FixedLabels(manifest, backend)
        self._backend = backend
        self._monitor = InputMonitor()
        engine = WindowEngine if isinstance(manifest, ClipManifest) else StreamEngine
        self._engine = engine(bundle, self.label_strategy.streams, self._monitor, alarms_per_minute)
        self.label_strategy.attach(self._engine)
        self._clocks: dict[int, float] = {}  # person -> time of the last frame, s
        self._tracker: Tracker | None = None

    @classmethod
    def load(
        cls,
        name: str | Path,
        backend: str = "auto",
        threads: int = 1,
        precision: str = "fp32",
        *,
        labels: Sequence[str] | None = None,
        alarms_per_minute: float | None = None,
        isolate: bool = False,
    ) -> Recognizer:
        """Load a recognizer.

        Args:
            name: a bundled model's name, the path of a bundle, or hf://ORG/NAME[@REVISION] on the Hugging Face Hub.
            backend: "auto", "native", "onnx", "tensorrt" or "cuda" ("cuda:1": the second GPU).
            threads: CPU threads of one step, at most the CPUs that this process may use; the native engine uses one.
            precision: of the native engine's weights, "fp32" or "bf16" (half the memory); of TensorRT products,
                "fp32", "fp16" or "bf16".
            labels: labels to recognize, as for `set_labels`; None: the model's own.
            alarms_per_minute: use the thresholds that lead to at most so many false onsets per minute, if the model has
                some for that number; None: its default thresholds.
            isolate: for a bundle from somebody else: first open it in a child with limits of memory and time.
        Raises:
            BundleError: an unknown name or a damaged bundle.
            InputError: an unknown backend, or one that is not available here; too many threads; labels that the model
                does not take; no thresholds for so many false alarms.
        """
        load = load_isolated if isolate else Bundle.load
        bundle: Bundle[Any] = load(name, RecognitionManifest)
        recognizer = cls._create(bundle, _flat_bundle(bundle, load), backend, threads, precision, alarms_per_minute)
        if labels is not None:
            recognizer.set_labels(labels)
        return recognizer

    @classmethod
    def _create(
        cls,
        bundle: Bundle[Any],
        flat: Bundle[Any] | None,
        backend: str,
        threads: int,
        precision: str,
        alarms_per_minute: float | None,
    ) -> Recognizer:
        if isinstance(bundle.manifest, ClipManifest):
            opened = factory.session_opener(backend, bundle, threads, precision)
            networks = ClipNetworks(bundle, opened, "onnx" if backend == "auto" else backend)
            return cls(bundle, networks, alarms_per_minute=alarms_per_minute)
        if not isinstance(bundle.manifest, ZeroShotManifest):
            network = factory.create(backend, bundle, threads, precision)
            if flat is not None:
                network = PairedBackend(network, factory.create(backend, flat, threads, precision), flat.manifest)
            return cls(bundle, network, alarms_per_minute=alarms_per_minute)
        from ..text_encoder import TextEncoder
        from .matcher import Matcher
        from .open_labels import OpenLabels, encoder_bundle

        encoder = factory.create(backend, encoder_bundle(bundle), threads, precision)
        matcher = Matcher(bundle, TextEncoder.load(threads=threads), threads)
        return cls(bundle, encoder, OpenLabels(bundle, encoder, matcher), alarms_per_minute)

    def __repr__(self) -> str:
        return f"Recognizer({self.name!r}, {self.backend}, {self.layout}, {len(self.labels)} labels)"

    def clone(self) -> Recognizer:
        """A recognizer with the same network, labels and thresholds that tracks its own people."""
        return Recognizer(self.bundle, self._backend, self.label_strategy.clone(), self.alarms_per_minute)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.label_strategy.labels

    @property
    def takes_2d(self) -> bool:
        return self._engine.takes_2d

    @property
    def counters(self) -> dict[str, int]:
        """Totals since loading: frames, dropped frames, resets after gaps, lost people."""
        return self._engine.counters

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems of the input that were logged so far, one line each: its axes, joint order or timestamps."""
        return tuple(self._monitor.problems)

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
            joints: [V, 3] meters, y up; [V, 2] in any unit, y up or down, in a 2-D layout, if `takes_2d`. NaN for a
                missing joint. A pose without extent, such as the zeros of a sensor's unused slot, is nobody: all its
                joints count as missing.
            timestamp: seconds, increasing; None: one model period (1 / fps) after the person's last frame. If the clock
                is set back, the first frame is dropped and the second one starts a new stream.
            person: an integer that identifies the person; up to 16 people at a time.
            confidence: [V]; a joint with 0 or less is missing.
            layout: name of the skeleton layout of `joints`; None: the model's own.
        Returns:
            The decision after this frame.
        Raises:
            LayoutError: unknown layout, or joints that do not fit it.
            InputError: not [V, 3] numbers, 2-D joints for a model that takes none, too many joints or people, a
                timestamp that is not finite, or 3-D joints that are not in meters, as far as the first 30 poses of a
                person tell.
        """
        started = time.perf_counter()
        source, number = self._engine.source(layout or self.layout)
        pose = _check_pose(joints, source)
        seen = None if confidence is None else _check_confidence(confidence, (len(source.joints),), source)[None]
        people = [check_person(person)]
        with self.label_strategy.frame_lock(self.background):
            self._monitor.check_frame(pose[None], seen, source, people)
            return self._step(started, timestamp, people, pose[None], seen, number)[0]

    def step_people(
        self,
        joints: ArrayLike,
        timestamp: float | None = None,
        people: Sequence[int] | None = None,
        confidence: ArrayLike | None = None,
        layout: str | None = None,
    ) -> list[Decision]:
        """Take one frame of several people, who go through the network as one batch.

        Args:
            joints: [M, V, 3], or [M, V, 2] of a 2-D layout, otherwise as in `step`.
            timestamp: seconds; None: one model period after the last frame of any of these people.
            people: M different integers that identify the people; None: they are tracked by position.
            confidence: [M, V].
        Returns:
            One decision per person, in the order of `joints`; `latency_ms` is that of the whole call. Without `people`,
            a pose of nobody and one too many have the status "missing" and the person -1.
        Raises:
            LayoutError, InputError: as `step`; also more than 16 people, or a repeated person.
        """
        started = time.perf_counter()
        source, number = self._engine.source(layout or self.layout)
        poses = as_array("joints", joints, np.float32)
        if poses.ndim != 3 or len(poses) > MAX_PEOPLE:
            raise InputError(
                f"joints have shape {list(poses.shape)}, expected [M, V, 3] of at most {MAX_PEOPLE} people"
            )
        check_joints(poses.shape[1:], source.name)
        seen = None if confidence is None else _check_confidence(confidence, poses.shape[:2], source)
        ids = None if people is None else [check_person(person) for person in people]
        if ids is not None and len(ids) != len(poses):
            raise InputError(f"people has {len(ids)} numbers, joints are of {len(poses)} people")
        with self.label_strategy.frame_lock(self.background):
            if ids is None:
                return self._step_tracked(started, timestamp, poses, seen, source, number)
            self._monitor.check_frame(poses, seen, source, ids)
            return self._step(started, timestamp, ids, poses, seen, number)

    def evict(self, timestamp: float) -> list[Decision]:
        """Drop people who have not been seen for 0.5 s (the model's max_gap_s).

        Call it regularly, for example with every camera frame: otherwise the action of a person who left never ends.

        Args:
            timestamp: seconds, on the same clock as `step`.
        Returns:
            A last decision for each of them, with status "lost" and the offset of the current action.
        """
        started = time.perf_counter()
        with self.label_strategy.lock:
            outcomes = self._engine.evict(as_seconds(timestamp))
            decisions = [self._decision(outcome, started, 0.0) for outcome in outcomes]
            for decision in decisions:
                self._clocks.pop(decision.person, None)
        return decisions

    def recognize(
        self, motion: Motion | str | Path | ArrayLike, layout: str | None = None, fps: float | None = None
    ) -> Decision:
        """Classify a whole clip. The people of the live stream are not affected.

        If the clip has several people, one is chosen: the one who moves most among those of a plausible size who are
        visible for at least half as long as the one visible longest. If it has gaps, its longest part is used.

        Args:
            motion: a Motion, the path of a motion file, or joints [T, V, 3] in meters ([T, V, 2] in a 2-D layout, as in
                `step`); at least two frames.
            layout, fps: of a file that does not specify them, or of an array; by default those of the model.
        Returns:
            One decision: `probs` are the probabilities averaged over time (of a model without a label for no action:
            the softmax of the averaged logits), `latency_ms` covers the whole clip.
        Raises:
            InputError: a file that cannot be read, fewer than two frames, nobody visible in any frame, or joints not
                in meters.
            LayoutError: unknown layout, or joints that do not fit it.
        """
        started = time.perf_counter()
        if isinstance(motion, str | Path):
            motion = Motion.load(motion, layout, fps)
        elif not isinstance(motion, Motion):
            motion = Motion(motion, fps or self.fps, layout or self.layout)  # type: ignore[arg-type]
        label, probs, labels = self.label_strategy.classify(motion)
        return clip_decision(started, label, probs, labels)

    def set_labels(self, labels: Sequence[str], descriptions: Descriptions | None = None) -> None:
        """Replace the labels, at any time and from any thread. Tracked people keep their state.

        Args:
            labels: some of the model's labels; any texts for models with open labels. "none" is always included. Of a
                model with fixed labels, the other ones count as "none", and fewer labels are recognized more reliably.
            descriptions: for some labels, a sentence that describes the action, or a dict with sentences for some of
                "motion", "head", "hands", "arms", "hips", "legs" and "feet". More detail gives better recognition.
                Only for models with open labels; for the labels of `bundle.manifest.matching.labels` they are built in.
        Raises:
            InputError: no labels or too many; a label that the model does not have, that is repeated, not a string or
                too long; "none" among open labels; descriptions for fixed ones.
        """
        self.label_strategy.set_labels(labels, descriptions)

    def enroll(self, label: str, motions: Sequence[Motion]) -> None:
        """Add a label that is defined by examples, or more examples of it.

        Unless `set_labels` was called, only enrolled labels are recognized from now on, until all are forgotten.

        Args:
            label: any text. A label that also is in `set_labels` is recognized by its text or by its examples. "none":
                the motions are like a gesture, but none of those enrolled.
            motions: 1 to 50 clips, in any 3-D layout; best are five or more of 2 to 10 s, by several people. A clip of
                more than 3 s is several examples, without its quiet parts.
        Raises:
            InputError: the model's labels are fixed, an invalid label, a clip in which nobody is visible, or more than
                200 examples of a label.
            LayoutError: unknown layout.
        """
        self.label_strategy.editor().enroll(label, motions)

    def forget(self, label: str) -> None:
        """Remove the examples of a label, and the label itself unless it was set as a text.

        Raises:
            InputError: the model's labels are fixed, or the label has no examples.
        """
        self.label_strategy.editor().forget(label)

    def save_gestures(self, path: str | Path) -> None:
        """Write all enrolled examples to one file, atomically: .npz, or .safetensors, which C and JavaScript take, too.

        Raises:
            InputError: the model's labels are fixed, nothing is enrolled, or the file cannot be written.
        """
        self.label_strategy.editor().save_gestures(path)

    def load_gestures(self, path: str | Path) -> None:
        """Enroll the examples of a file of `save_gestures`, in addition to those already enrolled.

        Raises:
            InputError: the model's labels are fixed, or the file is missing, damaged or made with another encoder.
        """
        self.label_strategy.editor().load_gestures(path)

    def reset(self, person: int | None = None) -> None:
        """Forget one person, or everyone."""
        with self.label_strategy.lock:
            self._engine.reset(person)
            if person is None:
                self._clocks.clear()
                self._tracker = None
                self._monitor.restart()
            else:
                self._clocks.pop(person, None)

    def _step(
        self,
        started: float,
        timestamp: float | None,
        people: list[int],
        joints: np.ndarray,
        confidence: np.ndarray | None,
        source: int,
    ) -> list[Decision]:
        """Step checked poses [M, V, 3] of M people that arrived at `started`, a time of `perf_counter`."""
        if timestamp is None:
            t = self._next_time(people)
        else:
            t = as_seconds(timestamp)
            self._monitor.check_time(t, people)
        outcomes = self._engine.step(t, people, joints, confidence, source)
        if len(self._clocks) > MAX_PEOPLE:
            known = set(self._engine.people)
            self._clocks = {person: clock for person, clock in self._clocks.items() if person in known}
        for outcome in outcomes:
            if outcome.status != "dropped":
                self._clocks[outcome.person] = t
        return [self._decision(outcome, started, t) for outcome in outcomes]

    def _step_tracked(
        self,
        started: float,
        timestamp: float | None,
        poses: np.ndarray,
        confidence: np.ndarray | None,
        layout: Layout,
        source: int,
    ) -> list[Decision]:
        """Step checked poses whose people are tracked by position."""
        t = self._next_time(list(self._clocks)) if timestamp is None else as_seconds(timestamp)
        people = self._track(t, poses, confidence, layout)
        tracked = [m for m, person in enumerate(people) if person >= 0]
        M = len(people)
        if len(tracked) < M:
            people, poses = [people[m] for m in tracked], poses[tracked]
            confidence = None if confidence is None else confidence[tracked]
        self._monitor.check_frame(poses, confidence, layout, people)
        decisions = self._step(started, t, people, poses, confidence, source)
        if len(tracked) == M:
            return decisions
        self._clocks[NOBODY] = t
        found = [self._nobody(started)] * M
        for m, decision in zip(tracked, decisions, strict=True):
            found[m] = decision
        return found

    def _next_time(self, people: Sequence[int]) -> float:
        clocks = [self._clocks[person] for person in people if person in self._clocks]
        return max(clocks) + 1 / self.fps if clocks else 0.0

    def _track(self, t: float, poses: np.ndarray, confidence: np.ndarray | None, layout: Layout) -> list[int]:
        if self._tracker is None:
            from ..io.tracker import Tracker

            self._tracker = Tracker(parents=layout.parents)
        return self._tracker.assign(t, list(poses), None if confidence is None else list(confidence))

    def _decision(self, outcome: Outcome, started: float, t: float) -> Decision:
        result, labels = outcome.decision, self.label_strategy.labels
        return Decision(
            person=outcome.person,
            label=labels[result.label] if result.label >= 0 else "",
            score=result.score,
            event=result.event,
            event_label=labels[result.event_label] if result.event_label >= 0 else None,
            since=t - result.event_age_s if result.event == "onset" else None,
            latency_ms=(time.perf_counter() - started) * 1e3,
            probs=result.probs,
            labels=labels,
            status=outcome.status,
        )

    def _nobody(self, started: float) -> Decision:
        labels = self.labels
        name = self.bundle.manifest.none if self.label_strategy.fixed else labels[-1]
        none = labels.index(name) if name is not None else -1
        probs = np.zeros(len(labels), np.float32)
        if none >= 0:
            probs[none] = 1
        return replace(clip_decision(started, none, probs, labels), person=NOBODY, status="missing")


def _flat_bundle(bundle: Bundle[Any], load: Callable[..., Bundle[Any]]) -> Bundle[Any] | None:
    """The bundle for 2-D layouts beside a bundle; None: it names none, or it is not there."""
    manifest = bundle.manifest
    path = bundle.path.resolve().parent / (manifest.flat_model or "")
    if manifest.flat_model is None or not path.is_dir():
        return None
    flat = load(path, RecognitionManifest)
    other, decision = flat.manifest, manifest.decision
    if (
        other.layout != manifest.layout
        or replace(other.frontend, facing_s=0) != replace(manifest.frontend, facing_s=0, flat=True)
        or replace(other.decision, on=decision.on, off=decision.off) != decision
    ):
        raise BundleError(f"{path}: does not treat 2-D poses as {manifest.name} treats 3-D ones")
    if (other.labels, other.none) != (manifest.labels, manifest.none):
        raise BundleError(f"{path}: does not have the labels of {manifest.name}")
    return flat


def _check_pose(joints: ArrayLike, layout: Layout) -> np.ndarray:
    """One frame as float32 [V, 3]."""
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
