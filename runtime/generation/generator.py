"""Text to motion without torch: `Generator` generates motion, and regenerates parts of one."""

from __future__ import annotations

import hashlib
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from ..body.canonical import to_canonical, to_canonical_with_inverse
from ..body.input_check import check_motion
from ..body.motion import Motion
from ..bundles.bundle import Bundle
from ..bundles.isolation import load_isolated
from ..bundles.schema import GenerationManifest
from ..cache import cache_folder
from ..errors import BundleError, InputError
from ..fork import survive_fork
from ..io.atomic_write import atomic_write
from ..text_encoder import TextEncoder
from . import rng
from .keyframes import Keyframes, reach
from .open_networks import open_networks
from .parts import part_joints
from .path import check_path, follow, go_around, length_of, way
from .postprocess import (
    append,
    bend,
    crossfade,
    extrapolate,
    fix_bone_lengths,
    plant_feet,
    postprocess,
    settle,
    smooth_for_quality,
)
from .schedule import MAX_TOKENS, STRIDE, Guidance, Sampling
from .stream import Stream, Window
from .timeline import (
    Timeline,
    leaves_floor,
    parse_timeline,
    split_circle,
    split_count,
    split_half_turn,
    split_sequence,
    split_together,
)

MAX_SECONDS = 60.0  # of one motion
MAX_BEST_OF = 64
MAX_STREAM_SECONDS = 24 * 3600.0
OVERLAP_TOKENS = 5  # that a window shares with the one before
CHUNK_TOKENS = 5  # of a stream: a second
FIRST_WINDOW_CHUNKS, WINDOW_CHUNKS = 2, 3  # in the first window of a stream, and in the others
GUIDED_STEPS = 3  # the last autoregressive steps; guiding more of them costs time and quality
_MIN_TOKENS = 4  # of a motion whose length is estimated
_MIN_ACTION, _MAX_ACTION = 10, 20  # tokens of an action among several whose length is estimated
_COUNTED = 8  # of one that is counted; longer, it is often seen more than once
_CIRCLE = 30  # of a walk in a circle
_MAX_CACHED = 64  # prompts
OUT_OF_RANGE = 0.5  # confidence below which a description is unlike the training; chosen on half of range.json
_action_cache: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}  # of text encoders and names of actions
Key = TypeVar("Key")
Value = TypeVar("Value")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Request:
    """Validated arguments of a generation.

    Attributes:
        text: description of the motion. seed: of the noise. settings: of the sampler. quality: of capture.
        best_of: number of seeds to choose from.
    """

    text: str
    seed: int
    settings: Sampling
    quality: str
    best_of: int = 1


