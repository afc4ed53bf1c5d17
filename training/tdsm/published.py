"""TDSM as published: raw features of a frozen encoder, token features of two prompts a class, the official network.

The folder of `tasks.load_published` also holds `texts.npz` with the features of every class of the data set: `words`
[K, L, W] and `pooled` [K, P], of the Stable Diffusion 2.1 or CLIP text encoder; the features of a second prompt, in
`texts2.npz`, are put next to them.

Shapes: N samples, F features, K classes, L tokens, W width of their features, P of the pooled ones, J noises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...runtime.errors import InputError
from ...runtime.recognition.features import FeatureMatcher
from ..data.unseen_labels import splits
from ..loop import LoopConfig
from ..models.tdsm import CrossDiT, CrossDiTConfig
from ..runs import read_network
from ..settings import Job, check_loop
from .loss import MatchingLoss, accuracy, matching_loss
from .matching import PREDICTIONS, PUBLISHED_NOISES, ClassTexts, Matcher, fixed_noises
from .tasks import MatchingData, MatchSample, load_published

TEXTS, SECOND = "texts.npz", "texts2.npz"
DATASETS = {60: "ntu60", 120: "ntu120", 51: "pku-mmd"}  # classes -> data set
DRAWS = 10  # of noises, over which accuracies are averaged


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTdsmRecipe:
    """Settings of a training run as published; stored as recipe.json in the run's folder.

    Attributes:
        features: folder of features and texts. dataset, split: of the classes.
        prediction: of the network: "epsilon", the noise; "sample", the feature; or "v_prediction".
    """

    name: str
    loop: LoopConfig
    loss: MatchingLoss = MatchingLoss()
    features: str | None = None
    dataset: str = "ntu60"
    split: str = "synse-55-5"
    prediction: str = PREDICTIONS[0]
    width: int = 768
    depth: int = 12
    heads: int = 12
    threads: int | None = None

    def check(self) -> None:
        """Reject invalid settings. Raises InputError."""
        sizes = {name: getattr(self, name) for name in ("width", "depth", "heads", "threads")}
        check_loop(self.loop, **sizes, others=self.loss.others)
        if self.width % self.heads:
            raise InputError(f"width={self.width}: expected a multiple of the {self.heads} heads")
        if self.prediction not in PREDICTIONS:
            raise InputError(f"prediction={self.prediction}: expected {', '.join(PREDICTIONS)}")
        if self.features is None:
            raise InputError(f"recipe {self.name} needs features=FOLDER, with train.npy, ztest.npy and {TEXTS}")

    def job(self, run: Path) -> Job:
        """The network and its training data. Raises InputError: data is missing."""
        folder = Path(self.features or "")
        data = load_published(folder, self.dataset, self.split)
        classes = load_texts(folder, len(data.texts))
        config = CrossDiTConfig(
            feature=data.trained.features_ND.shape[1],
            text=classes.words_KLW.shape[2],
            pooled=classes.pooled_KW.shape[1],
            tokens=classes.words_KLW.shape[1],
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            compat="reference",
        )
        unseen = splits(self.dataset)[self.split].unseen
        seen = [list(data.texts).index(name) for name in data.seen]
        target_N = np.array([data.seen.index(label) for label in data.trained.labels])
        return Job(
            model=CrossDiT(config),
            task=EpochTask(z_NF=data.trained.features_ND, target_N=target_N, seed=self.loop.seed),
            about={**data.about, "model": asdict(config)},
            validate=lambda model: {"top1": unseen_accuracy(model, data, classes, unseen, self.prediction, 1)["top1"]},
            loss=partial(training_loss, self, classes[torch.tensor(seen)]),
        )


@dataclass(frozen=True, kw_only=True)
class EpochTask:
    """Every feature once an epoch, in random order, except those that do not fill a batch."""

    z_NF: np.ndarray
    target_N: np.ndarray
    seed: int

    def batch(self, step: int, size: int) -> list[MatchSample]:
        batches = max(1, len(self.z_NF) // size)
        order = np.random.default_rng((self.seed, step // batches)).permutation(len(self.z_NF))
        chosen = order[size * (step % batches) :][:size]
        return [MatchSample(z=self.z_NF[i], target=int(self.target_N[i]), step=step) for i in chosen]


def training_loss(
    recipe: PublishedTdsmRecipe, classes: ClassTexts, model: nn.Module, samples: list[MatchSample], device: torch.device
) -> Tensor:
    z_BF = torch.from_numpy(np.stack([sample.z for sample in samples])).to(device)
    label_B = torch.tensor([sample.target for sample in samples], device=device)
    rng = np.random.default_rng((recipe.loop.seed, samples[0].step, 1))
    return matching_loss(recipe.loss, to_device(classes, device), model, z_BF, label_B, rng, recipe.prediction)


def load_texts(folder: Path, count: int | None = None) -> ClassTexts:
    """Texts of all classes, in order. Raises InputError: a file is missing or damaged, or has not `count` of them."""
    parts = []
    for path in (folder / TEXTS, *([folder / SECOND] if (folder / SECOND).is_file() else [])):
        try:
            with np.load(path, allow_pickle=False) as file:
                words_KLW, pooled_KP = (np.asarray(file[key], np.float32) for key in ("words", "pooled"))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"{path}: expected an .npz file with words and pooled ({error})") from None
        count = len(words_KLW) if count is None and words_KLW.ndim else count
        if words_KLW.ndim != 3 or pooled_KP.ndim != 2 or not 0 < len(words_KLW) == len(pooled_KP) == count:
            shapes = f"words {list(words_KLW.shape)}, pooled {list(pooled_KP.shape)}"
            raise InputError(f"{path}: {shapes}; expected [{count or 'K'}, L, W] and [{count or 'K'}, P]")
        parts.append((words_KLW, pooled_KP))
    if len({words_KLW.shape[1] for words_KLW, _ in parts}) > 1:
        raise InputError(f"{folder / SECOND}: another number of tokens than in {TEXTS}")
    words, pooled = (torch.from_numpy(np.concatenate(part, -1)) for part in zip(*parts, strict=True))
    return ClassTexts(words_KLW=words, valid_KL=torch.ones(words.shape[:2], dtype=torch.bool), pooled_KW=pooled)


def to_device(classes: ClassTexts, device: torch.device) -> ClassTexts:
    return ClassTexts(
        words_KLW=classes.words_KLW.to(device),
        valid_KL=classes.valid_KL.to(device),
        pooled_KW=classes.pooled_KW.to(device),
    )


def unseen_accuracy(
    model: nn.Module,
    data: MatchingData,
    classes: ClassTexts,
    unseen: Sequence[int],
    prediction: str = PREDICTIONS[0],
    draws: int = DRAWS,
    noises: int = PUBLISHED_NOISES,
) -> dict[str, Any]:
    """Top-1 in percent of features of unseen classes among these, as the mean over draws of the noises, and each."""
    assert isinstance(model, CrossDiT)
    model.eval()
    device = model.fl_pos_embed.device
    names = list(data.texts)
    candidates = to_device(classes[torch.tensor(list(unseen))], device)
    label_N = torch.tensor([list(unseen).index(names.index(label)) for label in data.held_out.labels], device=device)
    z_NF = torch.from_numpy(data.held_out.features_ND).to(device)
    every_JF = fixed_noises(draws * noises, model.config.feature).to(device)
    matcher = partial(Matcher, model, candidates, prediction=prediction)
    found = [accuracy(matcher(noises_JF), z_NF, label_N)["top1"] for noises_JF in every_JF.split(noises)]
    return {"top1": float(np.mean(found)), "top1_by_draw": found, "n": len(z_NF), "classes": len(unseen)}


def zero_shot_test(run: Path, features: Path) -> dict[str, Any]:
    """Run the published test on a run's network, trained here or imported.

    Raises:
        InputError: not the run of such a network, or features or texts that do not fit it.
    """
    model, about = read_network(run, CrossDiT, CrossDiTConfig)
    prediction = about["recipe"].get("prediction", PREDICTIONS[0])
    classes = load_texts(features)
    dataset, split = find_split(features, len(classes.pooled_KW))
    data = load_published(features, dataset, split)
    check_texts(model.config, classes, features, run)
    check_width(data, model.config.feature, features, run)
    unseen = splits(dataset)[split].unseen
    return {"dataset": dataset, "split": split, **unseen_accuracy(model, data, classes, unseen, prediction)}


def exported_test(bundle: str, features: Path) -> dict[str, Any]:
    """Run the published test on a bundle, with its texts and noises, in ONNX Runtime.

    Raises:
        InputError: features that do not fit it, or its labels are those of no data set.
    """
    matcher = FeatureMatcher.load(bundle)
    labels = matcher.manifest.labels
    dataset, split = find_split(features, len(labels))
    data = load_published(features, dataset, split)
    check_width(data, matcher.manifest.feature, features, bundle)
    names, unseen = list(data.texts), splits(dataset)[split].unseen
    errors_NK = matcher.errors(data.held_out.features_ND, [labels[k] for k in unseen])
    label_N = np.array([unseen.index(names.index(label)) for label in data.held_out.labels])
    top1 = 100 * float((errors_NK.argmin(1) == label_N).mean())
    return {"dataset": dataset, "split": split, "top1": top1, "n": len(label_N), "classes": len(unseen)}


def check_texts(config: CrossDiTConfig, classes: ClassTexts, folder: Path, network: Path) -> None:
    """Raises InputError unless a network takes texts of these sizes."""
    found = (*classes.words_KLW.shape[1:], classes.pooled_KW.shape[1])
    expected = (config.tokens, config.text, config.pooled or config.text)
    if found != expected:
        sizes = [f"{tokens} tokens of {text} and {pooled} pooled" for tokens, text, pooled in (found, expected)]
        raise InputError(f"{folder}: texts of {sizes[0]}, {network} takes {sizes[1]}")


def check_width(data: MatchingData, width: int, features: Path, model: Path | str) -> None:
    """Raises InputError unless features have this width."""
    if (found := data.held_out.features_ND.shape[1]) != width:
        raise InputError(f"{features}: features of {found} numbers, {model} takes {width}")


def tested_classes(folder: Path, count: int) -> list[int]:
    """The classes in a folder's test set, or all without one. Raises InputError: a damaged file, or another class."""
    file = folder / "z_label.npy"
    if not file.is_file():
        return list(range(count))
    try:
        tested = sorted({int(k) for k in np.load(file, allow_pickle=False)})
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None
    if not tested or not 0 <= tested[0] <= tested[-1] < count:
        raise InputError(f"{file}: classes {tested[:1] + tested[-1:]}, expected 0 to {count - 1}")
    return tested


