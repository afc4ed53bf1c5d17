"""Official checkpoints of CoAMD's three networks as one generation bundle, in 32 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..runtime.bundles.bundle import Bundle, file_sha256, write_bundle
from ..runtime.bundles.safetensors import write
from ..runtime.bundles.schema import MANIFEST, WEIGHTS, TextManifest
from ..runtime.errors import InputError
from ..runtime.generation.schedule import MAX_TOKENS
from ..runtime.text_encoder import TextEncoder
from ..training.coamd.pipeline import NETWORKS, CoamdPipeline
from ..training.coamd.tasks import Normalization
from ..training.data.caption_features import CaptionEncoder
from ..training.data.humanml import KIT_ML
from ..training.models.clip_text import ClipText, ClipTextConfig
from ..training.models.coamd import LengthEstimator, MotionGenerator
from .clip_text import export_clip
from .coamd import PUBLISHED_SAMPLERS, bundled_encoder, coamd_graphs, coamd_manifest, statistics
from .coamd_graphs import onnx_graphs
from .official import ImportOptions, kind_of, read_official, set_objective

CLIP = ClipTextConfig()  # of the text encoder
LICENSE = "that of the checkpoints; HumanML3D, on which the official ones were trained, is for non-commercial research"
KINDS = {"ae": "autoencoder", "coamd": "generator", "mar": "recognizer"}


def import_coamd(checkpoints: Sequence[Path], out: Path, options: ImportOptions) -> None:
    """Write the bundle `out` from the checkpoints of the autoencoder, the generator and the recognizer, in any order.

    A motion without a given length has 9.8 s, since no length estimator is published.

    Raises:
        InputError: as `read_official`; not one checkpoint of each kind, networks that do not fit each other, or an
            option that is missing.
    """
    for name in ("mean", "std", "text"):
        if getattr(options, name) is None:
            raise InputError(f"a bundle of CoAMD needs --{name}: --mean MEAN.npy --std STD.npy --text clip:PATH")
    by_kind: dict[str, Path] = {}
    for path in checkpoints:
        if (kind := kind_of(path)) in by_kind:
            raise InputError(f"{path}: a second checkpoint of kind {kind}, expected one each of {', '.join(KINDS)}")
        by_kind[kind] = path
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        weights = Path(folder) / WEIGHTS
        manifest, files = convert(by_kind, out, options, weights)  # the networks are freed before the bundle is checked
        write_bundle(out, manifest, {**files, WEIGHTS: weights})


def import_clip(weights: Path, out: Path) -> None:
    """Write CLIP's text encoder as the bundle `out`. Raises InputError as `ClipText.load`."""
    export_clip(ClipText.load(weights, config=CLIP), out)


