"""A TDSM of features from files, published or our own, with the texts of its classes as one bundle, in 32 bits.

Shapes: B features of width F, J noises, N features and noises, K classes, L tokens of width W, P width of pooled text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.bundles.bundle import Bundle, file_sha256, write_bundle
from ..runtime.bundles.safetensors import write
from ..runtime.bundles.schema import SCHEMA, WEIGHTS, MatcherManifest
from ..runtime.bundles.signatures import manifest_graphs
from ..runtime.errors import InputError
from ..runtime.recognition.features import FeatureMatcher
from ..runtime.text_encoder import TextEncoder
from ..training.data.unseen_labels import class_names, splits
from ..training.models.tdsm import CrossDiT, CrossDiTConfig, StepConditioning, ZeroShot, ZeroShotConfig, alpha_bar
from ..training.runs import read_network, read_record
from ..training.tdsm.matching import (
    NOISE_STEP,
    PREDICTIONS,
    PUBLISHED_NOISES,
    ClassTexts,
    Matcher,
    fixed_noises,
    prediction_target,
)
from ..training.tdsm.published import DATASETS, check_texts, load_texts, tested_classes
from ..training.tdsm.sentences import LabelSentences, class_texts
from ..training.tdsm.tasks import load_published
from ..training.tdsm.validation import NOISES
from .graphs import export_graph
from .official import ImportOptions, read_official, weights_file
from .official_ctr_gcn import read_label_file
from .recognizer import last_metrics, read_json

TASK = MatcherManifest.task
COMPARED = 3  # labels whose errors are compared with torch
TOLERANCE = 1e-4  # of them, relative
LICENSE = "that of the checkpoint; NTU RGB+D and PKU-MMD are for non-commercial research"


def is_feature_run(run: Path) -> bool:
    """True if a folder is the run of a matcher that was trained on features from files."""
    file = run / "recipe.json"
    recipe = read_json(file).get("recipe", {}) if file.is_file() else {}
    return recipe.get("name") in ("tdsm", "tdsm-published") and recipe.get("features") is not None


def export_matcher(run: Path, out: Path) -> Bundle[MatcherManifest]:
    """Write the bundle `out` from the folder of a finished run and the texts that it was trained on.

    Raises:
        InputError: the run is unfinished, or its folder of features or its text encoder has changed.
    """
    record = read_record(run)
    try:
        recipe, license_text = record["recipe"], record["license"]
        folder, dataset, split = Path(recipe["features"]), recipe["dataset"], recipe["split"]
    except KeyError as error:
        raise InputError(f"{run / 'recipe.json'}: has no {error}; expected that of a matcher's run") from None
    labels = class_names(dataset)
    about = {"license": license_text, "metrics": last_metrics(run)}
    network: CrossDiT
    if recipe["name"] == "tdsm":
        own, _ = read_network(run, ZeroShot, ZeroShotConfig)
        texts = own_texts(own, load_published(folder, dataset, split).texts, record, run)
        network, noises = own, NOISES
    else:
        network, _ = read_network(run, CrossDiT, CrossDiTConfig)
        texts, noises = load_texts(folder, len(labels)), PUBLISHED_NOISES
    unseen = [labels[k] for k in splits(dataset)[split].unseen]
    check_texts(network.config, texts, folder, run)
    write_matcher(network, texts, labels, unseen, recipe.get("prediction", PREDICTIONS[0]), noises, about, out)
    return Bundle.load(out, MatcherManifest)


def import_matcher(checkpoint: Path, out: Path, options: ImportOptions) -> None:
    """Write the bundle `out` from an official checkpoint and the text features of its classes, "features:FOLDER".

    Classes whose features are in the folder's test set are unseen; without a test set, all are.

    Raises:
        InputError: as `read_official`; texts that do not fit the network, or another number of labels than texts.
    """
    kind, _, name = (options.text or "").partition(":")
    if kind != "features" or not name:
        found = "without --text" if options.text is None else f"--text {options.text}"
        raise InputError(f"{found}: expected --text features:FOLDER, with the texts.npz of a TDSM's classes")
    folder, network = Path(name), read_official("tdsm", checkpoint)
    assert isinstance(network, CrossDiT)
    texts = load_texts(folder)
    check_texts(network.config, texts, folder, checkpoint)
    count = len(texts.pooled_KW)
    if options.labels is not None:
        labels: Sequence[str] = read_label_file(options.labels, count)
    elif count in DATASETS:
        labels = class_names(DATASETS[count])
    else:
        raise InputError(f"{folder}: {count} classes, expected {', '.join(map(str, DATASETS))}, or --labels FILE")
    unseen = [labels[k] for k in tested_classes(folder, count)]
    source = {"name": checkpoint.name, "sha256": file_sha256(weights_file(checkpoint))}
    about = {"license": LICENSE, "metrics": {}, "official": source}
    write_matcher(network, texts, labels, unseen, PREDICTIONS[0], PUBLISHED_NOISES, about, out)


def own_texts(network: ZeroShot, texts: Any, record: dict[str, Any], run: Path) -> ClassTexts:
    """Texts of the classes, by the text encoder that a run of recipe tdsm was trained with."""
    encoder = TextEncoder.load()
    if record.get("text_sha256") != encoder.sha256:
        raise InputError(f"{run}: trained with another text encoder than {encoder.name!r}")
    return class_texts(*network.embed_sentences(*LabelSentences.encode(list(texts.values()), encoder)))


class Graph(nn.Module):
    """`match`, the error of features under one text; weights as in a bundle."""

    def __init__(self, network: CrossDiT, noises_JF: Tensor, prediction: str):
        super().__init__()
        self.matcher, self.prediction = network, prediction
        self.signal = float(alpha_bar()[NOISE_STEP])
        network.register_buffer("noises", noises_JF)

    def match(self, z_BF: Tensor, words_LW: Tensor, pooled_P: Tensor) -> tuple[Tensor]:
        """Mean squared error over all noises, [B]."""
        if isinstance(self.matcher, ZeroShot):
            z_BF = self.matcher.project(z_BF)
        noises_JF: Any = self.matcher.noises
        N = z_BF.shape[0] * len(noises_JF)
        texts = self.matcher.encode_texts(words_LW[None], pooled_P[None])
        step = self.matcher.condition(torch.tensor([NOISE_STEP]), texts)
        step = StepConditioning(
            step.text_BLE.expand(N, -1, -1),
            tuple(key.expand(N, -1, -1) for key in step.keys),
            step.blocks,
            step.last,
            None,
        )
        noisy_BJF = self.signal**0.5 * z_BF[:, None] + (1 - self.signal) ** 0.5 * noises_JF
        found_NF = self.matcher.predict_noise(self.matcher.x_embedder(noisy_BJF).flatten(0, 1), step)
        target_BJF = prediction_target(self.prediction, z_BF[:, None], noises_JF, self.signal)
        return ((found_NF.unflatten(0, (z_BF.shape[0], len(noises_JF))) - target_BJF).pow(2).mean((1, 2)),)


def write_matcher(
    network: CrossDiT,
    texts: ClassTexts,
    labels: Sequence[str],
    unseen: Sequence[str],
    prediction: str,
    noises: int,
    about: dict[str, Any],
    out: Path,
) -> None:
    """Write the bundle `out`, once its errors are found to equal the network's; `about` is part of the manifest."""
    config = network.config
    width = config.encoded if isinstance(config, ZeroShotConfig) else config.feature
    sizes = {
        "feature": width,
        "tokens": config.tokens,
        "text": config.text,
        "pooled": config.pooled or config.text,
    }
    graph = Graph(network.requires_grad_(False), fixed_noises(noises, config.feature), prediction)
    manifest = {
        "schema": SCHEMA,
        "name": out.name,
        "task": TASK,
        "labels": list(labels),
        "unseen": list(unseen),
        "model": {**asdict(config), **sizes, "prediction": prediction},
        "graphs": manifest_graphs(TASK, sizes),
        **about,
    }
    z_BF = torch.randn(2, width, generator=torch.Generator().manual_seed(0)).abs()
    expected = torch_errors(graph, texts, z_BF)
    files: dict[str, bytes | Path] = {
        "match.onnx": export_graph(graph, graph.match, TASK, "match", sizes),
        "MODEL_CARD.md": card(manifest).encode(),
    }
    arrays = {name: tensor.numpy() for name, tensor in graph.state_dict().items()}
    arrays |= {"texts.words": texts.words_KLW.numpy(), "texts.pooled": texts.pooled_KW.numpy()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        write(Path(folder) / WEIGHTS, arrays)
        trial = write_bundle(Path(folder) / out.name, manifest, {**files, WEIGHTS: Path(folder) / WEIGHTS})
        check_parity(trial, z_BF.numpy(), expected)
        write_bundle(out, manifest, {**files, WEIGHTS: trial / WEIGHTS})


def torch_errors(graph: Graph, texts: ClassTexts, z_BF: Tensor) -> np.ndarray:
    """Errors [B, K] of the network under the first texts."""
    network, noises_JF = graph.matcher, graph.state_dict()["matcher.noises"]
    z_BF = network.project(z_BF) if isinstance(network, ZeroShot) else z_BF
    first = texts[torch.arange(min(COMPARED, len(texts.pooled_KW)))]
    return Matcher(network, first, noises_JF, prediction=graph.prediction).scores(z_BF).numpy()


def check_parity(path: Path, z_BF: np.ndarray, expected_BK: np.ndarray) -> None:
    """Raises RuntimeError: a bundle's errors differ from the network's by more than `TOLERANCE`."""
    matcher = FeatureMatcher.load(path)
    found_BK = matcher.errors(z_BF, matcher.manifest.labels[: expected_BK.shape[1]])
    difference = float((np.abs(found_BK - expected_BK) / expected_BK).max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{path}: errors differ from the network's by {difference:.1e}, relative")


def card(manifest: dict[str, Any]) -> str:
    """The model card."""
    model, official = manifest["model"], manifest.get("official")
    source = f" from the official checkpoint {official['name']}, sha256 {official['sha256']}" if official else ""
    return f"""# {manifest["name"]}

TDSM{source} (Do and Kim, ICCV 2025): features of {model["feature"]} numbers in, one of {len(manifest["labels"])} labels
out. A feature is noised and denoised under the text of every label; the text that predicts the noise best is the label.
{model["depth"]} blocks of width {model["width"]}, in 32 bits; texts have {model["tokens"]} tokens.

- Labels to choose from by default: {", ".join(manifest["unseen"])}.
- All labels: {", ".join(manifest["labels"])}.

## License
{manifest["license"]}

## Limits
It takes features of the encoder that it was trained with, which is not part of it, and no skeletons.
"""
