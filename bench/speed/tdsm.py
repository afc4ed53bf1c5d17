"""TDSM at its published size compared with one class at a time: `python -m motionrt.bench.speed.tdsm [-o tdsm.json]`.

One feature, 60 classes of 35 tokens, 3 noises, float32. Weights, features and texts are random, which does not affect
speed; times are reported only if the scores agree. Then the bundled size, on as many texts as the vocabulary has
labels.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from ...runtime.errors import MotionError
from ...training.data.vocabulary import labels
from ...training.models.tdsm import SIZES, CrossDiT, CrossDiTConfig, ZeroShot, ZeroShotConfig, alpha_bar
from ...training.tdsm.matching import NOISE_STEP, PUBLISHED_NOISES, ClassTexts, Matcher, fixed_noises
from .environment import commit, cpu_model, package_version
from .timing import percentiles, timed

CLASSES = 60
PARITY = 1e-5  # of a score, relative
CALLS = 30


def bench_tdsm(depth: int | None = None, classes: int = CLASSES, threads: int | None = None) -> dict[str, Any]:
    """Time the scores of one feature.

    Args:
        depth: blocks of the large network; None: as published.
        threads: None: all cores.
    Raises:
        MotionError: the scores differ from those of the plain network.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    config = SIZES["xl"] if depth is None else replace(SIZES["xl"], depth=depth)
    return {
        "benchmark": "tdsm",
        "noises": PUBLISHED_NOISES,
        "xl": compare_with_plain(config, classes),
        "small": small(),
        "environment": {
            "cpu": cpu_model(),
            "threads": torch.get_num_threads(),
            "torch": package_version("torch"),
            "commit": commit(),
        },
    }


def compare_with_plain(config: CrossDiTConfig, count: int) -> dict[str, Any]:
    model, classes = open_gates(config), random_texts(config, count)
    z_BF, noises_JF = torch.rand(1, config.feature), fixed_noises(PUBLISHED_NOISES, config.feature)
    plain, plain_s = time_call(lambda: plain_scores(model, z_BF, classes, noises_JF))
    matcher, prepare_s = time_call(lambda: Matcher(model, classes, noises_JF))
    matcher.scores(z_BF)
    scores, matcher_s = time_call(lambda: matcher.scores(z_BF))
    off = float(((scores - plain).abs() / plain).max())
    if off > PARITY:
        raise MotionError(f"parity: scores differ by {off:.2g} relative, expected at most {PARITY:g}")
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "classes": count,
        "scores_max_relative": off,
        "plain_s": plain_s,
        "matcher_s": matcher_s,
        "prepare_s": prepare_s,
        "times_faster": plain_s / matcher_s,
    }


def small() -> dict[str, Any]:
    """Latencies in ms, for as many texts as the vocabulary has labels."""
    config, count = SIZES["small"], len(labels())
    model, noises_JF = open_gates(config), fixed_noises(PUBLISHED_NOISES, config.feature)
    z_BF, texts = torch.rand(1, config.feature), random_texts(config, count)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "classes": count,
        "ms": latencies(Matcher(model, texts, noises_JF), z_BF),
    }


def latencies(matcher: Matcher, z_BF: Tensor) -> dict[str, Any]:
    return percentiles(timed(lambda _: matcher.scores(z_BF), 3 + CALLS)[3:])


def open_gates(config: CrossDiTConfig) -> CrossDiT:
    """A network with random weights and open gates."""
    kind: Any = ZeroShot if isinstance(config, ZeroShotConfig) else CrossDiT
    model: CrossDiT = kind(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "adaLN_modulation" in name or name.startswith("final_layer"):
            nn.init.normal_(parameter, std=0.02)
    return model


def random_texts(config: CrossDiTConfig, count: int) -> ClassTexts:
    words_KLW = torch.randn(count, config.tokens, config.text)
    valid_KL = torch.ones(count, config.tokens, dtype=torch.bool)
    pooled_KW = torch.randn(count, config.pooled or config.text)
    return ClassTexts(words_KLW=words_KLW, valid_KL=valid_KL, pooled_KW=pooled_KW)


def plain_scores(model: CrossDiT, z_BF: Tensor, classes: ClassTexts, noises_JF: Tensor) -> Tensor:
    """Class by class and noise by noise, [B, K]: the mean squared error of the predicted noise."""
    signal, at = float(alpha_bar()[NOISE_STEP]), torch.full((len(z_BF),), NOISE_STEP)
    scores_BK = z_BF.new_zeros(len(z_BF), len(classes.pooled_KW))
    for k, valid_L in enumerate(classes.valid_KL):
        length = classes.valid_KL.shape[1] if model.config.compat == "reference" else int(valid_L.sum())
        words_BLW = classes.words_KLW[k, :length].expand(len(z_BF), -1, -1)
        pooled_BW = classes.pooled_KW[k].expand(len(z_BF), -1)
        for noise_F in noises_JF:
            noisy_BF = signal**0.5 * z_BF + (1 - signal) ** 0.5 * noise_F
            predicted_BF = plain_noise(model, noisy_BF, at, words_BLW, pooled_BW)
            scores_BK[:, k] += (predicted_BF - noise_F).pow(2).mean(1) / len(noises_JF)
    return scores_BK


@torch.no_grad()
def plain_noise(model: CrossDiT, z_BF: Tensor, t_B: Tensor, words_BLW: Tensor, pooled_BW: Tensor) -> Tensor:
    """CrossDiT in plain PyTorch, in as few lines as possible."""

    def normed(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift

    def mlp(layers: Any, x: Tensor) -> Tensor:
        return layers.fc2(gelu(layers.fc1(x), approximate="tanh"))

    text_BE = model.fc_embedder(pooled_BW)
    c_BE = model.t_embedder(t_B) + text_BE
    x, text = model.x_embedder(z_BF)[:, None], model.fl_embedder(words_BLW)
    text = text + model.fl_pos_embed[:, : text.shape[1]]
    block: Any
    for block in model.blocks:
        of_x = block.adaLN_modulation(c_BE)[:, None].chunk(6, 2)
        of_text = block.adaLN_modulation_c(text_BE if model.config.cross else c_BE)[:, None].chunk(6, 2)
        qkv = [block.attn.qkv(normed(x, *of_x[:2])), block.attn.qkv_c(normed(text, *of_text[:2]))]
        q, k, v = torch.cat(qkv, 1).unflatten(2, (3, model.config.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool)
        mask[1:, 0] = not model.config.cross
        attended = scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        x, text = x + of_x[2] * block.attn.proj(attended[:, :1]), text + of_text[2] * block.attn.proj_c(attended[:, 1:])
        x = x + of_x[5] * mlp(block.mlp, normed(x, *of_x[3:5]))
        text = text + of_text[5] * mlp(block.mlp_c, normed(text, *of_text[3:5]))
    shift, scale = model.final_layer.adaLN_modulation(c_BE)[:, None].chunk(2, 2)
    return model.final_layer.linear(normed(x, shift, scale))[:, 0]


def time_call(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call, and its time in seconds."""
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, help="blocks of the large network, fewer for a quick run")
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    text = json.dumps(bench_tdsm(args.depth, args.classes, args.threads), indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
