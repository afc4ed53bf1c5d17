"""Recipe `recognizer`: labels of one's own from labeled recordings, by default on top of the bundled `live`."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

from torch import nn

from ...runtime.body.frontend import Frontend
from ...runtime.body.layout import Layout
from ...runtime.bundles.bundle import Bundle
from ...runtime.errors import InputError
from ..data import vocabulary
from ..data.augment import Augmentation
from ..data.clips import SET_ASIDE, LabeledClip
from ..data.recordings import load_recordings, to_clip
from ..loop import LoopConfig, process_state
from ..models.stream_gcn import StreamGCN, from_weights, unfold
from ..settings import Job, check_loop
from .loss import recognizer_loss
from .recipes import check_widths, live, stream_gcn_config
from .tasks import LiveTask
from .validation import Validation

MIN_CLIPS = 4  # of a label
MIN_TRAINED = 2  # of a label
HELD_OUT = 5  # one of so many clips, of each label or by subject
MAX_PROBLEMS = 10  # lines about recordings that cannot be used


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnRecipe:
    """All settings of a run; stored as recipe.json in the run's folder."""

    name: str
    license: str
    layout: str
    frontend: Frontend
    loop: LoopConfig
    channels: tuple[int, ...]
    body: int
    body_blocks: int
    dropout: float
    augmentation: Augmentation
    data: str = "recordings"
    init: str | None = "live"  # bundle to start from; None: random weights
    labels: tuple[str, ...] | None = None  # the others train `none`; None: all
    hold_out: tuple[str, ...] | None = None  # subjects to validate on; None: chosen
    threads: int | None = None

    def with_init(self, init: str | None) -> OwnRecipe:
        """The recipe with the front end, layout and network of a bundle; None or "none": with its own.

        Raises:
            InputError: no such bundle, or of another network.
        """
        if init is None or init.lower() == vocabulary.NONE:
            return replace(self, init=None)
        manifest = Bundle.load(init).manifest
        if "channels" not in manifest.model:
            raise InputError(f"init={init}: expected the bundle of a StreamGCN, such as live")
        return replace(
            self,
            init=init,
            license=f"{manifest.license}; fine-tuned on recordings of the user",
            layout=manifest.layout,
            frontend=replace(manifest.frontend, flat=False),  # recordings are in 3-D
            channels=tuple(manifest.model["channels"]),
            body=manifest.model.get("body", 0),
            body_blocks=manifest.model.get("body_blocks", 0),
            dropout=manifest.model["dropout"],
        )

    def check(self) -> None:
        """Reject invalid settings.

        Raises:
            InputError: names the setting.
        """
        check_loop(self.loop, rate_hz=self.frontend.rate_hz, threads=self.threads)
        check_widths(self.channels, self.body, self.body_blocks)
        if self.init is not None:
            fixed = self.with_init(self.init)
            for name in ("layout", "frontend", "channels", "body", "body_blocks"):
                if getattr(fixed, name) != getattr(self, name):
                    raise InputError(f"{name}: that of {self.init} cannot be changed; init=none trains without it")

    def job(self, run: Path) -> Job:
        """The network and the recordings.

        Raises:
            InputError: recordings are missing, or too few.
        """
        layout = Layout.load(self.layout)
        clips, labels = load_labeled(self.data, layout, self.labels)
        trained, held_out, who = split_clips(clips, self.hold_out)
        for label in labels[:-1]:
            if sum(clip.label == label for clip in trained) < MIN_TRAINED:
                raise InputError(f"label {label!r}: expected at least {MIN_TRAINED} clips that are not held out")
        mirrored, one_sided = mirrored_labels(labels)
        task = LiveTask(
            clips=trained,
            layout=layout,
            frontend=self.frontend,
            labels=labels,
            seed=self.loop.seed,
            augmentation=self.augmentation,
            mirrored=mirrored,
            one_sided=one_sided,
            turns=frozenset(),
        )
        say(f"{len(labels) - 1} labels, {len(trained)} clips to train on; {len(held_out)} to validate on, {who}")
        if not any(clip.label is None for clip in trained):
            source = "only people who stand still between actions" if task.rests else "nothing: nobody stands still"
            say(f"no clip has no label or the label none, so none is trained with {source}")
        model, about, aside = self.network(layout, labels)
        about["sets"] = [{"terms": "recordings of the user", "clips": len(trained)}]
        aside = sorted({*aside, *(clip.record["fingerprint"] for clip in trained)})
        known = [clip for clip in held_out if clip.label]
        validation = Validation(known, layout, self.frontend, labels)

        def finish(model: nn.Module) -> None:
            (run / SET_ASIDE).write_text(json.dumps(aside))
            if scores := validation(model):
                validation.plot(run / "confusion.png")
                say(f"score: {scores['top1']:.1f} % of {len(known)} clips right, {who}")
                say(f"       {scores['macro_top1']:.1f} % as the mean over labels")
                say(f"mistakes: {run / 'confusion.png'}")
            say(f"next: motionrt export {run} -o mine, then motionrt recognize --model mine SOURCE")

        return Job(
            model=model,
            task=task,
            about={**about, "labels": labels, "model": asdict(model.config)},
            validate=validation,
            loss=partial(recognizer_loss, self.loop),
            finish=finish,
        )

    def network(self, layout: Layout, labels: Sequence[str]) -> tuple[StreamGCN, dict[str, Any], list[str]]:
        """The network to train, facts about its origin, and fingerprints of clips that it has been trained on."""
        if self.init is None:
            return StreamGCN(stream_gcn_config(self, layout, labels)), {}, []
        bundle = Bundle.load(self.init)
        known, path = bundle.manifest.labels, bundle.path / SET_ASIDE
        model = unfold(from_weights(bundle.manifest.model, bundle.weights), known, labels)
        aside = json.loads(path.read_text()) if SET_ASIDE in bundle.manifest.files else []
        return model, {"init_sha256": bundle.sha256}, aside


