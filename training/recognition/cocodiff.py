"""CoCoDiff: a helper that teaches a recogniser while it trains and that nothing remains of in what is exported.

A diffusion model learns the recogniser's features under sentences on what each part of the body does. Features that it
makes anew from noised real ones are further examples for the recogniser's head, and the names of the actions hold real
and generated features together:

    L = L_recogniser + r (w_d 1/2 |f(x_t, t) - x_0|^2 + w_g CE(head(x^_0)) + w_c InfoNCE(x^_0) + w_r InfoNCE(x_0))

x_0 are whitened features, f returns them from noised ones, x^_0 is what DDIM finds; r rises from 0 to 1.

Source: Zhao et al., "CoCoDiff" (arXiv 2504.21266), of which only the abstract could be read: sizes, weights, schedule
and texts are our own. One optimiser and its rate serve recogniser and helper. Of several processes, each whitens and
contrasts its own share of a batch.
Shapes: N batch, T time, R rows (clips, or segments of streams), L tokens of time, D features, E width,
K classes, P parts of the body, W text features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, normalize

from ...runtime.bundles.schema import SLOTS
from ...runtime.errors import InputError
from ...runtime.text_encoder import TextEncoder
from ..data import vocabulary
from ..data.caption_features import CaptionEncoder, CaptionFeatures
from ..data.unseen_labels import part_sentences
from ..distributed import rank_and_world
from ..loop import LoopConfig, recognition_loss
from ..models.coamd.layers import attention, positions
from ..models.ctr_gcn import CTRGCN, CTRGCNConfig
from ..models.stream_gcn import StreamGCN, StreamGCNConfig
from ..models.tdsm import StepEmbedder, modulate, modulation_layer
from .tasks import StreamSample, collate

STEPS = 100  # of the diffusion
START_STEPS = (20, 60)  # the step that a feature is made anew from: first and last
DDIM_STEPS = 4
TEMPERATURE = 0.1  # of InfoNCE
MOMENTUM = 0.01  # of the whitening


@dataclass(frozen=True, kw_only=True, slots=True)
class CoCoDiffConfig:
    """Weights of the helper's losses, of which 0 leaves one out, and its size.

    Attributes:
        diffusion, generated, coarse, real: w_d, w_g, w_c and w_r.
        through: the gradient of what is generated reaches the recogniser's features, not its head alone.
        ramp: share of the steps over which the losses come in.
        tokens: of time, at most.
    """

    diffusion: float = 1.0
    generated: float = 0.5
    coarse: float = 0.2
    real: float = 0.1
    through: bool = False
    ramp: float = 0.15
    tokens: int = 8
    width: int = 128
    depth: int = 2
    heads: int = 4

    def check(self) -> None:
        """Refuse settings that no run can have. Raises InputError."""
        for key in ("diffusion", "generated", "coarse", "real", "ramp"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise InputError(f"{key}: expected a number of 0 or more")
        for key in ("tokens", "width", "depth", "heads"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}: expected a number above 0")
        if self.width % (2 * self.heads):
            raise InputError(f"width={self.width}: expected a multiple of twice the {self.heads} heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionTexts:
    """Features of the texts of every class; `none` has no text.

    Attributes:
        parts_KPW: of the sentences of `parts.json`. names_KW: of what the classes are called. known_K: who has texts.
    """

    parts_KPW: Tensor
    names_KW: Tensor
    known_K: Tensor

    @classmethod
    def of(cls, labels: Sequence[str], encoder: CaptionEncoder) -> ActionTexts:
        """Raises InputError for a label without sentences."""
        told = {label: (label, *part_sentences(label).values()) for label in labels if label != vocabulary.NONE}
        texts = CaptionFeatures((text for of_label in told.values() for text in of_label), encoder)
        absent = np.zeros((len(SLOTS) - 1, encoder.width), np.float32)
        found = np.stack([texts.pooled(told[label]) if label in told else absent for label in labels])
        names_KW, parts_KPW = torch.from_numpy(found[:, 0]), torch.from_numpy(found[:, 1:])
        return cls(parts_KPW=parts_KPW, names_KW=names_KW, known_K=torch.tensor([label in told for label in labels]))


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizerWithHelperConfig:
    """Parts of a `RecognizerWithHelper`, and the run's seed and number of ramp steps."""

    recogniser: StreamGCNConfig | CTRGCNConfig
    helper: CoCoDiffConfig
    texts: ActionTexts
    ramp_steps: float
    seed: int


