"""Common parts of all recipes: the job of a run, settings from the command line, and the run's description."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import nn

from ..runtime.body.frontend import Frontend
from ..runtime.errors import InputError
from ..runtime.extras import require
from .loop import LoopConfig, Loss, Task

FREE = ("workers", "log_with")  # settings of the loop that may change when a run is resumed
PRECISIONS = ("no", "bf16", "fp16")
TRACKERS = {"tensorboard": "train", "wandb": "wandb"}  # package -> extra


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A network to train, with its data and loss.

    Attributes:
        about: written to run/recipe.json next to the recipe, e.g. the model's configuration.
        validate: metrics of the averaged model.
        finish: called with the trained model before it is saved.
    """

    model: nn.Module
    task: Task
    about: Mapping[str, Any]
    validate: Callable[[nn.Module], dict[str, float]]
    loss: Loss
    finish: Callable[[nn.Module], None] = lambda model: None


def write_description(run: Path, about: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Write run/recipe.json or, if it exists, check that it describes the same run.

    Args:
        defaults: of the recipe, for settings that an older run does not have.
    """
    path = run / "recipe.json"
    if path.exists():
        try:
            existing = json.loads(path.read_text())
            same = resumable_settings(existing, defaults) == resumable_settings(about, defaults)
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged; choose another folder with run=PATH, or delete this one") from None
        if not same:
            raise InputError(f"{run}: holds a run with other settings; choose another folder with run=PATH")
    else:
        run.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(about, indent=1) + "\n")
        new.rename(path)


def resumable_settings(about: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A run's description without the settings that may change when it is resumed."""
    recipe = {key: value for key, value in (defaults | about["recipe"]).items() if key not in ("threads", "data")}
    loop = defaults["loop"] | recipe["loop"]
    loop = {key: value for key, value in loop.items() if key not in FREE and not key.endswith("_every")}
    if "frontend" in recipe:
        recipe["frontend"] = Frontend(**recipe["frontend"])  # an older run has fewer settings
    return about | {"recipe": recipe | {"loop": loop}}


def check_loop(loop: LoopConfig, **positive: float | None) -> None:
    """Reject invalid settings before anything is written.

    Args:
        positive: settings of the recipe that must be above 0 unless they are None.
    Raises:
        InputError: names the setting and what was expected.
    """
    names = ("steps", "batch", "lr", "muon_lr", "clip_norm", "checkpoint_every", "validate_every")
    for key, value in {**{name: getattr(loop, name) for name in names}, **positive}.items():
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{key}: expected a number above 0")
    if loop.workers < 0:
        raise InputError(f"workers={loop.workers}: expected a number of 0 or more")
    if loop.log_with not in TRACKERS:
        raise InputError(f"log_with={loop.log_with}: expected {' or '.join(TRACKERS)}")
    require(loop.log_with, TRACKERS[loop.log_with], f"log_with={loop.log_with}")
    if loop.precision not in PRECISIONS:
        raise InputError(f"precision={loop.precision}: expected {', '.join(PRECISIONS)}")


def override(recipe: Any, values: Mapping[str, str]) -> Any:
    """Copy of a recipe with fields of it or of its parts replaced; values are converted to the fields' types."""
    current = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    parts: dict[str, Any] = {name: part for name, part in current.items() if is_dataclass(part)} | {"": recipe}
    known = {field.name: part for part, config in parts.items() for field in fields(config)}
    for fixed in ("name", *parts):
        known.pop(fixed, None)
    changes: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for key, text in values.items():
        if key not in known:
            raise InputError(f"recipe {recipe.name} has no setting {key!r}; there are {', '.join(sorted(known))}")
        part = known[key]
        changes[part][key] = parse_value(key, text, get_type_hints(type(parts[part]))[key])
    changed = {part: replace(parts[part], **changes[part]) for part in parts if part}
    return replace(recipe, **changed, **changes[""])


def parse_value(key: str, text: str, kind: Any) -> Any:
    """Convert text from the command line to a field's type."""
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() == "none":
            return None
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if get_origin(kind) is tuple:
            return tuple(get_args(kind)[0](part) for part in text.split(","))
        return kind(text)
    except (ValueError, KeyError):
        expected = "true or false" if kind is bool else getattr(kind, "__name__", kind)
        raise InputError(f"{key}={text}: expected {expected}") from None
