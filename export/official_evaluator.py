"""The evaluators of the literature from their official checkpoint and vocabulary."""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from ..runtime.bundles.bundle import file_sha256
from ..runtime.errors import InputError
from ..training.coamd.published_evaluator import (
    TAGS,
    EvaluatorNetworks,
    PublishedEvaluatorConfig,
    record_of,
    write_record,
)
from .official import ImportOptions, load_checkpoint
from .official_coamd import read_normalization

NETWORKS = ("movement_encoder", "text_encoder", "motion_encoder")
SKELETONS = (66, 63)  # numbers a frame: absolute joints of HumanML3D and of KIT-ML


def import_evaluator(checkpoint: Path, out: Path, options: ImportOptions) -> None:
    """Write the folder `out` from `finest.tar`, the normalization of its motion, and the folder of GloVe's vocabulary.

    Raises:
        InputError: an option is missing, a file is damaged, or a key is missing, unknown or of another shape.
    """
    for name in ("mean", "std", "text"):
        if getattr(options, name) is None:
            raise InputError(f"an evaluator needs --{name}: --mean MEAN.npy --std STD.npy --text glove:FOLDER")
    assert options.mean is not None and options.std is not None and options.text is not None
    content = load_checkpoint(checkpoint)
    if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in NETWORKS):
        raise InputError(f"{checkpoint}: expected an evaluator's checkpoint with {', '.join(NETWORKS)}")
    state = {f"{name}.{key}": value for name in NETWORKS for key, value in content[name].items()}
    config = infer_config(state, checkpoint)
    networks = EvaluatorNetworks(config)
    wanted = networks.state_dict()
    for key, tensor in wanted.items():
        if key not in state:
            raise InputError(f"{checkpoint}: no {key}")
        if state[key].shape != tensor.shape:
            raise InputError(f"{checkpoint}: {key} has shape {list(state[key].shape)}, expected {list(tensor.shape)}")
    if unknown := [key for key in state if key not in wanted]:
        raise InputError(f"{checkpoint}: {unknown[0]} is not a key of this network")
    words, vectors = read_glove(options.text)
    if vectors.shape[1] != config.words:
        raise InputError(f"{options.text}: vectors of {vectors.shape[1]} numbers, the network takes {config.words}")
    normalization = read_normalization(options.mean, options.std, config.coordinates)
    out.mkdir(parents=True, exist_ok=True)
    save_file({key: state[key].float().contiguous() for key in wanted}, out / "model.safetensors")
    np.savez(out / "glove.npz", words=np.array(words), vectors=vectors)
    source = {"kind": "evaluator", "checkpoint": checkpoint.name, "sha256": file_sha256(checkpoint)}
    write_record(out, record_of(config, normalization.mean, normalization.std) | {"official": source})


def infer_config(state: dict[str, Tensor], path: Path) -> PublishedEvaluatorConfig:
    """Sizes from the shapes of the tensors."""

    def size(key: str, axis: int) -> int:
        if key not in state or state[key].ndim <= axis:
            raise InputError(f"{path}: no {key}")
        return state[key].shape[axis]

    coordinates = size("movement_encoder.main.0.weight", 1)
    if coordinates not in SKELETONS:
        raise InputError(f"{path}: an evaluator of {coordinates} numbers a frame, expected 66 or 63, those of absolute "
                         "joints; features of HumanML3D are not supported")  # fmt: skip
    if (tags := size("text_encoder.pos_emb.weight", 1)) != len(TAGS):
        raise InputError(f"{path}: {tags} parts of speech, expected {len(TAGS)}")
    return PublishedEvaluatorConfig(
        coordinates=coordinates,
        channels=size("movement_encoder.main.0.weight", 0),
        motion_hidden=size("motion_encoder.input_emb.weight", 0),
        text_hidden=size("text_encoder.input_emb.weight", 0),
        width=size("motion_encoder.output_net.3.weight", 0),
        words=size("text_encoder.input_emb.weight", 1),
    )


def read_glove(text: str) -> tuple[list[str], np.ndarray]:
    """Words and vectors of the folder `glove:FOLDER` with our_vab_words.pkl, our_vab_idx.pkl and our_vab_data.npy.

    The pickles, a list of words and an object of their rows, are read as text and numbers; no code in them runs.

    Raises:
        InputError: another option, or a file is missing or damaged.
    """
    kind, _, name = text.partition(":")
    if kind != "glove" or not name:
        raise InputError(f"--text {text}: expected glove:FOLDER, with our_vab_words.pkl, _idx.pkl and _data.npy")
    folder = Path(name)
    try:
        vectors = np.asarray(np.load(folder / "our_vab_data.npy", allow_pickle=False), np.float32)
        words = [value for value in plain_values(folder / "our_vab_words.pkl") if isinstance(value, str)]
        pairs = plain_values(folder / "our_vab_idx.pkl")
        rows = {word: row for word, row in zip(pairs[::2], pairs[1::2], strict=True) if isinstance(row, int)}
        found = vectors[[rows[word] for word in words]]
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError) as error:
        raise InputError(f"{folder}: not the vocabulary of GloVe ({type(error).__name__}: {error})") from None
    if found.ndim != 2 or "unk" not in rows or not {"unk", "sos", "eos"} <= set(words):
        raise InputError(f"{folder}: expected vectors of words, among them unk, sos and eos")
    return words, found


def plain_values(path: Path) -> list[str | int]:
    """The texts and numbers in a pickle, in order, without running it."""
    values: list[str | int] = []
    for operation, argument, _ in pickletools.genops(path.read_bytes()):
        if "UNICODE" in operation.name or operation.name in ("BININT", "BININT1", "BININT2", "INT"):
            assert isinstance(argument, str | int)
            values.append(argument)
    return values
