"""CoCoDiff: a helper network that regularizes a recognizer during training and is absent from the exported model.

A diffusion model learns the recognizer's features of every joint over time, conditioned on sentences about the parts of
the body, to which only the joints of these parts attend. Features that it regenerates from noised real ones are further
training examples for the recognizer, and a contrastive loss aligns real and generated features with the names of the
actions:

    L = L_recognizer + r (w_d 1/2 |f(x_t, t) - x_0|^2 + w_g CE(head(x^_0)) + w_c InfoNCE(x^_0) + w_r InfoNCE(x_0))

x_0 are whitened features, f denoises them, x^_0 is the output of DDIM; r ramps from 0 to 1.

Source: Zhao et al., "CoCoDiff" (arXiv 2504.21266), of which only the abstract was available: sizes, weights, schedule
and texts are our own. Recognizer and helper share one optimizer and learning rate. In multi-process training each
process whitens and contrasts its own slice of a batch. The features of a StreamGCN with a body, which joins the joints,
have a single "joint".
Shapes: N batch, T time, R rows (clips, or segments of streams), L tokens of time, V joints, D features, E width,
K classes, P parts of the body, W text features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, normalize

from ...runtime.body.layout import Layout
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
        through: the gradient of generated features reaches the recognizer's features; False: only its head.
        ramp: fraction of the steps over which the losses ramp up.
        tokens: maximum number of time steps of the helper.
    """

    diffusion: float = 1.0
    generated: float = 0.5
    coarse: float = 0.2
    real: float = 0.1
    through: bool = True
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
    def encode(
        cls, labels: Sequence[str], encoder: CaptionEncoder, sentences: Mapping[str, Sequence[str]] | None = None
    ) -> ActionTexts:
        """Encode the name and the sentences of every label.

        Args:
            sentences: of every label, one for each part; None: those in `parts.json`.
        Raises:
            InputError: a label without sentences.
        """
        texts = {
            label: (label, *(part_sentences(label).values() if sentences is None else sentences[label]))
            for label in labels
            if label != vocabulary.NONE
        }
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
            features = architecture.features
            if isinstance(architecture, StreamGCNConfig) and architecture.body == 0:
                features = architecture.channels[-1]
            parts_VP = joint_parts(0 if has_body(architecture) else architecture.joints)
            self.helper = Helper(features, config.texts, config.helper, parts_VP)
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
        output, features_NTVD = forward_with_features(self.recognizer, x)
        rng = np.random.default_rng((self.config.seed, int(self.done), rank_and_world()[0]))
        self.done += 1
        ramp = min(1.0, int(self.done) / max(self.config.ramp_steps, 1))
        V = features_NTVD.shape[2]
        x_RLX = pool_rows(features_NTVD.flatten(2), segments_NT, len(classes_R), self.config.helper.tokens)
        return output, ramp * self.helper(x_RLX.unflatten(2, (V, -1)), classes_R, classifier(self.recognizer), rng)


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
    recognizer: StreamGCNConfig | CTRGCNConfig,
    labels: Sequence[str],
    config: CoCoDiffConfig,
    loop: LoopConfig,
    sentences: Mapping[str, Sequence[str]] | None = None,
) -> RecognizerWithHelper:
    """A new recognizer with a helper, conditioned on the labels' texts by the bundled text encoder.

    Args:
        sentences: see `ActionTexts.encode`.
    Raises:
        InputError: a label without sentences.
    """
    texts = ActionTexts.encode(labels, TextEncoder.load("text"), sentences)
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
    """Output of a recognizer, and its last features [N, T, V, D]; for a CTRGCN their mean over people.

    V is 1 for a StreamGCN with a body.
    """
    assert isinstance(recognizer, StreamGCN | CTRGCN)
    if has_body(recognizer.config):
        output = recognizer(x)
        return output, output[1][:, :, None]
    captured: list[Any] = []
    last = f"blocks.{len(recognizer.blocks) - 1}" if isinstance(recognizer, StreamGCN) else last_unit(recognizer)
    hook = recognizer.get_submodule(last).register_forward_hook(lambda module, inputs, out: captured.append(out))
    output = recognizer(x)
    hook.remove()
    if isinstance(recognizer, StreamGCN):
        return output, captured[0][0].permute(0, 2, 3, 1)
    return output, captured[0].unflatten(0, (len(x), -1)).mean(1).permute(0, 2, 3, 1)


