"""CoAMD's networks without torch: text to tokens to motion, and the gradient that guides.

Shapes: B batch, L tokens of D channels, Q places, G conditions (told and untold), S solver times, N noisy tokens,
T frames, V joints, E width of the trunk, F of the recogniser's space, W of text features, M what layers are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from .. import backends
from ..backends.onnx_session import one_line
from ..backends.protocols import Session
from ..bundles.bundle import Bundle
from ..bundles.schema import GenerationManifest
from ..bundles.signatures import INT8_GRAPHS, INT8_SUFFIX, SIGNATURES
from ..errors import BundleError
from .schedule import STRIDE, Guidance, Sampling, draw_noise, initial_tokens
from .solvers import SOLVERS, evaluation_times

_SIGNATURES = SIGNATURES[GenerationManifest.task].graphs


def open_networks(
    bundle: Bundle[GenerationManifest], threads: int = 1, precision: str = "fp32", backend: str = "auto"
) -> Networks:
    """A bundle's networks with a backend, "auto", "onnx", "tensorrt" or "cuda".

    Args:
        bundle: a verified bundle.
        threads: CPU threads of an operator.
        precision: of the sampler's products: "fp32" or "int8" in ONNX Runtime, "fp32", "fp16" or "bf16" in TensorRT,
            "fp32" or "bf16" in CUDA.
    Raises:
        InputError: a backend or precision that is not to be had.
    """
    if backend == "cuda":
        backends.pick("cuda")
        from ..backends.cuda import CudaNetworks

        return CudaNetworks(bundle, precision)
    return Networks(bundle, threads, precision, backend)


class Networks:
    """The graphs of a bundle, each opened when it is first needed.

    Args:
        bundle: a verified bundle.
        threads: of one operator.
        precision, backend: see `open_networks`; not "cuda".
    """

    def __init__(
        self, bundle: Bundle[GenerationManifest], threads: int, precision: str = "fp32", backend: str = "auto"
    ) -> None:
        self.bundle = bundle
        self.threads = threads
        self.precision = precision
        self._open = backends.session_opener(backend, bundle, threads, precision)
        self._sessions: dict[str, Session] = {}

    @cached_property
    def mask(self) -> np.ndarray:
        """[D], what stands for a token that is not known."""
        return self.bundle.weights["generator.mask"]

    def run(self, graph: str, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of a graph for its inputs, in the order of its signature.

        Raises:
            BundleError: the backend cannot load or run it.
        """
        if self.precision == "int8" and graph in INT8_GRAPHS:
            graph += INT8_SUFFIX
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
        """What the trunk is told of descriptions, [B, M], and how likely each number of tokens is, [B, 50] logits."""
        told, lengths = self.run("condition", text_BW, quality_B)
        return told, lengths

    def decode(self, tokens_BLD: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
        """Motions [T, V, 3], metres."""
        (joints,) = self.run("decode", tokens_BLD, np.array(counts, np.int64))
        return [motion[: STRIDE * n] for motion, n in zip(joints, counts, strict=True)]

    def encode(self, joints_BTV3: np.ndarray, frames: Sequence[int]) -> np.ndarray:
        """Motions, T a multiple of 4 -> tokens [B, L, D]."""
        (tokens,) = self.run("encode", joints_BTV3.astype(np.float32), np.array(frames, np.int64))
        return tokens

    def sample(
        self,
        told_GBM: np.ndarray,
        counts: Sequence[int],
        settings: Sampling,
        *,
        seed: int = 0,
        samples: Sequence[int] | None = None,
        target_BF: np.ndarray | None = None,
        known_BLD: np.ndarray | None = None,
        regenerate_BL: np.ndarray | None = None,
    ) -> np.ndarray:
        """Tokens [B, L, D], zeros beyond their counts: the loop of `training.sampling.sample`.

        Args:
            told_GBM: of the descriptions; with G = 2, of no description besides.
            counts: tokens of every motion.
            seed, samples: the noise of a sample depends on the seed and its own number alone.
            target_BF: descriptions in the recogniser's space, for guidance.
            known_BLD, regenerate_BL: to edit, the tokens of a motion, and which of them are made anew.
        """
        samples = range(len(counts)) if samples is None else samples
        counts_B = np.array(counts, np.int64)
        tokens, steps = initial_tokens(self.mask, counts, settings, seed, samples, known_BLD, regenerate_BL)
        for step in steps:
            masked = step.masked
            tokens[masked] = self.mask
            asked = np.logical_or.reduce([rows for rows, _ in step.parts])
            z_GBLE = self._trunk(tokens, counts_B, told_GBM, asked)
            for rows, evaluations in step.parts:
                drawn = draw_noise(seed, samples, step.number, rows, tokens.shape[2])
                tokens[rows] = self._solve(z_GBLE[:, rows], drawn, settings, evaluations)
            if step.guidance is not None:
                assert target_BF is not None, "guidance needs a target"
                gradient, _ = self.run("guide", tokens, counts_B, target_BF)
                tokens += guidance_step(gradient, masked, step.guidance)
        return tokens

    def _trunk(
        self, tokens_BLD: np.ndarray, counts_B: np.ndarray, told_GBM: np.ndarray, asked_BL: np.ndarray
    ) -> np.ndarray:
        """What the head needs to know of the places asked for, at their places in [G, B, L, E]."""
        most = int(asked_BL.sum(1).max())
        places = np.argsort(~asked_BL, axis=1, kind="stable")[:, :most]  # those asked for first, in their order
        (z,) = self.run("trunk", tokens_BLD, counts_B, told_GBM, places)
        found = np.zeros((*told_GBM.shape[:2], asked_BL.shape[1], z.shape[-1]), np.float32)
        np.put_along_axis(found, np.broadcast_to(places[None, :, :, None], z.shape), z, axis=2)
        return found

    def _solve(self, z_GNE: np.ndarray, noise_ND: np.ndarray, settings: Sampling, evaluations: int) -> np.ndarray:
        """Tokens [N, D]. What the head is told at all times is computed at once."""
        solver = SOLVERS[settings.solver] if isinstance(settings.solver, str) else settings.solver
        times = sorted(set(evaluation_times(solver, evaluations)))
        G, N, E = z_GNE.shape
        (told,) = self.run("times", np.array(times, np.float32), z_GNE.reshape(G * N, E))
        at_time = {t: told[s].reshape(G, N, -1) for s, t in enumerate(times)}

        def velocity(x_ND: np.ndarray, t: float) -> np.ndarray:
            (v_GND,) = self.run("velocity", x_ND, at_time[t])
            return v_GND[0] if G == 1 else v_GND[1] + np.float32(settings.cfg) * (v_GND[0] - v_GND[1])

        found: np.ndarray = solver(velocity, noise_ND, evaluations).astype(np.float32)
        return found


def guidance_step(gradient_BLD: np.ndarray, sampled_BL: np.ndarray, guidance: Guidance) -> np.ndarray:
    """Step of the tokens along a gradient; the same as `training.coamd.guidance.guided`."""
    own = gradient_BLD * sampled_BL[:, :, None]
    counted = gradient_BLD if guidance.norm == "all" else own
    length_B = np.sqrt((counted**2).sum((1, 2))) + 1e-8
    if guidance.norm == "token":
        length_B = length_B / np.sqrt(np.maximum(sampled_BL.sum(1), 1))
    step: np.ndarray = (guidance.step * own / length_B[:, None, None]).astype(np.float32)
    return step
