"""A trained matcher and the encoder that it was trained on as one zero-shot bundle.

Shapes: B features, F their width, K texts of S sentences, W text width, J noises, E width, N features and noises; R and
M floats that condition the network on a sentence and on a text.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.bundles.bundle import Bundle, write_bundle
from ..runtime.bundles.fields import Fields
from ..runtime.bundles.safetensors import pack
from ..runtime.bundles.schema import MATCHER, SLOTS, WEIGHTS, ZeroShotManifest, matcher_sizes
from ..runtime.bundles.signatures import MATCHER_GRAPHS, manifest_graphs
from ..runtime.errors import InputError
from ..runtime.recognition.label_texts import Text
from ..runtime.recognition.matcher import Matcher as Exported
from ..runtime.text_encoder import TextEncoder
from ..training.data.unseen_labels import BACKGROUND, sentences
from ..training.models.tdsm import StepConditioning, ZeroShot, ZeroShotConfig, alpha_bar
from ..training.runs import read_network, weights_sha256
from ..training.tdsm.matching import NOISE_STEP, Matcher, fixed_noises
from ..training.tdsm.sentences import LabelSentences, class_texts
from ..training.tdsm.validation import NOISES
from .coamd import stored_weights
from .graphs import export_graph
from .recognizer import THRESHOLDS, export_run, last_metrics, read_json

TASK = ZeroShotManifest.task
RECIPE = "tdsm"
TOLERANCE = 1e-4  # relative, of errors in ONNX Runtime against torch
MATCHING: dict[str, Any] = {
    "scale": 20.0,
    "none": 0.0,
    "prototype_scale": 10.0,
    "prototype_offset": 1.0,
    "window_s": 2.0,
    "every_s": 0.25,
    "background": {BACKGROUND: sentences(BACKGROUND)},
}
PROBES: tuple[dict[str, str], ...] = (
    {"label": "jump"},
    {"label": "hello", "motion": "a person waves with the right hand"},
    {"label": "rest", "hips": "they sink onto a chair", "legs": "the knees bend"},
)


def is_matcher(run: Path) -> bool:
    """True if a folder is the run of a matcher."""
    file = run / "recipe.json"
    return file.is_file() and read_json(file).get("recipe", {}).get("name") == RECIPE


def export_zero_shot(run: Path, out: Path) -> Bundle[ZeroShotManifest]:
    """Write the bundle `out` from the folder of a finished run.

    Settings in `run/matching.json`, if present, replace the default ones. The matcher is stored in 16 bits.

    Raises:
        InputError: the run is unfinished, or its encoder or text encoder has changed.
    """
    network, record = read_network(run, ZeroShot, ZeroShotConfig)
    try:
        recipe, labels, license_text = (record[key] for key in ("recipe", "labels", "license"))
        text, (encoder, sha256) = TextEncoder.load(), read_encoder(recipe["encoder"])
        hashes = ((record["encoder_sha256"], sha256), (record["text_sha256"], text.sha256))
    except KeyError as error:
        raise InputError(f"{run / 'recipe.json'}: has no {error}; expected that of a matcher's run") from None
    for expected, found in hashes:
        if found != expected:
            raise InputError(f"{run}: trained with an encoder of sha256 {expected}, which now is {found}")
    settings = MATCHING | (read_json(run / "matching.json") if (run / "matching.json").is_file() else {})
    settings["labels"] = {label: sentences(label) for label in labels}
    noises_JF = fixed_noises(settings.pop("noises", NOISES), network.config.feature)
    weights = stored_weights(MATCHER[:-1], network, halves=True)
    rounded = {name.removeprefix(MATCHER): torch.from_numpy(w.astype(np.float32)) for name, w in weights.items()}
    network.load_state_dict(rounded)
    known = LabelSentences.encode(
        [*settings["labels"].values(), *settings["background"].values()], text
    ).features.numpy()
    weights |= {MATCHER + "noises": noises_JF.numpy(), MATCHER + "known": known.astype(np.float16)}
    manifest = json.loads(encoder.manifest_file)
    manifest |= {
        "name": out.name,
        "task": TASK,
        "license": license_text,
        "decision": asdict(THRESHOLDS),
        "model": {**manifest["model"], "matcher": asdict(network.config)},
        "metrics": record.get("metrics", {}) | last_metrics(run),
        "matching": {
            **settings,
            "encoder_sha256": encoder.manifest.files[WEIGHTS].sha256,
            "text_sha256": record["text_sha256"],
        },
    }
    sizes = matcher_sizes(Fields(manifest["model"], out.name))
    manifest["graphs"] |= manifest_graphs(TASK, sizes, MATCHER_GRAPHS)
    files = {**encoder.graphs, **graphs(Graphs(network, noises_JF), sizes)}
    files[WEIGHTS] = pack({**encoder.weights, **weights})
    pictures = {path.name: path.read_bytes() for path in sorted(run.glob("*.png"))}
    files |= pictures | {"MODEL_CARD.md": card(manifest, len(files[WEIGHTS]), tuple(pictures)).encode()}
    with tempfile.TemporaryDirectory() as folder:
        trial = Bundle.load(write_bundle(Path(folder) / out.name, manifest, files), ZeroShotManifest)
        check_parity(trial, text, network, noises_JF)
    return Bundle.load(write_bundle(out, manifest, files), ZeroShotManifest)


def read_encoder(name: str) -> tuple[Bundle, str]:
    """The bundle of an encoder, or that of its run, and the hash of its weights. Raises InputError: CTR-GCN's run."""
    run = Path(name)
    if not (run / "recipe.json").is_file():
        bundle = Bundle.load(name)
        return bundle, bundle.manifest.files[WEIGHTS].sha256
    if "stream" in read_json(run / "recipe.json").get("recipe", {}):
        raise InputError(f"{run}: CTR-GCN recognizes whole clips, a matcher of its features has no bundle that streams")
    with tempfile.TemporaryDirectory() as folder:
        return export_run(run, Path(folder) / "encoder"), weights_sha256(run)


