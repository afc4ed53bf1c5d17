"""CoAMD's networks without torch: text to tokens to motion, and the gradient for guidance.

Shapes: B batch, L tokens of D channels, G conditions (text, no text), T frames, V joints, F width of the recognizer's
space, W of text features, M modulation parameters of the trunk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from ..backends.onnx_session import one_line
from ..backends.protocols import Session
from ..backends.threads import cpus
from ..bundles.bundle import Bundle
from ..bundles.schema import GenerationManifest
from ..bundles.signatures import INT8_GRAPHS, INT8_SUFFIX, SIGNATURES
from ..errors import BundleError, InputError
from ..fork import survive_fork
from ..text_encoder import TextEncoder
from .sampler import GraphOps, sample_tokens
from .schedule import MAX_TOKENS, STRIDE, NoiseKey, Sampling, initial_tokens, noise_keys, split_parts

_SIGNATURES = SIGNATURES[GenerationManifest.task].graphs
_DEFAULTS = Sampling()


class Networks:
    """The graphs of a bundle, each opened on first use.

    Args:
        bundle: a verified bundle.
        open_graph: graph name -> session.
        threads, precision: see `open_networks`.
        on_cpu: whether several calls can compute side by side.
        max_rows: number of tokens that the head takes in one run, with every condition; None: any.
    Attributes:
        on_cpu: as given.
        batch: number of motions to sample in one call; with more, a motion hardly takes less time.
    """

    batch = 4

    def __init__(
        self,
        bundle: Bundle[GenerationManifest],
        open_graph: Callable[[str], Session],
        threads: int,
        precision: str = "fp32",
        on_cpu: bool = True,
        max_rows: int | None = None,
    ) -> None:
        self.bundle = bundle
        self.threads = threads
        self.precision = precision
        if precision == "int8":
            self.batch = 1  # those in one run share the scales of their 8 bits, and would differ from single ones
        self.on_cpu = on_cpu
        self._max_rows = max_rows
        self._open = open_graph
        self._sessions: dict[str, Session] = {}
        self._opening = threading.Lock()
        survive_fork(self)

    def _after_fork(self) -> None:
        self._opening = threading.Lock()

    @property
    def workers(self) -> int:
        """Number of calls that together keep all CPUs busy that this process may use; 1 on a GPU."""
        return max(1, cpus() // self.threads) if self.on_cpu else 1

    @cached_property
    def mask(self) -> np.ndarray:
        """The mask token, [D]."""
        return self.bundle.weights["generator.mask"]

    @cached_property
    def _modulation(self) -> int:
        """Size of the modulations of the head by one time and token."""
        (shape,) = self.bundle.manifest.graphs["times"].outputs.values()
        return int(shape[-1])

    def run(self, graph: str, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run a graph; inputs and outputs are in the order of its signature. Thread-safe.

        Raises:
            BundleError: the backend cannot load or run it.
            InputError: the bundle does not have it, see `signatures.VARIANTS`.
        """
        if self.precision == "int8" and graph in INT8_GRAPHS:
            graph += INT8_SUFFIX
        if graph not in self.bundle.manifest.graphs:
            raise InputError(f"{self.bundle.path}: has no graph {graph}, which this setting needs")
        with self._opening:
            if graph not in self._sessions:
                self._sessions[graph] = self._open(graph)
        signature = _SIGNATURES[graph]
        try:
            feed = dict(zip(signature.inputs, inputs, strict=True))
            return self._sessions[graph].run(list(signature.outputs), feed)
        except Exception as error:  # a backend's errors have no common base class
            file = self.bundle.path / self.bundle.manifest.graphs[graph].file
            raise BundleError(f"{file}: cannot be run ({one_line(error)})") from error

    def condition(self, text_BW: np.ndarray, quality_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Modulation of the trunk by texts, [B, M], and logits of the number of tokens, [B, 50]."""
        modulation, lengths = self.run("condition", text_BW, quality_B)
        return modulation, lengths

    def describe(self, encoder: TextEncoder, text: str) -> np.ndarray:
        """Embed a text in the recognizer's space, [1, F]."""
        if "describe_ids" in self.bundle.manifest.graphs:
            return self.run("describe_ids", encoder.ids([text]))[0]
        words = encoder.encode([text]).tokens
        return self.run("describe", words, np.array([words.shape[1]]))[0]

    def decode(self, tokens_BLD: np.ndarray, counts: Sequence[int], settings: Sampling = _DEFAULTS) -> list[np.ndarray]:
        """Decode tokens to motions [T, V, 3], meters."""
        (joints,) = self.run("decode", tokens_BLD, np.array(settings.padded(counts), np.int64))
        return [motion[: STRIDE * n] for motion, n in zip(joints, counts, strict=True)]

    def encode(self, joints_BTV3: np.ndarray, settings: Sampling = _DEFAULTS) -> np.ndarray:
        """Encode motions of one length T, a multiple of 4 of at most 196, to tokens [B, L, D]."""
        B, T = joints_BTV3.shape[:2]
        if settings.padding == "batch":  # by zeros, after normalization
            rest = (B, STRIDE * MAX_TOKENS - T, *joints_BTV3.shape[2:])
            mean = np.broadcast_to(self.bundle.weights["mean"].reshape(rest[2:]), rest)
            joints_BTV3 = np.concatenate([joints_BTV3, mean], 1)
        (tokens,) = self.run("encode", joints_BTV3.astype(np.float32), np.full(B, joints_BTV3.shape[1], np.int64))
        return tokens[:, : T // STRIDE]

    def sample(
        self,
        modulation_GBM: np.ndarray,
        counts: Sequence[int],
        settings: Sampling,
        *,
        keys: Sequence[NoiseKey] | None = None,
        target_BF: np.ndarray | None = None,
        known_BLD: np.ndarray | None = None,
        regenerate_BL: np.ndarray | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Sample tokens [B, L, D], zeros beyond their counts.

        Args:
            modulation_GBM: of the trunk, from `condition`: of the texts, of no text, or of both in this order.
            counts: tokens of every motion.
            keys: of the noise of every motion; None: samples 0, 1, ... of seed 0.
            target_BF: texts in the recognizer's space, for guidance.
            known_BLD, regenerate_BL: to edit, the tokens of a motion, and the mask of those to regenerate.
            check: called before every run of a graph; may raise, to give up.
        """

        def run(graph: str, *inputs: np.ndarray) -> list[np.ndarray]:
            check()
            return self.run(graph, *inputs)

        keys = noise_keys(len(counts)) if keys is None else keys
        tokens_BLD, steps = initial_tokens(self.mask, counts, settings, keys, known_BLD, regenerate_BL)
        if self._max_rows is not None:
            steps = split_parts(steps, self._max_rows // len(modulation_GBM))
        ops = GraphOps(
            run=run,
            mask_D=self.mask,
            counts_B=np.array(counts, np.int64),
            modulation_GBM=modulation_GBM,
            settings=settings,
            keys=keys,
            target_BF=target_BF,
            objective=self.bundle.manifest.objective,
            modulation=self._modulation,
            with_lengths="guide_lengths" in self.bundle.manifest.graphs,
        )
        tokens: np.ndarray = sample_tokens(ops, tokens_BLD, steps)
        return tokens
