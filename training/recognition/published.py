"""Recipes of CTR-GCN as published, on the folders of NTU RGB+D and on NW-UCLA, and on Kinetics-Skeleton; with CoCoDiff.

`SPLIT-ctrgcn` has the released network, feeder, SGD and schedule; `SPLIT-cocodiff` the same network and feeder, and a
helper (see `cocodiff`), which is trained by AdamW in one cycle: its schedule is not published. Unlike in the released
code the rate warms up by step instead of by epoch, and the last weights are kept instead of the best on the test set.

Source: the released configurations of Chen et al., ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ..data.unseen_labels import part_sentences
from ..data.whole_clips import KINETICS, load_split
from ..loop import LoopConfig
from ..models.ctr_gcn import CHANNELS, CTRGCN, NTU_PARENTS, NWUCLA_PARENTS, OPENPOSE_PARENTS, CTRGCNConfig
from ..settings import Job, check_loop
from . import cocodiff
from .cocodiff import PARTS, CoCoDiffConfig
from .ctr_gcn import (
    LAYOUT,
    STREAMS,
    CtrGcnTask,
    PeopleTask,
    clip_loss,
    clip_loss_with_helper,
    load_views,
    top1,
    whole_sample,
)

NWUCLA = "nwucla-published"
LICENSES = {"ntu": "non-commercial research use: trained on NTU RGB+D", "nwu": "research use: trained on NW-UCLA",
            "kin": "research use: trained on Kinetics-Skeleton"}  # fmt: skip
PARENTS: dict[str, tuple[int, ...]] = {"ntu": NTU_PARENTS, "kin": OPENPOSE_PARENTS}
CLIPS = {"ntu60-xsub": 40_091, "ntu60-xview": 37_646, "ntu120-xsub": 63_026, "ntu120-xset": 54_468,
         KINETICS: 240_436, NWUCLA: 5 * 1018}  # of an epoch  # fmt: skip
SUFFIXES = ("ctrgcn", "cocodiff")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRecipe:
    """All settings of a run of one stream; stored as recipe.json in the run's folder.

    Attributes:
        data: folder of the data set.
        hold_out: a training subject to validate on; None: train on all; NW-UCLA's validation is then its test view.
        subset: train on this many clips only.
        sentences: file of texts for CoCoDiff, see `read_sentences`; None: our own where there are some, otherwise the
            label's name with that of the part.
    """

    name: str
    loop: LoopConfig
    license: str
    stream: str = "joint"
    channels: tuple[int, ...] = CHANNELS
    dropout: float = 0.0
    data: str | None = None
    hold_out: int | None = None
    subset: int | None = None
    cocodiff: bool = False
    sentences: str | None = None
    helper: CoCoDiffConfig = CoCoDiffConfig()
    threads: int | None = None

    @property
    def split(self) -> str:
        return self.name.rsplit("-", 1)[0]

    def check(self) -> None:
        """Reject invalid settings. Raises InputError."""
        check_loop(self.loop, threads=self.threads, subset=self.subset)
        self.helper.check()
        if self.stream not in STREAMS:
            raise InputError(f"stream={self.stream}: expected {', '.join(STREAMS)}")
        if min(self.channels) < 8:  # each temporal branch has a quarter, each relation an eighth
            raise InputError("channels: expected numbers of at least 8")
        if self.data is None:
            raise InputError(f"recipe {self.name} needs data=FOLDER, the folder of the data set")

    def job(self, run: Path) -> Job:
        """The network and its training data. Raises InputError: data is missing."""
        folder, seed = Path(self.data or ""), self.loop.seed
        task: Any
        whole: Any
        parents: tuple[int, ...]
        if self.split == NWUCLA:
            clips: Sequence[Any] = load_views(folder, 1, 2)
            labels, subjects = tuple(sorted({clip.label or "" for clip in clips})), [c.record["subject"] for c in clips]
            parents, people = NWUCLA_PARENTS, 1
        else:
            clips, labels = load_split(folder, self.split, tested=False)
            subjects, parents, people = [clip.subject for clip in clips], PARENTS[self.split[:3]], 2
        held_out = [clip for clip, subject in zip(clips, subjects, strict=True) if subject == self.hold_out]
        clips = [clip for clip, subject in zip(clips, subjects, strict=True) if subject != self.hold_out]
        clips = clips[:: max(1, len(clips) // (self.subset or len(clips) or 1))][: self.subset]
        if self.hold_out is not None and not held_out:
            raise InputError(f"hold_out={self.hold_out}: no training subject of that number in {self.data}")
        if self.loop.batch > len(clips):
            raise InputError(f"batch={self.loop.batch}: more than the {len(clips)} clips to train on")
        if self.split == NWUCLA:
            held_out, layout = held_out or load_views(folder, 3), Layout.load(LAYOUT)
            task = CtrGcnTask(clips=clips, labels=labels, stream=self.stream, layout=layout, seed=seed, published=True)
            whole = partial(whole_sample, stream=self.stream, labels=labels, published=True)
        else:
            task = PeopleTask(clips=clips, labels=labels, stream=self.stream, parents=parents, seed=seed)
            whole = task.whole_sample
        config = CTRGCNConfig(
            classes=len(labels), parents=parents, people=people, channels=self.channels, dropout=self.dropout
        )
        if self.cocodiff:
            sentences = read_sentences(self.sentences, labels)
            model: Any = cocodiff.add_helper(config, labels, self.helper, self.loop, sentences)
        else:
            model = CTRGCN(config)
        return Job(
            model=model,
            task=task,
            about={"labels": labels, "model": asdict(config)},
            validate=lambda model: top1(model, [whole(clip) for clip in held_out]),
            loss=partial(clip_loss_with_helper if self.cocodiff else clip_loss, self.loop.smoothing),
        )


def read_sentences(file: str | None, labels: Sequence[str]) -> dict[str, list[str]]:
    """Sentences on the parts of the body by label.

    Args:
        file: one line a label, in their order: "name; head; hands; arms; hips; legs; feet", as in GAP's texts (Xiang et
            al., ICCV 2023); further lines are ignored.
    Raises:
        InputError: too few lines, or another number of fields.
    """
    found: dict[str, list[str]] = {}
    if file is None:
        for label in labels:
            try:
                found[label] = list(part_sentences(label).values())
            except InputError:
                found[label] = [f"{label}: {part}" for part in PARTS]
        return found
    try:
        lines = [line for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None
    if len(lines) < len(labels):
        raise InputError(f"{file}: {len(lines)} lines, expected one for each of {len(labels)} labels")
    for number, (label, line) in enumerate(zip(labels, lines, strict=False), 1):
        _, *found[label] = (field.strip() for field in line.split(";"))
        if len(found[label]) != len(PARTS) or not all(found[label]):
            raise InputError(f"{file}: line {number}: expected a name and sentences on {', '.join(PARTS)}, split by ;")
    return found


def published_loop(split: str) -> LoopConfig:
    """65 epochs of SGD at a rate of 0.1, a tenth of it at the milestones."""
    batch, decay, epochs = (16, 1e-4, (50,)) if split == NWUCLA else (64, 4e-4, (35, 55))
    steps = CLIPS[split] // batch  # of an epoch
    return LoopConfig(
        steps=65 * steps,
        batch=batch,
        lr=0.1,
        momentum=0.9,
        weight_decay=decay,
        warmup=5 / 65,
        gamma=0.1,
        milestones=tuple(steps * epoch for epoch in epochs),
        clip_norm=1e9,
        smoothing=0.0,
        ema=0.0,
        precision="no",
        checkpoint_every=steps,
        validate_every=steps,
        seed=1,
    )


def clip_recipe(name: str) -> ClipRecipe:
    """The recipe of a name `SPLIT-ctrgcn` or `SPLIT-cocodiff`."""
    split, kind = name.rsplit("-", 1)
    loop = published_loop(split)
    if kind == "cocodiff":
        loop = LoopConfig(steps=loop.steps // 2, batch=loop.batch, checkpoint_every=loop.checkpoint_every,
                          validate_every=loop.validate_every)  # fmt: skip
    return ClipRecipe(name=name, loop=loop, license=LICENSES[split[:3]], cocodiff=kind == "cocodiff")


RECIPES: dict[str, Callable[[], ClipRecipe]] = {
    f"{split}-{kind}": partial(clip_recipe, f"{split}-{kind}") for split in CLIPS for kind in SUFFIXES
}
