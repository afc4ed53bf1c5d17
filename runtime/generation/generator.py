"""Text to motion without torch: `Generator` generates motion, and regenerates parts of one."""

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
from ..body.input_check import check_motion
from ..body.motion import Motion
from ..bundles.bundle import Bundle
from ..bundles.schema import GenerationManifest
from ..errors import BundleError, InputError
from ..fork import survive_fork
from ..text_encoder import TextEncoder
from . import rng
from .open_networks import open_networks
from .postprocess import crossfade, extrapolate, fix_bone_lengths, plant_feet, postprocess, smooth_for_quality
from .schedule import MAX_TOKENS, STRIDE, Guidance, Sampling
from .stream import Stream, Window

MAX_SECONDS = 60.0  # of one motion
MAX_STREAM_SECONDS = 24 * 3600.0
OVERLAP_TOKENS = 5  # that a window shares with the one before
CHUNK_TOKENS = 5  # of a stream: a second
FIRST_WINDOW_CHUNKS, WINDOW_CHUNKS = 2, 3  # in the first window of a stream, and in the others
GUIDED_STEPS = 3  # the last autoregressive steps; guiding more of them costs time and quality
_MIN_TOKENS = 4  # of a motion whose length is estimated
_MAX_CACHED = 64  # prompts
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Request:
    """Validated arguments of a generation.

    Attributes:
        text: description of the motion. seed: of the noise. settings: of the sampler. quality: of capture.
    """

    text: str
    seed: int
    settings: Sampling
    quality: str