def recognizer() -> OwnRecipe:
    """Labels of one's own, in minutes: `live` fine-tuned on a folder of recordings."""
    base = live()
    return OwnRecipe(
        name="recognizer",
        license="that of the recordings: trained on recordings of the user",
        layout=base.layout,
        frontend=replace(base.frontend, flat=False),  # recordings are in 3-D
        channels=base.channels,
        body=base.body,
        body_blocks=base.body_blocks,
        dropout=base.dropout,
        augmentation=Augmentation(tilt=0.12),
        loop=LoopConfig(steps=200, batch=16, lr=1e-3, checkpoint_every=50, validate_every=50),
    )


def load_labeled(data: str, layout: Layout, chosen: Sequence[str] | None) -> tuple[list[LabeledClip], tuple[str, ...]]:
    """The recordings in `layout`, and their labels with `none` last.

    Args:
        chosen: labels to train; None: those of the folder's train.json, or all.
    Raises:
        InputError: no usable recording, or too few labels or clips of one.
    """
    folder = load_recordings(data)
    clips, problems = [], folder.problems
    for recording in folder.recordings:
        try:
            clips.append(to_clip(recording, layout))
        except InputError as error:
            problems.append(str(error))
    for line in problems[:MAX_PROBLEMS]:
        say(f"left out: {line}")
    if len(problems) > MAX_PROBLEMS:
        say(f"left out: {len(problems) - MAX_PROBLEMS} more")
    if not clips:
        raise InputError(f"{data}: no recording can be used; the first: {problems[0]}")
    counts = Counter(clip.label for clip in clips if clip.label and clip.record["split"] != "test")
    chosen = chosen or folder.labels
    labels = tuple(sorted(counts) if chosen is None else dict.fromkeys(chosen))
    if not counts:
        raise InputError(
            f"{data}: none of the {len(clips)} clips has a label; expected `label` in the record or file of each "
            "(`motionrt record --label`), or in train.json (docs/howto.md, Train your own actions)"
        )
    if unknown := [label for label in labels if label not in counts]:
        raise InputError(f"no clip has the label {unknown[0]!r}; there are {', '.join(sorted(counts))}")
    if len(labels) < 2:
        raise InputError(f"{data}: the only label is {labels[0]!r}, expected at least two")
    if few := [f"{label} ({counts[label]})" for label in labels if counts[label] < MIN_CLIPS]:
        raise InputError(
            f"{data}: too few clips of {', '.join(few)}; expected at least {MIN_CLIPS} of each label: record more, or "
            "choose other labels with labels=A,B,…"
        )
    clips = [clip if clip.label in labels else replace(clip, label=None) for clip in clips]
    return clips, (*labels, vocabulary.NONE)