class Generator:
    """Generates motion of one person from text. Thread-safe: concurrent calls run one after the other.

    A seed gives the same motion on every machine, up to rounding, which matters little in "fp32" but, in "int8", may
    change poses by millimeters.

    Args:
        bundle: a verified bundle.
        text: the encoder that it was trained with.
        threads: of ONNX Runtime.
        precision: of the sampler's matrix products: "fp32", or "int8", which is faster on a CPU and changes poses by
            millimeters, and paths by centimeters; "auto" is "int8" on a CPU, if the bundle has it, else "fp32". With
            TensorRT "fp32", "fp16" or "bf16", with CUDA "fp32" or "bf16".
        backend: of the networks: "auto", "onnx", "tensorrt" or "cuda" ("cuda:1": the second GPU). Texts are always
            encoded in ONNX Runtime.
    Attributes:
        name: of the bundle. license: of the weights. layout, fps: of generated motion.
        actions: in the training data, with the number of clips by quality. qualities: values of `quality`.
        settings: of the sampler.
        batch: number of motions that together take little more time than one; 1 on a CPU, whatever its number of cores.
    Raises:
        BundleError: the bundle was trained with another text encoder.
        InputError: unknown or unavailable backend or precision.
    """

    def __init__(
        self,
        bundle: Bundle[GenerationManifest],
        text: TextEncoder,
        threads: int = 1,
        precision: str = "auto",
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
        self.batch = 1 if self._networks.on_cpu else self._networks.batch
        self._text = text
        self._condition_cache: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._target_cache: dict[str, np.ndarray] = {}
        self._pooled_cache: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()
        self._stream: weakref.ref[Stream] | None = None
        survive_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Generator({self.name!r}, {self.layout} at {self.fps:g} frames/s, {len(self.actions)} actions)"

    @classmethod
    def load(
        cls,
        name: str | Path = "default",
        threads: int = 1,
        precision: str = "auto",
        backend: str = "auto",
        *,
        isolate: bool = False,
    ) -> Generator:
        """Load a generator.

        Args:
            name: name of a bundled model, path of a bundle, or hf://ORG/NAME[@REVISION] on the Hugging Face Hub.
            threads: CPU threads per operator.
            precision, backend: see `Generator`.
            isolate: see `Recognizer.load`.
        Raises:
            BundleError: unknown name, or a bundle that is damaged or for another task.
            InputError: unknown or unavailable backend or precision.
        """
        load = load_isolated if isolate else Bundle.load
        bundle = load(name, GenerationManifest)
        return cls(bundle, TextEncoder.of(bundle), threads, precision, backend)

    @overload
    def generate(
        self,
        text: str | None = None,
        seconds: float | None = None,
        seed: int = 0,
        cfg: float | None = None,
        guidance: float = 0.0,
        quality: str = "mocap",
        *,
        timeline: Timeline | None = None,
        split: bool = True,
        best_of: int = 1,
        path: ArrayLike | None = None,
        keyframes: Keyframes | None = None,
    ) -> Motion: ...

    @overload
    def generate(
        self,
        text: list[str] | tuple[str, ...],
        seconds: float | None | list[float | None] | tuple[float | None, ...] = None,
        seed: int = 0,
        cfg: float | None = None,
        guidance: float = 0.0,
        quality: str = "mocap",
        *,
        seeds: Sequence[int] | None = None,
        split: bool = True,
        best_of: int = 1,
    ) -> list[Motion]: ...

    def generate(
        self,
        text: str | list[str] | tuple[str, ...] | None = None,
        seconds: float | None | list[float | None] | tuple[float | None, ...] = None,
        seed: int = 0,
        cfg: float | None = None,
        guidance: float = 0.0,
        quality: str = "mocap",
        *,
        seeds: Sequence[int] | None = None,
        timeline: Timeline | None = None,
        split: bool = True,
        best_of: int = 1,
        path: ArrayLike | None = None,
        keyframes: Keyframes | None = None,
    ) -> Motion | list[Motion]:
        """Generate a motion from a description, or a batch of motions from a list of descriptions.

        A batch takes less time than its motions one by one: on a CPU it uses all CPUs that the process may use. Its
        motions are, up to rounding, those of calls for one text each.

        A description of actions that follow each other, in sentences or with "then", is generated action by action; one
        with a count, such as "jumps twice", as often; of legs and arms at once, such as "walks and waves", arms are
        generated apart from the rest. Who turns around turns left twice, and who walks in a circle is led along one.

        Args:
            text: description of the motion, at most 512 characters; or a list of them.
            seconds: duration, at most 60, rounded to a fifth of a second; None: estimated from the text. For a list of
                texts also a list with the duration of each.
            seed: 0 or more; another seed gives another motion. The texts of a list have seed, seed + 1, ...
            cfg: weight of classifier-free guidance; None: the model's own, 1: none. `default-fast` includes its
                own and takes no other.
            guidance: length of a step along the recognizer's gradient; 1 is a good value, 0 turns it off.
            quality: one of `qualities`.
            seeds: for a list of texts, the seed of each, instead of `seed`.
            timeline: instead of text and seconds, what happens when: "0-2 walks; 2-4 waves", or a list of (begin, end,
                text) in seconds, without gaps.
            split: whether descriptions of several actions are split.
            best_of: number of motions, at most 64, with seeds from `seed` on, of which the one that the model's own
                recognizer finds most like the description is returned; of several actions, each is chosen.
            path: points [K, 2], x and z in meters, that the person goes along from the first to the last, about as fast
                as the description has it; for one text or a timeline. Without `seconds`, the path decides how long.
            keyframes: joints [V, 3] in meters that the body reaches, by frame, NaN where they are free; for one text or
                a timeline. The pose changes within half a second before and after, the place on the floor from the
                keyframe before on.
        Returns:
            One person with bones of constant length and feet that do not slide, facing +z at the origin in the first
            frame; y = 0 is the floor. For a list of texts, a list of such motions.
        Raises:
            InputError: an argument is invalid; the message says which one of a list.
        """
        for name, value in (("path", path), ("keyframes", keyframes)):
            if value is not None and isinstance(text, list | tuple):
                raise InputError(f"{name} is for one text, expected no list of them")
        if keyframes is not None:
            same = partial(self.generate, text, seconds, seed=seed, cfg=cfg, guidance=guidance, quality=quality)
            motion = same(timeline=timeline, split=split, best_of=best_of, path=path)
            return replace(motion, joints=reach(motion.joints, keyframes))
        if path is not None:
            led = partial(self.generate, text, seed=seed, cfg=cfg, guidance=guidance, quality=quality, split=split)
            return self._led(partial(led, timeline=timeline, best_of=best_of), seconds, timeline is None, path)
        if timeline is not None:
            if text is not None or seconds is not None or seeds is not None:
                raise InputError("timeline goes with neither text nor seconds nor seeds, expected one or the other")
            parts = [
                (
                    self._request(one, seed, cfg, guidance, quality, best_of=best_of),
                    self._count_of(f"part {i} of the timeline", length),
                )
                for i, (one, length) in enumerate(parse_timeline(timeline))
            ]
            check_number("the timeline's length", STRIDE / self.fps * sum(count for _, count in parts), 0, MAX_SECONDS)
            with self._lock:
                return self._sequence(parts, "; ".join(request.text for request, _ in parts), split)
        if text is None:
            raise InputError("text is None, expected a description of a motion, or a timeline")
        if not isinstance(text, list | tuple):
            if seeds is not None:
                raise InputError("seeds are for a list of texts, expected seed for a single one")
            request = self._request(text, seed, cfg, guidance, quality, best_of=best_of)
            return self._generate([request], [self._duration("seconds", seconds)], split)[0]
        if not text:
            raise InputError("text is an empty list, expected at least one description")
        if seeds is None:
            seeds = range(check_seed("seed", seed), seed + len(text))
        if len(seeds) != len(text):
            raise InputError(f"there are {len(seeds)} seeds for {len(text)} texts, expected one for each")
        if isinstance(seconds, list | tuple):
            durations = [self._duration(f"seconds {i}", one) for i, one in enumerate(seconds)]
        else:
            durations = [self._duration("seconds", seconds)] * len(text)
        if len(durations) != len(text):
            raise InputError(f"there are {len(durations)} durations for {len(text)} texts, expected one for each")
        requests = [
            self._request(one, seeds[i], cfg, guidance, quality, f"text {i}", f"seed {i}", best_of)
            for i, one in enumerate(text)
        ]
        return self._generate(requests, durations, split)

    def _led(self, generate: Callable[..., Motion], seconds: Any, may_last: bool, path: ArrayLike) -> Motion:
        """A motion along a path; without `seconds` and if it may, it lasts as long as the path needs."""
        points = check_path(path)
        motion = generate(seconds=seconds)
        if seconds is None and may_last:
            needed = motion.seconds * length_of(points) / max(way(motion.joints), 1e-3)
            motion = generate(seconds=min(max(needed, STRIDE / self.fps), MAX_SECONDS))
        return replace(motion, joints=follow(motion.joints, points))

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

        Setting `prompt` on the generator or the stream changes the motion from the next chunk on, `Stream.change`
        within a chunk. A stream ends when it
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
            chunks = FIRST_WINDOW_CHUNKS if window.past is None else 1 if window.is_urgent else WINDOW_CHUNKS
            count = int(min(CHUNK_TOKENS * chunks, total - window.start // STRIDE))
            if count <= 0:
                return []
            request = replace(initial, text=window.prompt)
            with self._lock:
                if window.past is None:
                    (joints,) = self._first([request], [count], window.check)
                else:
                    (joints,) = self._next([window.past], [request], count, window.number, window.check)
            return np.split(joints, range(STRIDE * CHUNK_TOKENS, len(joints), STRIDE * CHUNK_TOKENS))

        def finish(joints: np.ndarray, prompt: str, start: int) -> Motion:
            return self._motion(joints, text=prompt, seed=seed, start=start / self.fps)

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
        parts: str | Sequence[str] | None = None,
    ) -> Motion:
        """Regenerate some frames of a motion from a description; all others stay unchanged.

        The body goes on from where it is, as fast and facing the same way. Where frames follow that the described
        motion does not lead to, such as a bow in the middle of a walk, root and legs stay as they are.

        Args:
            motion: one person in `layout` at `fps`, 4 to 196 frames.
            regenerate: frames to replace, as a slice of frames or [T] bool. Up to 8 of them at each seam are blended
                toward the old motion.
            parts: parts of the body to replace: "arms", "left_arm", "right_arm", "upper_body", or a list of them; all
                other joints stay unchanged. None: the whole body.
            text, seed, cfg, guidance, quality: as in `generate`.
        Raises:
            InputError: an argument is invalid.
        """
        request = self._request(text, seed, cfg, guidance, quality)
        joints = self._joints(motion)
        replaced = None if parts is None else part_joints(parts, joints.shape[1])
        regenerate_T = frame_mask(regenerate, len(joints))
        with self._lock:
            (new,) = self._regenerate([joints], regenerate_T, [request])
        edited = crossfade(joints, new, regenerate_T, replaced)
        return self._motion(edited, text=text, seed=seed, confidence=self.confidence([text]))

    def nearest_actions(self, text: str, k: int = 3) -> list[tuple[str, float]]:
        """Actions of the training that a description is closest to, best first, each with the similarity, at most 1.

        Below `OUT_OF_RANGE`, 0.5, expect motion that does not do what the description says.

        Raises:
            InputError: the description is empty or too long, or has no English word.
        """
        self._text.check(text)
        names = tuple(self.actions)
        known = cached(_action_cache, (self._text.sha256, names), lambda: encode_actions(self._text, names))
        similarity = known @ self._pooled(text)
        return [(names[i], min(float(similarity[i]), 1.0)) for i in np.argsort(-similarity)[:k]]

    def confidence(self, texts: Sequence[str]) -> float:
        """Similarity of descriptions to actions of the training, of the least similar one: 0 to 1; without any 0."""
        return (
            max(0.0, min(score for text in texts for _, score in self.nearest_actions(text, 1)))
            if self.actions
            else 0.0
        )

    def check(self, text: str) -> None:
        """Validate a description. Raises InputError: it is empty or too long, or has no English word."""
        self._text.check(text)

    def _request(
        self,
        text: str,
        seed: int,
        cfg: float | None,
        guidance: float,
        quality: str,
        text_name: str = "text",
        seed_name: str = "seed",
        best_of: int = 1,
    ) -> Request:
        """Validate arguments of `generate`. Raises InputError, with these names of text and seed."""
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{text_name} is {text!r}, expected a description of a motion")
        self._text.check(text, "the description" if text_name == "text" else text_name)
        seed = check_seed(seed_name, seed)
        if quality not in self.qualities:
            raise InputError(f"quality is {quality!r}, expected {' or '.join(self.qualities)}")
        settings = self.settings
        if cfg is not None:
            if guided := self.bundle.manifest.guided:
                raise InputError(f"cfg={cfg}: {self.name} includes guidance, of {guided:g}, and takes no other")
            settings = replace(settings, cfg=check_number("cfg", cfg, 0, 100))
        step = check_number("guidance", guidance, 0, 1000)
        if step:
            settings = replace(settings, guidance=Guidance(step=step, last=GUIDED_STEPS, norm="token"))
        if isinstance(best_of, bool) or not isinstance(best_of, int) or not 1 <= best_of <= MAX_BEST_OF:
            raise InputError(f"best_of is {best_of!r}, expected a whole number from 1 to {MAX_BEST_OF}")
        return Request(text, seed, settings, quality, best_of)

    def _duration(self, name: str, seconds: Any) -> float | None:
        """Validate a duration; None stays None. Raises InputError, with this name of it."""
        return None if seconds is None else check_number(name, seconds, STRIDE / self.fps, MAX_SECONDS)

    def _count(self, request: Request, seconds: float | None) -> int:
        """Number of tokens of a motion; without `seconds`, drawn from the distribution that the text predicts."""
        if seconds is not None:
            return max(1, round(seconds * self.fps / STRIDE))
        _, logits = self._condition(request.text, request.quality)
        weights = np.exp(logits - logits.max())
        below = np.cumsum(weights / weights.sum()) < rng.uniform(request.seed, 0)
        return min(max(int(below.sum()), _MIN_TOKENS), MAX_TOKENS)

    def _count_of(self, name: str, seconds: float) -> int:
        """Number of tokens of a duration. Raises InputError, with this name of it."""
        return max(1, round(check_number(name, seconds, STRIDE / self.fps, MAX_SECONDS) * self.fps / STRIDE))

    def _generate(
        self, requests: Sequence[Request], seconds: Sequence[float | None], split: bool = True
    ) -> list[Motion]:
        """Motions for requests with the same settings."""
        composed: dict[int, Motion] = {}
        with self._lock:
            for i, (request, length) in enumerate(zip(requests, seconds, strict=True)) if split else ():
                if (parts := self._actions(request, length)) is not None:
                    composed[i] = self._sequence(parts, request.text)
        plain = [i for i in range(len(requests)) if i not in composed]
        motions = self._alike([requests[i] for i in plain], [seconds[i] for i in plain]) if plain else []
        composed |= dict(zip(plain, motions, strict=True))
        return [composed[i] for i in range(len(requests))]

    def _actions(self, request: Request, seconds: float | None) -> list[tuple[Request, int]] | None:
        """Requests for the actions of a description that follow each other, with tokens; None: there is just one."""
        parts = []  # with bounds of the number of tokens
        for text in split_sequence(request.text):
            once, times = split_count(text)
            bounds = (_COUNTED, _COUNTED) if times else (_MIN_ACTION, _MAX_ACTION)
            parts += [(replace(request, text=one), bounds) for one in split_half_turn(once) * max(times, 1)]
        if len(parts) == 1 and parts[0][0].text == request.text:
            if split_together(request.text) is None and split_circle(request.text) is None:
                return None
            parts = [(request, (_MIN_ACTION, MAX_TOKENS))]
        counts = [self._action_count(part, *bounds) for part, bounds in parts]
        if seconds is not None:
            total = self._count(request, seconds)
            if total < _MIN_TOKENS * len(parts):
                return None
            edges = np.round(np.cumsum([0, *counts]) * total / sum(counts)).astype(int)
            counts = np.diff(edges).tolist()
        return [(part, count) for (part, _), count in zip(parts, counts, strict=True)]

    def _action_count(self, request: Request, low: int, high: int) -> int:
        """Number of tokens of an action, within bounds; of legs and arms at once, as is typical of the legs."""
        if split_circle(request.text) is not None:
            return _CIRCLE
        legs, _ = split_together(request.text) or (request.text, "")
        return min(max(self._count(replace(request, text=legs), None), low), high)

    def _sequence(self, parts: Sequence[tuple[Request, int]], text: str, split: bool = True) -> Motion:
        """A motion of actions, with the number of tokens of each, that follow each other."""
        joints, start, written = None, 0.0, []
        texts = [one for request, _ in parts for one in (split_together(request.text) or [request.text])]
        for (request, count), repeated in groupby(parts):
            new = self._together(request, count) if split else self._best([request], [count])[0]
            for _ in repeated:
                joints = new if joints is None else append(joints, new)
                end = start + len(new) / self.fps
                written.append(f"{start:g}-{end:g} {request.text}")
                start = end
        assert joints is not None
        about = {"timeline": "; ".join(written), "confidence": self.confidence(texts)}
        return self._motion(joints, text=text, seed=parts[0][0].seed, best_of=parts[0][0].best_of, **about)

    def _together(self, request: Request, count: int) -> np.ndarray:
        """Joints of one action, or of legs and arms that the description names apart."""
        described = split_together(request.text)
        if described is None:
            return self._action(request, count)
        legs, arms = (self._action(replace(request, text=one), count) for one in described)
        return crossfade(legs, arms, np.ones(len(legs), bool), part_joints("arms", legs.shape[1]))

    def _action(self, request: Request, count: int) -> np.ndarray:
        """Joints of one action; of a person who goes in a circle, led around one."""
        straight, side = split_circle(request.text) or (request.text, 0)
        (joints,) = self._best([replace(request, text=straight)], [count])
        return go_around(joints, side) if side else joints

    def _alike(self, requests: Sequence[Request], seconds: Sequence[float | None]) -> list[Motion]:
        """Motions for requests with the same settings, in parts of similar length, the longest first."""
        networks, numbers = self._networks, range(len(requests))
        with self._lock:
            counts = parallel(lambda i: self._count(requests[i], seconds[i]), numbers, networks.workers)
            size = min(networks.batch, -(-len(requests) // networks.workers))
            parts: list[list[int]] = []
            for _, group in groupby(sorted(numbers, key=lambda i: -counts[i]), lambda i: max(counts[i], MAX_TOKENS)):
                alike = list(group)  # that one part may hold, see `_windows`
                parts += [part.tolist() for part in np.array_split(alike, -(-len(alike) // size))]

            def compute(part: Sequence[int]) -> list[np.ndarray]:
                return self._best([requests[i] for i in part], [counts[i] for i in part])

            found = parallel(compute, parts, networks.workers)
        joints = dict(zip(chain(*parts), chain(*found), strict=True))
        return [
            self._motion(
                joints[i],
                text=request.text,
                seed=request.seed,
                best_of=request.best_of,
                confidence=self.confidence([request.text]),
            )
            for i, request in enumerate(requests)
        ]

    def _best(self, requests: Sequence[Request], counts: Sequence[int]) -> list[np.ndarray]:
        """Joints as of `_windows`, of the seed among `best_of` whose motion is most like its description."""
        tries, networks = requests[0].best_of, self._networks
        if tries == 1:
            return self._windows(requests, counts)
        seeds = [(replace(one, seed=one.seed + i), n) for one, n in zip(requests, counts, strict=True)
                 for i in range(tries)]  # fmt: skip
        parts = [seeds[i :: networks.workers] for i in range(min(networks.workers, len(seeds)))]
        made = parallel(lambda part: self._windows(*map(list, zip(*part, strict=True))), parts, networks.workers)
        joints = [made[i % len(parts)][i // len(parts)] for i in range(len(seeds))]
        likeness = [self._likeness(one, request.text) for one, (request, _) in zip(joints, seeds, strict=True)]
        chosen = np.array(likeness).reshape(-1, tries).argmax(1)
        return [joints[tries * i + best] for i, best in enumerate(chosen)]

    def _likeness(self, joints: np.ndarray, text: str) -> float:
        """Cosine of a motion and a description in the recognizer's space, in which retrieval searches, too."""
        part = to_canonical(joints[: STRIDE * MAX_TOKENS])[None]
        (feature_BF,) = self._networks.run("motion", part, np.array([part.shape[1]]))
        target_F = self._target(text)
        return float(feature_BF[0] @ target_F / (np.linalg.norm(feature_BF[0]) * np.linalg.norm(target_F)))

    def _windows(self, requests: Sequence[Request], counts: Sequence[int]) -> list[np.ndarray]:
        """Joints of motions of `counts` tokens, window by window; each continues the last second of the one before.

        Motions that are longer than a window all have the same length.
        """
        windows = [self._first(requests, [min(count, MAX_TOKENS) for count in counts])]
        remaining, number = max(counts) - MAX_TOKENS, 1
        while remaining > 0:
            size = min(remaining, MAX_TOKENS - OVERLAP_TOKENS)
            windows.append(self._next(windows[-1], requests, size, number))
            remaining, number = remaining - size, number + 1
        joints = [np.concatenate(parts) for parts in zip(*windows, strict=True)]
        if not self.actions:  # an imported model's motion stays as it is
            return joints
        return [
            one if leaves_floor(request.text) else settle(one) for one, request in zip(joints, requests, strict=True)
        ]

    def _first(
        self, requests: Sequence[Request], counts: Sequence[int], check: Callable[[], None] = lambda: None
    ) -> list[np.ndarray]:
        tokens = self._networks.sample(
            self._conditions(requests),
            counts,
            requests[0].settings,
            keys=[(request.seed, 0) for request in requests],
            target_BF=self._targets(requests),
            check=check,
        )
        decoded = self._networks.decode(tokens, counts, requests[0].settings)
        return [postprocess(smooth_for_quality(joints, requests[0].quality)) for joints in decoded]

    def _next(
        self,
        pasts: Sequence[np.ndarray],
        requests: Sequence[Request],
        count: int,
        number: int,
        check: Callable[[], None] = lambda: None,
    ) -> list[np.ndarray]:
        """Continue joints of the same length by `count` tokens: [4 count, V, 3] each."""
        kept = [past[-STRIDE * OVERLAP_TOKENS :] for past in pasts]
        regenerate_T = np.arange(len(kept[0]) + STRIDE * count) >= len(kept[0])
        found = self._regenerate(kept, regenerate_T, requests, number, check)
        joined = [bend(extrapolate(old, len(new)), new, regenerate_T) for old, new in zip(kept, found, strict=True)]
        return [plant_feet(joints[len(kept[0]) - 1 :])[1:] for joints in joined]

    def _regenerate(
        self,
        motions: Sequence[np.ndarray],
        regenerate_T: np.ndarray,
        requests: Sequence[Request],
        number: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> list[np.ndarray]:
        """New joints of all frames, which may extend beyond the last one, with those marked sampled from a description.

        `number` selects the noise.
        """
        B, T = len(motions), len(regenerate_T)
        padded_T = -(-T // STRIDE) * STRIDE
        known, to_world = zip(*map(to_canonical_with_inverse, motions), strict=True)
        regenerate_L: np.ndarray = np.pad(regenerate_T, (0, padded_T - T), "edge").reshape(-1, STRIDE).max(1)
        counts, settings = [len(regenerate_L)] * B, requests[0].settings
        tokens = self._networks.sample(
            self._conditions(requests),
            counts,
            settings,
            keys=[(request.seed, number) for request in requests],
            target_BF=self._targets(requests),
            known_BLD=self._networks.encode(np.stack([extrapolate(one, padded_T) for one in known]), settings),
            regenerate_BL=np.tile(regenerate_L, (B, 1)),
            check=check,
        )
        decoded = self._networks.decode(tokens, counts, settings)
        decoded = [smooth_for_quality(one[:T], requests[0].quality) for one in decoded]
        return [to_world[b](fix_bone_lengths(decoded[b], known[b])) for b in range(B)]

    def _pooled(self, text: str) -> np.ndarray:
        return cached(self._pooled_cache, text, lambda: self._text.encode([text]).pooled[0])

    def _condition(self, text: str, quality: str) -> tuple[np.ndarray, np.ndarray]:
        """Modulation of the trunk, [M], and logits of the number of tokens, [50]; "" is no text."""

        def compute() -> tuple[np.ndarray, np.ndarray]:
            pooled = self._pooled(text) if text else np.zeros(self._text.width, np.float32)
            modulation, logits = self._networks.condition(pooled[None], np.array([self.qualities.index(quality)]))
            return modulation[0], logits[0]

        return cached(self._condition_cache, (text, quality), compute)

    def _conditions(self, requests: Sequence[Request]) -> np.ndarray:
        """Modulations [G, B, M] of the conditions that the requests' cfg needs: the text, no text, or both."""
        cfg, texts, no_text = requests[0].settings.cfg, [request.text for request in requests], [""] * len(requests)
        conditions = [texts] if cfg == 1 else [no_text] if cfg == 0 else [texts, no_text]
        return np.array([[self._condition(text, requests[0].quality)[0] for text in texts] for texts in conditions])

    def _targets(self, requests: Sequence[Request]) -> np.ndarray | None:
        """The texts in the recognizer's space, [B, F]; None without guidance."""
        if requests[0].settings.guidance is None:
            return None
        return np.stack([self._target(request.text) for request in requests])

    def _target(self, text: str) -> np.ndarray:
        """A text in the recognizer's space, [F]."""

        def compute() -> np.ndarray:
            first: np.ndarray = self._networks.describe(self._text, text)[0]
            return first

        return cached(self._target_cache, text, compute)

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


def check_seed(name: str, seed: int) -> int:
    """Validate a seed. Raises InputError: not a whole number of 0 or more that fits 63 bits."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError(f"{name} is {seed!r}, expected a whole number of 0 or more")
    return int(seed)


def encode_actions(encoder: TextEncoder, names: Sequence[str]) -> np.ndarray:
    """Features [A, W] of the names of actions, kept in the user's cache: together they take a quarter of a second."""
    texts = [f"a person: {name}" for name in names]
    key = hashlib.sha256("\n".join([encoder.sha256, *texts]).encode()).hexdigest()
    path = cache_folder("actions") / f"{key[:32]}.npy"
    with suppress(OSError, ValueError, EOFError):
        known = np.load(path, allow_pickle=False)
        if known.shape == (len(names), encoder.width) and known.dtype == np.float32:
            return np.asarray(known)
    known = encoder.encode(texts).pooled
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.save(file, known)
    return known


def cached(cache: dict[Key, Value], key: Key, compute: Callable[[], Value]) -> Value:
    """Look up a key, or compute its value; a full cache drops its oldest entry. Thread-safe."""
    value = cache.get(key)
    if value is None:
        value = cache[key] = compute()
        if len(cache) > _MAX_CACHED:
            cache.pop(list(cache)[0], None)
    return value


def parallel(compute: Callable[[Item], Value], items: Sequence[Item], workers: int) -> list[Value]:
    """Results for all items, several at a time on threads."""
    if min(workers, len(items)) == 1:
        return [compute(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(compute, items))
