"""`StreamEngine`: the C++ engine of one bundle, with skeleton layouts and errors in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from numbers import Real
from typing import TypeVar

import numpy as np

from .. import nvtx
from .._core import Config, Engine, Outcome, thresholds_at
from ..backends.paired import PairedStreams
from ..backends.protocols import Streams
from ..body.input_check import InputMonitor
from ..body.layout import Layout
from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE, check_joints
from ..body.people import by_preference, mask_unseen
from ..bundles.bundle import Bundle
from ..bundles.schema import Alarms, RecognitionManifest
from ..errors import BundleError, InputError

MIN_CLIP_FRAMES = 2

T = TypeVar("T")


class StreamEngine:
    """Steps the poses of up to 16 people through a network. Not thread-safe.

    Attributes:
        takes_2d: whether layouts can be 2-D.

    Args:
        bundle: supplies the skeleton, the frame rate and the decision thresholds.
        streams: the network.
        monitor: checks incoming joints.
        alarms_per_minute: selects thresholds; None: the bundle's default ones.
    Raises:
        InputError: the bundle has no thresholds for that many false alarms.
    """

    def __init__(
        self, bundle: Bundle, streams: Streams, monitor: InputMonitor, alarms_per_minute: float | None = None
    ) -> None:
        self._bundle, self._monitor, self._alarms_per_minute = bundle, monitor, alarms_per_minute
        self._streams = streams
        self._layout = Layout.load(bundle.manifest.layout)
        flat = streams if isinstance(streams, PairedStreams) else None
        self.takes_2d = flat is not None or bundle.manifest.frontend.flat
        config = _config(bundle, self._layout, alarms_per_minute, flat.flat_manifest if flat else None)
        own, flat_streams = (flat.solid, flat.flat) if flat else (streams, None)
        push, pop = nvtx.push_pop()
        self._core = Engine(config, own, push, pop, flat_streams)
        self._sources: dict[str, tuple[Layout, int]] = {}

    @property
    def people(self) -> list[int]:
        return self._core.session.people

    @property
    def counters(self) -> dict[str, int]:
        return dict(self._core.session.counters)

    def fork(self, streams: Streams) -> StreamEngine:
        """A new engine for the same bundle and all its labels, which shares the input monitor."""
        return type(self)(self._bundle, streams, self._monitor, self._alarms_per_minute)

    def source(self, name: str) -> tuple[Layout, int]:
        """The layout of incoming joints and its number in the C++ engine.

        Raises:
            LayoutError: unknown layout.
            InputError: a 2-D layout, and the model takes 3-D ones only.
        """
        if name not in self._sources:
            layout = Layout.load(name)
            if layout.dims == 2 and not self.takes_2d:
                manifest = self._bundle.manifest
                needed = (
                    f"{manifest.flat_model} beside it"
                    if manifest.flat_model
                    else "a model trained for it, such as live"
                )
                raise InputError(
                    f"layout {name!r} is {layout.dims}-D, model {manifest.name!r} takes 3-D joints in meters; a 2-D "
                    f"layout needs {needed}"
                )
            self._sources[name] = layout, self.add_layout(layout)
        return self._sources[name]

    def add_layout(self, layout: Layout) -> int:
        """Tell the core a layout of the input; returns its number."""
        return self._core.add_layout(self._layout.map_from(layout, needs_legs=False), layout.dims == 2)

    def step(
        self, t: float, people: Sequence[int], joints: np.ndarray, confidence: np.ndarray | None, source: int
    ) -> list[Outcome]:
        """Take the poses [M, V, D] of M people at t seconds; `source` is the number of their layout.

        Raises:
            InputError: the C++ engine rejects the input. BundleError: the network fails.
        """
        try:
            return self._core.step(t, people, joints, confidence, source)
        except ValueError as error:
            raise InputError(str(error)) from error
        except BundleError as error:
            raise BundleError(f"{self._bundle.path}: {error}") from error

    def evict(self, t: float) -> list[Outcome]:
        """Drop everyone not seen for longer than the model's max_gap_s; returns their last outcomes."""
        try:
            return self._core.evict(float(t))
        except ValueError as error:
            raise InputError(str(error)) from error

    def relabel(self, labels: int) -> None:
        """Expect logits of `labels` labels from now on; the last one means "none"."""
        self._core.relabel(labels, labels - 1)

    def choose(self, labels: Sequence[int]) -> None:
        """Decide among some of the network's labels, in this order, and "none"; among all if `labels` is empty."""
        self._core.choose(labels)

    def reset(self, person: int | None = None) -> None:
        """Drop one person, or everyone."""
        self._core.session.reset(person)

    def clip_decision(self) -> tuple[int, np.ndarray]:
        """Label index and probabilities of everything seen of person 0 since the last reset."""
        clip = self._core.session.clip(0)
        return clip.label, clip.probs

    def run_clip(self, motion: Motion, read: Callable[[], T]) -> T:
        """Step through a clip with a fresh engine; `read` is called at the end of its longest part without a gap.

        Raises:
            InputError: fewer than two frames, nobody visible, or joints not in meters.
            LayoutError: unknown layout.
        """
        if motion.frames < MIN_CLIP_FRAMES:
            raise InputError(f"the clip has {motion.frames} frame(s), expected at least {MIN_CLIP_FRAMES}")
        motion = _main_person(motion)
        layout, source = self.source(motion.layout)
        check_joints(motion.joints.shape[1:], layout.name)
        self._monitor.check_clip(motion.joints, motion.confidence, layout)
        self._monitor.check_times(motion.times)
        frames, longest, result = 0, 0, None
        for index, timestamp in enumerate(motion.times):
            confidence = None if motion.confidence is None else motion.confidence[index, None]
            [outcome] = self.step(float(timestamp), [0], motion.joints[index, None], confidence, source)
            frames = outcome.frames + (0 if outcome.reset else frames)
            if frames > longest:
                longest, result = frames, read()
        if result is None:
            raise InputError(f"nobody is visible in any of the clip's {motion.frames} frames")
        return result


