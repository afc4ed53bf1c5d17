"""Which class's text explains the noise in a feature: exact, and faster than asking class by class.

All that depends on classes and noises alone is computed once; what remains of any number of features runs in large
batches, a class's rows together, on matrices laid out for the CPU.

Shapes: B features, F their width, K classes, J noises, L tokens, W text width, R rows: pairs of class and noise of
features.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...runtime.generation import rng as noise
from ..models.tdsm import CrossDiT, alpha_bar

NOISE_STEP = 25  # the step that features are noised to
NOISES = 3  # as published; reports take more


def fixed_noises(count: int, width: int, seed: int = 0) -> Tensor:
    """[count, width] N(0, 1), the same ones every time, and the first ones of any larger count."""
    return torch.from_numpy(noise.tokens(seed, 0, 0, range(count), width))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassTexts:
    """Features of the text of every class.

    Attributes:
        words_KLW: of the tokens, those of a text first. valid_KL: where there are any. pooled_KW: of the whole text.
    """

    words_KLW: Tensor
    valid_KL: Tensor
    pooled_KW: Tensor

    def __getitem__(self, of_N: Tensor) -> ClassTexts:
        """The texts of these classes, as often as they are named."""
        return ClassTexts(words_KLW=self.words_KLW[of_N], valid_KL=self.valid_KL[of_N], pooled_KW=self.pooled_KW[of_N])


class Matcher:
    """A trained network with the classes to choose from.

    Args:
        model: in evaluation mode; its weights must not change any more.
        classes: their texts.
        noises_JF: those that every feature is noised with; on the model's device, as the classes.
        tokens: computed at once.
    """

    @torch.no_grad()
    def __init__(self, model: CrossDiT, classes: ClassTexts, noises_JF: Tensor, tokens: int = 1024):
        signal = float(alpha_bar()[NOISE_STEP])
        self.signal, self.noises_JF, self.tokens = signal**0.5, noises_JF, tokens
        at = torch.tensor([NOISE_STEP], device=noises_JF.device)
        self.told = model.condition(at, model.encode_texts(classes.words_KLW, classes.pooled_KW, classes.valid_KL))
        every = torch.full_like(classes.valid_KL[:, 0], classes.valid_KL.shape[1], dtype=torch.long)
        self.lengths_K = every if self.told.valid_BS is None else classes.valid_KL.sum(1)
        self.embed = model.x_embedder.weight
        self.noise_JE = (1 - signal) ** 0.5 * noises_JF @ self.embed.T + model.x_embedder.bias
        self.network = pack_linear_layers(model) if noises_JF.device.type == "cpu" else model

    @torch.no_grad()
    def errors(self, z_BF: Tensor, margin: float | None = None) -> Tensor:
        """Mean squared error of the noise that is found in each feature, under each class, [B, K, J].

        Args:
            margin: None: of all noises. Else of the first, and of the others only for classes whose error of the first
                is at most 1 + margin times the smallest; NaN where it was not asked for.
        """
        x_BE = self.signal * z_BF @ self.embed.T
        K, B, J = len(self.lengths_K), len(z_BF), len(self.noises_JF)
        errors_KBJ = z_BF.new_full((K, B, J), torch.nan)
        wanted_KBJ = torch.ones_like(errors_KBJ, dtype=torch.bool)
        if margin is not None:
            wanted_KBJ[:, :, 1:] = False
            self._ask(x_BE, wanted_KBJ, errors_KBJ)
            first_KB1 = errors_KBJ[:, :, :1]
            wanted_KBJ = (first_KB1 <= (1 + margin) * first_KB1.amin(0)) & ~wanted_KBJ
        self._ask(x_BE, wanted_KBJ, errors_KBJ)
        return errors_KBJ.transpose(0, 1)

    def _ask(self, x_BE: Tensor, wanted_KBJ: Tensor, errors_KBJ: Tensor) -> None:
        """Fill in the errors that are wanted: classes of many tokens first, those of a class one after the other."""
        rows_R3 = wanted_KBJ.nonzero()
        rows_R3 = rows_R3[self.lengths_K[rows_R3[:, 0]].argsort(descending=True, stable=True)]
        while len(rows_R3):
            longest = int(self.lengths_K[rows_R3[0, 0]])
            size = max(1, self.tokens // (1 + longest))
            (k, b, j), rows_R3 = rows_R3[:size].T, rows_R3[size:]
            padded = bool((self.lengths_K[k] < longest).any())
            found_RF = self.network.predict_noise(x_BE[b] + self.noise_JE[j], self.told.rows(k, longest, padded))
            errors_KBJ[k, b, j] = (found_RF - self.noises_JF[j]).pow(2).mean(1)

    def scores(self, z_BF: Tensor, margin: float | None = None) -> Tensor:
        """Distance [B, K] of features [B, F] from each class, see `errors` and `combine_noises`; the smallest wins."""
        return combine_noises(self.errors(z_BF, margin))


def combine_noises(errors_BKJ: Tensor) -> Tensor:
    """Mean over noises, [B, K]. A class that was dropped after the first stays as far behind its leader as it was."""
    first_BK, mean_BK = errors_BKJ[:, :, 0], errors_BKJ.mean(2)
    leader_B1 = first_BK.argmin(1, keepdim=True)
    behind_BK = first_BK - first_BK.gather(1, leader_B1)
    return torch.where(mean_BK.isnan(), mean_BK.gather(1, leader_B1) + behind_BK, mean_BK)


class PackedLinear(nn.Module):
    """A linear layer in oneDNN's own layout, float32 as before; on AMD more than twice as fast as PyTorch's."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(weight.detach()), bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack_linear_layers(model: CrossDiT) -> CrossDiT:
    """The network with the layers that `noise` needs packed, the others shared; itself where there is no oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return model
    last = len(model.blocks) - 1
    unread = (f"blocks.{last}.attn.proj_c", f"blocks.{last}.mlp_c")  # of a cross network, all of the text's layers
    layers: dict[int, Any] = {}  # what to put in place of which
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            begin = model.config.width if name == f"blocks.{last}.attn.qkv_c" else 0  # of keys and values alone
            needed = name.startswith("blocks.") and "adaLN" not in name and not name.startswith(unread)
            needed &= not (model.config.cross and "_c" in name)
            layers[id(layer)] = PackedLinear(layer.weight[begin:], layer.bias[begin:]) if needed else layer
    return deepcopy(model, layers)
