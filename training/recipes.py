"""What can be trained by name: `motionrt train RECIPE [key=value ...]`.

A recipe is a function that returns a frozen `Recipe`; `key=value` replaces one of its fields or of its loop's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ..runtime.body.frontend import Frontend
from ..runtime.body.layout import Layout
from ..runtime.errors import InputError
from .coamd import recipes as coamd_recipes
from .coamd.recipes import CoamdRecipe
from .data import vocabulary
from .data.clips import SET_ASIDE, LabeledClip, clip_sets, fingerprint, load_clips
from .data.unseen_labels import splits, unseen_labels
from .data.vocabulary import SOURCES
from .loop import LoopConfig, Loss, Task, fit, process_state
from .models.stream_gcn import StreamGCN, StreamGCNConfig
from .recognition import cocodiff
from .recognition.cocodiff import CoCoDiffConfig
from .recognition.ctr_gcn import CtrGcnRecipe, nwucla_ctrgcn
from .recognition.tasks import ClipTask, LiveTask
from .recognition.validation import Validation
from .settings import Job, check_loop, override, write_description
from .tdsm.recipe import TdsmRecipe, tdsm

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
    unseen: str | None = None  # live: a split of `zero_shot.splits()` whose unseen labels are not trained on
    hold_out: int | None = None  # nwucla-stream: a training subject to validate on; None: train on all
    subset: int | None = None  # train on this many clips only
    cocodiff: bool = False  # train with a helper, of which nothing remains
    helper: CoCoDiffConfig = CoCoDiffConfig()
    threads: int | None = None

    def check(self) -> None:
        """Refuse settings that no run can have. Raises InputError."""
        front = self.frontend
        check_loop(
            self.loop,
            rate_hz=front.rate_hz,
            max_gap_s=front.max_gap_s,
            reach_m=front.reach_m,
            threads=self.threads,
            subset=self.subset,
        )
        self.helper.check()
        if min(self.channels) < 4:  # one quarter a temporal branch
            raise InputError("channels: expected numbers of at least 4")
        if self.leave_out not in (None, *SOURCES):
            raise InputError(f"leave_out={self.leave_out}: expected {', '.join(SOURCES)}")
        if self.unseen not in (None, *splits()):
            raise InputError(f"unseen={self.unseen}: expected {', '.join(splits())}")

    def job(self, run: Path) -> Job:
        """The network and what it is shown. Raises InputError where data is missing."""
        layout = Layout.load(self.layout)
        task, held_out, labels = load_data(self, layout)
        model, loss = self.network(layout, labels)
        validation = Validation(held_out, layout, self.frontend, labels)

        def finish(model: nn.Module) -> None:
            if self.name == "live":
                (run / SET_ASIDE).write_text(json.dumps(training_fingerprints(Path(self.data), self.leave_out)))
            if validation(model):
                validation.picture(run / "confusion.png")

        about = {"labels": labels, "model": asdict(cocodiff.without_helper(model).config)}
        return Job(model=model, task=task, about=about, validate=validation, loss=loss, finish=finish)

    def network(self, layout: Layout, labels: Sequence[str]) -> tuple[nn.Module, Loss | None]:
        """The recogniser to be trained, with its helper if it gets one, and the loss that this needs."""
        config = StreamGCNConfig(
            parents=layout.parents,
            classes=len(labels),
            fps=self.frontend.rate_hz,
            channels=self.channels,
            dropout=self.dropout,
        )
        if not self.cocodiff:
            return StreamGCN(config), None
        return cocodiff.add_helper(config, labels, self.helper, self.loop), partial(
            cocodiff.recognizer_loss_with_helper, self.loop
        )


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


RECIPES: dict[str, Callable[[], Recipe | CoamdRecipe | CtrGcnRecipe | TdsmRecipe]] = {
    "live": live,
    "nwucla-stream": nwucla_stream,
    "nwucla-ctrgcn": nwucla_ctrgcn,
    "tdsm": tdsm,
    **coamd_recipes.RECIPES,
}


def train(recipe: str, overrides: dict[str, str]) -> Path:
    """Run a recipe, or resume it; returns the run's folder (`run=` chooses it, default runs/RECIPE).

    Raises:
        InputError: no such recipe or key, a value of the wrong type, data that is missing, a run of another recipe.
    """
    if recipe not in RECIPES:
        raise InputError(f"unknown recipe {recipe!r}; there are {', '.join(RECIPES)}")
    settings = dict(overrides)
    run = Path(settings.pop("run", f"runs/{recipe}"))
    chosen = RECIPES[recipe]()
    if isinstance(chosen, CoamdRecipe) and "size" in settings:
        chosen = chosen.with_size(settings.pop("size"))
    chosen = override(chosen, settings)
    chosen.check()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.loop.seed)
    every = process_state()
    if chosen.loop.batch % every.num_processes:
        raise InputError(f"batch={chosen.loop.batch}: expected a multiple of the {every.num_processes} processes")
    defaults = json.loads(json.dumps(asdict(RECIPES[recipe]())))
    with every.main_process_first():  # what it encodes and writes, the others read
        job = chosen.job(run)
        write_description(run, json.loads(json.dumps({"recipe": asdict(chosen), **job.about})), defaults)
    trained = fit(job.model, job.task, chosen.loop, run, job.validate, job.loss)
    if trained is not None:
        trained = cocodiff.without_helper(trained)
        job.finish(trained)
        save_file(trained.state_dict(), run / "model.safetensors")
    return run


def load_data(recipe: Recipe, layout: Layout) -> tuple[Task, list[LabeledClip], tuple[str, ...]]:
    """What a recipe trains on, the clips it is validated on, and its labels."""
    data, seed = Path(recipe.data), recipe.loop.seed
    if recipe.name == "live":
        hidden = unseen_labels(recipe.unseen)
        clips = load_clips(data, layout, vocabulary.is_trainable)
        clips = [clip for clip in clips if clip.source != recipe.leave_out and clip.label not in hidden]
        clips = clips[: recipe.subset]
        held_out = load_clips(data, layout, vocabulary.is_validation)
        labels = tuple(name for name in (*vocabulary.labels(), vocabulary.NONE) if name not in hidden)
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


def training_fingerprints(data: Path, leave_out: str | None) -> list[str]:
    """Fingerprints of the labelled clips in `data` that are trained on or near to those, in no validation fold."""
    clips = [
        (vocabulary.is_validation(record), fingerprint(clip_set, i))
        for clip_set in clip_sets(data)
        for i, record in enumerate(clip_set.clips)
        if vocabulary.label(record) and vocabulary.source(record) != leave_out
    ]
    validation = {name for inside, name in clips if inside}
    return sorted({name for _, name in clips} - validation)
