"""Official checkpoints of CoAMD's networks, of TDSM and of CTR-GCN: strict reading, and writing for tests.

The layouts are those of the released code. The depth is counted from the keys; every key must exist with its shape, and
no other key except buffers that can be computed.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..runtime.bundles.bundle import file_sha256
from ..runtime.errors import InputError
from ..runtime.generation.schedule import OBJECTIVES
from ..training.models.coamd import (
    SIZES,
    AutoEncoder,
    AutoEncoderConfig,
    GeneratorConfig,
    MotionGenerator,
    MotionRecognizer,
    MotionRecognizerConfig,
    Size,
)
from ..training.models.coamd.layers import positions
from ..training.models.coamd.views import KIT21_REFERENCE, SMPL22
from ..training.models.ctr_gcn import CTRGCN, NTU_PARENTS, NWUCLA_PARENTS, CTRGCNConfig
from ..training.models.tdsm import SIZES as MATCHERS
from ..training.models.tdsm import CrossDiT, CrossDiTConfig

Names = dict[str, str]  # our name -> official name
Config = AutoEncoderConfig | GeneratorConfig | MotionRecognizerConfig | CrossDiTConfig | CTRGCNConfig
Network = AutoEncoder | MotionGenerator | MotionRecognizer | CrossDiT | CTRGCN
STATES = {"ae": "ae", "coamd": "ema_mardm", "mar": "contrast_model"}  # key of the weights in the file
RECIPES = {  # recipes that train these networks
    "ae": "coamd-ae",
    "coamd": "coamd-generator",
    "mar": "coamd-mar",
    "tdsm": "tdsm",
}
UNSCALED: dict[str, Callable[[int], Tensor]] = {  # buffers that the official networks do not have
    **dict.fromkeys(("shift", "text_mean"), torch.zeros),
    **dict.fromkeys(("scale", "text_std", "bone", "motion"), torch.ones),
    **dict.fromkeys(("mix", "unmix"), torch.eye),
}
MODELS: dict[str, Any] = {
    "ae": AutoEncoder,
    "coamd": MotionGenerator,
    "mar": MotionRecognizer,
    "tdsm": CrossDiT,
    "ctrgcn": CTRGCN,
}
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile, SafetensorError)
STREAMS = {"joint": "joint_encoder", "bone": "bone_encoder", "motion": "motion_encoder_stream"}


def weight_and_bias(names: Mapping[str, str]) -> Names:
    """Names of weights and biases, from names of layers."""
    return {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs in names.items() for part in ("weight", "bias")}


def autoencoder_names(config: AutoEncoderConfig) -> Names:
    layers = {f"encoder.{stream}": f"encoder.{stream}_proj" for stream in STREAMS}
    layers |= {"encoder.out": "encoder.main_encoder.3", "decoder.first": "decoder.model.0"}
    layers |= {"decoder.last": "decoder.model.4", "decoder.out": "decoder.model.6"}
    for i in range(2):
        encoder, decoder = f"encoder.main_encoder.{i + 1}", f"decoder.model.{i + 2}"
        layers |= {f"encoder.levels.{i}.resample": f"{encoder}.0", f"decoder.levels.{i}.resample": f"{decoder}.2"}
        for k in range(len(config.dilations)):
            for conv in ("conv1", "conv2"):
                layers[f"encoder.levels.{i}.blocks.{k}.{conv}"] = f"{encoder}.1.model.{k}.{conv}"
                layers[f"decoder.levels.{i}.blocks.{k}.{conv}"] = f"{decoder}.0.model.{k}.{conv}"
    return weight_and_bias(layers)


def generator_names(config: GeneratorConfig) -> Names:
    head = "DiffMLPs.net"
    layers = {"embed": "input_process.poseEmbedding", "text": "cond_emb"}
    for i in range(config.depth):
        block = f"MARTransformer.{i}"
        layers |= {f"blocks.{i}.attn.{part}": f"{block}.attn.{part}" for part in ("query", "key", "value", "proj")}
        layers |= {f"blocks.{i}.{part}": f"{block}.mlp.{part}" for part in ("fc1", "fc2")}
        layers[f"blocks.{i}.modulation"] = f"{block}.adaLN_modulation.1"
    layers |= {"head.time1": f"{head}.time_embed.mlp.0", "head.time2": f"{head}.time_embed.mlp.2"}
    layers |= {"head.condition": f"{head}.cond_embed", "head.input": f"{head}.input_proj"}
    for i in range(config.head_depth):
        block = f"{head}.res_blocks.{i}"
        layers |= {
            f"head.blocks.{i}.norm": f"{block}.in_ln",
            f"head.blocks.{i}.modulation": f"{block}.adaLN_modulation.1",
        }
        layers |= {f"head.blocks.{i}.fc1": f"{block}.mlp.0", f"head.blocks.{i}.fc2": f"{block}.mlp.2"}
    layers |= {"head.out": f"{head}.final_layer.linear", "head.modulation": f"{head}.final_layer.adaLN_modulation.1"}
    return {"mask": "mask_latent", **weight_and_bias(layers)}


def recognizer_names(config: MotionRecognizerConfig) -> Names:
    names = {"text.places": "positional_embedding", "text.tokens.weight": "token_embedding.weight"}
    layers = {"fusion_norm": "motion_encoder.fusion_layer.0", "fusion": "motion_encoder.fusion_layer.1"}
    layers |= {"text.norm": "text_ln", "text.out": "out"}
    towers = {"text": "textTransEncoder"}
    for ours, theirs in STREAMS.items():
        stream = f"motion_encoder.{theirs}"
        towers[ours] = f"{stream}.transformer"
        names[f"{ours}.query"] = f"{stream}.query_token"
        layers |= {f"{ours}.embed": f"{stream}.embed_motion", f"{ours}.norm": f"{stream}.out_ln"}
        layers |= {f"{ours}.out": f"{stream}.out"}
        layers |= {f"{ours}.time1": f"{stream}.time_embed.mlp.0", f"{ours}.time2": f"{stream}.time_embed.mlp.2"}
    for ours, theirs in towers.items():
        for i in range(config.depth):
            mine, official = f"{ours}.layers.{i}", f"{theirs}.layers.{i}"
            parts = ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2")
            layers |= {f"{mine}.{part}": f"{official}.{part}" for part in parts}
            for part in ("self_attn.in_proj_weight", "self_attn.in_proj_bias"):
                names[f"{mine}.{part}"] = f"{official}.{part}"
    return names | weight_and_bias(layers)


def buffers(config: Config) -> dict[str, Tensor]:
    """Position tables that official files contain."""
    if isinstance(config, GeneratorConfig):
        return {"position_enc.pe": positions(5000, config.width)[:, None]}
    if isinstance(config, MotionRecognizerConfig):
        table = positions(2000, config.width)
        return {f"motion_encoder.{stream}.sequence_pos_encoder.pe": table for stream in STREAMS.values()}
    return {}


def official_names(config: Config) -> Names:
    if isinstance(config, AutoEncoderConfig):
        return autoencoder_names(config)
    if isinstance(config, CrossDiTConfig | CTRGCNConfig):  # modules have the official names
        with torch.device("meta"):
            model = CrossDiT(config) if isinstance(config, CrossDiTConfig) else CTRGCN(config)
        return {name: name for name in model.state_dict()}
    return generator_names(config) if isinstance(config, GeneratorConfig) else recognizer_names(config)


def official_state(model: Network) -> dict[str, Tensor]:
    """The model's weights under their official keys and shapes."""
    state, reshaped = model.state_dict(), {"mask_latent": (1, 1, -1)}
    tensors = {theirs: state[ours] for ours, theirs in official_names(model.config).items()}
    tensors = {key: value.reshape(reshaped[key]) if key in reshaped else value for key, value in tensors.items()}
    return tensors | buffers(model.config)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """Settings that a checkpoint does not hold.

    Attributes:
        labels: file with the names of CTR-GCN's or TDSM's classes, one a line; None: those of the data sets.
        mean, std: .npy files with the normalization of the joints.
        text: the text encoder, "clip:PATH"; of an evaluator the vocabulary, "glove:FOLDER"; of TDSM the texts of its
            classes, "features:FOLDER".
        objective: what the generator's head predicts, "flow" or "ddpm"; None: found in its output or its path.
    """

    labels: Path | None = None
    mean: Path | None = None
    std: Path | None = None
    text: str | None = None
    objective: str | None = None