def split_clips(
    clips: Sequence[LabeledClip], subjects: Sequence[str] | None
) -> tuple[list[LabeledClip], list[LabeledClip], str]:
    """Clips to train on and clips to validate on, and a phrase about the latter; neither has those of split `test`.

    Validated are the clips of `subjects`; else those of split `validation`; else those of some subjects, so that every
    label remains; else a share of each label.

    Raises:
        InputError: there is no such subject.
    """
    clips = [clip for clip in clips if clip.record["split"] != "test"]
    by_subject: dict[str, list[LabeledClip]] = defaultdict(list)
    for clip in clips:
        if clip.record["subject"] is not None:
            by_subject[clip.record["subject"]].append(clip)
    if subjects is not None:
        for name in subjects:
            if name not in by_subject:
                raise InputError(f"hold_out: no subject {name!r}; there are {', '.join(by_subject) or 'none'}")
    elif any(clip.record["split"] == "validation" for clip in clips):
        held_out = [clip for clip in clips if clip.record["split"] == "validation"]
        return [clip for clip in clips if clip.record["split"] != "validation"], held_out, "of the split validation"
    else:
        subjects = choose_subjects(clips, by_subject)
    if subjects:
        held_out = [clip for clip in clips if clip.record["subject"] in subjects]
        trained = [clip for clip in clips if clip.record["subject"] not in subjects]
        return trained, held_out, f"of people not trained on ({', '.join(subjects)})"
    by_label: dict[str | None, list[LabeledClip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.record["fingerprint"]):
        by_label[clip.label].append(clip)
    held_out = [clip for group in by_label.values() for clip in group[: max(1, len(group) // HELD_OUT)]]
    names = {clip.record["fingerprint"] for clip in held_out}
    trained = [clip for clip in clips if clip.record["fingerprint"] not in names]
    return trained, held_out, "of the people trained on: expect less of strangers"


def choose_subjects(clips: Sequence[LabeledClip], by_subject: Mapping[str, Sequence[LabeledClip]]) -> list[str]:
    """About a fifth of the subjects, by clips, without whom every label still has enough."""
    left, wanted, chosen = Counter(clip.label for clip in clips), len(clips) / HELD_OUT, []
    for name in sorted(by_subject, key=lambda name: crc32(name.encode())):
        theirs = Counter(clip.label for clip in by_subject[name])
        if wanted > 0 and all(left[label] - n >= MIN_TRAINED for label, n in theirs.items() if label):
            chosen.append(name)
            left -= theirs
            wanted -= len(by_subject[name])
    return chosen


def mirrored_labels(labels: Sequence[str]) -> tuple[dict[str, str], frozenset[str]]:
    """Labels that swap when a clip is mirrored, and labels of one side whose other side is not a label."""
    other = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    swapped = {
        label: re.sub(r"(?<![A-Za-z])(left|right|Left|Right)(?![a-z])", lambda match: other[match[0]], label)
        for label in labels
    }
    mirrored = {label: name for label, name in swapped.items() if name != label and name in labels}
    return mirrored, frozenset(label for label in labels if swapped[label] not in labels)


def say(line: str) -> None:
    """Print a line, once for all processes."""
    if process_state().is_main_process:
        print(line, flush=True)
