"""The helper's texts, losses and gradients, computed manually; runs save a plain recognizer with the same graphs."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.data import vocabulary  # noqa: E402
from motionrt.training.data.unseen_labels import part_sentences  # noqa: E402
from motionrt.training.loop import LoopConfig  # noqa: E402
from motionrt.training.models.ctr_gcn import CTRGCN, NWUCLA_PARENTS, CTRGCNConfig  # noqa: E402
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig  # noqa: E402
from motionrt.training.recipes import train  # noqa: E402
from motionrt.training.recognition.cocodiff import (  # noqa: E402
    STEPS,
    ActionTexts,
    CoCoDiffConfig,
    Denoiser,
    Helper,
    RecognizerWithHelper,
    Whitening,
    add_helper,
    add_noise,
    alpha_bar,
    classifier,
    contrastive_loss,
    ddim,
    forward_with_features,
    joint_parts,
    pool_rows,
)
from motionrt.training.recognition.ctr_gcn import load_views  # noqa: E402
from motionrt.training.recognition.recipes import live  # noqa: E402
from motionrt.training.recognition.tasks import ClipTask  # noqa: E402
from motionrt.training.settings import override  # noqa: E402

LABELS = ("wave", "bow", "none")
STREAM = StreamGCNConfig(parents=Layout.load("core15").parents, classes=3, fps=20.0, channels=(8, 12))
CLIP = CTRGCNConfig(parents=NWUCLA_PARENTS, classes=3, people=2, channels=(8, 16))
SILENT = CoCoDiffConfig(diffusion=0, generated=0, coarse=0, real=0, width=16, depth=1)
TINY = {"steps": "4", "batch": "4", "channels": "8,8", "precision": "no", "checkpoint_every": "2"}
HELPED = {"cocodiff": "true", "width": "16", "depth": "1"}


@pytest.fixture(scope="module")
def texts() -> ActionTexts:
    return ActionTexts.encode(LABELS, TextEncoder.load("text"))


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Start, or resume, a tiny run."""

    def start(recipe: str, run: str, **changes: str) -> Path:
        return train(recipe, {**TINY, "data": str(data), "run": str(tmp_path / run), **changes})

    return start


@pytest.fixture
def x(samples: list[Motion]) -> Tensor:
    """The first 40 frames of two recordings, root-centered, [2, T, V, 3]."""
    core15 = Layout.load("core15")
    joints = [np.einsum("vw,twc->tvc", core15.map_from(Layout.load(m.layout)), m.joints[:40]) for m in samples[:2]]
    return torch.from_numpy(np.stack([j - j[:, :1] for j in joints]).astype(np.float32))


def helper_of(texts: ActionTexts, **weights: Any) -> Helper:
    torch.manual_seed(0)
    return Helper(12, texts, replace(SILENT, **weights), joint_parts(20)[4:7])


# ---- texts


def test_every_action_has_six_sentences(shared: Path) -> None:
    names = {*vocabulary.labels(), *(clip.label or "" for clip in load_views(shared, 1, 2, 3))}
    parts_of = {name: list(part_sentences(name).values()) for name in names}
    assert len(names) == 62
    assert all(len(set(parts)) == 6 and all(text.endswith(".") for text in parts) for parts in parts_of.values())
    assert len({tuple(parts) for parts in parts_of.values()}) == len(parts_of)
    left, right = (parts_of[f"raise {side} hand"] for side in ("left", "right"))
    swapped = {"left": "right", "right": "left"}
    assert [" ".join(swapped.get(word, word) for word in text.split()) for text in left] == right


def test_classes_have_the_features_of_their_sentences_and_none_has_no_text(texts: ActionTexts) -> None:
    encode = TextEncoder.load("text").encode
    assert texts.known_K.tolist() == [True, True, False]
    np.testing.assert_array_equal(texts.parts_KPW[1].numpy(), encode(list(part_sentences("bow").values())).pooled)
    np.testing.assert_array_equal(texts.names_KW[:2].numpy(), encode(["wave", "bow"]).pooled)
    assert texts.parts_KPW.shape == (3, 6, 384) and not texts.parts_KPW[2].any()


