"""Recognizers of whole clips: published networks for one or two people, also on the last seconds of a stream.

They take a clip as the NTU protocol prepares it: in the coordinates of the camera, relative to the middle of the spine
of the first person at the beginning, the central 95 % of it, resampled to a fixed number of frames; or as that of
NW-UCLA does: frames of the whole clip, its axes scaled to -1..1. Of 2-D keypoints they take x and y relative to the
neck, in units of the first person's size, and whether a joint is seen.

Shapes: T frames, F frames of the networks, M people (the first one counts), V joints of D coordinates, C labels.
Source: Chen et al., ICCV 2021 (CTR-GCN), and its released preprocessing.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .._core import Outcome
from ..backends.protocols import Session
from ..body.layout import Layout
from ..body.motion import Motion
from ..body.motion_data import check_joints
from ..body.people import by_preference, mask_unseen
from ..bundles.bundle import Bundle
from ..bundles.schema import ClipManifest
from ..errors import BundleError, InputError
from .engine import MIN_CLIP_FRAMES, StreamEngine

KEPT = 0.95  # central share of a clip
SPINE = NECK = 1  # joint that clips are centered on, of ntu25 and of openpose18
PERSON_M = 1.7  # largest extent of a person
MIN_WINDOW_S = 0.5  # of a stream, before its first decision

T = TypeVar("T")


class ClipNetworks:
    """A bundle's networks, one for each stream (joints, bones, their motion), whose logits are added.

    Args:
        bundle: a verified bundle.
        open_graph: graph name -> session.
        name: of the backend.
    """

    def __init__(self, bundle: Bundle[ClipManifest], open_graph: Callable[[str], Session], name: str) -> None:
        self.name, self.manifest, self._path = name, bundle.manifest, bundle.path
        self._sessions = {stream: open_graph(stream) for stream in bundle.manifest.graphs}

    def logits(self, joints_TMVD: np.ndarray) -> np.ndarray:
        """Logits [C] of a clip, NaN where a joint is missing. Raises InputError: nobody is visible in it."""
        manifest = self.manifest
        x_FMV3 = prepare_clip(joints_TMVD, manifest.frames, manifest.people, manifest.scaled)
        total = np.zeros(len(manifest.labels), np.float32)
        for stream, session in self._sessions.items():
            clip = stream_of(x_FMV3, stream, manifest.parents).transpose(1, 3, 0, 2)
            (logits,) = session.run(["logits"], {"clip": np.ascontiguousarray(clip, np.float32)})
            total += manifest.weights[stream] * logits
        if not np.isfinite(total).all():
            raise BundleError(f"{self._path}: logits of a clip are not finite")
        return total

    def streams(self, people: int) -> WindowStreams:
        """New windows of the streams of `people` people."""
        return WindowStreams(self, people)

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames [T, V, 3] of one person -> logits [T, C], all the same, features [T, 1], zeros."""
        return np.tile(self.logits(frames[:, None]), (len(frames), 1)), np.zeros((len(frames), 1), np.float32)


def prepare_clip(joints_TMVD: np.ndarray, frames: int, people: int, scaled: bool = False) -> np.ndarray:
    """Clip [F, people, V, 3] of the network, zeros where a person is absent. Raises InputError: nobody is visible."""
    x = (center_picture if joints_TMVD.shape[-1] == 2 else center_clip)(joints_TMVD, people)
    if scaled:
        return pick_frames(scale_axes(x), frames)
    cut = int((1 - KEPT) * len(x) / 2)
    return resample_linear(x[cut : len(x) - cut], frames)


def center_clip(joints_TMV3: np.ndarray, people: int) -> np.ndarray:
    """Frames with somebody [N, people, V, 3], relative to the first person's spine at the beginning."""
    x = np.zeros((len(joints_TMV3), people, *joints_TMV3.shape[2:]), np.float32)
    here_TM = visible(np.isfinite(joints_TMV3).all(3), people)
    for m in range(here_TM.shape[1]):
        if here_TM[:, m].any():
            x[:, m] = fill_joints(joints_TMV3[:, m])
    x -= x[here_TM[:, 0].argmax(), 0, SPINE].copy()
    x[:, : here_TM.shape[1]][~here_TM] = 0
    x[:, here_TM.shape[1] :] = 0
    return x[here_TM.any(1)]


def center_picture(joints_TMV2: np.ndarray, people: int) -> np.ndarray:
    """Frames with somebody [N, people, V, 3]: x and y upwards from the first person's neck at the beginning, in units
    of the largest extent of that person in any frame, and 1; all 0 where a joint is not seen."""
    seen_TMV = np.isfinite(joints_TMV2).all(3)[:, :people]
    here_TM = visible(seen_TMV, people)
    first_NV2 = np.where(seen_TMV[..., None], joints_TMV2[:, :people], np.nan)[here_TM[:, 0], 0]
    place = first_NV2[0, NECK] if np.isfinite(first_NV2[0, NECK]).all() else np.nanmean(first_NV2[0], 0)
    size = float((np.nanmax(first_NV2, 1) - np.nanmin(first_NV2, 1)).max()) or 1.0
    x = np.zeros((len(joints_TMV2), people, seen_TMV.shape[2], 3), np.float32)
    relative = (joints_TMV2[:, :people] - place) / size * [1, -1]
    x[:, : seen_TMV.shape[1]][seen_TMV] = np.concatenate([relative, np.ones_like(relative[..., :1])], -1)[seen_TMV]
    return x[here_TM.any(1)]


