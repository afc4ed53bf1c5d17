"""What can be trained by name: `motionrt train RECIPE [key=value ...]`.

A recipe is a function that returns a frozen `Recipe`; `key=value` replaces one of its fields or of its loop's.
"""

from __future__ import annotations

import json
import os
import types
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from safetensors.torch import save_file

from ..runtime.errors import InputError
from ..runtime.frontend import Frontend
from ..runtime.skeleton import Layout
from . import vocabulary
from .clips import SET_ASIDE, Clip, clip_sets, fingerprint, load_clips
from .evaluation import Validation
from .loop import LoopConfig, Task, fit
from .models.stream_gcn import StreamGCN, StreamGCNConfig
from .tasks import ClipTask, LiveTask
from .vocabulary import SOURCES

KINECT_LICENCE = "trained on Kinect data sets for research use (NW-UCLA, MSR-Action3D, UTKinect, Florence 3D)"
BANDAI_LICENCE = "Bandai-Namco-Research-Motiondataset (CC BY-NC 4.0)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that makes a run: data, layout, network and loop; stored as recipe.json in the run's folder."""

    name: str
    licence: str
    layout: str
    frontend: Frontend
    loop: LoopConfig
    channels: tuple[int, ...] = (64, 64, 64, 128, 128, 128)
    dropout: float = 0.3
    data: str = "../shared/data"
    leave_out: str | None = None  # live: a source whose clips are not trained on
    hold_out: int | None = None  # nwucla-stream: a training subject to validate on; None: train on all
    subset: int | None = None  # train on this many clips only
    threads: int | None = None


def live() -> Recipe:
    """The bundled recogniser: forty labels and none, pooled Kinect sets and Bandai."""
    return Recipe(
        name="live",
        licence=f"non-commercial research use: {KINECT_LICENCE} and {BANDAI_LICENCE}",
        layout="core15",
        frontend=Frontend(rate_hz=20.0),
        loop=LoopConfig(steps=1500),
    )


def nwucla_stream() -> Recipe:
    """NW-UCLA's cross-view protocol: views 1 and 2."""
    return Recipe(
        name="nwucla-stream",
        licence="research use: trained on NW-UCLA",
        layout="kinect20",
        frontend=Frontend(rate_hz=30.0),
        loop=LoopConfig(steps=1200),
    )


PRECISIONS = ("no", "bf16", "fp16")
RECIPES = {"live": live, "nwucla-stream": nwucla_stream}


def train(recipe: str, overrides: dict[str, str]) -> Path:
    """Run a recipe, or resume it; returns the run's folder (`run=` chooses it, default runs/RECIPE).

    Raises:
        InputError: no such recipe or key, a value of the wrong type, data that is missing, a run of another recipe.
    """
    if recipe not in RECIPES:
        raise InputError(f"unknown recipe {recipe!r}; there are {', '.join(RECIPES)}")
    settings = dict(overrides)
    run = Path(settings.pop("run", f"runs/{recipe}"))
    chosen = override(RECIPES[recipe](), settings)
    check(chosen)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.loop.seed)
    layout = Layout.load(chosen.layout)
    task, held_out, labels = data_of(chosen, layout)
    model = StreamGCN(
        StreamGCNConfig(
            parents=layout.parents,
            classes=len(labels),
            fps=chosen.frontend.rate_hz,
            channels=chosen.channels,
            dropout=chosen.dropout,
        )
    )
    about = {"recipe": asdict(chosen), "labels": labels, "model": asdict(model.config)}
    describe(run, json.loads(json.dumps(about)))
    if recipe == "live":
        (run / SET_ASIDE).write_text(json.dumps(set_aside(Path(chosen.data), chosen.leave_out)))
    validation = Validation(held_out, layout, chosen.frontend, labels)
    trained = fit(model, task, chosen.loop, run, validation)
    if trained is not None:
        if validation(trained):
            validation.picture(run / "confusion.png")
        save_file(trained.state_dict(), run / "model.safetensors")
    return run


def data_of(recipe: Recipe, layout: Layout) -> tuple[Task, list[Clip], tuple[str, ...]]:
    """What a recipe trains on, the clips it is validated on, and its labels."""
    data, seed = Path(recipe.data), recipe.loop.seed
    if recipe.name == "live":
        clips = load_clips(data, layout, lambda r: not vocabulary.held_out(r) and vocabulary.usable(r))
        clips = [clip for clip in clips if clip.source != recipe.leave_out][: recipe.subset]
        held_out = load_clips(data, layout, vocabulary.in_validation)
        labels = (*vocabulary.labels(), vocabulary.NONE)
        task: Task = LiveTask(clips=clips, layout=layout, frontend=recipe.frontend, labels=labels, seed=seed)
    else:
        clips = [
            replace(clip, label=clip.record["action"])
            for clip in load_clips(data, layout, lambda r: r.get("ds") == "nw-ucla" and r["view"] in (1, 2))
        ]
        held_out = [clip for clip in clips if clip.record["subject"] == recipe.hold_out]
        clips = [clip for clip in clips if clip.record["subject"] != recipe.hold_out][: recipe.subset]
        labels = tuple(sorted({clip.label for clip in clips if clip.label}))
        task = ClipTask(clips=clips, layout=layout, frontend=recipe.frontend, labels=labels, seed=seed)
    if not clips:
        raise InputError(f"{data}: no clip that recipe {recipe.name} trains on")
    if recipe.hold_out is not None and not held_out:
        raise InputError(f"hold_out={recipe.hold_out}: no training subject of that number in {data}")
    if isinstance(task, ClipTask) and recipe.loop.batch > len(clips):
        raise InputError(f"batch={recipe.loop.batch}: more than the {len(clips)} clips to train on")
    return task, [clip for clip in held_out if clip.label in labels], labels


