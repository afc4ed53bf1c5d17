"""Training data of the matcher: features of frozen encoders with their labels, and the texts of all classes.

Shapes: N samples, D encoder features, F discriminants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...runtime.bundles.schema import SLOTS
from ...runtime.errors import InputError
from ..data.unseen_labels import BACKGROUND, class_names, splits
from .calibration import balanced_weights
from .encoders import EncodedClips

SENTENCES = "sentences.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchSample:
    """A feature [F], its class, and the training step it was drawn for."""

    z: np.ndarray
    target: int
    step: int


@dataclass(frozen=True, kw_only=True)
class MatchTask:
    """Random projected features; all classes are equally likely."""

    z_NF: np.ndarray
    target_N: np.ndarray
    seed: int

    def batch(self, step: int, size: int) -> list[MatchSample]:
        rng = np.random.default_rng((self.seed, step))
        chosen = rng.choice(len(self.z_NF), size, p=balanced_weights(self.target_N))
        return [MatchSample(z=self.z_NF[i], target=int(self.target_N[i]), step=step) for i in chosen]


@dataclass(frozen=True, kw_only=True)
class MatchingData:
    """Features of seen classes to train on, features to validate on, and the sentences of all classes by slot.

    Attributes:
        about: written to run/recipe.json.
    """

    trained: EncodedClips
    held_out: EncodedClips
    texts: Mapping[str, Mapping[str, str]]
    about: Mapping[str, str]

    @cached_property
    def seen(self) -> list[str]:
        known = set(self.trained.labels)
        return [name for name in self.texts if name in known]

    @cached_property
    def candidates(self) -> list[str]:
        """The classes to choose from in validation: the unseen ones or, if there are none, all."""
        unseen = [name for name in self.texts if name not in self.seen]
        return unseen or [name for name in self.texts if name != BACKGROUND]


def load_published(folder: Path, dataset: str, split: str) -> MatchingData:
    """Load features in the files of TDSM's code: train.npy [N, D], train_label.npy; unseen: ztest.npy, z_label.npy.

    Classes are numbered from 0. An optional `sentences.json` adds descriptions of classes: {name: {slot: text}}.

    Raises:
        InputError: no such data set or split, a missing or damaged file, or a class on the wrong side of the split.
    """
    names, sides = class_names(dataset), splits(dataset)
    if split not in sides:
        raise InputError(f"split={split}: expected one of {', '.join(sides)}")
    loaded: list[EncodedClips] = []
    for features, numbers, side in (
        ("train.npy", "train_label.npy", sides[split].seen),
        ("ztest.npy", "z_label.npy", sides[split].unseen),
    ):
        try:
            z_ND, class_N = (np.asarray(np.load(folder / name, allow_pickle=False)) for name in (features, numbers))
            z_ND = z_ND.astype(np.float32).reshape(max(1, len(z_ND)), -1)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{folder}: {features} and {numbers} cannot be read ({error})") from None
        width = loaded[0].features_ND.shape[1] if loaded else z_ND.shape[1]
        if class_N.shape != (len(z_ND),) or z_ND.shape[1] != width or not width or not np.isfinite(z_ND).all():
            shapes = f"{list(z_ND.shape)} features, {list(class_N.shape)} classes"
            raise InputError(f"{folder / features}: {shapes}; expected [N, {width or 'D'}], finite, and [N]")
        if stray := set(class_N.tolist()) - set(side):
            raise InputError(f"{folder / numbers}: has class {min(stray)}, which is not on that side of {split}")
        loaded.append(EncodedClips(features_ND=z_ND, labels=tuple(names[int(k)] for k in class_N)))
    texts = {name: {SLOTS[0]: name} for name in names}
    if (folder / SENTENCES).is_file():
        try:
            for name, by_slot in json.loads((folder / SENTENCES).read_text()).items():
                texts[name] |= {slot: str(by_slot[slot]) for slot in SLOTS[1:] if slot in by_slot}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder / SENTENCES}: expected sentences by {', '.join(SLOTS[1:])} ({error!r})"
            ) from None
    return MatchingData(trained=loaded[0], held_out=loaded[1], texts=texts, about={"license": "that of the features"})