USED = {  # kind -> options
    "ae": ("mean", "std"),
    "coamd": ("mean", "std", "text", "objective"),
    "mar": ("mean", "std"),
    "tdsm": ("labels", "text"),
    "ctrgcn": ("labels",),
    "evaluator": ("mean", "std", "text"),
}
OTHERS = ("clip", "evaluator")  # kinds of other networks


def import_official(kind: str, checkpoints: Sequence[Path], out: Path, options: ImportOptions | None = None) -> None:
    """Write official checkpoints to the folder `out`: CLIP's text encoder, CoAMD's three networks, CTR-GCN's streams,
    and TDSM with texts as bundles; a single other network in the form of a finished run.

    Raises:
        InputError: as in `read_official`; unknown kind, a wrong number of checkpoints, an option of other kinds, or
            `out` is not empty. Nothing is written.
    """
    options = options or ImportOptions()
    if kind not in (*MODELS, *OTHERS):
        raise InputError(f"unknown kind {kind!r}, expected {', '.join((*MODELS, *OTHERS))}")
    for field in fields(options):
        if getattr(options, field.name) is not None and field.name not in USED.get(kind, ()):
            raise InputError(f"--{field.name} is not for kind {kind}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: already exists, expected a new or an empty folder")
    count = len(checkpoints)
    if count != 1 and not (kind == "coamd" and count == len(STATES) or kind == "ctrgcn" and count in (2, 4)):
        more = {"coamd": f", or those of {', '.join(STATES)}", "ctrgcn": ", 2 or 4: joints, bones, motion of both"}
        raise InputError(f"{count} checkpoints of kind {kind}, expected one{more.get(kind, '')}")
    if kind == "ctrgcn":
        from .official_ctr_gcn import import_ctr_gcn

        networks: list[Any] = [read_official(kind, path) for path in checkpoints]
        import_ctr_gcn(checkpoints, networks, out, options)
    elif kind == "coamd" and count > 1:
        from .official_coamd import import_coamd

        import_coamd(checkpoints, out, options)
    elif kind == "tdsm" and (options.text is not None or options.labels is not None):
        from .matcher import import_matcher

        import_matcher(checkpoints[0], out, options)
    elif kind == "evaluator":
        from .official_evaluator import import_evaluator

        import_evaluator(checkpoints[0], out, options)
    elif kind == "clip":
        from .official_coamd import import_clip

        import_clip(checkpoints[0], out)
    else:
        import_run(kind, checkpoints[0], out, options)


