"""A trained matcher and the encoder that it was trained on as one zero-shot bundle.

Shapes: B features, F their width, K texts of L tokens, W text width, J noises, E width, N features and noises; R and M
floats that the network is told of a token and of a text.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from ..runtime.bundle import Bundle, write_bundle
from ..runtime.errors import InputError
from ..runtime.manifest import (
    MATCHER,
    WEIGHTS,
    Fields,
    ZeroShotManifest,
    matching_tensors,
)
from ..runtime.matcher import Matcher as Exported
from ..runtime.safetensors import pack
from ..runtime.text import TextEncoder
from ..training import vocabulary
from ..training.matching import AT, ClassTexts, Matcher, noises
from ..training.models.tdsm import CrossDiT, CrossDiTConfig, Told, signal_left
from ..training.runs import read_network
from ..training.texts import Texts
from .family import stored
from .graphs import to_onnx
from .recognizer import THRESHOLDS, last_metrics, read_json

RECIPE = "tdsm"
TOLERANCE = 1e-4  # of ONNX Runtime's errors against torch's, relative
NOISES = 3
MATCHING: dict[str, Any] = {
    "scale": 20.0,
    "none": 0.0,
    "prototype_scale": 10.0,
    "prototype_offset": 1.0,
    "window_s": 2.0,
    "every_s": 0.25,
    "background": ["standing still"],
}
PROBES = ("a person waves with the right hand", "jump", "someone sits down on a chair and stands up again")


def is_matcher(run: Path) -> bool:
    """Whether a folder is the run of a matcher."""
    file = run / "recipe.json"
    return file.is_file() and read_json(file).get("recipe", {}).get("name") == RECIPE


def export_zero_shot(run: Path, out: Path) -> Bundle[ZeroShotManifest]:
    """Write the bundle `out` from the folder of a finished run.

    `run/matching.json`, if there, holds settings that replace the default ones. The matcher is stored in 16 bits.

    Raises:
        InputError: the run is not finished, or its encoder or text encoder has become another.
    """
    network, about = read_network(run, CrossDiT, CrossDiTConfig)
    if network.config.compat != "corrected":
        raise InputError(f"{run}: compat is {network.config.compat!r}, only a corrected network can be exported")
    try:
        recipe, labels, mean, std = (about[key] for key in ("recipe", "labels", "mean", "std"))
        encoder, text = Bundle.load(recipe["encoder"]), TextEncoder.load()
        wanted = (about["encoder_sha256"], encoder.manifest.files[WEIGHTS].sha256), (about["text_sha256"], text.sha256)
    except KeyError as error:
        raise InputError(f"{run / 'recipe.json'}: has no {error}; expected that of a matcher's run") from None
    for expected, found in wanted:
        if found != expected:
            raise InputError(f"{run}: trained with an encoder of sha256 {expected}, which now is {found}")
    settings = MATCHING | (read_json(run / "matching.json") if (run / "matching.json").is_file() else {})
    noises_JF = noises(settings.pop("noises", NOISES), network.config.feature)
    weights = stored(MATCHER[:-1], network, halves=True)
    rounded = {name.removeprefix(MATCHER): torch.from_numpy(w.astype(np.float32)) for name, w in weights.items()}
    network.load_state_dict(rounded)
    weights |= {MATCHER + "noises": noises_JF.numpy()}
    weights |= {MATCHER + name: np.array(of, np.float32) for name, of in (("mean", mean), ("std", std))}
    manifest = json.loads(encoder.manifest_file)
    manifest |= {
        "name": out.name,
        "task": ZeroShotManifest.task,
        "license": recipe["licence"],
        "decision": asdict(THRESHOLDS),
        "model": {**manifest["model"], "matcher": asdict(network.config)},
        "metrics": about.get("metrics", {}) | last_metrics(run),
        "matching": {
            "labels": [label for label in labels if label != vocabulary.NONE],
            **settings,
            "encoder_sha256": about["encoder_sha256"],
            "text_sha256": about["text_sha256"],
        },
    }
    for name, (inputs, outputs) in matching_tensors(Fields(manifest, out.name)).items():
        manifest["graphs"][name] = {"file": f"{name}.onnx", "inputs": inputs, "outputs": outputs}
    files = {**encoder.graphs, **graphs(Graphs(network, noises_JF, scale_of_pooled(text)))}
    files[WEIGHTS] = pack({**encoder.weights, **weights})
    pictures = {path.name: path.read_bytes() for path in sorted(run.glob("*.png"))}
    files |= pictures | {"MODEL_CARD.md": card(manifest, len(files[WEIGHTS]), tuple(pictures)).encode()}
    with tempfile.TemporaryDirectory() as folder:
        trial = Bundle.load(write_bundle(Path(folder) / out.name, manifest, files), ZeroShotManifest)
        check_parity(trial, text, network, noises_JF)
    return Bundle.load(write_bundle(out, manifest, files), ZeroShotManifest)


class Graphs(nn.Module):
    """What is computed of a text once, and what of every feature; weights are named as in a bundle."""

    def __init__(self, network: CrossDiT, noises_JF: Tensor, pooled: float):
        super().__init__()
        self.pooled = pooled
        self.matcher, self.cross = network, network.config.cross
        self.signal = float(signal_left()[AT])
        network.register_buffer("noises", noises_JF)

    def told(self, words_KLW: Tensor, counts_K: Tensor, pooled_KW: Tensor) -> tuple[Tensor, Tensor]:
        """What is told of the tokens, [K, L, R], and of the texts, [K, M]."""
        valid_KL = torch.arange(words_KLW.shape[1]) < counts_K[:, None]
        told = self.matcher.told(torch.tensor([AT]), self.matcher.read(words_KLW, self.pooled * pooled_KW, valid_KL))
        read = told.keys if self.cross else (told.text_BLE, *told.keys)
        parts = [part for block in told.blocks for part in block]
        return torch.cat(read, 2), torch.cat([*parts, told.last], 2)[:, 0]

    def match(self, z_BF: Tensor, read_KLR: Tensor, told_KM: Tensor, counts_K: Tensor) -> tuple[Tensor]:
        """Mean squared error over all noises, [B, K]."""
        noises_JF: Any = self.matcher.noises
        B, J, (K, L, _) = z_BF.shape[0], len(noises_JF), read_KLR.shape
        noisy_BJF = self.signal**0.5 * z_BF[:, None] + (1 - self.signal) ** 0.5 * noises_JF
        x_NE = self.matcher.x_embedder(noisy_BJF).flatten(0, 1)
        x_NKE = x_NE[:, None].expand(B * J, K, x_NE.shape[1])
        valid_KS = torch.arange(1 + L) <= counts_K[:, None]
        read, told, valid = (x.expand(B * J, *x.shape).flatten(0, 1) for x in (read_KLR, told_KM[:, None], valid_KS))
        E, depth = self.matcher.config.width, len(self.matcher.blocks)
        *parts, last = told.split([6 * E] * (depth if self.cross else 2 * depth) + [2 * E], 2)
        if self.cross:
            text, keys, streams = read, read.chunk(depth, 2), 1
        else:
            text, keys, streams = read[:, :, :E], (read[:, :, E:],), 2
        blocks = tuple(tuple(parts[k : k + streams]) for k in range(0, len(parts), streams))
        found_NF = self.matcher.noise(x_NKE.flatten(0, 1), Told(text, keys, blocks, last, valid))
        error_BJKF = (found_NF.unflatten(0, (B, J, K)) - noises_JF[:, None]).pow(2)
        return (error_BJKF.mean((1, 3)),)


def scale_of_pooled(text: TextEncoder) -> float:
    """How much larger the feature of a whole text is in training than the text encoder gives it."""
    (name, *_) = PROBES
    given = ClassTexts.of(Texts([name], text), [name], 1).pooled_KW
    return float(given.norm()) / float(np.linalg.norm(text.encode([name]).pooled))


def graphs(both: Graphs) -> dict[str, bytes]:
    """File name -> ONNX graph."""
    both = both.eval().requires_grad_(False)
    config, K, L, B = both.matcher.config, Dim("K"), Dim("L"), Dim("B")
    # examples of the inputs; no size is 1 or that of another, or the exporter would take them for the same
    counts, words, pooled = torch.tensor([7, 4, 6, 7, 2]), torch.randn(5, 7, config.text), torch.randn(5, config.text)
    asked = {"words": words, "counts": counts, "pooled": pooled}
    told = dict(zip(("read", "told"), both.told(*asked.values()), strict=True))
    given = {"z": torch.randn(2, config.feature), **told, "counts": counts}
    return {
        "told.onnx": to_onnx(both, both.told, asked, tuple(told), ({0: K, 1: L}, {0: K}, {0: K})),
        "match.onnx": to_onnx(both, both.match, given, ("errors",), ({0: B}, {0: K, 1: L}, {0: K}, {0: K})),
    }


def check_parity(bundle: Bundle[ZeroShotManifest], text: TextEncoder, network: CrossDiT, noises_JF: Tensor) -> None:
    """The bundle's errors against the network's, for random features under the bundle's texts and longer ones."""
    names = [*bundle.manifest.matching.labels, *bundle.manifest.matching.background, *PROBES]
    z_BF = torch.randn(3, network.config.feature, generator=torch.Generator().manual_seed(0))
    classes = ClassTexts.of(Texts(names, text), names, network.config.tokens)
    wanted = Matcher(network, classes, noises_JF).scores(z_BF).numpy()
    found = Exported(bundle, text).errors(z_BF.numpy(), names)
    off = float((np.abs(found - wanted) / wanted).max())
    if not off <= TOLERANCE:
        raise RuntimeError(f"{bundle.path}: errors differ from the network's by {off:.1e} of themselves")


