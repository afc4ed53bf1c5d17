"""Small runs of every recipe, by one process or, as a program that torchrun starts, by several: FOLDER RUNS."""

import sys
import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, PartialState
from torch import nn

from motionrt.runtime.errors import InputError
from motionrt.training import loop
from motionrt.training.coamd import recipes as coamd_recipes
from motionrt.training.coamd import tasks as coamd
from motionrt.training.coamd.evaluator import EvaluatorConfig
from motionrt.training.models.coamd import SIZES, AutoEncoderConfig, GeneratorConfig, MotionRecognizerConfig, Size
from motionrt.training.recipes import train

SHORT = {"steps": "4", "batch": "4", "precision": "no", "checkpoint_every": "2", "validate_every": "2", "threads": "1"}
CHANNELS = {"channels": "8,8"}
HELPED = {**CHANNELS, "cocodiff": "true", "width": "16", "depth": "1"}
RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "live": ("live", {**CHANNELS, "body": "12", "choreography": "1"}),
    "stream": ("nwucla-stream", CHANNELS),
    "ctrgcn": ("nwucla-ctrgcn", CHANNELS),
    "tdsm": ("tdsm", {"width": "8", "depth": "1", "heads": "2", "copies": "1"}),
    "coamd-ae": ("coamd-ae", {}),
    "coamd-mar": ("coamd-mar", {}),
    "coamd-mar-released": ("coamd-mar", {"loss": "released"}),
    "coamd-generator": ("coamd-generator", {}),
    "coamd-evaluator": ("coamd-evaluator", {}),
    "stream-helped": ("nwucla-stream", HELPED),
    "ctrgcn-helped": ("nwucla-ctrgcn", {**HELPED, "real": "0", "coarse": "0"}),
}
RESUMED = ("ctrgcn", "coamd-generator")  # interrupted in the last step


def train_all(folder: Path, runs: Path, resumed: Collection[str] = ()) -> None:
    """Every run, in the order of `RUNS`, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        without_chance(patch)
        for name, (recipe, more) in RUNS.items():
            data = folder / ("motions" if recipe.startswith("coamd") else "clips")
            settings = {**SHORT, **more, "data": str(data), "run": str(runs / name)}
            if recipe == "coamd-generator":
                settings["autoencoder"] = str(runs / "coamd-ae")
            if name in resumed:
                with patch.context() as cut, pytest.raises(KeyboardInterrupt):
                    cut.setattr(loop, "batches", partial(three, loop.batches))
                    train(recipe, settings)
            train(recipe, settings)


def without_chance(patch: pytest.MonkeyPatch) -> None:
    """Tiny networks that depend on the samples alone: nothing is dropped, batch-norm keeps its first statistics, no
    noise has the deviation of a batch, and what has no gradient but rounding errors stays as it is."""
    patch.setattr(nn.Dropout, "forward", lambda self, x: x)
    patch.setattr(nn.modules.batchnorm._BatchNorm, "train", lambda self, mode=True: nn.Module.train(self, False))
    patch.setattr(coamd, "MAX_TOKEN_NOISE", 0.0)
    patch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-4))
    text: dict[str, Any] = {"text": 384, "heads": 2, "width": 16}
    tiny = Size(
        autoencoder=AutoEncoderConfig(width=16, latent=8, dilations=(3,)),
        generator=GeneratorConfig(latent=8, depth=1, head_width=24, head_depth=1, qualities=2, dropout=0.0, **text),
        recognizer=MotionRecognizerConfig(
            patch=4, depth=1, hidden=16, feature=384, words="features", timestep=False, dropout=0.0, **text
        ),
    )
    patch.setitem(SIZES, "small", tiny)
    evaluator = EvaluatorConfig(text_width=384, channels=8, motion_hidden=8, text_hidden=8, width=8)
    patch.setattr(coamd_recipes, "small_config", lambda width: evaluator)


def three(batches: Any, *settings: Any) -> Iterator[list[Any]]:
    for step, samples in enumerate(batches(*settings)):
        if step == 3:
            raise KeyboardInterrupt
        yield samples


def late(save: Any, accelerator: Accelerator, folder: str) -> Any:
    """The second process is late with its part of a checkpoint."""
    time.sleep(0.3 * accelerator.process_index)
    return save(accelerator, folder)


if __name__ == "__main__":
    folder, runs = map(Path, sys.argv[1:])
    with pytest.MonkeyPatch.context() as patch:
        whole = Accelerator.save_state
        patch.setattr(Accelerator, "save_state", lambda self, folder: late(whole, self, folder))
        patch.setattr(PartialState, "destroy_process_group", lambda self, group=None: None)  # the next run has it too
        with pytest.raises(InputError, match="batch=3: expected a multiple of the 2 processes"):
            train("live", {"batch": "3", "run": str(runs / "odd")})
        train_all(folder, runs, RESUMED)
