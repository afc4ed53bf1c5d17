"""Reading finished runs."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..runtime.errors import InputError

Network = TypeVar("Network", bound=nn.Module)


def read_network(run: Path, kind: type[Network], configuration: type) -> tuple[Network, dict[str, Any]]:
    """The frozen network of a finished run, and the contents of its recipe.json.

    Raises:
        InputError: not a run of such a network, unfinished, or damaged.
    """
    about = read_record(run)
    try:
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in about["model"].items()}
        network = kind(configuration(**settings))
        network.load_state_dict(read_weights(run, "model.safetensors"))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{run}: not the run of a {kind.__name__}, or damaged: {reason}") from None
    return network.eval().requires_grad_(False), about


def read_record(run: Path) -> dict[str, Any]:
    """Contents of a run's recipe.json. Raises InputError: it is missing or damaged."""
    try:
        record: dict[str, Any] = json.loads((run / "recipe.json").read_text())
    except FileNotFoundError:
        raise InputError(f"{run}: no recipe.json, expected the folder of a finished run") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{run / 'recipe.json'}: damaged ({error})") from None
    return record


def weights_sha256(run: Path) -> str:
    """SHA-256 of a finished run's weights."""
    return sha256((run / "model.safetensors").read_bytes()).hexdigest()


def read_weights(run: Path, name: str) -> dict[str, Tensor]:
    """Tensors of one of a finished run's files.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return load_file(run / name)
    except FileNotFoundError:
        raise InputError(f"{run}: no {name}, expected the folder of a finished run") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{run / name}: damaged ({error})") from None