def card(manifest: dict[str, Any], weight_bytes: int, pictures: Sequence[str]) -> str:
    """Markdown: what the model is, was trained on and may be used for."""
    matching, matcher = manifest["matching"], manifest["model"]["matcher"]
    metrics = manifest["metrics"].get("validation", {})
    measured = "".join(f"- {name}: {of:.1f} %\n" for name, of in metrics.items() if name.endswith("top1"))
    shown = "".join(f"\n![{Path(name).stem}]({name})\n" for name in pictures)
    return f"""# {manifest["name"]}

A streaming recogniser whose labels are any texts, or a few examples each (TDSM, small, on a StreamGCN): skeletons in
layout `{manifest["layout"]}` at {manifest["fps"]:g} frames a second in. The mean of the encoder's features over the
last {matching["window_s"]:g} s is noised and denoised under every text, every {matching["every_s"]:g} s and beside the
stream; the text that explains the noise best is the label, unless {" or ".join(matching["background"])!r} explains it
better.

- {matcher["depth"]} blocks of width {matcher["width"]}; {weight_bytes / 2**20:.1f} MiB with the encoder. The matcher's
  matrices are stored in 16 bits and computed with in 32.
- Texts of at most {matcher["tokens"]} tokens are read word by word, longer ones to there.
- Labels in training: {", ".join(matching["labels"])}.

## Validation clips, at the end of training
{measured or "None were held out." + chr(10)}{shown}
## Licence
{manifest["license"]}

## Limits
English texts. Actions that are like those in training are told apart best; of others it may take one for another, or
for none. It was trained on whole bodies seen mostly from the front by depth cameras, and on motion capture. It must
not decide alone where a mistake can hurt.
"""