class RecognizerWithHelper(nn.Module):
    """A recogniser with a helper beside it: called as the recogniser is, or with the classes for the helper's loss.

    The recogniser begins with the weights that it would have alone.
    """

    done: Tensor  # steps

    def __init__(self, config: RecognizerWithHelperConfig):
        super().__init__()
        self.config = config
        of = config.recogniser
        self.recogniser = StreamGCN(of) if isinstance(of, StreamGCNConfig) else CTRGCN(of)
        with torch.random.fork_rng(devices=[]):  # the recogniser's dropout is that of a run without helper
            self.helper = Helper(of.channels[-1], config.texts, config.helper)
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, classes_R: Tensor | None = None, segments_NT: Tensor | None = None) -> Any:
        """What the recogniser says of x; with `classes`, that and the helper's weighted loss.

        Args:
            segments_NT: to which row each frame belongs, -1: to none; None: each clip is a row.
        """
        if classes_R is None:
            return self.recogniser(x)
        said, features_NTD = forward_with_features(self.recogniser, x)
        draw = np.random.default_rng((self.config.seed, int(self.done), rank_and_world()[0]))
        self.done += 1
        ramp = min(1.0, int(self.done) / max(self.config.ramp_steps, 1))
        x_RLD = pool_rows(features_NTD, segments_NT, len(classes_R), self.config.helper.tokens)
        return said, ramp * self.helper(x_RLD, classes_R, classifier_head(self.recogniser), draw)


def add_helper(
    recogniser: StreamGCNConfig | CTRGCNConfig, labels: Sequence[str], config: CoCoDiffConfig, loop: LoopConfig
) -> RecognizerWithHelper:
    """A new recogniser with a helper that the bundled text encoder tells of the labels.

    Raises:
        InputError: a label without sentences.
    """
    texts = ActionTexts.of(labels, TextEncoder.load("text"))
    return RecognizerWithHelper(
        RecognizerWithHelperConfig(
            recogniser=recogniser, helper=config, texts=texts, ramp_steps=config.ramp * loop.steps, seed=loop.seed
        )
    )


def without_helper(model: nn.Module) -> Any:
    """The recogniser without its helper, if it has one."""
    return model.recogniser if isinstance(model, RecognizerWithHelper) else model


def recognizer_loss_with_helper(
    config: LoopConfig, model: nn.Module, samples: list[StreamSample], device: torch.device
) -> Tensor:
    """The loss of a StreamGCN with its helper's."""
    batch = {name: torch.from_numpy(array).to(device) for name, array in collate(samples).items()}
    (logits, *_), extra = model(batch["frames"], batch["classes"], batch["segments"])
    return recognition_loss(logits.float(), batch, config) + extra


# ---- the recogniser's features


def forward_with_features(recogniser: nn.Module, x: Tensor) -> tuple[Any, Tensor]:
    """What a recogniser says, and its last features [N, T, D], of a CTRGCN the mean over joints and people."""
    if isinstance(recogniser, StreamGCN):
        said = recogniser(x)
        return said, said[1]
    assert isinstance(recogniser, CTRGCN)
    kept: list[Tensor] = []
    last = recogniser.get_submodule(f"l{len(recogniser.config.channels)}")
    tap = last.register_forward_hook(lambda module, inputs, output: kept.append(output))
    said = recogniser(x)
    tap.remove()
    return said, kept[0].mean(3).unflatten(0, (len(x), -1)).mean(1).transpose(1, 2)


def classifier_head(recogniser: nn.Module) -> nn.Module:
    """The layer from features to logits."""
    return recogniser.get_submodule("head" if isinstance(recogniser, StreamGCN) else "fc")


def pool_rows(features_NTD: Tensor, segments_NT: Tensor | None, rows: int, tokens: int) -> Tensor:
    """Each row's features as the means of equal stretches of its time, [R, L, D]; zeros where it has no frame."""
    N, T, _ = features_NTD.shape
    row_R = torch.arange(rows, device=features_NTD.device)
    if segments_NT is None:
        segments_NT = row_R[:, None].expand(N, T)
    inside_RNT = segments_NT == row_R[:, None, None]
    sample_R = inside_RNT.any(2).int().argmax(1)
    inside_RT = inside_RNT[row_R, sample_R]
    L, n_R11 = min(tokens, T), inside_RT.sum(1)[:, None, None]
    place_R1T, token_L1 = (inside_RT.cumsum(1) - 1)[:, None], torch.arange(L, device=row_R.device)[:, None]
    part_RLT = (place_R1T * L < (token_L1 + 1) * n_R11) & ((place_R1T + 1) * L > token_L1 * n_R11)
    part_RLT = part_RLT & inside_RT[:, None]
    weights_RLT = part_RLT / part_RLT.sum(2, keepdim=True).clamp(min=1)
    with torch.autocast(features_NTD.device.type, enabled=False):
        return weights_RLT @ features_NTD.float()[sample_R]


