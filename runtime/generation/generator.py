"""Text to motion without torch: `Generator` makes motion, and makes parts of one anew."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..body.canonical import to_canonical_with_inverse
from ..body.motion import Motion
from ..bundles.bundle import Bundle
from ..bundles.schema import GenerationManifest
from ..errors import BundleError, InputError
from ..text_encoder import TextEncoder
from . import rng as noise
from .open_networks import open_networks
from .postprocess import crossfade, extrapolate, fix_bone_lengths, plant_feet, postprocess, smooth_for_quality
from .schedule import MAX_TOKENS, STRIDE, Guidance, Sampling
from .stream import Stream, Window

MAX_SECONDS = 60.0  # of one generation
OVERLAP_TOKENS = 5  # tokens of a window that the one before has made
CHUNK_TOKENS = 5  # tokens of a chunk of a stream: a second
FIRST_WINDOW_CHUNKS, WINDOW_CHUNKS = 2, 3  # chunks of its first window, and of those that follow
GUIDED_STEPS = 3  # of the last autoregressive steps; to guide more of them costs time and quality
_MAX_PROMPTS = 64  # that are kept
Key = TypeVar("Key")
Value = TypeVar("Value")
_MIN_TOKENS = 4  # tokens of a motion whose length is not told


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a generator, checked.

    Attributes:
        text: what somebody is to do. seed: of the noise. settings: of the sampler. quality: of capture.
    """

    text: str
    seed: int
    settings: Sampling
    quality: str