def test_a_sets_own_name_has_the_sentences_of_its_label() -> None:
    assert part_sentences("bend") == part_sentences("bow") and part_sentences("jogging") == part_sentences("run")
    assert part_sentences("walk around") != part_sentences("walk"), "where it has none of its own"


def test_a_label_without_sentences_is_rejected() -> None:
    with pytest.raises(InputError, match="no sentences on 'somersault'"):
        ActionTexts.encode(("wave", "somersault"), TextEncoder.load("text"))


# ---- parts


@pytest.mark.parametrize("tokens", [1, 4, 7])
def test_rows_are_pooled_over_equal_parts(tokens: int) -> None:
    features = torch.randn(2, 23, 5, generator=torch.Generator().manual_seed(0))
    segments = torch.full((2, 23), -1)
    segments[0, :9], segments[0, 11:23], segments[1, 4:7] = 0, 1, 3  # row 2 has no frame
    found = pool_rows(features, segments, 4, tokens)
    for row, part in ((0, features[0, :9]), (1, features[0, 11:23]), (3, features[1, 4:7])):
        wanted = torch.nn.functional.adaptive_avg_pool1d(part.T, tokens).T
        torch.testing.assert_close(found[row], wanted)
    assert not found[2].any()
    assert torch.equal(pool_rows(features, None, 2, 100), features), "no more tokens than frames"


def test_the_signal_goes_from_all_to_none_along_a_cosine() -> None:
    left = alpha_bar(torch.arange(STEPS + 1))
    assert left[0] == 1 and left[-1] < 1e-6 and (left.diff() < 0).all()
    assert float(left[50]) == pytest.approx(0.4939, abs=1e-3), "Nichol and Dhariwal's figure 5 at half the steps"


def test_ddim_returns_the_output_of_a_perfect_denoiser() -> None:
    known, noise, t = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.tensor([20, 37, 60])
    asked = []

    def denoise(x: Tensor, at: Tensor) -> Tensor:
        torch.testing.assert_close(x, add_noise(known, noise, at), atol=1e-4, rtol=1e-4)
        asked.append(at.tolist())
        return known

    torch.testing.assert_close(ddim(denoise, add_noise(known, noise, t), t, 4), known)
    assert asked == [[20, 37, 60], [15, 28, 45], [10, 18, 30], [5, 9, 15]]


def test_rows_of_a_class_are_each_others_positives() -> None:
    text = torch.eye(3)[[0, 0, 1]]
    class_R = torch.tensor([0, 0, 1])
    at_best = contrastive_loss(text, text, class_R)
    e = np.exp(10.0)
    wanted = (2 * np.log(2 * e + 1) + np.log(e + 2) - 3 * 10) / 3
    assert float(at_best) == pytest.approx(wanted, abs=1e-5)
    assert contrastive_loss(text[[2, 2, 0]], text, class_R) > at_best + 5