def import_run(kind: str, checkpoint: Path, out: Path, options: ImportOptions) -> None:
    """Write one network to the folder `out` in the form of a finished run."""
    model = read_official(kind, checkpoint)
    if isinstance(model, MotionGenerator):
        set_objective(model, checkpoint, options.objective)
    source = {"kind": kind, "checkpoint": checkpoint.name, "sha256": file_sha256(weights_file(checkpoint))}
    recipe = {"name": RECIPES[kind], "size": "xl"}
    record: dict[str, Any] = {"recipe": recipe, "model": asdict(model.config), "official": source}
    if options.mean is not None or options.std is not None:
        from .official_coamd import read_normalization

        if options.mean is None or options.std is None:
            raise InputError("--mean and --std belong together")
        config: Any = model.config
        joints = len(config.parents) if "parents" in record["model"] else len(SMPL22)
        normalization = read_normalization(options.mean, options.std, 3 * joints)
        record |= {"mean": normalization.mean.tolist(), "std": normalization.std.tolist()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), out / "model.safetensors")
    (out / "recipe.json").write_text(json.dumps(record, indent=1) + "\n")


def read_official(kind: str, path: Path, size: Size | CrossDiTConfig | None = None) -> Network:
    """Load the network of an official checkpoint; its weights stay in the file until they are used.

    Args:
        kind: "ae", "coamd" (the averaged generator), "mar", "tdsm" or "ctrgcn".
        path: the published `.tar` file; for TDSM `model.safetensors` or the folder with it, for CTR-GCN the `.pt` file
            of one stream.
        size: architecture except for depth and skeleton; by default the published one.
    Raises:
        InputError: no such file, not a checkpoint of this kind, or a key is missing, unknown or of another shape.
    """
    state = read_state(kind, path)
    published = MATCHERS["xl"] if kind == "tdsm" else SIZES["xl"]
    config = infer_config(kind, state, published if size is None else size, path)
    with torch.device("meta"):
        model = MODELS[kind](config)
    names, computed, shapes = official_names(config), buffers(config), model.state_dict()
    for ours, theirs in names.items():
        if theirs not in state:
            blocks = getattr(config, "depth", None)
            depth = "" if blocks is None else f", which a network of depth {blocks} has"
            raise InputError(f"{path}: no {theirs}{depth}")
        shape = (1, 1, *shapes[ours].shape) if theirs == "mask_latent" else tuple(shapes[ours].shape)
        if tuple(state[theirs].shape) != shape:
            raise InputError(f"{path}: {theirs} has shape {list(state[theirs].shape)}, expected {list(shape)}")
    for key, table in computed.items():
        if key in state and (
            state[key].shape != table.shape or not torch.allclose(state[key].float(), table, atol=1e-5)
        ):
            raise InputError(f"{path}: {key} differs from the published sinusoids")
    for key in state:
        if key not in names.values() and key not in computed:
            raise InputError(f"{path}: {key} is not a key of this network")
    weights = {ours: state[theirs].to(shapes[ours].dtype).reshape(shapes[ours].shape) for ours, theirs in names.items()}
    for ours in set(shapes) - set(names):  # identity scales
        weights[ours] = UNSCALED[ours.rpartition(".")[2]](len(shapes[ours]))
    model.load_state_dict(weights, strict=True, assign=True)
    if isinstance(model, AutoEncoder | MotionRecognizer):
        model.scales.parents = torch.tensor(model.config.parents)  # not a weight
    return model.eval()