# ---- the helper


class Helper(nn.Module):
    """The losses of a recogniser's features: see the head of this module."""

    parts_KPW: Tensor
    names_KW: Tensor
    known_K: Tensor

    def __init__(self, features: int, texts: ActionTexts, config: CoCoDiffConfig):
        super().__init__()
        self.config = config
        width = texts.names_KW.shape[1]
        for name in ("parts_KPW", "names_KW", "known_K"):
            self.register_buffer(name, getattr(texts, name), persistent=False)
        self.whiten = Whitening(features)
        self.denoise = Denoiser(features, width, config)
        self.project = nn.Linear(features, width)

    def forward(
        self, x_RLD: Tensor, class_R: Tensor, head: Callable[[Tensor], Tensor], draw: np.random.Generator
    ) -> Tensor:
        """The weighted sum of the losses of rows whose class has texts, 0 where no row has.

        Args:
            head: of the recogniser, features [R, D] -> logits. draw: of steps and noises.
        """
        weights, told_R = self.config, self.known_K[class_R] & x_RLD.detach().abs().amax((1, 2)).gt(0)
        x_RLD, class_R = x_RLD[told_R], class_R[told_R]
        loss = x_RLD.new_zeros(())
        if not len(x_RLD):
            return loss
        parts_RPW, names_RW = self.parts_KPW[class_R], self.names_KW[class_R]
        self.whiten.update(x_RLD.detach())
        white_RLD = self.whiten(x_RLD)
        known_RLD = white_RLD.detach()

        def drawn(low: int, high: int) -> tuple[Tensor, Tensor]:
            """Steps of the rows, and noise."""
            t = torch.from_numpy(draw.integers(low, high + 1, len(x_RLD)))
            noise = torch.from_numpy(draw.standard_normal(tuple(x_RLD.shape), np.float32))
            return t.to(x_RLD.device), noise.to(x_RLD.device)

        if weights.real:
            loss = loss + weights.real * contrastive_loss(self.project(white_RLD.mean(1)), names_RW, class_R)
        if weights.diffusion:
            t_R, noise_RLD = drawn(1, STEPS)
            found_RLD = self.denoise(add_noise(known_RLD, noise_RLD, t_R), t_R, parts_RPW)
            loss = loss + weights.diffusion * 0.5 * (found_RLD.float() - known_RLD).pow(2).mean()
        if weights.generated or weights.coarse:
            t_R, noise_RLD = drawn(*START_STEPS)
            begin_RLD = add_noise(white_RLD if weights.through else known_RLD, noise_RLD, t_R)
            made_RD = ddim(lambda x, t: self.denoise(x, t, parts_RPW).float(), begin_RLD, t_R, DDIM_STEPS).mean(1)
            loss = loss + weights.generated * cross_entropy(head(self.whiten.back(made_RD)).float(), class_R)
            loss = loss + weights.coarse * contrastive_loss(self.project(made_RD), names_RW, class_R)
        return loss


class Whitening(nn.Module):
    """Features with mean 0 and deviation 1 by running statistics of every channel."""

    mean_D: Tensor
    variance_D: Tensor
    seen: Tensor

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(features))
        self.register_buffer("variance_D", torch.ones(features))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def update(self, x_RLD: Tensor) -> None:
        self.seen += 1
        share = max(MOMENTUM, 1 / int(self.seen))
        variance_D, mean_D = torch.var_mean(x_RLD, (0, 1), correction=0)
        self.mean_D.lerp_(mean_D, share)
        self.variance_D.lerp_(variance_D, share)

    def forward(self, x_RLD: Tensor) -> Tensor:
        return (x_RLD - self.mean_D) * (self.variance_D + 1e-5).rsqrt()

    def back(self, x_RD: Tensor) -> Tensor:
        return x_RD * (self.variance_D + 1e-5).sqrt() + self.mean_D


