"""CoCoDiff: a helper network that regularizes a recognizer during training and is absent from the exported model.

A diffusion model learns the recognizer's features, conditioned on sentences about the parts of the body. Features that
it regenerates from noised real ones are further training examples for the recognizer's head, and a contrastive loss
aligns real and generated features with the names of the actions:

    L = L_recognizer + r (w_d 1/2 |f(x_t, t) - x_0|^2 + w_g CE(head(x^_0)) + w_c InfoNCE(x^_0) + w_r InfoNCE(x_0))

x_0 are whitened features, f denoises them, x^_0 is the output of DDIM; r ramps from 0 to 1.

Source: Zhao et al., "CoCoDiff" (arXiv 2504.21266), of which only the abstract was available: sizes, weights, schedule
and texts are our own. Recognizer and helper share one optimizer and learning rate. In multi-process training each
process whitens and contrasts its own slice of a batch.
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
from ..loop import LoopConfig
from ..models.coamd.layers import attention, positions
from ..models.ctr_gcn import CTRGCN, CTRGCNConfig
from ..models.stream_gcn import StreamGCN, StreamGCNConfig
from ..models.tdsm import StepEmbedder, modulate, modulation_layer
from .loss import segment_and_frame_loss
from .tasks import StreamSample, collate

STEPS = 100  # of the diffusion
START_STEPS = (20, 60)  # range of the step that features are regenerated from
DDIM_STEPS = 4
TEMPERATURE = 0.1  # of InfoNCE
MOMENTUM = 0.01  # of the whitening


@dataclass(frozen=True, kw_only=True, slots=True)
class CoCoDiffConfig:
    """Weights of the helper's losses (0 drops one), and its size.

    Attributes:
        diffusion, generated, coarse, real: w_d, w_g, w_c and w_r.
        through: the gradient of generated features reaches the recognizer's features, not only its head.
        ramp: fraction of the steps over which the losses ramp up.
        tokens: maximum number of time steps of the helper.
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
        """Reject invalid settings.

        Raises:
            InputError: names the setting.
        """
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
    """Text features of every class; `none` has no text.

    Attributes:
        parts_KPW: of the sentences in `parts.json`. names_KW: of the class names. known_K: whether a class has texts.
    """

    parts_KPW: Tensor
    names_KW: Tensor
    known_K: Tensor

    @classmethod
    def encode(cls, labels: Sequence[str], encoder: CaptionEncoder) -> ActionTexts:
        """Encode the name and the sentences of every label.

        Raises:
            InputError: a label without sentences.
        """
        texts = {label: (label, *part_sentences(label).values()) for label in labels if label != vocabulary.NONE}
        encoded = CaptionFeatures((text for label in texts.values() for text in label), encoder)
        absent = np.zeros((len(SLOTS) - 1, encoder.width), np.float32)
        features = np.stack([encoded.pooled(texts[label]) if label in texts else absent for label in labels])
        names_KW, parts_KPW = torch.from_numpy(features[:, 0]), torch.from_numpy(features[:, 1:])
        return cls(parts_KPW=parts_KPW, names_KW=names_KW, known_K=torch.tensor([label in texts for label in labels]))


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizerWithHelperConfig:
    """Parts of a `RecognizerWithHelper`, and the run's seed and number of ramp steps."""

    recognizer: StreamGCNConfig | CTRGCNConfig
    helper: CoCoDiffConfig
    texts: ActionTexts
    ramp_steps: float
    seed: int


class RecognizerWithHelper(nn.Module):
    """A recognizer and its helper: called like the recognizer or, with classes, also for the helper's loss.

    The recognizer starts from the same weights as without a helper.
    """

    done: Tensor  # steps

    def __init__(self, config: RecognizerWithHelperConfig):
        super().__init__()
        self.config = config
        architecture = config.recognizer
        self.recognizer: StreamGCN | CTRGCN
        if isinstance(architecture, StreamGCNConfig):
            self.recognizer = StreamGCN(architecture)
        else:
            self.recognizer = CTRGCN(architecture)
        with torch.random.fork_rng(devices=[]):  # the recognizer's dropout is the same as without a helper
            self.helper = Helper(architecture.features, config.texts, config.helper)
        self.register_buffer("done", torch.zeros((), dtype=torch.long))
        self.register_load_state_dict_pre_hook(_rename_old_weights)

    def forward(self, x: Tensor, classes_R: Tensor | None = None, segments_NT: Tensor | None = None) -> Any:
        """Output of the recognizer; with `classes`, also the helper's weighted loss.

        Args:
            classes_R: class of every row.
            segments_NT: row of every frame, -1 for none; None: each clip is a row.
        """
        if classes_R is None:
            return self.recognizer(x)
        output, features_NTD = forward_with_features(self.recognizer, x)
        rng = np.random.default_rng((self.config.seed, int(self.done), rank_and_world()[0]))
        self.done += 1
        ramp = min(1.0, int(self.done) / max(self.config.ramp_steps, 1))
        x_RLD = pool_rows(features_NTD, segments_NT, len(classes_R), self.config.helper.tokens)
        return output, ramp * self.helper(x_RLD, classes_R, classifier_head(self.recognizer), rng)


