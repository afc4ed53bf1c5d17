"""Recipes of recognizers: `live`, and StreamGCN and CTR-GCN on NW-UCLA."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from torch import nn

from ...runtime.body.frontend import Frontend
from ...runtime.body.layout import Layout
from ...runtime.bundles.bundle import Bundle
from ...runtime.errors import InputError
from ..data import vocabulary
from ..data.augment import Augmentation, take_picture
from ..data.clips import SET_ASIDE, LabeledClip, clip_sets, fingerprint, load_clips
from ..data.open_clips import load_open_clips
from ..data.unseen_labels import splits, unseen_labels
from ..data.vocabulary import sources
from ..loop import LoopConfig, Loss, Task
from ..models.ctr_gcn import CHANNELS, CTRGCN, NWUCLA_PARENTS, CTRGCNConfig
from ..models.stream_gcn import StreamGCN, StreamGCNConfig, from_weights
from ..settings import Job, check_loop
from . import cocodiff
from .cocodiff import CoCoDiffConfig
from .ctr_gcn import LAYOUT, STREAMS, CtrGcnTask, clip_loss, clip_loss_with_helper, load_views, top1, whole_sample
from .loss import recognizer_loss
from .tasks import ClipTask, LiveTask
from .validation import Validation

LICENSE = (
    "non-commercial research use: trained on motion under CC BY-NC 4.0 and CC BY-NC-ND 4.0, and on motion for research "
    "use or without stated terms (MODEL_CARD.md lists the data sets)"
)
OPEN = "open"
PROTOCOLS: dict[str, Callable[[dict[str, Any]], bool]] = {  # the training clips of published protocols
    "nwucla-stream": lambda r: r.get("ds") == "nw-ucla" and r["view"] in (1, 2),
    "utdmhad-stream": lambda r: r.get("ds") == "utd-mhad" and r["subject"] % 2 == 1,
    "jhmdb-stream": lambda r: r.get("ds") == "jhmdb" and r["split1"] == "train",
}
BONES = (0, 0.5, 0.2, *(0.17, 0.27, 0.24) * 2, *(0.09, 0.4, 0.4) * 2)  # of core15, in its order; about 1.7 m tall


def load_teacher(path: str, labels: Sequence[str]) -> nn.Module:
    """The network of a bundle. Raises InputError unless it has these labels."""
    bundle = Bundle.load(path)
    if bundle.manifest.labels != tuple(labels):
        raise InputError(f"teachers: {path}: expected the {len(labels)} labels of the recipe")
    return from_weights(bundle.manifest.model, bundle.weights).eval().requires_grad_(False)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamGcnRecipe:
    """All settings of a run (data, layout, network and loop); stored as recipe.json in the run's folder."""

    name: str
    license: str
    layout: str
    frontend: Frontend
    loop: LoopConfig
    channels: tuple[int, ...] = (64, 64, 64, 128, 128, 128)
    dropout: float = 0.3
    body: int = 0
    body_blocks: int = 0
    data: str = "../shared/data"
    leave_out: str | None = None  # live: data sets to exclude from training, separated by commas
    augmentation: Augmentation = Augmentation()  # live
    pictures: float = 0.0  # live: share of streams of 2-D joints
    flat_model: str | None = None  # name of the model for 2-D joints that belongs beside this one
    choreography: int = 0  # live: clips of each label that are made by rule
    teachers: str | None = None  # live: bundles whose mean probabilities are learned, too, separated by commas
    teaching: float = 0.5  # share of the loss that compares with the teachers
    unseen: str | None = None  # live: a split of `unseen_labels.splits()` whose unseen labels are excluded
    hold_out: int | None = None  # nwucla-stream: a training subject to validate on; None: train on all
    subset: int | None = None  # train on this many clips only
    cocodiff: bool = False  # train with a CoCoDiff helper, which is not part of the result
    helper: CoCoDiffConfig = CoCoDiffConfig()
    threads: int | None = None

    def check(self) -> None:
        """Reject invalid settings.

        Raises:
            InputError: names the setting.
        """
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
        joints = len(Layout.load(self.layout).joints)
        if front.bones is not None and (len(front.bones) != joints or not all(0 <= one <= 10 for one in front.bones)):
            raise InputError(f"bones: expected {joints} lengths from 0 to 10 m")
        check_widths(self.channels, self.body, self.body_blocks)
        if self.choreography < 0:
            raise InputError(f"choreography={self.choreography}: expected at least 0")
        for name in left_out(self.leave_out):
            if name not in sources():
                raise InputError(f"leave_out={self.leave_out}: expected some of {', '.join(sources())}")
        if not 0 <= self.teaching <= 1:
            raise InputError(f"teaching={self.teaching}: expected a share, 0 to 1")
        if not 0 <= self.pictures <= 1:
            raise InputError(f"pictures={self.pictures}: expected a share, 0 to 1")
        if self.pictures and not front.flat:
            raise InputError(f"pictures={self.pictures}: a network for 2-D joints also needs flat=true")
        check_unseen(self.unseen)

    def job(self, run: Path) -> Job:
        """The network and its training data.

        Raises:
            InputError: data is missing.
        """
        layout = Layout.load(self.layout)
        task, held_out, labels = self.load_data(layout)
        model, loss = self.network(layout, labels)
        validation = Validation(held_out, layout, self.frontend, labels)

        def finish(model: nn.Module) -> None:
            if self.is_live:
                (run / SET_ASIDE).write_text(json.dumps(training_fingerprints(self.data, self.leave_out)))
            if validation(model):
                validation.plot(run / "confusion.png")

        about: dict[str, Any] = {"labels": labels, "model": asdict(cocodiff.without_helper(model).config)}
        if isinstance(task, LiveTask):
            clips = Counter(clip.source for clip in task.clips)
            about["sets"] = [{"clips": clips[name], "terms": vocabulary.terms(name)} for name in sorted(clips)]
        return Job(model=model, task=task, about=about, validate=validation, loss=loss, finish=finish)

    @property
    def is_live(self) -> bool:
        return self.name in ("live", "live-2d")

    def load_data(self, layout: Layout) -> tuple[Task, list[LabeledClip], tuple[str, ...]]:
        """The training task, the clips to validate on, and the labels."""
        data, seed = self.data, self.loop.seed
        is_open = self.name == OPEN
        if self.is_live or is_open:
            hidden = unseen_labels(self.unseen)
            load, names = (load_open_clips, vocabulary.open_labels()) if is_open else (load_clips, vocabulary.labels())
            clips = load(data, layout, vocabulary.is_open_trainable if is_open else vocabulary.is_trainable)
            excluded = left_out(self.leave_out)
            clips = [
                c for c in clips if c.source not in excluded and c.label not in hidden and (self.pictures or not c.flat)
            ]
            clips = clips[: self.subset]
            labels = tuple(name for name in (*names, vocabulary.NONE) if name not in hidden)
            held_out = load(data, layout, vocabulary.is_open_validation if is_open else vocabulary.is_validation)
            if self.pictures == 1:
                rng = np.random.default_rng(0)
                held_out = [c if c.flat else pictured(c, layout, rng) for c in held_out]
            held_out = [c for c in held_out if c.flat == (self.pictures == 1)]
            task: Task = LiveTask(
                clips=clips,
                layout=layout,
                frontend=self.frontend,
                labels=labels,
                seed=seed,
                augmentation=self.augmentation,
                pictures=self.pictures,
                choreography=self.choreography,
            )
        else:
            clips = [
                replace(clip, label=clip.record["label" if clip.flat else "action"])
                for clip in load_clips(data, layout, PROTOCOLS[self.name])
            ]
            held_out = [clip for clip in clips if clip.record.get("subject", 0) == self.hold_out]
            clips = [clip for clip in clips if clip.record.get("subject", 0) != self.hold_out][: self.subset]
            labels = tuple(sorted({clip.label for clip in clips if clip.label}))
            task = ClipTask(clips=clips, layout=layout, frontend=self.frontend, labels=labels, seed=seed)
        batch = self.loop.batch if isinstance(task, ClipTask) else None
        check_clips(self.name, data, clips, held_out, self.hold_out, batch)
        return task, [clip for clip in held_out if clip.label in labels], labels

    def network(self, layout: Layout, labels: Sequence[str]) -> tuple[nn.Module, Loss]:
        """The recognizer to train, with a helper if `cocodiff` is set, and its loss."""
        config = stream_gcn_config(self, layout, labels)
        if not self.cocodiff:
            teachers = [load_teacher(path, labels) for path in self.teachers.split(",")] if self.teachers else []
            return StreamGCN(config), partial(recognizer_loss, self.loop, teachers=teachers, teaching=self.teaching)
        model = cocodiff.add_helper(config, labels, self.helper, self.loop)
        return model, partial(cocodiff.recognizer_loss_with_helper, self.loop)


