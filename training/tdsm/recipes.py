"""The recipe `tdsm`: a small TDSM on the features of a frozen recognizer, for arbitrary labels.

Unlike in the paper, features are projected onto linear discriminants of their classes and scaled to the size of the
noise, and a class is described by eight sentences (its name, the motion, and parts of the body), of which random ones
are dropped in training.

Shapes: N samples, B batch, D encoder features, F discriminants, K classes, S sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...runtime.bundles.schema import SLOTS
from ...runtime.errors import InputError
from ...runtime.text_encoder import TextEncoder
from ..data.unseen_labels import BACKGROUND, sentences
from ..data.vocabulary import open_labels
from ..loop import LoopConfig
from ..models.tdsm import ZeroShot, ZeroShotConfig
from ..settings import Job, check_loop
from .calibration import init_spaces
from .encoders import encode_clips, load_encoder
from .loss import MatchingLoss, matching_loss
from .sentences import LabelSentences, class_texts, drop_sentences
from .tasks import MatchingData, MatchSample, MatchTask, load_published
from .validation import validate, write_calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class TdsmRecipe:
    """All settings of a run; stored as recipe.json in the run's folder.

    Attributes:
        encoder: see `load_encoder`; labels that it was not trained on are unseen here too.
        features: folder of published features (see `load_published`) of `dataset` and `split`, instead of `encoder`
            and `data`.
        copies: augmented copies of every clip.
        whole: probability that a class keeps all its sentences in a step; otherwise half of them are dropped.
        spread: standard deviation of the projected features; that of the noise is then 0.26.
    """

    name: str
    loop: LoopConfig
    loss: MatchingLoss = MatchingLoss()
    encoder: str = "live"
    features: str | None = None
    dataset: str = "ntu60"
    split: str = "synse-55-5"
    data: str = "../shared/data"
    copies: int = 1
    whole: float = 0.5
    spread: float = 0.25
    width: int = 128
    depth: int = 2
    heads: int = 4
    threads: int | None = None

    def check(self) -> None:
        """Reject invalid settings.

        Raises:
            InputError: names the setting.
        """
        positive = {name: getattr(self, name) for name in ("copies", "spread", "width", "depth", "heads", "threads")}
        check_loop(self.loop, **positive, others=self.loss.others)
        if not 0 <= self.whole <= 1:
            raise InputError(f"whole={self.whole}: expected a share from 0 to 1")
        if self.width % self.heads:
            raise InputError(f"width={self.width}: expected a multiple of the {self.heads} heads")

    def job(self, run: Path) -> Job:
        """The network and its training data.

        Raises:
            InputError: data is missing.
        """
        text, data = TextEncoder.load(), self.load_data(run.parent)
        if len(data.seen) < 2:
            raise InputError(f"clips of {len(data.seen)} label(s) to train on, expected at least 2")
        config = ZeroShotConfig(
            encoded=data.trained.features_ND.shape[1],
            feature=min(len(data.seen) - 1, data.trained.features_ND.shape[1]),
            text=text.width,
            pooled=len(SLOTS) * text.width,
            tokens=len(SLOTS),
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            cross=True,
        )
        model, described = ZeroShot(config), LabelSentences.encode([data.texts[name] for name in data.seen], text)
        target_N = np.array([data.seen.index(label) for label in data.trained.labels])
        init_spaces(model, data.trained.features_ND, target_N, described, self.spread)
        z_NF = model.project(torch.from_numpy(data.trained.features_ND)).numpy()
        return Job(
            model=model,
            task=MatchTask(z_NF=z_NF, target_N=target_N, seed=self.loop.seed),
            about={
                **data.about,
                "labels": [name for name in data.seen if name != BACKGROUND],
                "model": asdict(config),
                "text_sha256": text.sha256,
            },
            validate=lambda model: validate(model, data, text),
            loss=partial(training_loss, self, model, described),
            finish=lambda model: write_calibration(model, data, text, run),
        )

    def load_data(self, folder: Path) -> MatchingData:
        """Published features, or those of the encoder, which are cached in `folder`."""
        if self.features is not None:
            return load_published(Path(self.features), self.dataset, self.split)
        encoder = load_encoder(self.encoder)
        trained, held_out = encode_clips(encoder, Path(self.data), self.copies, folder)
        texts = {name: sentences(name) for name in (*open_labels(), BACKGROUND)}
        about = {"license": encoder.license, "encoder_sha256": encoder.sha256}
        return MatchingData(trained=trained, held_out=held_out, texts=texts, about=about)


def training_loss(
    recipe: TdsmRecipe,
    network: ZeroShot,
    described: LabelSentences,
    model: nn.Module,
    samples: list[MatchSample],
    device: torch.device,
) -> Tensor:
    """`matching_loss` with random sentences dropped; `model` is `network` or a wrapper for multi-process training."""
    rng = np.random.default_rng((recipe.loop.seed, samples[0].step, 1))
    present_KS = drop_sentences(described.present, rng, recipe.whole).to(device)
    classes = class_texts(*network.embed_sentences(described.features.to(device), present_KS))
    z_BF = torch.from_numpy(np.stack([sample.z for sample in samples])).to(device)
    label_B = torch.tensor([sample.target for sample in samples], device=device)
    return matching_loss(recipe.loss, classes, model, z_BF, label_B, rng)


def tdsm() -> TdsmRecipe:
    """The matcher of the bundled zero-shot recognizer."""
    return TdsmRecipe(
        name="tdsm",
        loop=LoopConfig(steps=300, batch=64, lr=1e-3, precision="no", validate_every=100, checkpoint_every=100),
        loss=MatchingLoss(others=8),
    )


RECIPES: dict[str, Callable[[], TdsmRecipe]] = {"tdsm": tdsm}