def _config(
    bundle: Bundle, layout: Layout, alarms_per_minute: float | None, flat: RecognitionManifest | None
) -> Config:
    """Settings of a bundle's engine; `flat`: of the network for 2-D poses, if that is another one."""
    manifest = bundle.manifest
    limited = _thresholds(manifest, alarms_per_minute)
    if flat is not None:
        same = {f"{key}_C": [getattr(flat.decision, key)] * len(flat.labels) for key in ("on", "off")}
        limited |= {f"flat_{key}": values for key, values in (same | _thresholds(flat, alarms_per_minute)).items()}
    if len(layout.joints) != manifest.joints:
        raise BundleError(
            f"{bundle.path}: its graphs take {manifest.joints} joints, layout {layout.name!r} has {len(layout.joints)}"
        )
    frontend = manifest.frontend if flat is None else replace(manifest.frontend, flat=True)
    return frontend.config(
        layout,
        len(manifest.labels),
        none=manifest.none_index,
        max_people=MAX_PEOPLE,
        **asdict(manifest.decision),
        **limited,
    )


def _thresholds(manifest: RecognitionManifest, alarms_per_minute: object) -> dict[str, list[float]]:
    """Thresholds of each label for a number of false alarms per minute; None: the default ones, if there are any."""
    if alarms_per_minute is None:
        alarms_per_minute = manifest.alarms and manifest.alarms.default
    if alarms_per_minute is None:
        return {}
    if not isinstance(alarms_per_minute, Real):
        raise InputError(f"alarms_per_minute is {str(alarms_per_minute)[:40]!r}, expected a number")
    alarms = manifest.alarms or Alarms(per_minute=(), on=(), off=())
    try:
        on, off = thresholds_at(alarms.per_minute, alarms.on, alarms.off, float(alarms_per_minute), manifest.name)
    except ValueError as error:
        raise InputError(str(error)) from None
    return {"on_C": on, "off_C": off}


def _main_person(motion: Motion) -> Motion:
    """The person to recognize among several."""
    if motion.people == 1:
        return motion.person(0)
    return motion.person(by_preference(mask_unseen(motion.joints, motion.confidence))[0])
