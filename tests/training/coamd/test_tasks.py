"""CoAMD's training: samples and losses of the networks, and every recipe from start to finish."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from motionrt.runtime.body.canonical import to_canonical_with_inverse  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.generation.schedule import Guidance, Sampling  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder, TextFeatures  # noqa: E402
from motionrt.training.coamd import tasks as coamd  # noqa: E402
from motionrt.training.coamd.pipeline import CoamdPipeline  # noqa: E402
from motionrt.training.coamd.recipes import RECIPES  # noqa: E402
from motionrt.training.coamd.tasks import (  # noqa: E402
    GuidedTeacher,
    MotionTask,
    Normalization,
    TokenCache,
    TrainingSample,
    ViewScales,
    pad_motions,
)
from motionrt.training.data.caption_features import CaptionFeatures  # noqa: E402
from motionrt.training.data.motions import BalancedSampler, MotionClip, load_motions  # noqa: E402
from motionrt.training.models.clip_text import ClipText  # noqa: E402
from motionrt.training.models.coamd import (  # noqa: E402
    SIZES,
    AutoEncoder,
    AutoEncoderConfig,
    GeneratorConfig,
    MotionGenerator,
    MotionRecognizer,
    MotionRecognizerConfig,
)
from motionrt.training.models.coamd.views import SMPL22  # noqa: E402
from motionrt.training.recipes import train  # noqa: E402

from ..clip_folder import write_motions  # noqa: E402

CPU = torch.device("cpu")
NAMES = ("coamd-ae", "coamd-mar", "coamd-generator", "coamd-evaluator")
SHORT = {"steps": "4", "batch": "4", "precision": "no", "checkpoint_every": "2", "validate_every": "4", "subset": "64"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, samples: list[Motion]) -> Path:
    return write_motions(tmp_path_factory.mktemp("motions"), samples)


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[MotionClip]:
    return load_motions(folder)


@pytest.fixture(scope="module")
def motions(clips: list[MotionClip]) -> MotionTask:
    return MotionTask(clips=BalancedSampler(clips=clips, seed=0), normalization=Normalization.fit(clips))


@pytest.fixture(scope="module")
def texts(clips: list[MotionClip]) -> CaptionFeatures:
    captions = {text for clip in clips for text in (*clip.captions, clip.action)}
    from motionrt.training.data.captions import mirror_text

    return CaptionFeatures(sorted(captions | {mirror_text(text) for text in captions}), TextEncoder.load("text"))


def test_normalized_joints_have_mean_zero_and_deviation_one(clips: list[MotionClip]) -> None:
    normalization = Normalization.fit(clips)
    x = np.concatenate([normalization(clip.joints) for clip in clips])
    assert np.abs(x.mean(0)).max() < 1e-3 and np.abs(x.std(0) - 1).max() < 1e-3
    restored = normalization.denormalize(normalization(clips[0].joints))
    assert np.abs(restored - clips[0].joints).max() < 1e-5


def test_a_batch_is_a_function_of_its_step(motions: MotionTask) -> None:
    one, same, other = motions.batch(3, 8), motions.batch(3, 8), motions.batch(4, 8)
    for a, b in zip(one, same, strict=True):
        assert np.array_equal(a.x, b.x) and (a.caption, a.seed) == (b.caption, b.seed)
    assert any(a.caption != b.caption for a, b in zip(one, other, strict=True))
    assert {sample.quality for step in range(4) for sample in motions.batch(step, 8)} == {0, 1}
    assert all(len(sample.x) % 4 == 0 for sample in one)


def test_a_crop_keeps_its_position_in_the_motion(motions: MotionTask, clips: list[MotionClip]) -> None:
    cropped = replace(motions, frames=16)
    run = next(clip for clip in clips if clip.action == "run")
    distances = []
    for seed in range(20):
        sample = cropped.sample(run, np.random.default_rng(seed))
        assert len(sample.x) == 16
        distances.append(float(np.hypot(*cropped.normalization.denormalize(sample.x)[0, 0, [0, 2]])))
    assert max(distances) > 1, "anywhere on the path, not always at the origin"


class Identity(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(()))  # for its device

    def forward(self, x: Tensor, lengths: Tensor, noise: None = None) -> Tensor:
        return x + self.off * (torch.arange(x.shape[1]) >= lengths[:, None])[:, :, None] + self.error

    off, error = 0.0, 0.0


def test_the_reconstruction_loss_is_zero_for_the_motion_itself_and_blind_to_padding(motions: MotionTask) -> None:
    views, samples, model = ViewScales.unit(SMPL22), motions.batch(0, 4), Identity()
    loss = partial(coamd.reconstruction_loss, views, 0.0, "l1_smooth")
    assert loss(model, samples, CPU) == 0
    model.off = 100.0
    assert loss(model, samples, CPU) == 0, "padding is ignored"
    model.off, model.error = 0.0, 0.5
    assert float(loss(model, samples, CPU)) == pytest.approx(0.5 * 0.5**2), "joints; bones and motion are the same"
    for distance, wanted in (("l1", 0.5), ("l2", 0.25)):
        assert float(coamd.reconstruction_loss(views, 0.0, distance, model, samples, CPU)) == pytest.approx(wanted)


def test_reconstruction_is_measured_in_millimeters_from_the_pelvis(motions: MotionTask) -> None:
    samples, model = motions.batch(0, 4), Identity()
    assert coamd.reconstruction_mm(model, samples, motions.normalization) < 1e-3
    shift = torch.zeros(66)
    shift[3::3] = torch.from_numpy(0.01 / motions.normalization.std)[3::3]  # all joints but the pelvis, 10 mm along x
    model.error = shift
    assert coamd.reconstruction_mm(model, samples, motions.normalization) == pytest.approx(10 * 21 / 22, rel=1e-3)


def test_inputs_and_outputs_of_a_new_autoencoder_have_unit_variance(motions: MotionTask) -> None:
    model = AutoEncoder(AutoEncoderConfig(width=12, latent=6))
    clips = [sample.x for sample in motions.batch(0, 64)]
    coamd.fit_view_scales(model, clips)
    x = torch.from_numpy(np.concatenate(clips))
    scaled = x @ model.scales.unmix
    torch.testing.assert_close(scaled.std(0), torch.ones(66), atol=0.2, rtol=0)
    torch.testing.assert_close(scaled @ model.scales.mix, x, atol=1e-4, rtol=1e-4)
    _, *views = zip(*(ViewScales.fitted(model)(torch.from_numpy(clip)[None]) for clip in clips), strict=True)
    for view, scale in zip(views, (model.scales.bone, model.scales.motion), strict=True):
        moving = scale > 2e-3
        torch.testing.assert_close(
            torch.cat(view, 1)[0].std(0)[moving], torch.ones(int(moving.sum())), atol=0.2, rtol=0
        )


def test_tokens_are_standardized(motions: MotionTask) -> None:
    torch.manual_seed(0)
    model = AutoEncoder(AutoEncoderConfig(width=12, latent=6)).eval()
    clips = [sample.x for sample in motions.batch(0, 16)]
    coamd.fit_token_scale(model, clips)
    x, lengths = pad_motions(clips)
    tokens = model.encode(x, lengths)[coamd.valid_mask(lengths // 4, x.shape[1] // 4)]
    torch.testing.assert_close(tokens.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens.std(0), torch.ones(6), atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def flow(texts: CaptionFeatures) -> Callable[..., Tensor]:
    torch.manual_seed(0)
    autoencoder = AutoEncoder(AutoEncoderConfig(width=12, latent=6)).eval()
    return partial(coamd.flow_loss, TokenCache(autoencoder), texts)


def generator(**changes: Any) -> MotionGenerator:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"latent": 6, "text": 384, "width": 16, "depth": 1, "heads": 2, "head_width": 12}
    return MotionGenerator(GeneratorConfig(**settings, head_depth=1, qualities=2, **changes)).eval()


def test_a_motion_is_encoded_once_if_the_cache_has_room(motions: MotionTask, monkeypatch: pytest.MonkeyPatch) -> None:
    autoencoder = AutoEncoder(AutoEncoderConfig(width=12, latent=6)).eval()
    encode, encoded = autoencoder.encode, []
    monkeypatch.setattr(autoencoder, "encode", lambda x, lengths: encoded.append(len(x)) or encode(x, lengths))
    samples = motions.batch(0, 6)
    expected_BLD = encode(*pad_motions([sample.x for sample in samples]))
    roomy, full = TokenCache(autoencoder), TokenCache(autoencoder, max_bytes=0)
    for tokens in (roomy, roomy, full, full):
        found, counts = tokens(samples, CPU)
        assert counts.tolist() == [len(sample.x) // 4 for sample in samples]
        for row, expected, count in zip(found, expected_BLD, counts, strict=True):
            torch.testing.assert_close(row[:count], expected[:count])
            assert not row[count:].any()
    different = len({sample.name for sample in samples})
    assert encoded == [different, different, different], "with room not encoded again"


def test_predicting_zero_has_the_variance_of_the_target_as_loss(
    flow: Callable[..., Tensor], motions: MotionTask
) -> None:
    model, samples = generator(), motions.batch(0, 16)
    found = flow(16, model, samples, CPU).item()
    x, lengths = pad_motions([sample.x for sample in samples])
    tokens = flow.args[0].autoencoder.encode(x, lengths)[coamd.valid_mask(lengths // 4, x.shape[1] // 4)]
    assert found == pytest.approx(1 + tokens.pow(2).mean().item(), rel=0.15), "noise and token, squared"
    assert found == flow(16, model, samples, CPU).item(), "the same samples have the same noise"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert found == flow(16, model, samples, CPU).item(), "tokens are exact in mixed precision too"
    twin = generator(objective="ddpm")
    assert flow(16, twin, samples, CPU).item() == pytest.approx(1, rel=0.05), "the twin predicts the noise alone"


def test_masked_tokens_are_neighbors_in_the_share_asked_for() -> None:
    def runs(seed: int, spans: float) -> int:
        """Number of runs of masked tokens on a circle."""
        masked = coamd.NoiseDraw.for_sample(seed, 20, 24, 6, 1, None, spans).masked[:20]
        return int((masked & ~np.roll(masked, 1)).sum())

    assert all(runs(seed, 1.0) <= 1 for seed in range(50)), "0: all are masked"
    scattered = sum(runs(seed, 0.0) > 1 for seed in range(200))
    assert 0.2 < sum(runs(seed, 0.5) > 1 for seed in range(200)) / scattered < 0.8


def test_a_student_predicts_what_its_teacher_does_with_guidance(
    flow: Callable[..., Tensor], motions: MotionTask
) -> None:
    model, samples = generator(), motions.batch(0, 4)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    assert flow(2, model, samples, CPU, teacher=GuidedTeacher(model, 1.0)) == 0
    once, twice = (float(flow(2, model, samples, CPU, teacher=GuidedTeacher(model, cfg))) for cfg in (2.0, 3.0))
    assert once > 0 and twice == pytest.approx(4 * once, rel=1e-3), "it goes on in the direction of the text"
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    teacher = GuidedTeacher(model, 3.0)
    for step in range(60):
        reseeded = [replace(sample, seed=4 * step + k) for k, sample in enumerate(samples)]
        optimizer.zero_grad()
        flow(2, model, reseeded, CPU, teacher=teacher).backward()
        optimizer.step()
    assert float(flow(2, model, samples, CPU, teacher=teacher)) < 0.5 * twice


def test_a_generator_learns_one_motion(flow: Callable[..., Tensor], motions: MotionTask) -> None:
    model, samples = generator(), motions.batch(0, 1) * 4
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = float(flow(4, model, samples, CPU))
    for step in range(150):
        reseeded = [replace(sample, seed=4 * step + k) for k, sample in enumerate(samples)]
        optimizer.zero_grad()
        flow(4, model, reseeded, CPU).backward()
        optimizer.step()
    assert float(flow(4, model, samples, CPU)) < 0.7 * before
    assert model.mask.grad is not None and model.mask.grad.any(), "the mask token is learned"


def test_lengths_are_learned_from_descriptions(texts: CaptionFeatures, motions: MotionTask) -> None:
    one = motions.batch(0, 1)[0]
    frames = {"bow": 20, "run": 88, "walk": 196}

    class Fixed:
        def batch(self, step: int, size: int) -> list[TrainingSample]:
            named = [list(frames)[(step + k) % 3] for k in range(size)]
            return [replace(one, caption=name, x=np.zeros((frames[name], 66), np.float32)) for name in named]

    estimator = coamd.train_length_estimator(generator(), texts, Fixed(), steps=40, batch=12)  # type: ignore[arg-type]
    predicted = estimator(torch.from_numpy(texts.pooled(list(frames))), torch.full((3,), one.quality)).argmax(1)
    assert predicted.tolist() == [5, 22, 49]


@pytest.fixture(scope="module")
def recognizer() -> MotionRecognizer:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"patch": 4, "width": 16, "depth": 1, "heads": 2, "hidden": 16, "feature": 384}
    config = MotionRecognizerConfig(**settings, words="features", text=384, timestep=False)
    return MotionRecognizer(config).eval()


def test_the_released_loss_trains_on_labels_alone(
    recognizer: MotionRecognizer, motions: MotionTask, texts: CaptionFeatures
) -> None:
    samples = motions.batch(0, 8)
    for loss, trained in (("released", False), ("full", True)):
        recognizer.zero_grad()
        coamd.recognizer_loss(texts, loss, 1.0, recognizer, samples, CPU).backward()
        has_gradient = any(p.grad is not None and p.grad.any() for p in recognizer.text.parameters())
        assert has_gradient == trained, "only descriptions train the text tower"


@pytest.fixture(scope="module")
def loss_of(recognizer: MotionRecognizer, texts: CaptionFeatures) -> Callable[[str, list[TrainingSample]], float]:
    return lambda loss, samples: coamd.recognizer_loss(texts, loss, 1.001, recognizer, samples, CPU).item()


def test_clips_of_one_action_are_not_negatives(loss_of: Callable[..., float], motions: MotionTask) -> None:
    one = motions.batch(0, 1)[0]
    same = [replace(one, x=one.x + 0.1 * k) for k in range(4)]
    assert loss_of("released", same) == pytest.approx(0, abs=1e-6)
    others = [sample for sample in motions.batch(1, 16) if sample.action != one.action][:2]
    assert loss_of("released", [one, *others]) > 0.1


def test_labels_count_only_with_a_loss_that_has_them(loss_of: Callable[..., float], motions: MotionTask) -> None:
    samples = [replace(sample, style=str(i)) for i, sample in enumerate(motions.batch(1, 6))]
    renamed = [replace(sample, action=samples[0].action) for sample in samples]
    unlabeled, again = (loss_of("descriptions", some) for some in (samples, renamed))
    assert unlabeled == pytest.approx(again, rel=1e-5)
    assert abs(loss_of("full", samples) - loss_of("full", renamed)) > 0.01


def test_the_same_description_is_not_a_negative_but_another_style_or_action_is(
    loss_of: Callable[..., float], motions: MotionTask
) -> None:
    one = motions.batch(0, 1)[0]
    action = next(sample.action for sample in motions.batch(1, 16) if sample.action != one.action)
    shifted = replace(one, x=one.x + 0.1)
    near, styled, other = (
        loss_of("full", [one, pair])
        for pair in (shifted, replace(shifted, style="giant"), replace(shifted, action=action))
    )
    assert styled > near + 0.1 and other > near + 0.1


class Oracle(MotionRecognizer):
    """Reads the label from the motion: the first coordinate is the number of its action."""

    def __init__(self, names: Tensor):
        nn.Module.__init__(self)
        self.names = nn.Parameter(names)

    def forward(self, x: Tensor, lengths: Tensor, words: Tensor, valid: Tensor | None = None) -> Any:
        fused = self.names[x[:, 0, 0].long()]
        return coamd_features(fused), words[:, 0]


def coamd_features(fused: Tensor) -> Any:
    from motionrt.training.models.coamd import MotionFeatures

    return MotionFeatures(fused, fused, fused, fused)


def test_an_oracle_reaches_full_accuracy(texts: CaptionFeatures, motions: MotionTask) -> None:
    labels = sorted({sample.action for sample in motions.batch(0, 64)})
    names = torch.from_numpy(texts.pooled(labels))
    samples = [
        TrainingSample(x=np.full((4, 66), k % len(labels), np.float32), name=str(k), caption=labels[k % len(labels)],
              action=labels[k % len(labels)], style=None, quality=0, seed=0)
        for k in range(32)
    ]  # fmt: skip
    found = coamd.retrieval_accuracy(Oracle(names), texts, samples)
    assert found["label_top1"] == 100
    assert coamd.retrieval_accuracy(Oracle(names.roll(1, 0)), texts, samples)["label_top1"] == 0


# recipes


@pytest.fixture(scope="module")
def autoencoder_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "coamd-ae"
    return train("coamd-ae", {**SHORT, "data": str(folder), "run": str(run)})


def test_a_size_has_its_own_loop() -> None:
    small = RECIPES["coamd-generator"]()
    xl = small.with_size("xl")
    assert (xl.loop.lr, xl.loop.ema, xl.loop.weight_decay) == (2e-4, 0.9999, 1e-5) and xl.size == "xl"
    assert xl.with_size("small") == small


def start(recipe: str, folder: Path, autoencoder: Path, run: Path, **changes: str) -> Path:
    others = {"autoencoder": str(autoencoder)} if recipe == "coamd-generator" else {}
    return train(recipe, {**SHORT, "data": str(folder), "run": str(run), **others, **changes})


@pytest.mark.parametrize("recipe", NAMES)
def test_every_recipe_runs_and_resumes_to_the_same_loss(
    recipe: str, folder: Path, autoencoder_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start(recipe, folder, autoencoder_run, tmp_path / "whole")
    batch = MotionTask.batch

    def interrupted(self: MotionTask, step: int, size: int) -> list[TrainingSample]:
        if step == 3:
            raise KeyboardInterrupt
        return batch(self, step, size)

    monkeypatch.setattr(MotionTask, "batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(recipe, folder, autoencoder_run, tmp_path / "cut")
    monkeypatch.undo()
    resumed = start(recipe, folder, autoencoder_run, tmp_path / "cut", workers="1")
    figures = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) for run in (whole, resumed)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-4) and figures[0]["step"] == 4
    one, other = (load_file(run / "model.safetensors") for run in (whole, resumed))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-6, rtol=1e-4, msg=name)
    about = json.loads((whole / "recipe.json").read_text())
    assert about["recipe"]["name"] == recipe and about["clips"] == 64 and len(about["mean"]) == 66


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("coamd-ae", {"size": "huge"}, "size=huge: expected small or xl"),
        ("coamd-mar", {"loss": "half"}, "loss=half: expected full or released or descriptions"),
        ("coamd-ae", {"recons_loss": "l3"}, "recons_loss=l3: expected l1_smooth or l1 or l2"),
        ("coamd-generator", {"objective": "vae"}, "objective=vae: expected flow or ddpm"),
        ("coamd-generator", {"repeats": "0"}, "repeats: expected a number above 0"),
        (
            "coamd-generator",
            {"autoencoder": "nowhere"},
            "nowhere: no recipe.json, expected the folder of a finished run",
        ),
        ("coamd-generator", {"subset": "8"}, "trained on other clips than these"),
        ("coamd-mar", {"size": "xl"}, "size=xl needs clip=FOLDER"),
        ("coamd-ae", {"data": "nowhere"}, "nowhere: no clip set here"),
    ],
)
def test_invalid_settings_are_rejected_in_one_line(
    folder: Path, autoencoder_run: Path, tmp_path: Path, recipe: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        start(recipe, **{"folder": folder, "autoencoder": autoencoder_run, "run": tmp_path / "run"} | settings)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


class FakeClip(ClipText):
    """CLIP's interface at the published width, without weights or vocabulary."""

    def __init__(self) -> None:
        self.width, self.sha256 = 512, "0"

    def ids(self, texts: Any) -> np.ndarray:
        ids = np.zeros((len(texts), 77), np.int64)
        ids[:, 5] = 49407
        return ids

    def encode(self, texts: Any) -> TextFeatures:
        random = np.random.default_rng(sum(map(len, texts)))
        tokens = random.normal(size=(len(texts), 3, 512)).astype(np.float32)
        return TextFeatures(tokens=tokens, mask=np.ones((len(texts), 3), bool), pooled=tokens.mean(1))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["coamd-ae", "coamd-mar", "coamd-generator"])