def last_unit(recognizer: CTRGCN) -> str:
    return f"l{len(recognizer.config.channels)}"


def has_body(config: StreamGCNConfig | CTRGCNConfig) -> bool:
    """True for a StreamGCN whose last features are those of the whole body."""
    return isinstance(config, StreamGCNConfig) and config.body > 0


def classifier(recognizer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Function from features of the joints [R, V, D] to logits."""
    if isinstance(recognizer, CTRGCN):
        return lambda x_RVD: recognizer.fc(x_RVD.mean(1))
    assert isinstance(recognizer, StreamGCN)
    if recognizer.config.body:
        return lambda x_RVD: recognizer.head(x_RVD[:, 0])
    return lambda x_RVD: recognizer.head(torch.einsum("rvd,dv->rd", x_RVD, recognizer.pool.to(x_RVD.dtype)))


PARTS = SLOTS[2:]
JOINT_WORDS = {  # part -> words in the names of its joints
    "head": ("head", "neck", "nose", "eye", "ear"),
    "hands": ("wrist", "hand", "thumb"),
    "arms": ("shoulder", "collar", "elbow", "wrist"),
    "hips": ("pelvis", "spine", "hip"),
    "legs": ("hip", "knee", "ankle"),
    "feet": ("ankle", "foot"),
}
LAYOUTS = {15: "core15", 17: "coco17", 18: "openpose18", 20: "kinect20", 22: "smpl22", 25: "ntu25"}  # joints -> name


def joint_parts(joints: int) -> Tensor:
    """Whether each joint [V, P] belongs to each part of the body; all to all in an unknown layout, 0: one joint."""
    if joints not in LAYOUTS:
        return torch.ones(max(1, joints), len(PARTS), dtype=torch.bool)
    names = Layout.load(LAYOUTS[joints]).joints
    return torch.tensor([[any(word in name for word in JOINT_WORDS[part]) for part in PARTS] for name in names])


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

    def __init__(self, features: int, texts: ActionTexts, config: CoCoDiffConfig, parts_VP: Tensor):
        super().__init__()
        self.config = config
        width = texts.names_KW.shape[1]
        for name in ("parts_KPW", "names_KW", "known_K"):
            self.register_buffer(name, getattr(texts, name), persistent=False)
        self.whiten = Whitening(features)
        self.denoise = Denoiser(features, width, config, parts_VP)
        self.project = nn.Linear(features, width)

    def forward(
        self, x_RLVD: Tensor, class_R: Tensor, head: Callable[[Tensor], Tensor], rng: np.random.Generator
    ) -> Tensor:
        """Weighted sum of the losses over rows whose class has texts; 0 if there are none.

        Args:
            head: of the recognizer, features [R, V, D] -> logits. rng: draws steps and noises.
        """
        weights, used_R = self.config, self.known_K[class_R] & x_RLVD.detach().abs().amax((1, 2, 3)).gt(0)
        x_RLVD, class_R = x_RLVD[used_R], class_R[used_R]
        loss = x_RLVD.new_zeros(())
        if not len(x_RLVD):
            return loss
        parts_RPW, names_RW = self.parts_KPW[class_R], self.names_KW[class_R]
        self.whiten.update(x_RLVD.detach())
        white_RLVD = self.whiten(x_RLVD)
        target_RLVD = white_RLVD.detach()

        def draw(low: int, high: int) -> tuple[Tensor, Tensor]:
            """Random steps of the rows, and noise."""
            t = torch.from_numpy(rng.integers(low, high + 1, len(x_RLVD)))
            noise = torch.from_numpy(rng.standard_normal(tuple(x_RLVD.shape), np.float32))
            return t.to(x_RLVD.device), noise.to(x_RLVD.device)

        if weights.real:
            loss = loss + weights.real * contrastive_loss(self.project(white_RLVD.mean((1, 2))), names_RW, class_R)
        if weights.diffusion:
            t_R, noise_RLVD = draw(1, STEPS)
            denoised_RLVD = self.denoise(add_noise(target_RLVD, noise_RLVD, t_R), t_R, parts_RPW)
            loss = loss + weights.diffusion * 0.5 * (denoised_RLVD.float() - target_RLVD).pow(2).mean()
        if weights.generated or weights.coarse:
            t_R, noise_RLVD = draw(*START_STEPS)
            start_RLVD = add_noise(white_RLVD if weights.through else target_RLVD, noise_RLVD, t_R)
            generated_RLVD = ddim(lambda x, t: self.denoise(x, t, parts_RPW).float(), start_RLVD, t_R, DDIM_STEPS)
            generated_RVD = generated_RLVD.mean(1)
            logits_RK = head(self.whiten.inverse(generated_RVD)).float()
            loss = loss + weights.generated * cross_entropy(logits_RK, class_R)
            loss = loss + weights.coarse * contrastive_loss(self.project(generated_RVD.mean(1)), names_RW, class_R)
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

    def update(self, x_RLVD: Tensor) -> None:
        self.seen += 1
        momentum = max(MOMENTUM, 1 / int(self.seen))
        variance_D, mean_D = torch.var_mean(x_RLVD.flatten(0, -2), 0, correction=0)
        self.mean_D.lerp_(mean_D, momentum)
        self.variance_D.lerp_(variance_D, momentum)

    def forward(self, x_RLVD: Tensor) -> Tensor:
        return (x_RLVD - self.mean_D) * (self.variance_D + 1e-5).rsqrt()

    def inverse(self, x_RVD: Tensor) -> Tensor:
        return x_RVD * (self.variance_D + 1e-5).sqrt() + self.mean_D


class Denoiser(nn.Module):
    """Denoises whitened features, conditioned on the step and the sentences."""

    parts_VP: Tensor

    def __init__(self, features: int, text: int, config: CoCoDiffConfig, parts_VP: Tensor):
        super().__init__()
        width = config.width
        self.register_buffer("parts_VP", parts_VP, persistent=False)
        self.embed, self.step, self.text = nn.Linear(features, width), StepEmbedder(width), nn.Linear(text, width)
        self.joint = nn.Parameter(torch.zeros(len(parts_VP), width))
        self.blocks = nn.ModuleList(DenoiserBlock(width, config.heads) for _ in range(config.depth))
        self.modulation = modulation_layer(width, 2)
        self.out = nn.Linear(width, features)
        for name, parameter in self.named_parameters():
            if "modulation" in name or name.startswith("out."):
                nn.init.zeros_(parameter)
        nn.init.normal_(self.joint, std=0.02)

    def forward(self, x_RLVD: Tensor, t_R: Tensor, parts_RPW: Tensor) -> Tensor:
        """Whitened features noised to steps t -> their estimates without noise, [R, L, V, D]."""
        L, E = x_RLVD.shape[1], self.embed.out_features
        step_R11E, text_RPE = self.step(t_R)[:, None, None], self.text(parts_RPW)
        x_RLVE = self.embed(x_RLVD) + positions(L, E, x_RLVD.device)[:, None] + self.joint
        for block in self.blocks:
            x_RLVE = block(x_RLVE, step_R11E, text_RPE, self.parts_VP)
        return self.out(modulate(x_RLVE, *self.modulation(step_R11E).chunk(2, 3)))


class DenoiserBlock(nn.Module):
    """Attention over time, over joints and to the sentences, and an MLP, each modulated by the step (adaLN-zero)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.joint_qkv, self.joint_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.text_q, self.text_kv, self.text_proj = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = modulation_layer(width, 12)

    def forward(self, x_RLVE: Tensor, step_R11E: Tensor, text_RPE: Tensor, parts_VP: Tensor) -> Tensor:
        """`parts` tells which sentences each joint attends to."""
        R, L, V, _ = x_RLVE.shape
        time, joints, text, mlp = (m.chunk(3, 3) for m in self.modulation(step_R11E).chunk(4, 3))  # shift, scale, gate
        q, k, v = self.qkv(modulate(x_RLVE, *time[:2])).transpose(1, 2).flatten(0, 1).chunk(3, 2)
        attended = attention(q, k, v, self.heads, None, 0.0).unflatten(0, (R, V)).transpose(1, 2)
        x_RLVE = x_RLVE + time[2] * self.proj(attended)
        q, k, v = self.joint_qkv(modulate(x_RLVE, *joints[:2])).flatten(0, 1).chunk(3, 2)
        x_RLVE = x_RLVE + joints[2] * self.joint_proj(attention(q, k, v, self.heads, None, 0.0).unflatten(0, (R, L)))
        q = self.text_q(modulate(x_RLVE, *text[:2])).transpose(1, 2).flatten(0, 1)
        k, v = self.text_kv(text_RPE).repeat_interleave(V, 0).chunk(2, 2)
        attended = attention(q, k, v, self.heads, parts_VP.repeat(R, 1), 0.0).unflatten(0, (R, V)).transpose(1, 2)
        x_RLVE = x_RLVE + text[2] * self.text_proj(attended)
        return x_RLVE + mlp[2] * self.fc2(gelu(self.fc1(modulate(x_RLVE, *mlp[:2])), approximate="tanh"))


# ---- diffusion and contrast


def alpha_bar(t: Tensor) -> Tensor:
    """alpha-bar_t = cos^2((t / STEPS + s) / (1 + s) pi / 2), scaled to 1 at t = 0 (Nichol and Dhariwal 2021)."""
    s = 0.008

    def at(t: Tensor) -> Tensor:
        return torch.cos((t / STEPS + s) / (1 + s) * torch.pi / 2).square()

    return at(t.float()) / at(torch.zeros((), device=t.device))


def add_noise(x_RLVD: Tensor, noise_RLVD: Tensor, t_R: Tensor) -> Tensor:
    """Noise features to steps t: sqrt(alpha-bar) x + sqrt(1 - alpha-bar) noise."""
    signal = alpha_bar(t_R).view(-1, *(1,) * (x_RLVD.ndim - 1))
    return signal.sqrt() * x_RLVD + (1 - signal).sqrt() * noise_RLVD


def ddim(denoise: Callable[[Tensor, Tensor], Tensor], x_RLVD: Tensor, t_R: Tensor, steps: int) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, eq. 12) in equal steps from t to 0."""
    shares = torch.linspace(1, 0, steps + 1, device=x_RLVD.device)
    for t, next_t in pairwise((t_R * share).round() for share in shares):
        denoised_RLVD = denoise(x_RLVD, t)
        signal = alpha_bar(t).view(-1, *(1,) * (x_RLVD.ndim - 1))
        noise_RLVD = (x_RLVD - signal.sqrt() * denoised_RLVD) / (1 - signal).sqrt()
        x_RLVD = add_noise(denoised_RLVD, noise_RLVD, next_t)
    return x_RLVD


def contrastive_loss(x_RW: Tensor, text_RW: Tensor, class_R: Tensor) -> Tensor:
    """Symmetric InfoNCE of the features and texts of rows; all rows of a class are positives of each other."""
    logits_RR = normalize(x_RW.float(), dim=1) @ normalize(text_RW, dim=1).T / TEMPERATURE
    same_RR = (class_R[:, None] == class_R).float()
    target_RR = same_RR / same_RR.sum(1, keepdim=True)
    return (cross_entropy(logits_RR, target_RR) + cross_entropy(logits_RR.T, target_RR)) / 2