@dataclass(frozen=True, kw_only=True, slots=True)
class CtrGcnRecipe:
    """All settings of a run of one stream; stored as recipe.json in the run's folder."""

    name: str
    loop: LoopConfig
    license: str = "research use: trained on NW-UCLA"
    stream: str = "joint"
    channels: tuple[int, ...] = CHANNELS
    dropout: float = 0.0
    data: str = "../shared/data"
    hold_out: int | None = None  # a training subject to validate on; None: train on all
    unseen: str | None = None  # a split of `unseen_labels.splits()` whose unseen labels are excluded
    subset: int | None = None  # train on this many clips only
    cocodiff: bool = False  # train with a CoCoDiff helper, which is not part of the result
    helper: CoCoDiffConfig = CoCoDiffConfig()
    threads: int | None = None

    def check(self) -> None:
        """Reject invalid settings.

        Raises:
            InputError: names the setting.
        """
        check_loop(self.loop, threads=self.threads, subset=self.subset)
        self.helper.check()
        if self.stream not in STREAMS:
            raise InputError(f"stream={self.stream}: expected {', '.join(STREAMS)}")
        check_unseen(self.unseen)
        if min(self.channels) < 8:  # each temporal branch has a quarter, each relation an eighth
            raise InputError("channels: expected numbers of at least 8")

    def job(self, run: Path) -> Job:
        """The network and its training data.

        Raises:
            InputError: data is missing.
        """
        hidden = unseen_labels(self.unseen)
        clips = [clip for clip in load_views(self.data, 1, 2) if vocabulary.label(clip.record) not in hidden]
        labels = tuple(sorted({clip.label or "" for clip in clips}))
        held_out = [clip for clip in clips if clip.record["subject"] == self.hold_out]
        clips = [clip for clip in clips if clip.record["subject"] != self.hold_out]
        if self.subset is not None:
            clips = clips[:: max(1, len(clips) // self.subset)][: self.subset]
        check_clips(self.name, self.data, clips, held_out, self.hold_out, self.loop.batch)
        config = CTRGCNConfig(
            classes=len(labels), parents=NWUCLA_PARENTS, people=1, channels=self.channels, dropout=self.dropout
        )
        task = CtrGcnTask(
            clips=clips, labels=labels, stream=self.stream, layout=Layout.load(LAYOUT), seed=self.loop.seed
        )
        validation = [whole_sample(clip, self.stream, labels) for clip in held_out]
        model = cocodiff.add_helper(config, labels, self.helper, self.loop) if self.cocodiff else CTRGCN(config)
        return Job(
            model=model,
            task=task,
            about={"labels": labels, "model": asdict(config)},
            validate=lambda model: top1(model, validation),
            loss=partial(clip_loss_with_helper if self.cocodiff else clip_loss, self.loop.smoothing),
        )


def live() -> StreamGcnRecipe:
    """The bundled recognizer: everyday actions and `none`, trained on every data set with 3-D joints."""
    return StreamGcnRecipe(
        name="live",
        license=LICENSE,
        layout="core15",
        frontend=Frontend(rate_hz=20.0, bones=BONES),
        channels=(32,),
        body=192,
        body_blocks=4,
        dropout=0.2,
        choreography=100,
        flat_model="live-2d",
        augmentation=Augmentation(tilt=0.12, webcam=0.2, hidden_legs=0.2),
        loop=LoopConfig(steps=1500, lr=3e-3, muon_lr=0.015, weight_decay=0.015, own_labels=0.5),
    )


def live_2d() -> StreamGcnRecipe:
    """`live` for 2-D keypoints: the same motion as random cameras see it, and motion that was annotated in pictures."""
    base = live()
    return replace(base, name="live-2d", frontend=replace(base.frontend, flat=True), pictures=1.0, flat_model=None)


def open_encoder() -> StreamGcnRecipe:
    """The encoder of the bundled zero-shot recognizer: `live` with the labels of the open vocabulary."""
    base = live()
    return replace(base, name=OPEN, flat_model=None, loop=replace(base.loop, steps=700))


def nwucla_stream() -> StreamGcnRecipe:
    """StreamGCN on views 1 and 2 of NW-UCLA (cross-view protocol)."""
    return StreamGcnRecipe(
        name="nwucla-stream",
        license="research use: trained on NW-UCLA",
        layout="kinect20",
        frontend=Frontend(rate_hz=30.0),
        loop=LoopConfig(steps=1200),
    )


def utdmhad_stream() -> StreamGcnRecipe:
    """StreamGCN on UTD-MHAD's 27 actions by subjects 1, 3, 5 and 7 (cross-subject protocol)."""
    return StreamGcnRecipe(
        name="utdmhad-stream",
        license="research use: trained on UTD-MHAD",
        layout="kinect20",
        frontend=Frontend(rate_hz=30.0),
        channels=(32,),
        body=192,
        body_blocks=4,
        loop=LoopConfig(steps=800, lr=3e-3, muon_lr=0.015),
    )


def jhmdb_stream() -> StreamGcnRecipe:
    """StreamGCN on the 2-D joints of the first split of JHMDB."""
    return replace(
        utdmhad_stream(),
        name="jhmdb-stream",
        license="research use: trained on JHMDB",
        layout="core15",
        frontend=Frontend(rate_hz=30.0, flat=True),
    )


def nwucla_ctrgcn() -> CtrGcnRecipe:
    """CTR-GCN on views 1 and 2 of NW-UCLA (cross-view protocol)."""
    return CtrGcnRecipe(name="nwucla-ctrgcn", loop=LoopConfig(steps=870))


RECIPES: dict[str, Callable[[], StreamGcnRecipe | CtrGcnRecipe]] = {
    "live": live,
    "live-2d": live_2d,
    "nwucla-stream": nwucla_stream,
    "utdmhad-stream": utdmhad_stream,
    "jhmdb-stream": jhmdb_stream,
    "nwucla-ctrgcn": nwucla_ctrgcn,
    OPEN: open_encoder,
}


def stream_gcn_config(recipe: Any, layout: Layout, labels: Sequence[str]) -> StreamGCNConfig:
    """The network of a StreamGcnRecipe or an OwnRecipe."""
    settings = {name: getattr(recipe, name) for name in ("channels", "dropout", "body", "body_blocks")}
    return StreamGCNConfig(parents=layout.parents, classes=len(labels), fps=recipe.frontend.rate_hz, **settings)


def check_widths(channels: Sequence[int], body: int, body_blocks: int) -> None:
    if min(channels) < 4:  # each temporal branch has a quarter
        raise InputError("channels: expected numbers of at least 4")
    if body and body < 4 or body < 0:
        raise InputError(f"body={body}: expected 0 or at least 4")
    if body_blocks < 0 or body_blocks and not body:
        raise InputError(f"body_blocks={body_blocks}: expected at least 0, and 0 without a body")


def pictured(clip: LabeledClip, layout: Layout, rng: Generator) -> LabeledClip:
    """A clip as a random camera sees it."""
    return replace(clip, joints=take_picture(clip.joints, layout, rng), flat=True)


def check_unseen(unseen: str | None) -> None:
    if unseen not in (None, *splits()):
        raise InputError(f"unseen={unseen}: expected {', '.join(splits())}")


def check_clips(
    name: str,
    data: str,
    clips: Sequence[LabeledClip],
    held_out: Sequence[LabeledClip],
    hold_out: int | None,
    batch: int | None,
) -> None:
    """Raises InputError: no clips, no clips of the held-out subject, or fewer clips than a batch needs."""
    if not clips:
        raise InputError(f"{data}: no clip that recipe {name} trains on")
    if hold_out is not None and not held_out:
        raise InputError(f"hold_out={hold_out}: no training subject of that number in {data}")
    if batch is not None and batch > len(clips):
        raise InputError(f"batch={batch}: more than the {len(clips)} clips to train on")


def left_out(leave_out: str | None) -> tuple[str, ...]:
    """The names in `leave_out`."""
    return tuple(leave_out.split(",")) if leave_out else ()


def training_fingerprints(data: str, leave_out: str | None) -> list[str]:
    """Fingerprints of the labeled clips outside the validation folds: trained on, or too close to training clips."""
    clips = [
        (vocabulary.is_validation(record), fingerprint(clip_set, i))
        for clip_set in clip_sets(data)
        for i, record in enumerate(clip_set.clips)
        if vocabulary.label(record) and vocabulary.source(record) not in left_out(leave_out)
    ]
    validation = {name for in_fold, name in clips if in_fold}
    return sorted({name for _, name in clips} - validation)