def test_the_published_size_takes_a_training_step(recipe: str, motions: MotionTask) -> None:
    size, samples = SIZES["xl"], motions.batch(0, 1)
    texts = CaptionFeatures([text for sample in samples for text in (sample.caption, sample.action)], FakeClip())
    autoencoder = AutoEncoder(size.autoencoder)
    model, loss = {
        "coamd-ae": lambda: (
            autoencoder,
            partial(coamd.reconstruction_loss, ViewScales.unit(SMPL22), 0.25, "l1_smooth"),
        ),
        "coamd-mar": lambda: (MotionRecognizer(size.recognizer), partial(coamd.recognizer_loss, texts, "full", 0.8)),
        "coamd-generator": lambda: (
            MotionGenerator(size.generator),
            partial(coamd.flow_loss, TokenCache(autoencoder), texts, 1),
        ),
    }[recipe]()
    value = loss(model, samples, CPU)
    value.backward()
    assert torch.isfinite(value)
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


# the networks together


@pytest.fixture(scope="module")
def finished_runs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a few training steps."""
    runs = tmp_path_factory.mktemp("pipeline")
    for recipe in ("coamd-ae", "coamd-mar", "coamd-generator"):
        start(recipe, folder, runs / "coamd-ae", runs / recipe)
    return runs


@pytest.fixture(scope="module")
def pipeline(finished_runs: Path) -> CoamdPipeline:
    return CoamdPipeline.load(finished_runs, TextEncoder.load("text"))


@pytest.mark.parametrize("recipe", ["coamd-mar", "coamd-generator"])
def test_training_starts_from_networks_of_earlier(
    recipe: str, folder: Path, finished_runs: Path, tmp_path: Path
) -> None:
    settings = {"init": str(finished_runs), "steps": "1", "lr": "1e-9", "seed": "7"}
    run = start(recipe, folder, finished_runs / "coamd-ae", tmp_path / "run", **settings)
    before, after = (load_file(path / "model.safetensors") for path in (finished_runs / recipe, run))
    for name, value in after.items():
        torch.testing.assert_close(value, before[name], atol=1e-6, rtol=0, msg=name)


def test_networks_of_another_size_are_no_start(folder: Path, coamd_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="init=.*coamd-tiny: its autoencoder is not of size small"):
        start("coamd-ae", folder, tmp_path, tmp_path / "run", init=str(coamd_bundle))
    with pytest.raises(InputError, match="init=default: a bundle has no evaluator"):
        start("coamd-evaluator", folder, tmp_path, tmp_path / "run", init="default")


def test_a_motion_has_the_requested_length_and_depends_on_the_seed_alone(pipeline: CoamdPipeline) -> None:
    few = Sampling(steps=3, evaluations=2)
    captions = ["a person bows", "a person runs forward"]
    one, same = (pipeline.generate(captions, [42, 80], few, seed=1) for _ in range(2))
    assert [motion.shape for motion in one] == [(40, 22, 3), (80, 22, 3)]
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    (alone,) = pipeline.generate(captions[1:], [80], few, seed=1, samples=[1])
    assert np.abs(alone - one[1]).max() < 1e-3
    (estimated,) = pipeline.generate(captions[:1], None, few)
    assert 16 <= len(estimated) <= 196 and len(estimated) % 4 == 0


@pytest.mark.parametrize("guidance", [None, Guidance(step=0.5, last=1)])
def test_an_edit_keeps_all_other_frames(pipeline: CoamdPipeline, samples: list[Motion], guidance: Any) -> None:
    joints, position = samples[2].joints[:90].astype(np.float32), np.arange(90)
    settings = Sampling(steps=3, evaluations=2, guidance=guidance)
    middle = (position >= 22) & (position < 67)
    for wanted in (position >= 45, position < 45, middle, ~middle):
        found = pipeline.edit(joints, "a person bows", wanted, settings)
        assert np.array_equal(found[~wanted], joints[~wanted])
        assert (found[wanted] != joints[wanted]).any((1, 2)).all()
        for seam in np.flatnonzero(np.diff(wanted.astype(int))):
            step = np.abs(found[seam + 1] - found[seam]).max()
            inside = np.abs(np.diff(found[wanted], axis=0)).max()
            assert step < 2 * inside, "no jump where old and new meet"


def test_motions_texts_and_labels_are_embedded_in_one_space(pipeline: CoamdPipeline, samples: list[Motion]) -> None:
    clips = [sample.joints.astype(np.float32) for sample in samples]
    motions, texts, labels = pipeline.motions(clips), pipeline.texts(["a person bows"]), pipeline.labels(["bow", "run"])
    assert motions.shape == (4, 384) and texts.shape == (1, 384) and labels.shape == (2, 384)
    for features in (motions, texts, labels):
        assert np.abs(np.linalg.norm(features, axis=1) - 1).max() < 1e-5
    assert np.abs(pipeline.motions(clips[:1]) - motions[:1]).max() < 1e-5, "independent of the batch"


@pytest.mark.parametrize(
    ("run", "key", "message"),
    [
        ("coamd-generator", "autoencoder_sha256", "coamd-generator: trained on tokens of another autoencoder"),
        ("coamd-generator", "text_sha256", "coamd-generator: trained with another text encoder"),
        ("coamd-mar", "text_sha256", "coamd-mar: trained with another text encoder"),
        ("coamd-mar", "mean", "coamd-mar: trained on other motions"),
    ],
)
def test_runs_that_do_not_fit_each_other_are_rejected(
    finished_runs: Path, tmp_path: Path, run: str, key: str, message: str
) -> None:
    runs = shutil.copytree(finished_runs, tmp_path / "runs")
    about = json.loads((runs / run / "recipe.json").read_text())
    (runs / run / "recipe.json").write_text(json.dumps(about | {key: "another"}))
    with pytest.raises(InputError, match=message):
        CoamdPipeline.load(runs, TextEncoder.load("text"))


def test_a_folder_without_runs_or_a_bundle_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file is missing from the bundle"):
        CoamdPipeline.load(tmp_path, TextEncoder.load("text"))


def test_an_edit_is_equivariant_to_position_and_heading(
    pipeline: CoamdPipeline, samples: list[Motion], monkeypatch: pytest.MonkeyPatch
) -> None:
    from motionrt.runtime.generation import postprocess
    from motionrt.training.data.augment import rotate

    monkeypatch.setattr(postprocess, "plant_feet", lambda joints: joints)  # amplifies rounding, pass by pass

    joints = samples[2].joints[:60].astype(np.float32)
    elsewhere = rotate(joints, 2.0, np.zeros(2)) + np.float32([5, 1, -3])
    canonical, undo = to_canonical_with_inverse(elsewhere)
    assert np.abs(undo(canonical) - elsewhere).max() < 1e-4
    assert np.abs(canonical - to_canonical_with_inverse(joints)[0]).max() < 1e-4
    assert np.abs(pipeline.motions([elsewhere]) - pipeline.motions([joints])).max() < 1e-3
    wanted = np.arange(60) >= 30
    settings = Sampling(steps=2, evaluations=1)
    one, other = (pipeline.edit(motion, "a person bows", wanted, settings) for motion in (joints, elsewhere))
    assert np.abs(rotate(one, 2.0, np.zeros(2)) + np.float32([5, 1, -3]) - other).max() < 1e-2


@pytest.mark.parametrize("frames", [0, 3, 197, 10**9])
def test_unsupported_lengths_are_rejected(pipeline: CoamdPipeline, frames: int) -> None:
    with pytest.raises(InputError, match=f"a motion of {frames} frames, expected 4 to 196"):
        pipeline.generate(["a person bows"], [frames])