class Generator:
    """Generates motion of one person from text. Thread-safe: concurrent calls run one after the other.

    A seed gives the same motion on every machine, up to rounding.

    Args:
        bundle: a verified bundle.
        text: the encoder that it was trained with.
        threads: of ONNX Runtime.
        precision: of the sampler's matrix products: "fp32", or "int8", which is faster on CPUs with VNNI or NEON and
            changes joints by millimeters. With TensorRT "fp32", "fp16" or "bf16", with CUDA "fp32" or "bf16".
        backend: of the networks: "auto", "onnx", "tensorrt" or "cuda"; texts are always encoded in ONNX Runtime.
    Attributes:
        name: of the bundle. license: of the weights. layout, fps: of generated motion.
        actions: in the training data, with the number of clips by quality. qualities: values of `quality`.
        settings: of the sampler.
    Raises:
        BundleError: the bundle was trained with another text encoder.
        InputError: unknown or unavailable backend or precision.
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
        self._condition_cache: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._target_cache: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()
        self._stream: weakref.ref[Stream] | None = None
        survive_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Generator({self.name!r}, {self.layout} at {self.fps:g} frames/s, {len(self.actions)} actions)"

    @classmethod
    def load(
        cls, name: str | Path = "default", threads: int = 1, precision: str = "fp32", backend: str = "auto"
    ) -> Generator:
        """Load a generator.

        Args:
            name: name of a bundled model, or path of a bundle.
            threads: CPU threads per operator.
            precision, backend: see `Generator`.
        Raises:
            BundleError: unknown name, or a bundle that is damaged or for another task.
            InputError: unknown or unavailable backend or precision.
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
        """Generate a motion from a description.

        Args:
            text: description of the motion, at most 512 characters.
            seconds: duration, at most 60, rounded to a fifth of a second; None: estimated from the text.
            seed: 0 or more; another seed gives another motion.
            cfg: weight of classifier-free guidance; None: the model's own, 1: none.
            guidance: length of a step along the recognizer's gradient; 1 is a good value, 0 turns it off.
            quality: one of `qualities`.
        Returns:
            One person with bones of constant length and feet that do not slide, facing +z at the origin in the first
            frame; y = 0 is the floor.
        Raises:
            InputError: an argument is invalid.
        """
        request = self._request(text, seed, cfg, guidance, quality)
        with self._lock:
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
        """Generate a motion in chunks of one second; the next ones are computed while a chunk plays.

        Setting `prompt` on the generator or the stream changes the motion from the next chunk on. A stream ends when it
        is closed, leaves its `with` block or is garbage-collected, and when this generator opens another one.

        Args:
            seconds: duration, at most a day; None: until it is closed.
            text, seed, cfg, guidance, quality: as in `generate`.
        Raises:
            InputError: an argument is invalid.
        """
        initial = self._request(text, seed, cfg, guidance, quality)
        if seconds is not None:
            seconds = check_number("seconds", seconds, STRIDE / self.fps, MAX_STREAM_SECONDS)
        total = max(1.0, np.round((math.inf if seconds is None else seconds) * self.fps / STRIDE))
        if (running := self._open_stream) is not None:
            running.close()

        def make(window: Window) -> list[np.ndarray]:
            chunks = FIRST_WINDOW_CHUNKS if window.past is None else WINDOW_CHUNKS
            count = int(min(CHUNK_TOKENS * chunks, total - CHUNK_TOKENS * window.number))
            if count <= 0:
                return []
            request = replace(initial, text=window.prompt)
            with self._lock:
                if window.past is None:
                    joints = self._first(request, count)
                else:
                    joints = self._next(window.past, request, count, window.number)
            return np.split(joints, range(STRIDE * CHUNK_TOKENS, len(joints), STRIDE * CHUNK_TOKENS))

        def finish(joints: np.ndarray, prompt: str, number: int) -> Motion:
            start = number * CHUNK_TOKENS * STRIDE / self.fps
            return self._motion(joints, text=prompt, seed=seed, start=start)

        stream = Stream(make, finish, text, self._text.check)
        self._stream = weakref.ref(stream)
        return stream

    @property
    def prompt(self) -> str:
        """Prompt of the latest stream; can be set.

        Raises:
            InputError: an invalid text, or there is no stream.
        """
        return self._require_stream().prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        self._require_stream().prompt = text

    @property
    def _open_stream(self) -> Stream | None:
        return self._stream() if self._stream is not None else None

    def _require_stream(self) -> Stream:
        stream = self._open_stream
        if stream is None:
            raise InputError("this generator has no stream whose prompt could be read or set")
        return stream

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
        """Regenerate some frames of a motion from a description; all others stay unchanged.

        Args:
            motion: one person in `layout` at `fps`, 4 to 196 frames.
            regenerate: frames to replace, as a slice of frames or [T] bool. Up to 8 of them at each seam are blended
                toward the old motion.
            text, seed, cfg, guidance, quality: as in `generate`.
        Raises:
            InputError: an argument is invalid.
        """
        request = self._request(text, seed, cfg, guidance, quality)
        joints = self._joints(motion)
        regenerate_T = frame_mask(regenerate, len(joints))
        with self._lock:
            edited = self._regenerate(joints, regenerate_T, request)
        return self._motion(edited, text=text, seed=seed)

    def _request(self, text: str, seed: int, cfg: float | None, guidance: float, quality: str) -> Request:
        """Validate arguments of `generate`. Raises InputError."""
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
        """Number of tokens of a motion; without `seconds`, drawn from the distribution that the text predicts."""
        if seconds is not None:
            duration_s = check_number("seconds", seconds, STRIDE / self.fps, MAX_SECONDS)
            return max(1, round(duration_s * self.fps / STRIDE))
        _, logits = self._condition(request.text, request.quality)
        weights = np.exp(logits - logits.max())
        below = np.cumsum(weights / weights.sum()) < rng.uniform(request.seed, 0)
        return min(max(int(below.sum()), _MIN_TOKENS), MAX_TOKENS)

    def _windows(self, request: Request, count: int) -> Iterator[np.ndarray]:
        """Joints of `count` tokens, window by window; each continues the last second of the one before."""
        joints = self._first(request, min(count, MAX_TOKENS))
        yield joints
        remaining, number = count - MAX_TOKENS, 1
        while remaining > 0:
            size = min(remaining, MAX_TOKENS - OVERLAP_TOKENS)
            joints = self._next(joints, request, size, number)
            yield joints
            remaining, number = remaining - size, number + 1

    def _first(self, request: Request, count: int) -> np.ndarray:
        tokens = self._networks.sample(
            self._conditions(request), [count], request.settings, seed=request.seed, target_BF=self._target(request)
        )
        return postprocess(smooth_for_quality(self._networks.decode(tokens, [count])[0], request.quality))

    def _next(self, past: np.ndarray, request: Request, count: int, number: int) -> np.ndarray:
        """Continue joints by `count` tokens: [4 count, V, 3]."""
        kept = past[-STRIDE * OVERLAP_TOKENS :]
        regenerate_T = np.arange(len(kept) + STRIDE * count) >= len(kept)
        joints = self._regenerate(kept, regenerate_T, request, number)
        return plant_feet(joints[len(kept) - 1 :])[1:]

    def _regenerate(
        self, joints: np.ndarray, regenerate_T: np.ndarray, request: Request, number: int = 0
    ) -> np.ndarray:
        """Replace the marked frames, which may extend beyond the last one; `number` selects the noise."""
        T = len(regenerate_T)
        padded_T = -(-T // STRIDE) * STRIDE
        known, to_world = to_canonical_with_inverse(joints)
        regenerate_L: np.ndarray = np.pad(regenerate_T, (0, padded_T - T), "edge").reshape(-1, STRIDE).max(1)
        tokens = self._networks.sample(
            self._conditions(request),
            [len(regenerate_L)],
            request.settings,
            seed=request.seed,
            samples=[number],
            target_BF=self._target(request),
            known_BLD=self._networks.encode(extrapolate(known, padded_T)[None], [padded_T]),
            regenerate_BL=regenerate_L[None],
        )
        decoded = smooth_for_quality(self._networks.decode(tokens, [len(regenerate_L)])[0][:T], request.quality)
        return crossfade(extrapolate(joints, T), to_world(fix_bone_lengths(decoded, known)), regenerate_T)

    def _condition(self, text: str, quality: str) -> tuple[np.ndarray, np.ndarray]:
        """Modulation of the trunk, [M], and logits of the number of tokens, [50]; "" is no text."""

        def compute() -> tuple[np.ndarray, np.ndarray]:
            pooled = self._text.encode([text]).pooled if text else np.zeros((1, self._text.width), np.float32)
            modulation, logits = self._networks.condition(pooled, np.array([self.qualities.index(quality)]))
            return modulation[0], logits[0]

        return cached(self._condition_cache, (text, quality), compute)

    def _conditions(self, request: Request) -> np.ndarray:
        """Modulations [G, 1, M] of the conditions that the request's cfg needs: the text, no text, or both."""
        cfg = request.settings.cfg
        texts = [request.text] if cfg == 1 else [""] if cfg == 0 else [request.text, ""]
        return np.stack([self._condition(text, request.quality)[0] for text in texts])[:, None]

    def _target(self, request: Request) -> np.ndarray | None:
        """The text in the recognizer's space, [1, F]; None without guidance."""
        if request.settings.guidance is None:
            return None

        def compute() -> np.ndarray:
            words = self._text.encode([request.text])
            (features,) = self._networks.run("describe", words.tokens, words.mask.sum(1).astype(np.int64))
            return features

        return cached(self._target_cache, request.text, compute)

    def _joints(self, motion: Motion) -> np.ndarray:
        """Joints [T, V, 3] of a motion to edit. Raises InputError."""
        if motion.layout != self.layout:
            raise InputError(f"a motion in layout {motion.layout}, expected {self.layout}")
        if motion.fps != self.fps or motion.timestamps is not None:
            raise InputError(f"a motion at {motion.fps:g} frames a second, expected {self.fps:g}, evenly spaced")
        if not STRIDE <= motion.frames <= STRIDE * MAX_TOKENS:
            raise InputError(f"a motion of {motion.frames} frames, expected {STRIDE} to {STRIDE * MAX_TOKENS}")
        joints = motion.only_person().joints
        if not np.isfinite(joints).all():
            raise InputError(f"frame {int((~np.isfinite(joints).all((1, 2))).argmax())} has missing joints")
        check_motion(motion)
        return joints

    def _motion(self, joints: np.ndarray, **about: object) -> Motion:
        meta = {"model": self.name, "license": self.license, **about}
        return Motion(joints=joints.astype(np.float32), fps=self.fps, layout=self.layout, meta=meta)


def frame_mask(regenerate: slice | np.ndarray, frames: int) -> np.ndarray:
    """Frames to regenerate, [T] bool. Raises InputError: not a slice or mask of the motion's frames, or empty."""
    if isinstance(regenerate, slice):
        for name, edge in (("start", regenerate.start), ("stop", regenerate.stop)):
            if edge is not None and not -frames <= edge <= frames:
                raise InputError(f"regenerate has {name} {edge}, the motion has {frames} frames")
        mask_T = np.zeros(frames, bool)
        mask_T[regenerate] = True
    else:
        mask_T = np.asarray(regenerate)
        if mask_T.dtype != bool or mask_T.shape != (frames,):
            raise InputError(f"regenerate is {mask_T.dtype} {list(mask_T.shape)}, expected bool [{frames}] or a slice")
    if not mask_T.any():
        raise InputError("regenerate selects no frame")
    return mask_T


def check_number(name: str, value: float, low: float, high: float) -> float:
    """Validate a number. Raises InputError: not one from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, expected a number from {low:g} to {high:g}")
    return float(value)


def cached(cache: dict[Key, Value], key: Key, compute: Callable[[], Value]) -> Value:
    """Look up a key, or compute its value; a full cache drops its oldest entry."""
    if key not in cache:
        cache[key] = compute()
        if len(cache) > _MAX_CACHED:
            del cache[next(iter(cache))]
    return cache[key]