def set_objective(model: MotionGenerator, path: Path, chosen: str | None) -> None:
    """Set what the head predicts, "flow" or "ddpm": as chosen, as its output shows, or as the path says.

    Raises:
        InputError: nothing tells it, or the output contradicts.
    """
    from .official_coamd import predicted_objective

    predicted = predicted_objective(model)
    if chosen not in (None, *OBJECTIVES):
        raise InputError(f"--objective {chosen}: expected {' or '.join(OBJECTIVES)}")
    if chosen is not None and predicted not in (None, chosen):
        raise InputError(f"{path}: --objective {chosen}, but for noise it predicts as one trained with {predicted}")
    names = "/".join(path.absolute().parts[-3:]).lower()
    named = {found for word, found in (("ddpm", "ddpm"), ("sit-", "flow"), ("flow", "flow")) if word in names}
    objective = chosen or predicted or (named.pop() if len(named) == 1 else None)
    if objective is None:
        raise InputError(f"{path}: flow and DDPM checkpoints have the same keys, expected --objective flow or ddpm")
    model.config = replace(model.config, objective=objective)


def weights_file(path: Path) -> Path:
    """The file of a checkpoint, which for accelerate's is a folder."""
    return path / "model.safetensors" if path.is_dir() else path


def kind_of(path: Path) -> str:
    """Kind of a checkpoint of CoAMD, by the key of its weights. Raises InputError: none of them."""
    content = load_checkpoint(path)
    for kind, key in STATES.items():
        if isinstance(content, dict) and key in content:
            return kind
    raise InputError(f"{path}: has none of {', '.join(STATES.values())}, expected an official checkpoint of CoAMD")