def visible(seen_TMV: np.ndarray, people: int) -> np.ndarray:
    """Whether each of the first people is visible, [T, M]. Raises InputError: the first one never is."""
    here_TM = np.asarray(seen_TMV.any(2))[:, :people]
    if not here_TM[:, 0].any():
        raise InputError("nobody is visible in the clip")
    return here_TM


def fill_joints(joints_TV3: np.ndarray) -> np.ndarray:
    """Joints of a person with missing ones where they were last, or else first, seen; never seen ones at the spine."""
    seen_TV = np.isfinite(joints_TV3).all(2)
    if seen_TV.all():
        return joints_TV3
    index_TV = np.maximum.accumulate(np.where(seen_TV, np.arange(len(seen_TV))[:, None], -1), 0)
    index_TV = np.where(index_TV < 0, seen_TV.argmax(0), index_TV)
    filled = np.take_along_axis(joints_TV3, index_TV[:, :, None], 0)
    middle_T13 = np.nanmean(filled, 1, keepdims=True) if not seen_TV[:, SPINE].any() else filled[:, SPINE : SPINE + 1]
    return np.where(np.isfinite(filled), filled, middle_T13)


def scale_axes(x: np.ndarray) -> np.ndarray:
    """Scale each axis of the joints [..., C] of a clip to -1..1."""
    over = tuple(range(x.ndim - 1))
    low, high = x.min(over), x.max(over)
    return ((x - low) / np.maximum(high - low, 1e-6) * 2 - 1).astype(np.float32)


def pick_frames(x: np.ndarray, frames: int) -> np.ndarray:
    """Evenly spaced frames of the first axis."""
    return x[np.linspace(0, len(x) - 1, frames).astype(int)]


def resample_linear(x: np.ndarray, frames: int) -> np.ndarray:
    """Resample the first axis, as PyTorch's bilinear interpolation without aligned corners."""
    at = np.maximum((np.arange(frames) + 0.5) * (len(x) / frames) - 0.5, 0)
    low = at.astype(int)
    share = (at - low).astype(np.float32).reshape(-1, *(1,) * (x.ndim - 1))
    return x[low] * (1 - share) + x[np.minimum(low + 1, len(x) - 1)] * share


def stream_of(x_FMV3: np.ndarray, stream: str, parents: Sequence[int]) -> np.ndarray:
    """Joints, bones (joint minus parent) or their motion (to the next frame, 0 in the last)."""
    if stream.startswith("bone"):
        x_FMV3 = x_FMV3 - x_FMV3[:, :, list(parents)]
    if stream.endswith("motion"):
        x_FMV3 = np.diff(x_FMV3, axis=0, append=x_FMV3[-1:])
    return x_FMV3