def convert(
    checkpoints: dict[str, Path], out: Path, options: ImportOptions, weights: Path
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Write the file `weights`; returns the manifest and the other files."""
    assert options.mean is not None and options.std is not None and options.text is not None
    networks = read_networks(checkpoints, options.objective)
    normalization = read_normalization(options.mean, options.std, networks["autoencoder"].config.coordinates)
    config = networks["generator"].config
    del networks  # the text encoder needs as much memory
    encoder = read_encoder(options.text, out)
    if encoder.width != config.text:
        raise InputError(f"{options.text}: features of {encoder.width} numbers, the generator takes {config.text}")
    encoder = bundled_encoder(encoder, out)
    networks, lengths = read_networks(checkpoints, config.objective), longest(config.text)
    unused = cast(CaptionEncoder, None)
    pipeline = CoamdPipeline(**networks, lengths=lengths, normalization=normalization, text=unused)
    manifest = coamd_manifest(pipeline, encoder, out)
    del encoder  # so does this one
    graphs = onnx_graphs(pipeline)
    manifest |= coamd_graphs(pipeline, graphs) | {"license": LICENSE, "actions": {}, "metrics": {}}
    manifest["sampler"] = PUBLISHED_SAMPLERS[manifest["layout"]] | {"padding": "batch"}
    manifest["official"] = {
        kind: {"name": path.name, "sha256": file_sha256(path)} for kind, path in checkpoints.items()
    }
    arrays = statistics(pipeline)
    for name in (*NETWORKS, "lengths"):
        arrays |= {f"{name}.{key}": tensor.numpy() for key, tensor in getattr(pipeline, name).state_dict().items()}
    write(weights, arrays)
    return manifest, {**graphs, "MODEL_CARD.md": card(manifest).encode()}


def read_networks(checkpoints: dict[str, Path], objective: str | None) -> dict[str, Any]:
    """The networks by name. Raises InputError as `read_official`, `set_objective` and `check_fit`."""
    networks: dict[str, Any] = {KINDS[kind]: read_official(kind, path) for kind, path in checkpoints.items()}
    set_objective(networks["generator"], checkpoints["coamd"], objective)
    check_fit(networks, checkpoints)
    return networks


def check_fit(networks: dict[str, Any], checkpoints: dict[str, Path]) -> None:
    """Raises InputError unless the networks belong together."""
    joints, seen = (len(networks[name].config.parents) for name in ("autoencoder", "recognizer"))
    if joints != seen:
        raise InputError(f"{checkpoints['mar']}: a network of {seen} joints, the autoencoder has {joints}")
    tokens, expected = networks["autoencoder"].config.latent, networks["generator"].config.latent
    if tokens != expected:
        raise InputError(f"{checkpoints['ae']}: tokens of {tokens} channels, the generator's have {expected}")


def longest(width: int) -> LengthEstimator:
    """A length estimator that always tells the longest motion."""
    estimator = LengthEstimator(width).eval().requires_grad_(False)
    last: Any = estimator[-1]
    last.weight.zero_()
    last.bias.copy_(torch.where(torch.arange(MAX_TOKENS + 1) == MAX_TOKENS, 0.0, -100.0))
    return estimator


def read_normalization(mean: Path, std: Path, size: int) -> Normalization:
    """Mean and standard deviation of every coordinate from .npy files [C] or [V, 3]. Raises InputError.

    Those of KIT-ML, of 21 joints, are in its unit and converted to meters.
    """
    arrays, unit_m = {}, KIT_ML.unit_m if size == 3 * KIT_ML.joints else 1.0
    for name, path in (("mean", mean), ("std", std)):
        try:
            array = np.asarray(np.load(path, allow_pickle=False), np.float32)
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise InputError(f"{path}: not a readable .npy file ({error})") from None
        if array.size != size or not np.isfinite(array).all():
            raise InputError(f"{path}: numbers {list(array.shape)}, expected {size} finite ones: the {name}")
        arrays[name] = array.reshape(-1) * np.float32(unit_m)
    if not (arrays["std"] > 0).all():
        raise InputError(f"{std}: a standard deviation of {arrays['std'].min():g}, expected positive ones")
    return Normalization(**arrays)


def read_encoder(text: str, out: Path) -> CaptionEncoder:
    """CLIP from `clip:PATH`: published weights, or a bundle that was made from them and lies next to `out`."""
    kind, colon, name = text.partition(":")
    if kind != "clip" or not colon or not name:
        raise InputError(f"--text {text}: expected clip:PATH, with the weights and the vocabulary of CLIP ViT-B/32")
    path = Path(name)
    if not (path / MANIFEST).is_file():
        return ClipText.load(path, config=CLIP)
    if path.absolute().parent != out.absolute().parent:
        raise InputError(f"{path}: expected a bundle in the folder of {out}")
    encoder = TextEncoder(Bundle.load(path, TextManifest))
    if not encoder.clip:
        raise InputError(f"{path}: a text encoder other than CLIP")
    return encoder


@torch.no_grad()
def predicted_objective(generator: MotionGenerator) -> str | None:
    """The objective of a trained head, by its output for noise; None: neither is clear.

    A flow's velocity contains minus the noise that it starts from; at its last step, a DDPM's input is all noise.
    """
    random = torch.Generator().manual_seed(0)
    x_ND = torch.randn(64, generator.config.latent, generator=random)
    modulations = generator.modulations(generator.condition(torch.zeros(1, generator.config.text)))
    tokens_BLD = generator.mask.expand(1, MAX_TOKENS, -1)
    z_NE = generator.trunk(tokens_BLD, modulations, torch.ones(1, MAX_TOKENS, dtype=torch.bool))[0, : len(x_ND)]
    z_NE = z_NE.repeat(2, 1)[: len(x_ND)]

    def slope(t: float) -> float:
        y_ND = generator.head(x_ND, torch.tensor([t]), z_NE)
        return float((x_ND * (y_ND - y_ND.mean(0))).sum() / (x_ND * (x_ND - x_ND.mean(0))).sum())

    flow, ddpm = slope(0.0) < -0.5, slope(49.0) > 0.5
    return None if flow == ddpm else "flow" if flow else "ddpm"


def card(manifest: dict[str, Any]) -> str:
    """The model card."""
    sources = "".join(
        f"- {kind}: {about['name']}, sha256 {about['sha256']}\n" for kind, about in manifest["official"].items()
    )
    return f"""# {manifest["name"]}

CoAMD from official checkpoints, in 32 bits: text to motion, editing, retrieval and recognition by text, on absolute
joints in layout `{manifest["layout"]}` at {manifest["fps"]:g} frames a second. Texts are encoded by
`{manifest["text"]}`, a bundle in the same folder.

{sources}
## License
{manifest["license"]}

## Limits
No length estimator is published: a motion without a given length has 9.8 seconds. The published solver, dopri5, is
replaced by {manifest["sampler"]["evaluations"]} evaluations of Heun's, the published guidance is off.
"""