class Denoiser(nn.Module):
    """Whitened features from noised ones, told the step and the sentences."""

    def __init__(self, features: int, text: int, config: CoCoDiffConfig):
        super().__init__()
        width = config.width
        self.embed, self.step, self.text = nn.Linear(features, width), StepEmbedder(width), nn.Linear(text, width)
        self.blocks = nn.ModuleList(DenoiserBlock(width, config.heads) for _ in range(config.depth))
        self.modulation = modulation_layer(width, 2)
        self.out = nn.Linear(width, features)
        for name, parameter in self.named_parameters():
            if "modulation" in name or name.startswith("out."):
                nn.init.zeros_(parameter)

    def forward(self, x_RLD: Tensor, t_R: Tensor, parts_RPW: Tensor) -> Tensor:
        """Whitened features, noised at steps t -> what they were, [R, L, D]."""
        L, E = x_RLD.shape[1], self.embed.out_features
        step_R1E, text_RPE = self.step(t_R)[:, None], self.text(parts_RPW)
        x_RLE = self.embed(x_RLD) + positions(L, E, x_RLD.device)
        for block in self.blocks:
            x_RLE = block(x_RLE, step_R1E, text_RPE)
        return self.out(modulate(x_RLE, *self.modulation(step_R1E).chunk(2, 2)))


class DenoiserBlock(nn.Module):
    """Attention over time, to the sentences, and an MLP, each shifted, scaled and gated by the step (adaLN-zero)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ask, self.told, self.proj_told = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = modulation_layer(width, 9)

    def forward(self, x_RLE: Tensor, step_R1E: Tensor, text_RPE: Tensor) -> Tensor:
        of_time, of_text, of_mlp = (part.chunk(3, 2) for part in self.modulation(step_R1E).chunk(3, 2))
        q, k, v = self.qkv(modulate(x_RLE, *of_time[:2])).chunk(3, 2)
        x_RLE = x_RLE + of_time[2] * self.proj(attention(q, k, v, self.heads, None, 0.0))
        k, v = self.told(text_RPE).chunk(2, 2)
        found = attention(self.ask(modulate(x_RLE, *of_text[:2])), k, v, self.heads, None, 0.0)
        x_RLE = x_RLE + of_text[2] * self.proj_told(found)
        return x_RLE + of_mlp[2] * self.fc2(gelu(self.fc1(modulate(x_RLE, *of_mlp[:2])), approximate="tanh"))


# ---- diffusion and contrast


def alpha_bar(t: Tensor) -> Tensor:
    """alpha-bar_t = cos^2((t / STEPS + s) / (1 + s) pi / 2), scaled to 1 at t = 0 (Nichol and Dhariwal 2021)."""
    s = 0.008

    def at(t: Tensor) -> Tensor:
        return torch.cos((t / STEPS + s) / (1 + s) * torch.pi / 2).square()

    return at(t.float()) / at(torch.zeros((), device=t.device))


def add_noise(x_RLD: Tensor, noise_RLD: Tensor, t_R: Tensor) -> Tensor:
    """Features at steps t: sqrt(alpha-bar) x + sqrt(1 - alpha-bar) noise."""
    signal_R11 = alpha_bar(t_R)[:, None, None]
    return signal_R11.sqrt() * x_RLD + (1 - signal_R11).sqrt() * noise_RLD


def ddim(denoise: Callable[[Tensor, Tensor], Tensor], x_RLD: Tensor, t_R: Tensor, steps: int) -> Tensor:
    """DDIM without noise of its own (Song et al. 2021, eq. 12), in equal steps from t to 0."""
    shares = torch.linspace(1, 0, steps + 1, device=x_RLD.device)
    for t, then in pairwise((t_R * share).round() for share in shares):
        found_RLD = denoise(x_RLD, t)
        signal_R11 = alpha_bar(t)[:, None, None]
        noise_RLD = (x_RLD - signal_R11.sqrt() * found_RLD) / (1 - signal_R11).sqrt()
        x_RLD = add_noise(found_RLD, noise_RLD, then)
    return x_RLD


def contrastive_loss(x_RW: Tensor, text_RW: Tensor, class_R: Tensor) -> Tensor:
    """InfoNCE of features and texts of the same rows, both ways; all rows of a class are each other's positives."""
    logits_RR = normalize(x_RW.float(), dim=1) @ normalize(text_RW, dim=1).T / TEMPERATURE
    same_RR = (class_R[:, None] == class_R).float()
    wanted_RR = same_RR / same_RR.sum(1, keepdim=True)
    return (cross_entropy(logits_RR, wanted_RR) + cross_entropy(logits_RR.T, wanted_RR)) / 2
