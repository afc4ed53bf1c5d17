"""Exact TDSM matching of features with class texts, faster than one class at a time.

Everything that depends on classes and noises only is computed once. The rest runs for any number of features in large
batches, the rows of a class together, on weights packed for the CPU.

Shapes: B features, F their width, K classes, J noises, L tokens, W text width, E network width, R rows (combinations of
feature, class and noise).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...runtime.generation import rng
from ..models.tdsm import CrossDiT, alpha_bar

PREDICTIONS = ("epsilon", "sample", "v_prediction")  # of a network
NOISE_STEP = 25  # diffusion step that features are noised to
PUBLISHED_NOISES = 3


def fixed_noises(count: int, width: int, seed: int = 0) -> Tensor:
    """Standard normal noises [count, width]: reproducible, and a prefix of those for any larger count."""
    return torch.from_numpy(rng.tokens(seed, 0, 0, range(count), width))


def prediction_target(prediction: str, z: Tensor, noise: Tensor, signal: Any) -> Tensor:
    """Target of a network: the noise, the feature, or their velocity, at a share `signal` of the feature.

    Source: Salimans and Ho, "Progressive distillation for fast sampling of diffusion models" (2022), appendix D.
    """
    if prediction == "epsilon":
        return noise
    return z if prediction == "sample" else signal**0.5 * noise - (1 - signal) ** 0.5 * z


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassTexts:
    """Text features of every class.

    Attributes:
        words_KLW: token features, valid ones first. valid_KL: bool, tokens that exist. pooled_KW: of the whole text.
    """

    words_KLW: Tensor
    valid_KL: Tensor
    pooled_KW: Tensor

    def __getitem__(self, class_N: Tensor) -> ClassTexts:
        """Texts of these classes, with repetition."""
        return ClassTexts(
            words_KLW=self.words_KLW[class_N], valid_KL=self.valid_KL[class_N], pooled_KW=self.pooled_KW[class_N]
        )


class Matcher:
    """A trained network together with the classes to choose from.

    Args:
        model: in evaluation mode; its weights must not change afterwards.
        classes: their texts.
        noises_JF: noises added to every feature; on the same device as model and classes.
        tokens: batch size in tokens.
        prediction: of the network, one of PREDICTIONS.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: CrossDiT,
        classes: ClassTexts,
        noises_JF: Tensor,
        tokens: int = 1024,
        prediction: str = PREDICTIONS[0],
    ):
        signal = float(alpha_bar()[NOISE_STEP])
        self.target = partial(prediction_target, prediction, signal=signal)
        self.signal, self.noises_JF, self.tokens = signal**0.5, noises_JF, tokens
        step = torch.tensor([NOISE_STEP], device=noises_JF.device)
        texts = model.encode_texts(classes.words_KLW, classes.pooled_KW, classes.valid_KL)
        self.conditioning = model.condition(step, texts)
        full_K = torch.full_like(classes.valid_KL[:, 0], classes.valid_KL.shape[1], dtype=torch.long)
        self.lengths_K = full_K if self.conditioning.valid_BS is None else classes.valid_KL.sum(1)
        self.embed = model.x_embedder.weight
        self.noise_JE = (1 - signal) ** 0.5 * noises_JF @ self.embed.T + model.x_embedder.bias
        self.network = pack_linear_layers(model) if noises_JF.device.type == "cpu" else model

    @torch.no_grad()
    def errors(self, z_BF: Tensor, margin: float | None = None) -> Tensor:
        """Mean squared error [B, K, J] of the prediction for each feature under each class.

        Args:
            margin: None: use all noises. Otherwise, after the first noise, only classes whose error is at most
                1 + margin times the smallest are evaluated further; the other errors are NaN.
        """
        x_BE = self.signal * z_BF @ self.embed.T
        K, B, J = len(self.lengths_K), len(z_BF), len(self.noises_JF)
        errors_KBJ = z_BF.new_full((K, B, J), torch.nan)
        wanted_KBJ = torch.ones_like(errors_KBJ, dtype=torch.bool)
        if margin is not None:
            wanted_KBJ[:, :, 1:] = False
            self._evaluate(z_BF, x_BE, wanted_KBJ, errors_KBJ)
            first_KB1 = errors_KBJ[:, :, :1]
            wanted_KBJ = (first_KB1 <= (1 + margin) * first_KB1.amin(0)) & ~wanted_KBJ
        self._evaluate(z_BF, x_BE, wanted_KBJ, errors_KBJ)
        return errors_KBJ.transpose(0, 1)

    def _evaluate(self, z_BF: Tensor, x_BE: Tensor, wanted_KBJ: Tensor, errors_KBJ: Tensor) -> None:
        """Fill in the errors selected by the mask: classes with many tokens first, rows of a class together."""
        rows_R3 = wanted_KBJ.nonzero()
        rows_R3 = rows_R3[self.lengths_K[rows_R3[:, 0]].argsort(descending=True, stable=True)]
        while len(rows_R3):
            longest = int(self.lengths_K[rows_R3[0, 0]])
            size = max(1, self.tokens // (1 + longest))
            (k, b, j), rows_R3 = rows_R3[:size].T, rows_R3[size:]
            padded = bool((self.lengths_K[k] < longest).any())
            conditioning = self.conditioning.rows(k, longest, padded)
            predicted_RF = self.network.predict_noise(x_BE[b] + self.noise_JE[j], conditioning)
            errors_KBJ[k, b, j] = (predicted_RF - self.target(z_BF[b], self.noises_JF[j])).pow(2).mean(1)

    def scores(self, z_BF: Tensor, margin: float | None = None) -> Tensor:
        """Distance [B, K] of features [B, F] from each class, see `errors` and `combine_noises`; the smallest wins."""
        return combine_noises(self.errors(z_BF, margin))


def combine_noises(errors_BKJ: Tensor) -> Tensor:
    """Mean over noises, [B, K]. A class dropped after the first noise keeps its first distance from the leader."""
    first_BK, mean_BK = errors_BKJ[:, :, 0], errors_BKJ.mean(2)
    leader_B1 = first_BK.argmin(1, keepdim=True)
    behind_BK = first_BK - first_BK.gather(1, leader_B1)
    return torch.where(mean_BK.isnan(), mean_BK.gather(1, leader_B1) + behind_BK, mean_BK)


class PackedLinear(nn.Module):
    """A float32 linear layer in oneDNN's own layout; more than twice as fast as PyTorch's on AMD."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(weight.detach()), bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack_linear_layers(model: CrossDiT) -> CrossDiT:
    """Copy of the network with the layers of `predict_noise` packed and the others shared; `model` without oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return model
    last = len(model.blocks) - 1
    unused = (f"blocks.{last}.attn.proj_c", f"blocks.{last}.mlp_c")  # of a cross network, all layers of the text
    layers: dict[int, Any] = {}  # replacements by id
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            begin = model.config.width if name == f"blocks.{last}.attn.qkv_c" else 0  # keys and values only
            packed = name.startswith("blocks.") and "adaLN" not in name and not name.startswith(unused)
            packed &= not (model.config.cross and "_c" in name)
            layers[id(layer)] = PackedLinear(layer.weight[begin:], layer.bias[begin:]) if packed else layer
    return deepcopy(model, layers)
