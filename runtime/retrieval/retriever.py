"""Search for motions by text or by motion, without torch: `Retriever`.

CoAMD's recognizer embeds motions and texts in one space of F dimensions; a small angle means a good match.
Shapes: N motions, T frames, V joints, meters, y up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..body.canonical import to_canonical
from ..body.input_check import check_motion
from ..body.layout import Layout
from ..body.motion import Motion
from ..bundles.bundle import Bundle
from ..bundles.isolation import load_isolated
from ..bundles.schema import WEIGHTS, GenerationManifest
from ..errors import BundleError, InputError, LayoutError
from ..generation.open_networks import open_networks
from ..generation.schedule import MAX_TOKENS, STRIDE
from ..text_encoder import TextEncoder
from .index import Hit, MotionIndex

FRAMES = STRIDE * MAX_TOKENS  # longest motion that the recognizer was trained on
_MAX_S = 24 * 3600.0  # of a motion, of which only the start is used
_MAX_DISTANCE_M = 100.0  # unreachable in 9.8 s; exceeded by joints in centimeters
_BATCH = 32  # motions of equal length per run of the network
_TIME_DECIMALS = 6  # of frame numbers: times this close to a frame's count as the frame's


class Retriever:
    """Searches motions by content. One thread may add while others search.

    Motions may have any frame rate and any 3-D layout that maps to the model's. The first 9.8 s of one are compared,
    196 frames at 20 frames a second.

    Args:
        bundle: a verified bundle.
        text: the encoder that it was trained with.
        threads: of ONNX Runtime.
        backend: of the networks: "auto", "onnx", "tensorrt" or "cuda" ("cuda:1": the second GPU). Texts are always
            encoded in ONNX Runtime.
    Attributes:
        name: of the bundle. license: of the weights. library: entries added so far.
    Raises:
        BundleError: the bundle was trained with another text encoder.
        InputError: unknown or unavailable backend.
    """

    def __init__(
        self, bundle: Bundle[GenerationManifest], text: TextEncoder, threads: int = 1, backend: str = "auto"
    ) -> None:
        manifest = bundle.manifest
        if manifest.text_sha256 != text.sha256:
            raise BundleError(f"{bundle.path}: trained with another text encoder than {text.name}")
        self.bundle = bundle
        self.name, self.license = manifest.name, manifest.license
        self._rate_hz, self._layout = manifest.fps, Layout.load(manifest.layout)
        width = manifest.graphs["motion"].outputs["features"][-1]
        assert isinstance(width, int)
        self.library = MotionIndex(width, manifest.files[WEIGHTS].sha256)
        self._networks = open_networks(bundle, threads, backend=backend)
        self._text = text

    def __repr__(self) -> str:
        return f"Retriever({self.name!r}, {len(self)} motions)"

    @classmethod
    def load(
        cls,
        name: str | Path = "default",
        threads: int = 1,
        library: str | Path | None = None,
        backend: str = "auto",
        *,
        isolate: bool = False,
    ) -> Retriever:
        """Load a retriever.

        Args:
            name: name of a bundled generation model, path of a bundle, or hf://ORG/NAME[@REVISION].
            threads: CPU threads per operator.
            library: a file that `save` wrote with the same model; None: start empty.
            backend: see `Retriever`.
            isolate: see `Recognizer.load`.
        Raises:
            BundleError: unknown name, or a bundle or library that is damaged or of another kind or model.
            InputError: no such library, or unknown or unavailable backend.
        """
        load = load_isolated if isolate else Bundle.load
        bundle = load(name, GenerationManifest)
        retriever = cls(bundle, TextEncoder.of(bundle, threads), threads, backend)
        if library is not None:
            retriever.library = MotionIndex.read(library, retriever.library.width, retriever.library.model)
        return retriever

    def __len__(self) -> int:
        return len(self.library)

    def add(self, motion: Motion, text: str = "") -> None:
        """Add a motion of one person. Its hits have the text, and the strings and numbers in its `meta`.

        Raises:
            InputError: several people, missing joints, under 4 frames at 20 frames a second, or a 2-D layout.
        """
        self.add_all([(motion, text)])

    def add_all(self, pairs: Iterable[tuple[Motion, str]]) -> None:
        """Add motions with their texts, all of them or none; motions of equal length share a run of the network.

        Raises:
            InputError: as in `add`; the message names the motion.
        """
        pairs = list(pairs)
        for i, (_, text) in enumerate(pairs):
            if not isinstance(text, str):
                raise InputError(f"motion {i}: the text is {text!r}, expected a string")
        features = self.motion_features([motion for motion, _ in pairs])
        self.library.add(features, [text for _, text in pairs], [_json_values(motion.meta) for motion, _ in pairs])

    def search(self, query: str | Motion, k: int = 5) -> list[Hit]:
        """Find motions that match a text or resemble a motion, best first.

        Args:
            query: a description of at most 512 characters, or a motion as in `add`.
            k: number of hits; fewer if there are fewer motions.
        Raises:
            InputError: invalid text or motion, or `k` is not a whole number of 1 or more.
        """
        return self.library.nearest(self.feature(query), k)

    def save(self, path: str | Path) -> None:
        """Write the library to a safetensors file, atomically. Raises InputError: the file cannot be written."""
        self.library.save(path)

    def feature(self, query: str | Motion) -> np.ndarray:
        """Embed a text or a motion: a unit vector [F]. Raises InputError as `search`."""
        if isinstance(query, Motion):
            return self.motion_features([query])[0]
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"query is {query!r}, expected a description of a motion or a Motion")
        self._text.check(query)
        return self.text_features([query])[0]

    def motion_features(self, motions: Sequence[Motion]) -> np.ndarray:
        """Embed motions: unit vectors [N, F]. Raises InputError as `add_all`."""
        canonical = []
        for i, motion in enumerate(motions):
            try:
                canonical.append(self._canonical(motion))
            except InputError as error:
                raise error if len(motions) == 1 else type(error)(f"motion {i}: {error}") from None
        features = np.empty((len(canonical), self.library.width), np.float32)
        lengths = np.array([len(joints) for joints in canonical])
        for length in np.unique(lengths):
            same_length = np.flatnonzero(lengths == length)
            for part in np.split(same_length, range(_BATCH, len(same_length), _BATCH)):
                joints = np.stack([canonical[i] for i in part])
                (features[part],) = self._networks.run("motion", joints, np.full(len(part), length, np.int64))
        return _unit(features)

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: unit vectors [N, F]. Raises InputError as `TextEncoder.encode`."""
        features = np.empty((len(texts), self.library.width), np.float32)
        for i, text in enumerate(texts):
            features[i : i + 1] = self._networks.describe(self._text, text)
        return _unit(features)

    def _canonical(self, motion: Motion) -> np.ndarray:
        """Canonical joints [T, V, 3] at the model's rate, T a multiple of 4 of at most 196."""
        if not isinstance(motion, Motion):
            raise InputError(f"{motion!r}: expected a Motion")
        motion = motion.only_person()
        layout = Layout.load(motion.layout)
        if layout.dims != 3:
            raise LayoutError(f"a motion in layout {layout.name} is 2-D, expected a 3-D layout")
        check_motion(motion)
        mapping = self._layout.map_from(layout)
        frames_T = self._source_frames(motion)
        before, after = np.floor(frames_T).astype(int), np.ceil(frames_T).astype(int)
        needed = mapping.any(0)
        joints = motion.joints[: after[-1] + 1, needed]
        if not np.isfinite(joints).all():
            raise InputError(f"frame {int((~np.isfinite(joints).all((1, 2))).argmax())} has missing joints")
        weight = (frames_T - before)[:, None, None].astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            canonical = to_canonical(mapping[:, needed] @ (joints[before] * (1 - weight) + joints[after] * weight))
            distance_m = np.abs(canonical).max()
        if not distance_m <= _MAX_DISTANCE_M:
            raise InputError(f"a joint is {distance_m:.3g} m from the start of the motion; joints must be in meters")
        return canonical

    def _source_frames(self, motion: Motion) -> np.ndarray:
        """Positions of the recognizer's frames in a motion, [T], in frames of the motion."""
        times = motion.times
        steps, seconds = np.diff(times), times[-1] - times[0]
        if (steps <= 0).any():
            raise InputError(f"timestamps do not increase at frame {int((steps <= 0).argmax()) + 1}")
        if not seconds <= _MAX_S:
            raise InputError(f"the motion lasts {seconds:g} s, expected at most {_MAX_S:g}")
        total = round(seconds * self._rate_hz) + 1
        count = min(total, FRAMES) // STRIDE * STRIDE
        if count == 0:
            raise InputError(f"a motion of {total} frames at {self._rate_hz:g} Hz, expected at least {STRIDE}")
        frames_T = np.interp(np.arange(count) * (seconds / (total - 1)) + times[0], times, np.arange(len(times)))
        return frames_T.round(_TIME_DECIMALS)


def _unit(features_NF: np.ndarray) -> np.ndarray:
    unit: np.ndarray = features_NF / np.maximum(np.linalg.norm(features_NF, axis=1, keepdims=True), 1e-12)
    return unit


def _json_values(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a motion's metadata that JSON can hold."""
    return {
        name: value
        for name, value in meta.items()
        if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    }
