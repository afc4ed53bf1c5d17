"""CoAMD's recipes: autoencoder, recognizer, generator, and the evaluator that scores them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...runtime.errors import InputError
from ...runtime.generation.schedule import PADDINGS
from ...runtime.text_encoder import TextEncoder
from ..data.caption_features import CaptionEncoder, CaptionFeatures
from ..data.captions import mirror_text
from ..data.humanml import PublishedSampler, is_humanml, is_kit, load_humanml, load_labels
from ..data.motions import MAX_FRAMES, BalancedSampler, MotionClip, cut, load_motions, windows
from ..data.sequences import compose
from ..loop import LoopConfig
from ..models.clip_text import ClipText
from ..models.coamd import SIZES, AutoEncoder, AutoEncoderConfig, MotionGenerator, MotionRecognizer
from ..models.coamd.views import KIT21, SMPL22
from ..runs import read_network, read_record, weights_sha256
from ..settings import Job, check_loop
from . import tasks as coamd
from .evaluator import Evaluator, full_config, small_config
from .pipeline import CoamdPipeline
from .tasks import GuidedTeacher, MotionTask, Normalization, TrainingSample, ViewScales

LICENSE = (
    "non-commercial research use: trained on Bandai-Namco-Research-Motiondataset (CC BY-NC 4.0), LAFAN1 (CC BY-NC-ND "
    "4.0), HDM05 (CC BY-SA 3.0), ASE (NVIDIA's license, non-commercial), motion capture of mocap.cs.cmu.edu and "
    "others, and Kinect data sets for research use"
)
LENGTH_STEPS = 1000
SEQUENCE_CLIPS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class CoamdRecipe:
    """Settings of a training run of one of CoAMD's networks; stored as recipe.json in the run's folder."""

    name: str
    loop: LoopConfig
    license: str = LICENSE
    size: str = "small"
    data: str = "../shared/data"
    init: str | None = None  # bundle, or folder of finished runs, to start from; None: random weights
    autoencoder: str = "runs/coamd-ae"  # generator: run of the autoencoder whose tokens it generates; else that of init
    keep: float = 0.0  # generator: share of the weights of `init` in the result, see `average_weights`
    guided: float = 0.0  # generator: cfg of `teacher` that it learns to make in one evaluation; 0: learn from motion
    teacher: str | None = None  # generator: bundle; None: `init`
    spans: float = 0.0  # generator: share of samples whose masked tokens are neighbors, as those of an edit
    repeats: int = 4  # generator: times and noises per token
    objective: str = "flow"  # generator: or "ddpm"
    clip: str | None = None  # xl: folder of CLIP ViT-B/32
    same_caption: float = 1.0  # recognizer, evaluator: above this cosine captions are not negatives; published: 0.8
    loss: str = "full"  # recognizer: or "released", which trains on labels only, or "descriptions"
    recons_loss: str = "l1_smooth"  # autoencoder: or "l1" or "l2"
    padding: str = "motion"  # generator: or "batch": motions are padded to 196 frames before they are encoded
    subset: int | None = None  # train on this many clips only
    sequences: float = 0.0  # share of samples that are joined from several clips, "walks, then bows", "waves twice"
    threads: int | None = None

    def with_size(self, size: str) -> CoamdRecipe:
        """The same recipe at another size. Raises InputError: unknown size."""
        if size not in SIZES:
            raise InputError(f"size={size}: expected {' or '.join(SIZES)}")
        return replace(self, size=size, loop=(LOOPS if size == "small" else PUBLISHED)[self.name])

    def check(self) -> None:
        """Validate the settings. Raises InputError."""
        check_loop(self.loop, repeats=self.repeats, threads=self.threads, subset=self.subset)
        for key, allowed in (
            ("objective", ("flow", "ddpm")),
            ("loss", ("full", "released", "descriptions")),
            ("recons_loss", tuple(coamd.DISTANCES)),
            ("padding", PADDINGS),
        ):
            if getattr(self, key) not in allowed:
                raise InputError(f"{key}={getattr(self, key)}: expected {' or '.join(allowed)}")
        if not 0 <= self.keep < 1 or (self.keep and self.init is None):
            raise InputError(f"keep={self.keep:g}: expected a share of at least 0 and below 1, and init=")
        if not 0 <= self.guided <= 100 or (self.guided and self.init is None):
            raise InputError(f"guided={self.guided:g}: expected a cfg of 0 to 100, and init=")
        if self.teacher and not self.guided:
            raise InputError(f"teacher={self.teacher}: expected guided=, the cfg to learn from it")
        for key in ("sequences", "spans"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(f"{key}={getattr(self, key):g}: expected a share of at least 0 and below 1")

    def job(self, run: Path) -> Job:
        """Build the network and its data. Raises InputError: data or the autoencoder's run is missing."""
        folder = Path(self.data)
        clips = load_published(folder) if is_humanml(folder) else load_motions(folder)
        train = [clip for clip in clips if clip.split == "train"]
        if self.subset is not None:
            train = train[:: max(1, len(train) // self.subset)][: self.subset]
        if not train:
            raise InputError(f"{self.data}: no clip that recipe {self.name} trains on")
        held_out = [clip for clip in clips if clip.split == "validation"]
        if not held_out:
            raise InputError(f"{self.data}: no clip to validate recipe {self.name} with")
        data = CoamdData.split(train, held_out, folder if is_humanml(folder) else None)
        if self.sequences:
            if is_humanml(folder):
                raise InputError(f"sequences={self.sequences:g}: {self.data} has sequences of its own")
            data = replace(data, train=[*train, *compose(train, SEQUENCE_CLIPS, seed=0)], sequences=self.sequences)
        if self.init is not None:
            if self.name == "coamd-evaluator":
                raise InputError(f"init={self.init}: a bundle has no evaluator")
            start = CoamdPipeline.load(self.init)
            if start.guided and not self.teacher and self.name == "coamd-generator":
                raise InputError(f"init={self.init}: its generator includes guidance, expected its teacher")
            data = replace(data, normalization=start.normalization, start=start)
        return JOBS[self.name](self, run, data)


@dataclass(frozen=True, kw_only=True, slots=True)
class CoamdData:
    """Clips for training and validation.

    Attributes:
        published: folder of HumanML3D or KIT-ML, whose clips are sampled as in the released code; None: ours.
        labels: names of the actions of every motion by ID, of HumanML3D-400.
        sequences: share of samples that are joined from several clips.
        start: networks to start from; None: random weights.
    """

    train: Sequence[MotionClip]
    held_out: Sequence[MotionClip]
    normalization: Normalization
    published: Path | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sequences: float = 0.0
    start: CoamdPipeline | None = None

    @classmethod
    def split(
        cls, train: Sequence[MotionClip], held_out: Sequence[MotionClip], published: Path | None = None
    ) -> CoamdData:
        if published is None:
            clips = [cut(clip, window) for clip in train for window in windows(clip)]
            return cls(train=train, held_out=held_out, normalization=Normalization.fit(clips))
        return cls(train=train, held_out=held_out, normalization=Normalization.fit(train), published=published)

    def with_labels(self) -> CoamdData:
        """The same with the labels of HumanML3D-400. Raises InputError: the folder lacks them."""
        if self.published is None:
            return self
        names, by_motion = load_labels(self.published)
        return replace(self, labels={name: [names[i] for i in sorted(ids)] for name, ids in by_motion.items()})

    @property
    def parents(self) -> tuple[int, ...]:
        """Skeleton of the clips, as the networks see it."""
        return SMPL22 if self.train[0].joints.shape[1] == len(SMPL22) else KIT21

    def motions(self, seed: int, frames: int | None = None) -> MotionTask:
        sampler: Any = BalancedSampler(clips=self.train, seed=seed, sequences=self.sequences)
        if self.published is not None:
            sampler = PublishedSampler(clips=self.train, seed=seed, window=frames, labels=self.labels)
        return MotionTask(clips=sampler, normalization=self.normalization, frames=frames)

    def statistics_samples(self) -> list[np.ndarray]:
        """Motions [T, C] to compute statistics of."""
        return [sample.x for sample in self.motions(1).batch(0, 512)]

    def validation_samples(self, count: int) -> list[TrainingSample]:
        """About `count` evenly spaced samples of the held-out clips."""
        clips = self.held_out[:: max(1, len(self.held_out) // count)]
        sample = self.motions(0).sample
        if self.published is None:
            clips = [cut(clip, slice(0, MAX_FRAMES)) for clip in clips]
        else:
            names = {clip.action: self.labels.get(clip.action, (clip.action,)) for clip in clips}
            clips = [replace(clip, joints=clip.joints[:MAX_FRAMES], action=names[clip.action][0]) for clip in clips]
        return [sample(clip, np.random.default_rng(i)) for i, clip in enumerate(clips)]

    def texts(self, folder: Path, encoder: CaptionEncoder) -> CaptionFeatures:
        """Features of all captions and action names, and of their left-right mirrored forms."""
        clips = (*self.train, *self.held_out)
        if self.published is not None:
            labels = {name for names in self.labels.values() for name in names}
            return CaptionFeatures(sorted({text for clip in clips for text in clip.captions} | labels), encoder, folder)
        captions = {text for clip in clips for text in (*clip.captions, clip.action)}
        return CaptionFeatures(sorted(captions | {mirror_text(text) for text in captions}), encoder, folder)

    def about(self, config: Any, **others: Any) -> dict[str, Any]:
        """Description of a run for its recipe.json."""
        mean, std = self.normalization.mean.tolist(), self.normalization.std.tolist()
        return {"model": asdict(config), "mean": mean, "std": std, "clips": len(self.train), **others}


def load_published(folder: Path) -> list[MotionClip]:
    """Clips for training and validation of HumanML3D or KIT-ML. Raises InputError: a file is missing or damaged."""
    kit = is_kit(folder)
    return [clip for split in ("train", "validation") for clip in load_humanml(folder, split, kit)]


def autoencoder_job(recipe: CoamdRecipe, run: Path, data: CoamdData) -> Job:
    config = replace(SIZES[recipe.size].autoencoder, parents=data.parents)
    validation, model = data.validation_samples(64), AutoEncoder(config)
    views, noise = ViewScales.unit(config.parents), 0.0
    if recipe.size == "small":
        if not initialize(model, "autoencoder", recipe, data.start):
            coamd.fit_view_scales(model, data.statistics_samples())
        views, noise = ViewScales.fitted(model), coamd.MAX_TOKEN_NOISE

    def finish(model: nn.Module) -> None:
        assert isinstance(model, AutoEncoder)
        if recipe.size == "small":  # published tokens are not scaled
            coamd.fit_token_scale(model, data.statistics_samples())

    return Job(
        model=model,
        task=data.motions(recipe.loop.seed, coamd.WINDOW),
        about=data.about(config),
        validate=lambda model: {"mpjpe_mm": coamd.reconstruction_mm(model, validation, data.normalization)},
        loss=partial(coamd.reconstruction_loss, views, noise, recipe.recons_loss),
        finish=finish,
    )


def recognizer_job(recipe: CoamdRecipe, run: Path, data: CoamdData) -> Job:
    data, encoder = data.with_labels(), text_encoder(recipe)
    config = replace(SIZES[recipe.size].recognizer, parents=data.parents)
    texts, validation = data.texts(run.parent, encoder), data.validation_samples(320)
    model = MotionRecognizer(config)
    if not initialize(model, "recognizer", recipe, data.start) and recipe.size == "small":
        coamd.fit_view_scales(model, data.statistics_samples())
    if isinstance(encoder, ClipText):  # the text tower uses CLIP's embeddings, frozen
        model.text.tokens.weight.data.copy_(encoder.token_embeddings)
        model.text.places.data.copy_(encoder.position_embeddings)
    if recipe.loss == "released":
        model.text.requires_grad_(False)  # gets no gradient
    return Job(
        model=model,
        task=data.motions(recipe.loop.seed),
        about=data.about(config, text_sha256=encoder.sha256),
        validate=lambda model: coamd.retrieval_accuracy(model, texts, validation),
        loss=partial(coamd.recognizer_loss, texts, recipe.loss, recipe.same_caption),
    )


def generator_job(recipe: CoamdRecipe, run: Path, data: CoamdData) -> Job:
    config, encoder = replace(SIZES[recipe.size].generator, objective=recipe.objective), text_encoder(recipe)
    run_of_tokens, sha256 = Path(recipe.autoencoder), None
    if data.start is not None and not run_of_tokens.is_dir():
        autoencoder = data.start.autoencoder
    else:
        data = replace(data, normalization=imported_normalization(run_of_tokens) or data.normalization)
        autoencoder, sha256 = load_autoencoder(run_of_tokens, data.normalization)
    texts, validation = data.texts(run.parent, encoder), data.validation_samples(128)
    tokens = coamd.TokenCache(autoencoder, padding=recipe.padding)
    teacher = None
    if recipe.guided:
        assert data.start is not None
        start = CoamdPipeline.load(recipe.teacher) if recipe.teacher else data.start
        config, teacher = replace(config, dropout=0.0), GuidedTeacher(start.generator, recipe.guided)
    loss = partial(coamd.flow_loss, tokens, texts, recipe.repeats, teacher=teacher, spans=recipe.spans)

    @torch.no_grad()
    def validate(model: nn.Module) -> dict[str, float]:
        return {"validation_loss": float(loss(model.eval(), validation, next(model.parameters()).device))}

    model = MotionGenerator(config)
    if config.latent != autoencoder.config.latent:
        channels = f"tokens of {autoencoder.config.latent} channels"
        raise InputError(f"{recipe.autoencoder}: {channels}, expected {config.latent} for size {recipe.size}")
    if not initialize(model, "generator", recipe, data.start) and recipe.size == "small":
        pooled = texts.pooled([caption for clip in data.train for caption in clip.captions])
        model.text_mean.copy_(torch.from_numpy(pooled.mean(0)))
        model.text_std.copy_(torch.from_numpy(pooled.std(0) + 1e-4))
    before = deepcopy(model.state_dict()) if recipe.keep else {}

    def finish(model: nn.Module) -> None:
        assert isinstance(model, MotionGenerator)
        if recipe.keep:
            average_weights(model, before, recipe.keep)
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": recipe.loop.steps, "keep": recipe.keep} | validate(model)) + "\n")
        steps = min(recipe.loop.steps, LENGTH_STEPS)
        estimator = coamd.train_length_estimator(model, texts, data.motions(recipe.loop.seed), steps)
        save_file(estimator.state_dict(), run / "length.safetensors")

    return Job(
        model=model,
        task=data.motions(recipe.loop.seed),
        about=data.about(config, text_sha256=encoder.sha256, autoencoder_sha256=sha256),
        validate=validate,
        loss=loss,
        finish=finish,
    )


def evaluator_job(recipe: CoamdRecipe, run: Path, data: CoamdData) -> Job:
    encoder = text_encoder(recipe)
    config = replace(
        (small_config if recipe.size == "small" else full_config)(encoder.width),
        joints=len(data.parents),
        same_caption=recipe.same_caption,
    )
    texts, validation = data.texts(run.parent, encoder), data.validation_samples(320)
    model = Evaluator(config)
    model.set_normalization(data.normalization.mean, data.normalization.std)
    loss = partial(coamd.evaluator_loss, texts)

    @torch.no_grad()
    def validate(model: nn.Module) -> dict[str, float]:
        return {"validation_loss": float(loss(model.eval(), validation, next(model.parameters()).device))}

    return Job(
        model=model,
        task=data.motions(recipe.loop.seed),
        about=data.about(config, text_sha256=encoder.sha256),
        validate=validate,
        loss=loss,
    )


JOBS: dict[str, Callable[[CoamdRecipe, Path, CoamdData], Job]] = {
    "coamd-ae": autoencoder_job,
    "coamd-mar": recognizer_job,
    "coamd-generator": generator_job,
    "coamd-evaluator": evaluator_job,
}
LOOPS = {
    "coamd-ae": LoopConfig(steps=12000, lr=1e-3, weight_decay=0.0, warmup=0.05, ema=0.995, precision="no"),
    "coamd-mar": LoopConfig(steps=3000, batch=64, lr=1e-3, weight_decay=0.01, ema=0.995),
    "coamd-generator": LoopConfig(steps=20000, batch=64, lr=8e-4, weight_decay=0.01, warmup=0.05, ema=0.999),
    "coamd-evaluator": LoopConfig(steps=2500, batch=64, lr=1e-3, weight_decay=0.01, ema=0.99),
}
# of `xl`: as published, about as many steps as on HumanML3D; the evaluator's is ours
PUBLISHED = {
    "coamd-ae": LoopConfig(
        steps=350_000,
        batch=256,
        lr=2e-4,
        weight_decay=0.0,
        beta2=0.99,
        warmup=1000 / 350_000,
        milestones=(150_000, 250_000),
        gamma=0.05,
        precision="no",
    ),
    "coamd-mar": LoopConfig(steps=300_000, lr=1e-4, weight_decay=0.0, beta2=0.99, warmup=0.0, gamma=1.0),
    "coamd-generator": LoopConfig(
        steps=190_000,
        batch=64,
        lr=2e-4,
        weight_decay=1e-5,
        beta2=0.99,
        warmup=2000 / 190_000,
        milestones=(50_000,),
        gamma=0.1,
        ema=0.9999,
    ),
    "coamd-evaluator": LoopConfig(steps=200_000, lr=1e-4, weight_decay=0.0, warmup=0.01),
}
RECIPES: dict[str, Callable[[], CoamdRecipe]] = {
    name: partial(CoamdRecipe, name=name, loop=loop) for name, loop in LOOPS.items()
}


def text_encoder(recipe: CoamdRecipe) -> TextEncoder | ClipText:
    """The bundled encoder for `small`, CLIP for `xl`.

    Raises:
        InputError: CLIP is not configured or unusable.
    """
    if recipe.size == "small":
        return TextEncoder.load("text")
    if recipe.clip is None:
        raise InputError(f"size={recipe.size} needs clip=FOLDER, with the weights and the vocabulary of CLIP ViT-B/32")
    return ClipText.load(Path(recipe.clip))


def initialize(model: nn.Module, network: str, recipe: CoamdRecipe, start: CoamdPipeline | None) -> bool:
    """Copy a network's weights from `start`, if there is one. Raises InputError: other sizes."""
    if start is None:
        return False
    try:
        model.load_state_dict(getattr(start, network).state_dict())
    except RuntimeError:
        raise InputError(f"init={recipe.init}: its {network} is not of size {recipe.size}") from None
    return True


def average_weights(model: nn.Module, before: Mapping[str, Tensor], keep: float) -> None:
    """Replace weights by their mean with those before the training, of which `keep` is the share.

    The mean of a network and of one that was trained on from it often does what either does well. Source: Wortsman et
    al., "Robust fine-tuning of zero-shot models" (2022).
    """
    weights = {name: before[name].lerp(own.cpu(), 1 - keep) for name, own in model.state_dict().items()}
    model.load_state_dict(weights)


def imported_normalization(run: Path) -> Normalization | None:
    """Normalization of an imported autoencoder; None: it was trained here. Raises InputError: it has none."""
    record = read_record(run)
    if "official" not in record:
        return None
    if "mean" not in record:
        raise InputError(f"{run}: imported without a normalization, expected --mean and --std")
    mean, std = (np.array(record[name], np.float32) for name in ("mean", "std"))
    return Normalization(mean=mean, std=std)


def load_autoencoder(run: Path, normalization: Normalization | None = None) -> tuple[AutoEncoder, str]:
    """Load the autoencoder of a finished run, and the SHA-256 of its weights.

    Raises:
        InputError: no such run, a damaged one, or one with another normalization.
    """
    model, about = read_network(run, AutoEncoder, AutoEncoderConfig)
    if normalization is not None and not np.allclose(about.get("mean", 0), normalization.mean, atol=1e-4):
        raise InputError(f"{run}: trained on other clips than these; its mean joints differ")
    return model, weights_sha256(run)