class Graphs(nn.Module):
    """The matcher\'s graphs: `condition` runs once per text, `match` for all features; weights as in a bundle."""

    def __init__(self, network: ZeroShot, noises_JF: Tensor):
        super().__init__()
        self.matcher = network
        self.signal = float(alpha_bar()[NOISE_STEP])
        network.register_buffer("noises", noises_JF)

    def condition(self, sentences_KSW: Tensor, mask_KS: Tensor) -> tuple[Tensor, Tensor]:
        """Modulation by the sentences, [K, S, R], and by the texts, [K, M]."""
        texts = self.matcher.encode_texts(*self.matcher.embed_sentences(sentences_KSW, mask_KS))
        step = self.matcher.condition(torch.tensor([NOISE_STEP]), texts)
        parts = [part for block in step.blocks for part in block]
        return torch.cat(step.keys, 2), torch.cat([*parts, step.last], 2)[:, 0]

    def match(self, z_BF: Tensor, token_modulation_KSR: Tensor, modulation_KM: Tensor) -> tuple[Tensor]:
        """Mean squared error over all noises, [B, K]."""
        noises_JF: Any = self.matcher.noises
        B, J, K = z_BF.shape[0], len(noises_JF), token_modulation_KSR.shape[0]
        noisy_BJF = self.signal**0.5 * z_BF[:, None] + (1 - self.signal) ** 0.5 * noises_JF
        x_NE = self.matcher.x_embedder(noisy_BJF).flatten(0, 1)
        x_NKE = x_NE[:, None].expand(B * J, K, x_NE.shape[1])
        by_token, by_text = (
            x.expand(B * J, *x.shape).flatten(0, 1) for x in (token_modulation_KSR, modulation_KM[:, None])
        )
        E, depth = self.matcher.config.width, len(self.matcher.blocks)
        *blocks, last = by_text.split([6 * E] * depth + [2 * E], 2)
        conditioning = StepConditioning(
            by_token, by_token.chunk(depth, 2), tuple((block,) for block in blocks), last, None
        )
        found_NF = self.matcher.predict_noise(x_NKE.flatten(0, 1), conditioning)
        error_BJKF = (found_NF.unflatten(0, (B, J, K)) - noises_JF[:, None]).pow(2)
        return (error_BJKF.mean((1, 3)),)