def load_checkpoint(path: Path) -> Any:
    """Contents of a file of tensors, which stay in the file until they are used. Raises InputError."""
    path = weights_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected an official checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UNREADABLE as error:
        raise InputError(f"{path}: not a checkpoint of tensors ({str(error).splitlines()[0]})") from None


def read_state(kind: str, path: Path) -> dict[str, Tensor]:
    """Tensors of an official file, without those of CLIP."""
    content = load_checkpoint(path)
    if kind in STATES and isinstance(content, dict):
        content = content.get(STATES[kind])
    if not isinstance(content, dict):
        missing = f"has no {STATES[kind]!r}" if kind in STATES else "holds no names"
        raise InputError(f"{path}: {missing}, expected an official {kind} checkpoint")
    if kind not in STATES and (others := [other for other, key in STATES.items() if key in content]):
        raise InputError(f"{path}: an official {others[0]} checkpoint, expected one of kind {kind}")
    state = {key.removeprefix("module."): value for key, value in content.items()}  # of data-parallel training
    state = {key: value for key, value in state.items() if not key.startswith("clip_model.")}
    if wrong := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path}: {wrong[0]} is not a tensor")
    return state


def infer_config(kind: str, state: Mapping[str, Tensor], size: Size | CrossDiTConfig, path: Path) -> Config:
    """Configuration according to the keys."""
    if isinstance(size, CrossDiTConfig):
        return replace(size, depth=depth(state, r"blocks\.(\d+)\.", path))
    if kind == "ctrgcn":
        return ctr_gcn_config(state, path)
    if kind == "ae":
        stem = state.get("encoder.joint_proj.weight")
        kit = stem is not None and stem.ndim == 3 and stem.shape[1] == 3 * len(KIT21_REFERENCE)
        return replace(size.autoencoder, parents=KIT21_REFERENCE) if kit else size.autoencoder
    if kind == "coamd":
        return replace(size.generator, depth=depth(state, r"MARTransformer\.(\d+)\.", path))
    embed = state.get("motion_encoder.joint_encoder.embed_motion.weight")
    kit = embed is not None and embed.ndim == 2 and embed.shape[1] == 3 * len(KIT21_REFERENCE)
    recognizer = replace(size.recognizer, depth=depth(state, r"textTransEncoder\.layers\.(\d+)\.", path))
    return replace(recognizer, parents=KIT21_REFERENCE) if kit else recognizer


def ctr_gcn_config(state: Mapping[str, Tensor], path: Path) -> CTRGCNConfig:
    """Configuration of a CTR-GCN from the shapes of its tensors."""

    def length(key: str, axis: int = 0) -> int:
        if key not in state or state[key].ndim <= axis:
            raise InputError(f"{path}: no {key}" if key not in state else f"{path}: {key} has too few dimensions")
        return state[key].shape[axis]

    skeletons = {len(parents): parents for parents in (NTU_PARENTS, NWUCLA_PARENTS)}
    joints, channels = length("l1.gcn1.PA", 1), length("l1.gcn1.convs.0.conv3.weight", 1)
    if joints not in skeletons:
        raise InputError(f"{path}: l1.gcn1.PA has {joints} joints, expected {' or '.join(map(str, skeletons))}")
    return CTRGCNConfig(
        classes=length("fc.weight"),
        parents=skeletons[joints],
        people=max(1, length("data_bn.weight") // max(1, joints * channels)),
        in_channels=channels,
        channels=tuple(length(f"l{k}.gcn1.bn.weight") for k in range(1, depth(state, r"l(\d+)\.", path))),
    )


def depth(state: Mapping[str, Tensor], pattern: str, path: Path) -> int:
    """Number of blocks in the keys."""
    blocks = [int(match[1]) for key in state if (match := re.match(pattern, key))]
    if not blocks:
        raise InputError(f"{path}: no key like {pattern.replace(chr(92), '').replace('(d+)', '0')}")
    return max(blocks) + 1