def set_aside(data: Path, leave_out: str | None) -> list[str]:
    """Fingerprints of the labelled clips in `data` that are trained on or near to those, in no validation fold."""
    clips = [
        (vocabulary.in_validation(record), fingerprint(clip_set, i))
        for clip_set in clip_sets(data)
        for i, record in enumerate(clip_set.clips)
        if vocabulary.label(record) and vocabulary.source(record) != leave_out
    ]
    validation = {name for inside, name in clips if inside}
    return sorted({name for _, name in clips} - validation)


def describe(run: Path, about: dict[str, Any]) -> None:
    """Write run/recipe.json, or make sure that the run there is the same; one process of several writes."""
    path = run / "recipe.json"
    if path.exists():
        try:
            before = json.loads(path.read_text())
            same = essence(before) == essence(about)
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged; choose another folder with run=PATH, or delete this one") from None
        if not same:
            raise InputError(f"{run}: holds a run with other settings; choose another folder with run=PATH")
    elif int(os.environ.get("RANK", 0)) == 0:
        run.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(about, indent=1) + "\n")
        new.rename(path)


def essence(about: dict[str, Any]) -> dict[str, Any]:
    """A run's description without what may change when it is resumed."""
    recipe = {key: value for key, value in about["recipe"].items() if key not in ("threads", "data")}
    loop = {key: value for key, value in recipe["loop"].items() if not key.endswith("_every")}
    return about | {"recipe": recipe | {"loop": loop}}


def check(recipe: Recipe) -> None:
    """Refuse settings that no run can have, before anything is written.

    Raises:
        InputError: names the setting, its value and what was expected.
    """
    loop = recipe.loop
    positive = {
        "steps": loop.steps,
        "batch": loop.batch,
        "lr": loop.lr,
        "clip_norm": loop.clip_norm,
        "checkpoint_every": loop.checkpoint_every,
        "validate_every": loop.validate_every,
        "rate_hz": recipe.frontend.rate_hz,
        "max_gap_s": recipe.frontend.max_gap_s,
        "reach_m": recipe.frontend.reach_m,
        "threads": recipe.threads if recipe.threads is not None else 1,
        "subset": recipe.subset if recipe.subset is not None else 1,
        "channels": min(recipe.channels) / 4,  # one quarter a temporal branch
    }
    for key, value in positive.items():
        if not 0 < value < float("inf") or (key == "channels" and value < 1):
            raise InputError(f"{key}: expected {'numbers of at least 4' if key == 'channels' else 'a number above 0'}")
    if loop.precision not in PRECISIONS:
        raise InputError(f"precision={loop.precision}: expected {', '.join(PRECISIONS)}")
    if recipe.leave_out not in (None, *SOURCES):
        raise InputError(f"leave_out={recipe.leave_out}: expected {', '.join(SOURCES)}")


def override(recipe: Recipe, values: dict[str, str]) -> Recipe:
    """Replace fields of a recipe, its loop or its front end by `values`, converted to the fields' types."""
    parts: dict[str, Any] = {"loop": recipe.loop, "frontend": recipe.frontend, "": recipe}
    known = {field.name: part for part, config in parts.items() for field in fields(config)}
    for fixed in ("name", "loop", "frontend"):
        del known[fixed]
    changes: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for key, text in values.items():
        if key not in known:
            raise InputError(f"recipe {recipe.name} has no setting {key!r}; there are {', '.join(sorted(known))}")
        part = known[key]
        changes[part][key] = convert(key, text, get_type_hints(type(parts[part]))[key])
    return replace(
        recipe,
        loop=replace(recipe.loop, **changes["loop"]),
        frontend=replace(recipe.frontend, **changes["frontend"]),
        **changes[""],
    )


def convert(key: str, text: str, kind: Any) -> Any:
    """Text of the command line as a value of a field's type."""
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() == "none":
            return None
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    try:
        if get_origin(kind) is tuple:
            return tuple(get_args(kind)[0](part) for part in text.split(","))
        return kind(text)
    except ValueError:
        raise InputError(f"{key}={text}: expected {getattr(kind, '__name__', kind)}") from None