def graphs(networks: Graphs, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """File name -> ONNX graph."""
    networks = networks.eval().requires_grad_(False)
    return {
        f"{name}.onnx": export_graph(networks, getattr(networks, name), TASK, name, sizes) for name in MATCHER_GRAPHS
    }


def network_errors(network: ZeroShot, text: TextEncoder, texts: Sequence[Text], z_BF: Tensor, noises_JF: Tensor) -> Any:
    """Errors [B, T] in torch."""
    classes = class_texts(*network.embed_sentences(*LabelSentences.encode(texts, text)))
    return Matcher(network, classes, noises_JF).scores(z_BF).numpy()


def check_parity(bundle: Bundle[ZeroShotManifest], text: TextEncoder, network: ZeroShot, noises_JF: Tensor) -> None:
    """Check the bundle's errors against the network's, for random features under the bundle's texts and others."""
    matching = bundle.manifest.matching
    texts = [*matching.labels.values(), *matching.background.values(), *PROBES]
    z_BF = torch.randn(3, network.config.feature, generator=torch.Generator().manual_seed(0))
    expected = network_errors(network, text, texts, z_BF, noises_JF)
    found = Exported(bundle, text).errors(z_BF.numpy(), texts)
    difference = float((np.abs(found - expected) / expected).max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{bundle.path}: errors differ from the network's by {difference:.1e}, relative")


def caption(picture: str) -> str:
    """Caption of a run's picture."""
    if picture.startswith("confusion-"):
        split = picture.removeprefix("confusion-")
        return f"Labels of split {split}, from encoders and matchers trained in the same way without them"
    return "Match of each text with clips of each label, from the worst of a row, white, to the best"


def card(manifest: dict[str, Any], weight_bytes: int, pictures: Sequence[str]) -> str:
    """Markdown card: architecture, labels, measurements, license and limits."""
    matching, matcher = manifest["matching"], manifest["model"]["matcher"]
    metrics = manifest["metrics"].get("validation", {})
    measured = "".join(f"- {name}: {value:.1f} %\n" for name, value in metrics.items() if name.endswith("top1"))
    images = "".join(f"\n{caption(Path(name).stem)}:\n\n![{Path(name).stem}]({name})\n" for name in pictures)
    return f"""# {manifest["name"]}

A streaming recognizer whose labels are arbitrary texts or a few examples each (TDSM, small, on a StreamGCN): skeletons
in layout `{manifest["layout"]}` at {manifest["fps"]:g} frames a second in. Every {matching["every_s"]:g} s, in a
separate thread, the mean of the encoder's features over the last {matching["window_s"]:g} s, projected to the
{matcher["feature"]} directions that separate its labels, is noised and denoised under every text. The text that
predicts the noise best is the label, unless {" or ".join(matching["background"])!r} predicts it better. A text has up
to {matcher["tokens"]} sentences: {", ".join(SLOTS)}.

- {matcher["depth"]} blocks of width {matcher["width"]}; {weight_bytes / 2**20:.1f} MiB with the encoder. The matcher's
  matrices are stored in 16 bits; computation is in 32 bits.
- Labels in training: {", ".join(matching["labels"])}.

## Validation clips, at the end of training
{measured or "None were held out." + chr(10)}{images}
## License
{manifest["license"]}

## Limits
English texts. It works best for actions similar to those in training; it can confuse others, or miss them. It was
trained on whole bodies seen mostly from the front by depth cameras, and on motion capture. It must not be the only
safeguard where a mistake can cause harm.
"""
