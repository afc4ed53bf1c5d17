"""Motions found by text or by motion, without torch: `Retriever`.

CoAMD's recogniser puts motions and texts into one space of F floats; what lies in nearly one direction goes together.
Shapes: N motions, T frames, V = 22 joints, metres, y up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..body.canonical import SMPL, to_canonical
from ..body.layout import Layout
from ..body.motion import Motion
from ..bundles.bundle import Bundle
from ..bundles.schema import WEIGHTS, GenerationManifest
from ..errors import BundleError, InputError, LayoutError
from ..generation.open_networks import open_networks
from ..generation.schedule import MAX_TOKENS, STRIDE
from ..text_encoder import TextEncoder
from .index import Hit, MotionIndex

FRAMES = STRIDE * MAX_TOKENS  # that the recogniser was trained on
_LONGEST_S = 24 * 3600.0  # of a motion, of which only the beginning is seen
_FAR_M = 100.0  # nobody comes so far in 9.8 s; a person measured in centimetres is taller
_BATCH = 32  # motions of one length that go through the network together
_ON_FRAME = 6  # decimals: a time as near as that to a frame's is the frame's


class Retriever:
    """Finds motions by what they show. One thread may add while others search.

    Motions may have any 3-D layout from whose joints those of smpl22 can be made, and any rate; what is compared is the
    first 9.8 s, 196 frames at 20 a second.

    Args:
        bundle: a verified bundle.
        text: the encoder that it was trained with.
        threads: of ONNX Runtime.
        backend: what runs its networks: "auto", "onnx", "tensorrt" or "cuda"; texts are encoded in ONNX Runtime.
    Attributes:
        name: of its bundle. license: of its weights. library: what has been added.
    Raises:
        BundleError: the bundle was trained with another text encoder.
        InputError: an unknown backend or one that cannot be used here.
    """

    def __init__(
        self, bundle: Bundle[GenerationManifest], text: TextEncoder, threads: int = 1, backend: str = "auto"
    ) -> None:
        manifest = bundle.manifest
        if manifest.text_sha256 != text.sha256:
            raise BundleError(f"{bundle.path}: trained with another text encoder than {text.name}")
        self.bundle = bundle
        self.name, self.license = manifest.name, manifest.license
        self._rate_hz = manifest.fps
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
    ) -> Retriever:
        """Load a retriever.

        Args:
            name: a bundled generation model's name, or the path of a bundle.
            threads: CPU threads of a network's operation.
            library: a file that `save` wrote with the same model; None: nothing has been added yet.
            backend: see `Retriever`.
        Raises:
            BundleError: unknown name, a bundle or a library that is damaged or of another kind or model.
            InputError: there is no such library, an unknown backend or one that cannot be used here.
        """
        made = cls(Bundle.load(name, GenerationManifest), TextEncoder.load("text", threads), threads, backend)
        if library is not None:
            made.library = MotionIndex.read(library, made.library.width, made.library.model)
        return made

    def __len__(self) -> int:
        return len(self.library)

    def add(self, motion: Motion, text: str = "") -> None:
        """Add a motion of one person; a `Hit` on it has the text, and of its `meta` what is text or number.

        Raises:
            InputError: several people, a missing joint, under 4 frames at 20 a second, or joints that are not 3-D.
        """
        self.add_all([(motion, text)])

    def add_all(self, pairs: Iterable[tuple[Motion, str]]) -> None:
        """Add motions with their texts, all of them or none; those of one length share the network's work.

        Raises:
            InputError: as in `add`; the message tells which one.
        """
        pairs = list(pairs)
        for i, (_, text) in enumerate(pairs):
            if not isinstance(text, str):
                raise InputError(f"motion {i}: its text is {text!r}, expected a string")
        features = self.motion_features([motion for motion, _ in pairs])
        self.library.add(features, [text for _, text in pairs], [_plain(motion.meta) for motion, _ in pairs])

    def search(self, query: str | Motion, k: int = 5) -> list[Hit]:
        """The motions that fit a text, or are like a motion, best first.

        Args:
            query: what somebody does, at most 512 characters; or a motion as in `add`.
            k: how many; all, where there are no more.
        Raises:
            InputError: no text or motion to search by, or `k` is no whole number of 1 or more.
        """
        return self.library.nearest(self.feature(query), k)

    def save(self, path: str | Path) -> None:
        """Write what has been added to a safetensors file, whole or not at all. Raises InputError: it cannot be."""
        self.library.save(path)

    def feature(self, query: str | Motion) -> np.ndarray:
        """Where a text or a motion lies in the space, [F], unit length. Raises InputError as `search`."""
        if isinstance(query, Motion):
            return self.motion_features([query])[0]
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"a search for {query!r}, expected a description of a motion or a Motion")
        return self.text_features([query])[0]

    def motion_features(self, motions: Sequence[Motion]) -> np.ndarray:
        """Where motions lie in the space, [N, F], unit length. Raises InputError as `add_all`."""
        known = []
        for i, motion in enumerate(motions):
            try:
                known.append(self._known(motion))
            except InputError as error:
                raise error if len(motions) == 1 else type(error)(f"motion {i}: {error}") from None
        features = np.empty((len(known), self.library.width), np.float32)
        lengths = np.array([len(joints) for joints in known])
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for part in np.split(alike, range(_BATCH, len(alike), _BATCH)):
                joints = np.stack([known[i] for i in part])
                (features[part],) = self._networks.run("motion", joints, np.full(len(part), length, np.int64))
        return _unit(features)

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """Where texts lie in the space, [N, F], unit length. Raises InputError as `TextEncoder.encode`."""
        features = np.empty((len(texts), self.library.width), np.float32)
        for i, text in enumerate(texts):
            found = self._text.encode([text])
            (features[i : i + 1],) = self._networks.run("describe", found.tokens, np.array([found.tokens.shape[1]]))
        return _unit(features)

    def _known(self, motion: Motion) -> np.ndarray:
        """Joints [T, 22, 3] as the recogniser knows them, T a multiple of 4 of at most 196."""
        if not isinstance(motion, Motion):
            raise InputError(f"{motion!r}, expected a Motion")
        if motion.people != 1:
            raise InputError(f"a motion of {motion.people} people, expected one: choose with `motion.person`")
        layout = Layout.load(motion.layout)
        if layout.dims != 3:
            raise LayoutError(f"a motion in layout {layout.name} is 2-D, expected joints in 3-D")
        weights = SMPL.map_from(layout)
        at = self._frames(motion)
        before, after = np.floor(at).astype(int), np.ceil(at).astype(int)
        needed = weights.any(0)
        joints = motion.person(0).joints[: after[-1] + 1, needed]
        if not np.isfinite(joints).all():
            raise InputError(f"frame {int((~np.isfinite(joints).all((1, 2))).argmax())} misses joints")
        share = (at - before)[:, None, None].astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            known = to_canonical(weights[:, needed] @ (joints[before] * (1 - share) + joints[after] * share))
            far = np.abs(known).max()
        if not far <= _FAR_M:
            raise InputError(f"a joint is {far:.3g} m from where the motion begins, expected metres")
        return known

    def _frames(self, motion: Motion) -> np.ndarray:
        """Where in a motion the recogniser's frames are, [T], in frames of the motion."""
        times = motion.times
        steps, seconds = np.diff(times), times[-1] - times[0]
        if (steps <= 0).any():
            raise InputError(f"its timestamps do not rise at frame {int((steps <= 0).argmax()) + 1}")
        if not seconds <= _LONGEST_S:
            raise InputError(f"it lasts {seconds:g} s, expected at most {_LONGEST_S:g}")
        total = round(seconds * self._rate_hz) + 1
        count = min(total, FRAMES) // STRIDE * STRIDE
        if count == 0:
            raise InputError(f"a motion of {total} frames at {self._rate_hz:g} a second, expected at least {STRIDE}")
        at = np.interp(np.arange(count) * (seconds / (total - 1)) + times[0], times, np.arange(len(times)))
        return at.round(_ON_FRAME)


def _unit(features_NF: np.ndarray) -> np.ndarray:
    unit: np.ndarray = features_NF / np.maximum(np.linalg.norm(features_NF, axis=1, keepdims=True), 1e-12)
    return unit


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold of what is known of a motion."""
    return {
        name: value
        for name, value in meta.items()
        if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    }
