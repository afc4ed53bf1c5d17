"""Training by name: `motionrt train RECIPE [key=value ...]`.

A recipe is a function that returns a frozen dataclass of settings; `key=value` overrides one of them or one of the
loop's. Each system defines its recipes in its own package.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..runtime.errors import InputError
from .coamd import recipes as coamd
from .coamd.recipes import CoamdRecipe
from .loop import fit, process_state
from .recognition import published as clips
from .recognition import recipes as recognition
from .recognition.cocodiff import without_helper
from .recognition.own import OwnRecipe, recognizer
from .recognition.published import ClipRecipe
from .recognition.recipes import CtrGcnRecipe, StreamGcnRecipe
from .settings import override, write_description
from .tdsm import published
from .tdsm import recipes as tdsm
from .tdsm.published import PublishedTdsmRecipe
from .tdsm.recipes import TdsmRecipe

Recipe = StreamGcnRecipe | CtrGcnRecipe | ClipRecipe | OwnRecipe | TdsmRecipe | PublishedTdsmRecipe | CoamdRecipe
RECIPES: dict[str, Callable[[], Recipe]] = {
    **recognition.RECIPES,
    **clips.RECIPES,
    "recognizer": recognizer,
    **tdsm.RECIPES,
    **published.RECIPES,
    **coamd.RECIPES,
}


def train(recipe: str, overrides: dict[str, str]) -> Path:
    """Run or resume a recipe and return the run's folder (`run=PATH`, by default runs/RECIPE).

    Raises:
        InputError: unknown recipe or key, a value of the wrong type, missing data, or a run with other settings.
    """
    if recipe not in RECIPES:
        raise InputError(f"unknown recipe {recipe!r}; there are {', '.join(RECIPES)}")
    settings = dict(overrides)
    run = Path(settings.pop("run", f"runs/{recipe}"))
    chosen = RECIPES[recipe]()
    if isinstance(chosen, CoamdRecipe) and "size" in settings:
        chosen = chosen.with_size(settings.pop("size"))
    if isinstance(chosen, OwnRecipe):
        chosen = chosen.with_init(settings.pop("init", chosen.init))
    chosen = override(chosen, settings)
    chosen.check()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.loop.seed)
    processes = process_state()
    if chosen.loop.batch % processes.num_processes:
        raise InputError(f"batch={chosen.loop.batch}: expected a multiple of the {processes.num_processes} processes")
    defaults = json.loads(json.dumps(asdict(RECIPES[recipe]())))
    with processes.main_process_first():  # the others read what it has encoded and written
        job = chosen.job(run)
        write_description(run, json.loads(json.dumps({"recipe": asdict(chosen), **job.about})), defaults)
    trained = fit(job.model, job.task, chosen.loop, run, job.validate, job.loss)
    if trained is not None:
        trained = without_helper(trained)
        job.finish(trained)
        save_file(trained.state_dict(), run / "model.safetensors")
    return run