class WindowStreams:
    """`Streams` whose logits are those of the last seconds of a person and the nearest other one.

    They step one person at a time: `see` everybody's pose, then set `person` and step.

    Attributes:
        person: whose frame is stepped next.
        fixed: logits [C] to return instead.
    """

    def __init__(self, networks: ClipNetworks, people: int) -> None:
        manifest = networks.manifest
        self.capacity, self.networks = people, networks
        self.person = 0
        self.fixed: np.ndarray | None = None
        self._every = max(1, round(manifest.every_s * manifest.fps))
        self._first = round(MIN_WINDOW_S * manifest.fps)
        self._frames = [0] * people  # since the stream began
        self._logits = np.zeros((people, len(manifest.labels)), np.float32)
        self._windows: dict[int, deque[tuple[float, np.ndarray]]] = {}  # person -> times and poses [V, 3]

    def begin(self, slot: int) -> None:
        self._frames[slot], self._logits[slot] = 0, 0

    def see(self, person: int, t: float, pose_V3: np.ndarray) -> None:
        """Take a pose, NaN where a joint is missing."""
        window, manifest = self._windows.setdefault(person, deque()), self.networks.manifest
        if window and not 0 < t - window[-1][0] <= manifest.frontend.max_gap_s:
            window.clear()
        window.append((t, pose_V3))
        while window[0][0] < t - manifest.window_s:
            window.popleft()
        gone = [other for other, past in self._windows.items() if t - past[-1][0] > manifest.window_s]
        for other in gone:
            del self._windows[other]

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits [1, C] of `person`, renewed a few times a second; features [1, 1] are 0."""
        (slot,) = slots
        self._frames[slot] += 1
        if self.fixed is not None:
            self._logits[slot] = self.fixed
        elif self._frames[slot] >= self._first and (self._frames[slot] - self._first) % self._every == 0:
            self._logits[slot] = self.networks.logits(self._clip())
        return self._logits[slot : slot + 1].copy(), np.zeros((1, 1), np.float32)

    def _clip(self) -> np.ndarray:
        """The window of `person` and that of the nearest other person, [T, 2, V, 3]."""
        own = self._windows[self.person]
        now, place = own[-1][0], own[-1][1][SPINE]
        others = {p: past for p, past in self._windows.items() if p != self.person and past[-1][0] == now}
        far = {p: float(np.linalg.norm(past[-1][1][SPINE] - place)) for p, past in others.items()}
        nearest = min((p for p in far if np.isfinite(far[p])), key=far.__getitem__, default=None)
        missing = np.full_like(own[-1][1], np.nan)
        other = {} if nearest is None else dict(others[nearest])
        return np.stack([np.stack([pose, other.get(t, missing)]) for t, pose in own])


class WindowEngine(StreamEngine):
    """Steps people one by one through `WindowStreams`, which see poses as they come, not centered and turned.

    For a model of 2-D keypoints, the core sees them as a person's pose in a plane.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.takes_2d = self._layout.dims == 2

    def add_layout(self, layout: Layout) -> int:
        return self._core.add_layout(self._layout.map_from(layout, needs_legs=False), False)

    def step(
        self, t: float, people: Sequence[int], joints: np.ndarray, confidence: np.ndarray | None, source: int
    ) -> list[Outcome]:
        poses = self._map(mask_unseen(joints, confidence), source)
        for person, pose in zip(people, poses, strict=True):
            self._windows.see(person, t, pose)
        outcomes = []
        for i, person in enumerate(people):
            self._windows.person = person
            own = None if confidence is None else confidence[i : i + 1]
            outcomes += super().step(t, [person], in_plane(joints[i : i + 1]), own, source)
        return outcomes

    def run_clip(self, motion: Motion, read: Callable[[], T]) -> T:
        if motion.frames < MIN_CLIP_FRAMES:
            raise InputError(f"the clip has {motion.frames} frame(s), expected at least {MIN_CLIP_FRAMES}")
        layout, source = self.source(motion.layout)
        check_joints(motion.joints.shape[-2:], layout.name)
        joints_TMVD = mask_unseen(motion.joints, motion.confidence)
        joints_TMVD = joints_TMVD[:, None] if joints_TMVD.ndim == 3 else joints_TMVD
        people, order = self._windows.networks.manifest.people, list(range(joints_TMVD.shape[1]))
        if len(order) > people:  # otherwise in the order of the file, as in training
            order = by_preference(joints_TMVD)
        joints_TMVD = joints_TMVD[:, order[:people]]
        main = motion.person(order[0])
        self._monitor.check_clip(main.joints, main.confidence, layout)
        self._windows.fixed = self._windows.networks.logits(self._map(joints_TMVD, source))
        for pose in joints_TMVD[:, 0]:
            self.reset()
            (outcome,) = super().step(0.0, [0], in_plane(pose[None]), None, source)
            if outcome.frames:
                return read()
        raise InputError(f"nobody is visible in any of the clip's {motion.frames} frames")

    @property
    def _windows(self) -> WindowStreams:
        assert isinstance(self._streams, WindowStreams)
        return self._streams

    def _map(self, joints: np.ndarray, source: int) -> np.ndarray:
        """Joints [..., V, 3] in the model's layout, NaN where one that they are computed from is missing."""
        layout = next(layout for layout, number in self._sources.values() if number == source)
        weights = self._layout.map_from(layout, needs_legs=False)
        missing = np.einsum("vw,...w->...v", weights > 0, ~np.isfinite(joints).all(-1))
        mapped = np.einsum("vw,...wc->...vc", weights, np.nan_to_num(joints, posinf=0, neginf=0))
        found: np.ndarray = np.where(missing[..., None] > 0, np.nan, mapped).astype(np.float32)
        return found[..., :2] * np.array([1, -1], np.float32) if self.takes_2d and layout.dims == 3 else found


def in_plane(joints_MVD: np.ndarray) -> np.ndarray:
    """2-D poses as 3-D ones of a person's size, z = 0; 3-D ones as they are."""
    if joints_MVD.shape[-1] == 3:
        return joints_MVD
    poses = np.where(np.isfinite(joints_MVD).all(-1, keepdims=True), joints_MVD, np.nan)
    with warnings.catch_warnings():  # of people without a joint
        warnings.simplefilter("ignore", RuntimeWarning)
        low_M12, high_M12 = np.nanmin(poses, 1, keepdims=True), np.nanmax(poses, 1, keepdims=True)
    size_M11 = np.maximum((high_M12 - low_M12).max(-1, keepdims=True), np.finfo(np.float32).tiny)
    scaled = (poses - low_M12) / size_M11 * np.array([PERSON_M, -PERSON_M])
    return np.concatenate([scaled, np.zeros_like(scaled[..., :1])], -1).astype(np.float32)