class Generator:
    """Makes motion of one person from text; threads that ask at once are served one after the other.

    A seed means the same motion on every machine, up to rounding.

    Args:
        bundle: a verified bundle.
        text: the encoder that it was trained with.
        threads: of ONNX Runtime.
        precision: of the sampler's products: "fp32", or "int8", which is faster and meant for CPUs with VNNI or NEON;
            joints move by millimetres. With TensorRT "fp32", "fp16" or "bf16", with CUDA "fp32" or "bf16".
        backend: what runs its networks: "auto", "onnx", "tensorrt" or "cuda"; texts are encoded in ONNX Runtime.
    Attributes:
        name: of its bundle. license: of its weights. layout, fps: of the motion that it makes.
        actions: what it has seen, with the number of clips by quality. qualities: that can be asked for.
        settings: of the sampler.
    Raises:
        BundleError: the bundle was trained with another text encoder.
        InputError: a backend or precision that is not to be had.
    """

    def __init__(
        self,
        bundle: Bundle[GenerationManifest],
        text: TextEncoder,
        threads: int = 1,
        precision: str = "fp32",
        backend: str = "auto",
    ) -> None:
        manifest = bundle.manifest
        if manifest.text_sha256 != text.sha256:
            raise BundleError(f"{bundle.path}: trained with another text encoder than {text.name}")
        self.bundle = bundle
        self.name, self.license = manifest.name, manifest.license
        self.layout, self.fps = manifest.layout, manifest.fps
        self.actions, self.qualities = manifest.actions, manifest.qualities
        self.settings = manifest.sampler
        self._networks = open_networks(bundle, threads, precision, backend)
        self._text = text
        self._told: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._targets: dict[str, np.ndarray] = {}
        self._busy = threading.Lock()
        self._stream: weakref.ref[Stream] | None = None

    def __repr__(self) -> str:
        return f"Generator({self.name!r}, {self.layout} at {self.fps:g} a second, {len(self.actions)} actions)"

    @classmethod
    def load(
        cls, name: str | Path = "default", threads: int = 1, precision: str = "fp32", backend: str = "auto"
    ) -> Generator:
        """Load a generator.

        Args:
            name: a bundled model's name, or the path of a bundle.
            threads: CPU threads of an operation.
            precision, backend: see `Generator`.
        Raises:
            BundleError: unknown name, or a bundle that is damaged or of another task.
            InputError: no such precision, an unknown backend or one that cannot be used here.
        """
        return cls(Bundle.load(name, GenerationManifest), TextEncoder.load("text"), threads, precision, backend)

    def generate(
        self,
        text: str,
        seconds: float | None = None,
        seed: int = 0,
        cfg: float | None = None,
        guidance: float = 0.0,
        quality: str = "mocap",
    ) -> Motion:
        """A motion that fits a description.

        Args:
            text: what somebody does, at most 512 characters.
            seconds: how long, at most 60, rounded to a fifth of a second; None: as long as such motions are.
            seed: 0 or more; another seed, another motion.
            cfg: weight of the description; None: the model's own, 1: without guidance by its absence.
            guidance: length of a step along the recogniser's gradient, 1 is a good one; 0: none.
            quality: one of `qualities`.
        Returns:
            One person with bones of constant length and feet that do not slide, who faces about +z at the origin at
            first; y = 0 is the floor.
        Raises:
            InputError: any of these is not as said.
        """
        request = self._checked(text, seed, cfg, guidance, quality)
        with self._busy:
            windows = list(self._windows(request, self._count(request, seconds)))
        return self._motion(np.concatenate(windows), text=text, seed=seed)

    def stream(
        self,
        text: str,
        seconds: float | None = None,
        seed: int = 0,
        cfg: float | None = None,
        guidance: float = 0.0,
        quality: str = "mocap",
    ) -> Stream:
        """The same in chunks of a second, as `Motion`s; what is to come is computed while a chunk plays.

        Setting `prompt`, here or of the stream, changes what is done from the next chunk on. Leaving the stream to
        itself, `close` or a `with` end it; so does the next stream of this generator.

        Args:
            seconds: how long, at most a day; None: until it is closed.
            text, seed, cfg, guidance, quality: as in `generate`.
        Raises:
            InputError: any of these is not as said.
        """
        first = self._checked(text, seed, cfg, guidance, quality)
        longest = math.inf if seconds is None else check_number("seconds", seconds, STRIDE / self.fps, 24 * 3600)
        total = max(1.0, np.round(longest * self.fps / STRIDE))
        if (running := self._running) is not None:
            running.close()

        def make(window: Window) -> list[np.ndarray]:
            chunks = FIRST_WINDOW_CHUNKS if window.past is None else WINDOW_CHUNKS
            count = int(min(CHUNK_TOKENS * chunks, total - CHUNK_TOKENS * window.number))
            if count <= 0:
                return []
            request = replace(first, text=window.prompt)
            with self._busy:
                if window.past is None:
                    joints = self._first(request, count)
                else:
                    joints = self._next(window.past, request, count, window.number)
            return np.split(joints, range(STRIDE * CHUNK_TOKENS, len(joints), STRIDE * CHUNK_TOKENS))

        def finish(joints: np.ndarray, prompt: str, number: int) -> Motion:
            start = number * CHUNK_TOKENS * STRIDE / self.fps
            return self._motion(joints, text=prompt, seed=seed, start=start)

        made = Stream(make, finish, text, self._text.check)
        self._stream = weakref.ref(made)
        return made

    @property
    def _running(self) -> Stream | None:
        return self._stream() if self._stream is not None else None

    @property
    def prompt(self) -> str:
        """What the latest stream is to do; setting it changes that.

        Raises:
            InputError: no text, or there is no stream.
        """
        return self._steered().prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        self._steered().prompt = text

    def _steered(self) -> Stream:
        running = self._running
        if running is None:
            raise InputError("no stream of this generator is there to have a prompt")
        return running

    def edit(
        self,
        motion: Motion,
        text: str,
        regenerate: slice | np.ndarray,
        seed: int = 0,
        cfg: float | None = None,
        guidance: float = 0.0,
        quality: str = "mocap",
    ) -> Motion:
        """A motion of which some frames are made anew to fit a description; all others stay as they are.

        Args:
            motion: one person in `layout` at `fps` frames a second, 4 to 196 frames.
            regenerate: the frames to make anew, as a slice of frames or [T] bool. Of these, up to 8 beside a seam lean
                towards what was there.
            text, seed, cfg, guidance, quality: as in `generate`.
        Raises:
            InputError: any of these is not as said.
        """
        request = self._checked(text, seed, cfg, guidance, quality)
        joints = self._joints(motion)
        wanted = frames_of(regenerate, len(joints))
        with self._busy:
            found = self._regenerate(joints, wanted, request)
        return self._motion(found, text=text, seed=seed)

    def _checked(self, text: str, seed: int, cfg: float | None, guidance: float, quality: str) -> Request:
        """Raises InputError: any of these is not as `generate` says."""
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"text is {text!r}, expected a description of a motion")
        self._text.check(text)
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
            raise InputError(f"seed is {seed!r}, expected a whole number of 0 or more")
        if quality not in self.qualities:
            raise InputError(f"quality is {quality!r}, expected {' or '.join(self.qualities)}")
        settings = self.settings
        if cfg is not None:
            settings = replace(settings, cfg=check_number("cfg", cfg, 0, 100))
        step = check_number("guidance", guidance, 0, 1000)
        if step:
            settings = replace(settings, guidance=Guidance(step=step, last=GUIDED_STEPS, norm="token"))
        return Request(text, int(seed), settings, quality)

    def _count(self, request: Request, seconds: float | None) -> int:
        """How many tokens a motion takes."""
        if seconds is not None:
            length = check_number("seconds", seconds, STRIDE / self.fps, MAX_SECONDS)
            return max(1, round(length * self.fps / STRIDE))
        _, lengths = self._condition(request.text, request.quality)
        chances = np.exp(lengths - lengths.max())
        below = np.cumsum(chances / chances.sum()) < noise.uniform(request.seed, 0)
        return min(max(int(below.sum()), _MIN_TOKENS), MAX_TOKENS)

    def _windows(self, request: Request, count: int) -> Iterator[np.ndarray]:
        """Joints of as many tokens, a window after the other; each takes up the last second of the one before."""
        made = self._first(request, min(count, MAX_TOKENS))
        yield made
        left, number = count - MAX_TOKENS, 1
        while left > 0:
            size = min(left, MAX_TOKENS - OVERLAP_TOKENS)
            made = self._next(made, request, size, number)
            yield made
            left, number = left - size, number + 1

    def _first(self, request: Request, count: int) -> np.ndarray:
        tokens = self._networks.sample(
            self._conditions(request), [count], request.settings, seed=request.seed, target_BF=self._target(request)
        )
        return postprocess(smooth_for_quality(self._networks.decode(tokens, [count])[0], request.quality))

    def _next(self, before: np.ndarray, request: Request, count: int, number: int) -> np.ndarray:
        """So many tokens more, [4 count, V, 3], after the end of what is there."""
        kept = before[-STRIDE * OVERLAP_TOKENS :]
        wanted = np.arange(len(kept) + STRIDE * count) >= len(kept)
        again = self._regenerate(kept, wanted, request, number)
        return plant_feet(again[len(kept) - 1 :])[1:]

    def _regenerate(self, joints: np.ndarray, wanted: np.ndarray, request: Request, number: int = 0) -> np.ndarray:
        """Joints with the wanted frames, or frames beyond the last, made anew; `number` chooses the noise."""
        T = len(wanted)
        whole = -(-T // STRIDE) * STRIDE
        known, back = to_canonical_with_inverse(joints)
        held = extrapolate(known, whole)
        again: np.ndarray = np.pad(wanted, (0, whole - T), "edge").reshape(-1, STRIDE).max(1)
        tokens = self._networks.sample(
            self._conditions(request),
            [len(again)],
            request.settings,
            seed=request.seed,
            samples=[number],
            target_BF=self._target(request),
            known_BLD=self._networks.encode(held[None], [whole]),
            regenerate_BL=again[None],
        )
        made = smooth_for_quality(self._networks.decode(tokens, [len(again)])[0][:T], request.quality)
        return crossfade(extrapolate(joints, T), back(fix_bone_lengths(made, known)), wanted)

    def _condition(self, text: str, quality: str) -> tuple[np.ndarray, np.ndarray]:
        """What the trunk is told, [M], and logits of the number of tokens, [50]; "" is no text."""

        def make() -> tuple[np.ndarray, np.ndarray]:
            width = self._text.width
            pooled = self._text.encode([text]).pooled if text else np.zeros((1, width), np.float32)
            told, lengths = self._networks.condition(pooled, np.array([self.qualities.index(quality)]))
            return told[0], lengths[0]

        return cached(self._told, (text, quality), make)

    def _conditions(self, request: Request) -> np.ndarray:
        """[G, 1, M]: told the text, or nothing, or both."""
        told, untold = (self._condition(text, request.quality)[0] for text in (request.text, ""))
        chosen = [told] if request.settings.cfg == 1 else [untold] if request.settings.cfg == 0 else [told, untold]
        return np.stack(chosen)[:, None]

    def _target(self, request: Request) -> np.ndarray | None:
        """[1, F], where guidance leads to; None without guidance."""
        if request.settings.guidance is None:
            return None

        def make() -> np.ndarray:
            found = self._text.encode([request.text])
            (features,) = self._networks.run("describe", found.tokens, found.mask.sum(1).astype(np.int64))
            return features

        return cached(self._targets, request.text, make)

    def _joints(self, motion: Motion) -> np.ndarray:
        if motion.layout != self.layout or motion.people != 1:
            raise InputError(f"a motion of {motion.people} in layout {motion.layout}, expected one in {self.layout}")
        if motion.fps != self.fps or motion.timestamps is not None:
            raise InputError(f"a motion at {motion.fps:g} frames a second, expected {self.fps:g}, evenly spaced")
        if not STRIDE <= motion.frames <= STRIDE * MAX_TOKENS:
            raise InputError(f"a motion of {motion.frames} frames, expected {STRIDE} to {STRIDE * MAX_TOKENS}")
        joints = motion.person(0).joints
        if not np.isfinite(joints).all():
            raise InputError(f"frame {int((~np.isfinite(joints).all((1, 2))).argmax())} misses joints")
        return joints

    def _motion(self, joints: np.ndarray, **about: object) -> Motion:
        meta = {"model": self.name, "license": self.license, **about}
        return Motion(joints=joints.astype(np.float32), fps=self.fps, layout=self.layout, meta=meta)


def frames_of(regenerate: slice | np.ndarray, frames: int) -> np.ndarray:
    """[T] bool. Raises InputError: not a slice or mask of the motion's frames, or none of them."""
    if isinstance(regenerate, slice):
        for name, edge in (("start", regenerate.start), ("stop", regenerate.stop)):
            if edge is not None and not -frames <= edge <= frames:
                raise InputError(f"regenerate has {name} {edge}, the motion has {frames} frames")
        wanted = np.zeros(frames, bool)
        wanted[regenerate] = True
    else:
        wanted = np.asarray(regenerate)
        if wanted.dtype != bool or wanted.shape != (frames,):
            raise InputError(f"regenerate is {wanted.dtype} {list(wanted.shape)}, expected bool [{frames}] or a slice")
    if not wanted.any():
        raise InputError("regenerate names no frame")
    return wanted


def check_number(name: str, value: float, low: float, high: float) -> float:
    """Raises InputError: not a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, expected a number from {low:g} to {high:g}")
    return float(value)


def cached(known: dict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    """What is known of a key, made where it is not; the oldest is forgotten."""
    if key not in known:
        known[key] = make()
        if len(known) > _MAX_PROMPTS:
            del known[next(iter(known))]
    return known[key]