def find_split(features: Path, count: int) -> tuple[str, str]:
    """The data set with as many classes, and its split whose unseen classes are tested.

    Raises:
        InputError: there is none, or a file is missing or damaged.
    """
    if count not in DATASETS:
        known = ", ".join(f"{n} of {name}" for n, name in DATASETS.items())
        raise InputError(f"{features}: for texts of {count} classes, expected {known}")
    tested = set(tested_classes(features, count))
    for name, sides in splits(DATASETS[count]).items():
        if tested == set(sides.unseen):
            return DATASETS[count], name
    found = ", ".join(map(str, sorted(tested)))
    raise InputError(f"{features / 'z_label.npy'}: {found} are the unseen classes of no split of {DATASETS[count]}")


def tdsm_published() -> PublishedTdsmRecipe:
    """The network, loss and schedule of the paper."""
    loop = LoopConfig(steps=50_000, batch=256, lr=1e-4, weight_decay=0.01, warmup=0.002, clip_norm=1e9, ema=0.0,
                      precision="no", validate_every=1000, checkpoint_every=1000, seed=2025)  # fmt: skip
    return PublishedTdsmRecipe(name="tdsm-published", loop=loop)


RECIPES: dict[str, Callable[[], PublishedTdsmRecipe]] = {"tdsm-published": tdsm_published}