def test_whitened_features_have_mean_0_and_deviation_1_and_are_invertible() -> None:
    whiten, x = Whitening(4), 3 * torch.randn(50, 6, 4) + torch.tensor([0, 1, -5, 20.0])
    whiten.update(x)
    white = whiten(x)
    torch.testing.assert_close(white.mean((0, 1)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.std((0, 1)), torch.ones(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(whiten.inverse(white), x)
    for _ in range(300):
        whiten.update(x + 1)
    assert float((whiten(x + 1)).mean().abs()) < 0.05, "follows"


def test_the_denoiser_learns_from_the_sentences(texts: ActionTexts) -> None:
    """Two classes with one feature each: from noise alone only the sentences can say which it was."""
    torch.manual_seed(0)
    denoise = Denoiser(6, 384, CoCoDiffConfig(width=32, depth=1), joint_parts(0))
    known, class_R, t = (
        torch.randn(2, 1, 1, 6).expand(2, 3, 1, 6)[[0, 1] * 8],
        torch.tensor([0, 1] * 8),
        torch.tensor(STEPS),
    )
    assert not denoise(known, t.expand(16), texts.parts_KPW[class_R]).any(), "begins with the mean"
    optimizer = torch.optim.Adam(denoise.parameters(), 3e-3)
    for _ in range(150):
        found = denoise(torch.randn_like(known), t.expand(16), texts.parts_KPW[class_R])
        loss = (found - known).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 * float(known.pow(2).mean())


def test_sentences_reach_the_joints_of_their_part_only(texts: ActionTexts) -> None:
    torch.manual_seed(0)
    parts = joint_parts(25)
    assert parts.any(0).all() and parts.any(1).all()
    denoise = Denoiser(6, 384, CoCoDiffConfig(width=16, depth=1), parts)
    for parameter in denoise.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, t, told = torch.randn(1, 4, 25, 6), torch.tensor([50]), texts.parts_KPW[:1].clone()
    before = denoise(x, t, told)
    told[:, 5] = texts.parts_KPW[1, 5]  # on the feet
    changed = (denoise(x, t, told) - before).abs().amax((0, 1, 3)) > 1e-6
    names = [name for name, moved in zip(Layout.load("ntu25").joints, changed, strict=True) if moved]
    assert names == ["left_ankle", "left_foot", "right_ankle", "right_foot"]


# ---- the helper's loss


@pytest.mark.parametrize("through", [False, True])
def test_generated_features_train_the_head_and_optionally_the_recognizer(texts: ActionTexts, through: bool) -> None:
    helper, linear = helper_of(texts, generated=1.0, through=through), torch.nn.Linear(12, 3)
    torch.nn.init.normal_(helper.denoise.out.weight)
    features = torch.randn(4, 8, 3, 12, requires_grad=True)
    loss = helper(features, torch.tensor([0, 1, 0, 1]), lambda x: linear(x.mean(1)), np.random.default_rng(0))
    loss.backward()
    assert linear.weight.grad is not None and linear.weight.grad.any()
    assert helper.denoise.embed.weight.grad.any()
    assert (features.grad is not None and bool(features.grad.any())) == through


def test_the_contrastive_loss_trains_the_features_and_the_diffusion_loss_does_not(texts: ActionTexts) -> None:
    class_R, features = torch.tensor([0, 1]), torch.randn(2, 8, 3, 12, requires_grad=True)
    real = helper_of(texts, real=1.0)(features, class_R, torch.nn.Identity(), np.random.default_rng(0))
    assert torch.autograd.grad(real, features)[0].any()
    diffusion = helper_of(texts, diffusion=1.0)(features, class_R, torch.nn.Identity(), np.random.default_rng(0))
    assert float(diffusion.detach()) == pytest.approx(0.5, abs=0.01), "of white features, when it says their mean"
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(diffusion, features)


def test_rows_without_text_or_frames_do_not_count(texts: ActionTexts) -> None:
    features = torch.randn(4, 8, 3, 12)
    features[3] = 0

    def loss(rows: list[int], classes: list[int]) -> float:
        helper = helper_of(texts, real=1.0)
        found = helper(features[rows], torch.tensor(classes), torch.nn.Identity(), np.random.default_rng(0))
        return float(found.detach())

    assert loss([0, 1, 2, 3], [0, 1, 2, 1]) == pytest.approx(loss([0, 1], [0, 1]))
    assert loss([0, 3], [2, 0]) == 0


# ---- a recognizer with a helper


def test_a_recognizer_starts_the_same_as_without_a_helper(x: Tensor) -> None:
    torch.manual_seed(5)
    plain = StreamGCN(STREAM).eval()
    after = torch.rand(1)
    torch.manual_seed(5)
    model = add_helper(STREAM, LABELS, CoCoDiffConfig(), LoopConfig(steps=10)).eval()
    assert torch.equal(after, torch.rand(1)), "chance goes on as it would have"
    for wanted, found in zip(plain(x), model(x), strict=True):
        assert torch.equal(wanted, found)
    assert [name.removeprefix("recognizer.") for name in model.state_dict() if name.startswith("recognizer")] == list(
        plain.state_dict()
    )


def test_weights_of_an_older_checkpoint_are_loaded() -> None:
    torch.manual_seed(0)
    model, other = (add_helper(STREAM, LABELS, CoCoDiffConfig(), LoopConfig(steps=10)) for _ in range(2))
    old = {}
    for name, value in model.state_dict().items():
        for current, before in (("text_q.", "ask."), ("text_kv.", "told."), ("text_proj.", "proj_told.")):
            name = name.replace(current, before)
        old[name.replace("recognizer.", "recogniser.")] = value
    assert old.keys() != model.state_dict().keys()
    other.load_state_dict(old)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_captured_features_lead_to_the_logits(x: Tensor) -> None:
    torch.manual_seed(0)
    stream, clip = StreamGCN(STREAM).eval(), CTRGCN(CLIP).eval()
    (logits, *_), features = forward_with_features(stream, x)
    assert features.shape == (2, 40, 15, 12)
    found = classifier(stream)(features.flatten(0, 1)).unflatten(0, (2, 40))
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
    logits, features = forward_with_features(clip, torch.randn(3, 3, 52, 20, 2))
    assert features.shape == (3, 26, 20, 16)
    torch.testing.assert_close(classifier(clip)(features.mean(1)), logits)
    body = StreamGCN(replace(STREAM, body=10, body_blocks=1)).eval()
    (logits, *_), features = forward_with_features(body, x)
    torch.testing.assert_close(classifier(body)(features.flatten(0, 1)).unflatten(0, (2, 40)), logits)
    assert not clip.get_submodule("l2")._forward_hooks


def test_the_losses_ramp_up_over_the_first_steps(texts: ActionTexts, x: Tensor) -> None:
    model = add_helper(STREAM, LABELS, replace(SILENT, real=1.0, ramp=0.4), LoopConfig(steps=10)).eval()
    classes = torch.tensor([0, 1])
    losses = [float(model(x, classes)[1].detach()) for _ in range(6)]
    full = losses[-1]
    np.testing.assert_allclose([loss / full for loss in losses], [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-4)


# ---- runs


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cocodiff", "maybe", "cocodiff=maybe: expected true or false"),
        ("coarse", "-1", "coarse: expected a number of 0 or more"),
        ("depth", "0", "depth: expected a number above 0"),
        ("width", "12", "width=12: expected a multiple of twice the 4 heads"),
    ],
)
@pytest.mark.parametrize("recipe", ["nwucla-stream", "nwucla-ctrgcn"])
def test_an_invalid_setting_is_rejected(
    start: Callable[..., Path], tmp_path: Path, recipe: str, key: str, value: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        start(recipe, "run", **{key: value})
    assert not (tmp_path / "run").exists()


def test_the_helper_is_off_by_default_and_reaches_the_recognizer_if_on() -> None:
    assert CoCoDiffConfig().through
    assert not live().cocodiff and not override(live(), {"cocodiff": "false"}).cocodiff
    assert override(live(), {"cocodiff": "True", "through": "true", "tokens": "4"}).helper == CoCoDiffConfig(
        through=True, tokens=4
    )


@pytest.mark.parametrize("recipe", ["live", "nwucla-stream", "nwucla-ctrgcn"])
def test_a_run_with_a_helper_saves_only_the_recognizer(start: Callable[..., Path], recipe: str) -> None:
    small = {"body": "12", "choreography": "1"} if recipe == "live" else {}
    plain, found = (start(recipe, name, **small, **more) for name, more in (("plain", {}), ("helped", HELPED)))
    weights, others = (load_file(run / "model.safetensors") for run in (plain, found))
    assert {name: w.shape for name, w in weights.items()} == {name: w.shape for name, w in others.items()}
    assert any(not torch.equal(weights[name], others[name]) for name in weights)
    abouts = [json.loads((run / "recipe.json").read_text()) for run in (plain, found)]
    assert abouts[0]["model"] == abouts[1]["model"] and [a["recipe"]["cocodiff"] for a in abouts] == [False, True]


@pytest.mark.parametrize("recipe", ["nwucla-stream", "nwucla-ctrgcn"])
def test_without_any_loss_of_the_helper_a_run_is_the_plain_one(start: Callable[..., Path], recipe: str) -> None:
    weights = dict.fromkeys(("diffusion", "generated", "coarse", "real"), "0")
    plain, found = (start(recipe, name, **more) for name, more in (("plain", {}), ("silent", HELPED | weights)))
    wanted, found_weights = (load_file(run / "model.safetensors") for run in (plain, found))
    for name, value in wanted.items():
        assert torch.equal(found_weights[name], value), name


def test_a_run_resumes_to_the_weights_it_would_have_had(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(start("nwucla-stream", "whole", **HELPED) / "model.safetensors")
    batch = ClipTask.batch

    def interrupted(task: ClipTask, step: int, size: int) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return batch(task, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(ClipTask, "batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start("nwucla-stream", "cut", **HELPED)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    resumed = load_file(start("nwucla-stream", "cut", **HELPED) / "model.safetensors")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-7, rtol=1e-6, msg=name)


def test_a_run_of_an_older_version_resumes_and_one_with_a_helper_differs(start: Callable[..., Path]) -> None:
    run = start("nwucla-stream", "run")
    about = json.loads((run / "recipe.json").read_text())
    for key in ("cocodiff", "helper", "unseen"):
        about["recipe"].pop(key, None)
    (run / "recipe.json").write_text(json.dumps(about))
    assert start("nwucla-stream", "run") == run
    with pytest.raises(InputError, match="holds a run with other settings"):
        start("nwucla-stream", "run", **HELPED)


@pytest.mark.slow
def test_the_exported_graph_is_the_same_byte_for_byte(start: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from motionrt.export import export_run
    from motionrt.export.graphs import export_graph
    from motionrt.export.recognizer import TASK, load_network, sizes_of

    run, helped = (
        start("nwucla-stream", name, channels="8,16", **more) for name, more in (("plain", {}), ("helped", HELPED))
    )
    bundle = export_run(helped, tmp_path / "bundle")
    plain = load_network(run, json.loads((run / "recipe.json").read_text())["model"])
    step = export_graph(plain, plain.step, TASK, "step", sizes_of(plain))
    assert (bundle.path / "step.onnx").read_bytes() == step
    weights = plain.state_dict()
    assert bundle.weights.keys() == weights.keys()
    assert not np.array_equal(bundle.weights["head.weight"], weights["head.weight"])


def test_a_batch_of_real_clips_trains_both(shared: Path) -> None:
    """The loss of the helper falls on one batch of NW-UCLA that is repeated."""
    recipe = override(
        replace(live(), name="nwucla-stream"),
        {
            "data": str(shared / "kinect20.npz"),
            "cocodiff": "true",
            "width": "32",
            "channels": "8,16",
            "batch": "16",
            "steps": "40",
        },
    )
    job = recipe.job(Path("unused"))
    assert isinstance(job.model, RecognizerWithHelper) and job.loss is not None
    samples = job.task.batch(0, 16)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(job.model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = job.loss(job.model, samples, torch.device("cpu"))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    top = max(losses[:10])  # the helper's part comes in over six steps
    assert np.mean(losses[-5:]) < 0.8 * top
    assert all(torch.isfinite(p).all() for p in chain(job.model.parameters(), job.model.buffers()))