RENAMED_WEIGHTS = (
    ("recogniser.", "recognizer."),
    (".ask.", ".text_q."),
    (".told.", ".text_kv."),
    (".proj_told.", ".text_proj."),
)


def _rename_old_weights(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Accept checkpoints of older versions, in which some modules had other names."""
    for name in [name for name in state if name.startswith(prefix)]:
        new = name
        for old, current in RENAMED_WEIGHTS:
            new = new.replace(old, current)
        state[new] = state.pop(name)


def add_helper(
    recognizer: StreamGCNConfig | CTRGCNConfig, labels: Sequence[str], config: CoCoDiffConfig, loop: LoopConfig
) -> RecognizerWithHelper:
    """A new recognizer with a helper, conditioned on the labels' texts by the bundled text encoder.

    Raises:
        InputError: a label without sentences.
    """
    texts = ActionTexts.encode(labels, TextEncoder.load("text"))
    return RecognizerWithHelper(
        RecognizerWithHelperConfig(
            recognizer=recognizer, helper=config, texts=texts, ramp_steps=config.ramp * loop.steps, seed=loop.seed
        )
    )


def without_helper(model: nn.Module) -> Any:
    """The recognizer, without its helper if it has one."""
    return model.recognizer if isinstance(model, RecognizerWithHelper) else model


def recognizer_loss_with_helper(
    config: LoopConfig, model: nn.Module, samples: list[StreamSample], device: torch.device
) -> Tensor:
    """Loss of a StreamGCN plus that of its helper."""
    batch = {name: torch.from_numpy(array).to(device) for name, array in collate(samples).items()}
    (logits, *_), helper_loss = model(batch["frames"], batch["classes"], batch["segments"])
    return segment_and_frame_loss(logits.float(), batch, config) + helper_loss


# ---- the recognizer's features


def forward_with_features(recognizer: nn.Module, x: Tensor) -> tuple[Any, Tensor]:
    """Output of a recognizer, and its last features [N, T, D]; for a CTRGCN their mean over joints and people."""
    if isinstance(recognizer, StreamGCN):
        output = recognizer(x)
        return output, output[1]
    assert isinstance(recognizer, CTRGCN)
    captured: list[Tensor] = []
    last = recognizer.get_submodule(f"l{len(recognizer.config.channels)}")
    hook = last.register_forward_hook(lambda module, inputs, output: captured.append(output))
    output = recognizer(x)
    hook.remove()
    return output, captured[0].mean(3).unflatten(0, (len(x), -1)).mean(1).transpose(1, 2)


def classifier_head(recognizer: nn.Module) -> nn.Module:
    """The layer from features to logits."""
    return recognizer.get_submodule("head" if isinstance(recognizer, StreamGCN) else "fc")


def pool_rows(features_NTD: Tensor, segments_NT: Tensor | None, rows: int, tokens: int) -> Tensor:
    """Mean features [R, L, D] of each row over L equal parts of its duration; zeros for rows without frames."""
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
    """Losses on a recognizer's features, see the module's docstring."""

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
        self, x_RLD: Tensor, class_R: Tensor, head: Callable[[Tensor], Tensor], rng: np.random.Generator
    ) -> Tensor:
        """Weighted sum of the losses over rows whose class has texts; 0 if there are none.

        Args:
            head: of the recognizer, features [R, D] -> logits. rng: draws steps and noises.
        """
        weights, used_R = self.config, self.known_K[class_R] & x_RLD.detach().abs().amax((1, 2)).gt(0)
        x_RLD, class_R = x_RLD[used_R], class_R[used_R]
        loss = x_RLD.new_zeros(())
        if not len(x_RLD):
            return loss
        parts_RPW, names_RW = self.parts_KPW[class_R], self.names_KW[class_R]
        self.whiten.update(x_RLD.detach())
        white_RLD = self.whiten(x_RLD)
        target_RLD = white_RLD.detach()

        def draw(low: int, high: int) -> tuple[Tensor, Tensor]:
            """Random steps of the rows, and noise."""
            t = torch.from_numpy(rng.integers(low, high + 1, len(x_RLD)))
            noise = torch.from_numpy(rng.standard_normal(tuple(x_RLD.shape), np.float32))
            return t.to(x_RLD.device), noise.to(x_RLD.device)

        if weights.real:
            loss = loss + weights.real * contrastive_loss(self.project(white_RLD.mean(1)), names_RW, class_R)
        if weights.diffusion:
            t_R, noise_RLD = draw(1, STEPS)
            denoised_RLD = self.denoise(add_noise(target_RLD, noise_RLD, t_R), t_R, parts_RPW)
            loss = loss + weights.diffusion * 0.5 * (denoised_RLD.float() - target_RLD).pow(2).mean()
        if weights.generated or weights.coarse:
            t_R, noise_RLD = draw(*START_STEPS)
            start_RLD = add_noise(white_RLD if weights.through else target_RLD, noise_RLD, t_R)
            generated_RLD = ddim(lambda x, t: self.denoise(x, t, parts_RPW).float(), start_RLD, t_R, DDIM_STEPS)
            generated_RD = generated_RLD.mean(1)
            logits_RK = head(self.whiten.inverse(generated_RD)).float()
            loss = loss + weights.generated * cross_entropy(logits_RK, class_R)
            loss = loss + weights.coarse * contrastive_loss(self.project(generated_RD), names_RW, class_R)
        return loss


class Whitening(nn.Module):
    """Standardization of features by running per-channel statistics."""

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
        momentum = max(MOMENTUM, 1 / int(self.seen))
        variance_D, mean_D = torch.var_mean(x_RLD, (0, 1), correction=0)
        self.mean_D.lerp_(mean_D, momentum)
        self.variance_D.lerp_(variance_D, momentum)

    def forward(self, x_RLD: Tensor) -> Tensor:
        return (x_RLD - self.mean_D) * (self.variance_D + 1e-5).rsqrt()

    def inverse(self, x_RD: Tensor) -> Tensor:
        return x_RD * (self.variance_D + 1e-5).sqrt() + self.mean_D


class Denoiser(nn.Module):
    """Denoises whitened features, conditioned on the step and the sentences."""

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
        """Whitened features noised to steps t -> their estimates without noise, [R, L, D]."""
        L, E = x_RLD.shape[1], self.embed.out_features
        step_R1E, text_RPE = self.step(t_R)[:, None], self.text(parts_RPW)
        x_RLE = self.embed(x_RLD) + positions(L, E, x_RLD.device)
        for block in self.blocks:
            x_RLE = block(x_RLE, step_R1E, text_RPE)
        return self.out(modulate(x_RLE, *self.modulation(step_R1E).chunk(2, 2)))


class DenoiserBlock(nn.Module):
    """Attention over time, attention to the sentences, and an MLP, each modulated by the step (adaLN-zero)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.text_q, self.text_kv, self.text_proj = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = modulation_layer(width, 9)

    def forward(self, x_RLE: Tensor, step_R1E: Tensor, text_RPE: Tensor) -> Tensor:
        time, text, mlp = (part.chunk(3, 2) for part in self.modulation(step_R1E).chunk(3, 2))  # shift, scale, gate
        q, k, v = self.qkv(modulate(x_RLE, *time[:2])).chunk(3, 2)
        x_RLE = x_RLE + time[2] * self.proj(attention(q, k, v, self.heads, None, 0.0))
        k, v = self.text_kv(text_RPE).chunk(2, 2)
        attended = attention(self.text_q(modulate(x_RLE, *text[:2])), k, v, self.heads, None, 0.0)
        x_RLE = x_RLE + text[2] * self.text_proj(attended)
        return x_RLE + mlp[2] * self.fc2(gelu(self.fc1(modulate(x_RLE, *mlp[:2])), approximate="tanh"))


# ---- diffusion and contrast


def alpha_bar(t: Tensor) -> Tensor:
    """alpha-bar_t = cos^2((t / STEPS + s) / (1 + s) pi / 2), scaled to 1 at t = 0 (Nichol and Dhariwal 2021)."""
    s = 0.008

    def at(t: Tensor) -> Tensor:
        return torch.cos((t / STEPS + s) / (1 + s) * torch.pi / 2).square()

    return at(t.float()) / at(torch.zeros((), device=t.device))


def add_noise(x_RLD: Tensor, noise_RLD: Tensor, t_R: Tensor) -> Tensor:
    """Noise features to steps t: sqrt(alpha-bar) x + sqrt(1 - alpha-bar) noise."""
    signal_R11 = alpha_bar(t_R)[:, None, None]
    return signal_R11.sqrt() * x_RLD + (1 - signal_R11).sqrt() * noise_RLD


def ddim(denoise: Callable[[Tensor, Tensor], Tensor], x_RLD: Tensor, t_R: Tensor, steps: int) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, eq. 12) in equal steps from t to 0."""
    shares = torch.linspace(1, 0, steps + 1, device=x_RLD.device)
    for t, next_t in pairwise((t_R * share).round() for share in shares):
        denoised_RLD = denoise(x_RLD, t)
        signal_R11 = alpha_bar(t)[:, None, None]
        noise_RLD = (x_RLD - signal_R11.sqrt() * denoised_RLD) / (1 - signal_R11).sqrt()
        x_RLD = add_noise(denoised_RLD, noise_RLD, next_t)
    return x_RLD


def contrastive_loss(x_RW: Tensor, text_RW: Tensor, class_R: Tensor) -> Tensor:
    """Symmetric InfoNCE of the features and texts of rows; all rows of a class are positives of each other."""
    logits_RR = normalize(x_RW.float(), dim=1) @ normalize(text_RW, dim=1).T / TEMPERATURE
    same_RR = (class_R[:, None] == class_R).float()
    target_RR = same_RR / same_RR.sum(1, keepdim=True)
    return (cross_entropy(logits_RR, target_RR) + cross_entropy(logits_RR.T, target_RR)) / 2
