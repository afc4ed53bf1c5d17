"""Official checkpoints become models that every command takes; networks are tiny, layouts are the official ones."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from safetensors.torch import save_file  # noqa: E402

from motionrt.export import official_coamd  # noqa: E402
from motionrt.export.official import STATES, official_state  # noqa: E402
from motionrt.export.official_coamd import read_encoder  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.bundles.schema import GenerationManifest  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.generation.generator import Generator  # noqa: E402
from motionrt.runtime.generation.open_networks import open_networks  # noqa: E402
from motionrt.runtime.generation.schedule import Guidance, Sampling  # noqa: E402
from motionrt.runtime.retrieval.retriever import Retriever  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.coamd.pipeline import CoamdPipeline  # noqa: E402
from motionrt.training.models import coamd  # noqa: E402
from motionrt.training.models.clip_text import ClipText, ClipTextConfig, bpe, clip_text_network  # noqa: E402
from motionrt.training.models.coamd.views import KIT21_REFERENCE  # noqa: E402

MERGES = ["w a", "wa l", "wal k</w>", "a n", "an d</w>", "t h", "th e</w>"]
CLIP = ClipTextConfig(vocabulary=512 + len(MERGES) + 2, width=64, layers=2, heads=1)
D = 8  # channels of a token
TINY = coamd.Size(
    autoencoder=coamd.AutoEncoderConfig(width=16, latent=D, dilations=()),
    generator=coamd.GeneratorConfig(latent=D, text=64, width=16, depth=1, heads=2, head_width=2 * D, head_depth=1),
    recognizer=coamd.MotionRecognizerConfig(width=64, depth=1, heads=2, hidden=8, feature=64, text=64),
)
CLASSES = {"ae": coamd.AutoEncoder, "coamd": coamd.MotionGenerator, "mar": coamd.MotionRecognizer}
PARTS = {"ae": "autoencoder", "coamd": "generator", "mar": "recognizer"}

pytestmark = pytest.mark.slow  # the bundle of all


@pytest.fixture(scope="module", autouse=True)
def tiny_sizes() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(coamd.SIZES, "xl", TINY)
        patch.setattr(official_coamd, "CLIP", CLIP)
        yield


@pytest.fixture(scope="module")
def folder(samples: list[Motion], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mean.npy, Std.npy and a folder `weights` of CLIP."""
    path = tmp_path_factory.mktemp("official")
    np.save(path / "Mean.npy", samples[0].joints[0].astype(np.float32))
    np.save(path / "Std.npy", np.random.default_rng(0).uniform(0.02, 0.05, 66).astype(np.float32))
    torch.manual_seed(1)
    clip = clip_text_network(CLIP)
    (path / "weights").mkdir()
    save_file(clip.state_dict(), path / "weights" / "model.safetensors")
    vocabulary = "#version: 0.2\n" + "\n".join(MERGES) + "\n"
    (path / "weights" / "tokenizer.json").write_text(bpe(vocabulary, CLIP.vocabulary).to_str())
    return path


def write(path: Path, kind: str, objective: str | None = None) -> Path:
    """An official checkpoint with random weights, of which a generator's head predicts as one of the objective."""
    torch.manual_seed(0)
    model = CLASSES[kind](getattr(TINY, PARTS[kind]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    if objective is not None:
        pair, sign = torch.cat([torch.eye(D), -torch.eye(D)]), -1 if objective == "flow" else 1
        model.head.input.weight.data.copy_(pair)
        model.head.out.weight.data.copy_(sign * pair.T / 2)
    torch.save({STATES[kind]: official_state(model), "ep": 3, "opt": {"state": {}}}, path)
    return path


def changed(checkpoint: str, put: str = "", drop: str = "") -> str:
    """A copy of a checkpoint with a key more or less."""
    content = torch.load(checkpoint, weights_only=True)
    state = next(content[key] for key in STATES.values() if key in content)
    state |= {put: torch.zeros(2)} if put else {}
    state.pop(drop, None)
    path = Path(checkpoint).with_name("changed.tar")
    torch.save(content, path)
    return str(path)


@pytest.fixture(scope="module")
def checkpoints(folder: Path) -> list[str]:
    return [str(write(folder / f"{kind}.tar", kind, "flow" if kind == "coamd" else None)) for kind in CLASSES]


@pytest.fixture(scope="module")
def options(folder: Path) -> list[str]:
    return [
        "--mean",
        str(folder / "Mean.npy"),
        "--std",
        str(folder / "Std.npy"),
        "--text",
        f"clip:{folder / 'weights'}",
    ]


@pytest.fixture(scope="module")
def bundle(folder: Path, checkpoints: list[str], options: list[str]) -> Path:
    assert main(["import", "coamd", *checkpoints, *options, "-o", str(folder / "bundle")]) == 0
    return folder / "bundle"


def released(generator: Generator, **changes: Any) -> Sampling:
    return replace(generator.settings, steps=3, evaluations=2, **changes)


def test_a_bundle_of_coamd_is_used_by_every_command(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, edited = tmp_path / "walk.npz", tmp_path / "edited.npz"
    assert main(["generate", "walk and walk", "--model", str(bundle), "--seconds", "2", "-o", str(out)]) == 0
    assert "is unlike" not in capsys.readouterr().err, "nothing is known of the training"
    motion = Motion.load(out)
    assert motion.joints.shape == (40, 22, 3) and np.isfinite(motion.joints).all()
    command = ["edit", str(out), "the walk", "--regenerate", "1.0:2.0", "--model", str(bundle), "-o", str(edited)]
    assert main(command) == 0
    assert Motion.load(edited).joints.shape == (40, 22, 3)
    capsys.readouterr()
    assert main(["search", "walk", "--library", str(tmp_path), "--model", str(bundle), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 2
    data = tmp_path / "humanml3d"
    for name in ("new_joints", "texts"):
        (data / name).mkdir(parents=True)
    for name in ("000000", "000001"):
        np.save(data / "new_joints" / f"{name}.npy", np.tile(motion.joints, (2, 1, 1)))
        (data / "texts" / f"{name}.txt").write_text("walk#walk/VERB#0.0#0.0\n")
    (data / "test.txt").write_text("000000\n000001\n")
    (data / "humanml3d400_label_map.txt").write_text("walk\nwal\n")
    labels = {"000000": {"labels": [0]}, "000001": {"labels": [1]}}
    (data / "annotations_actions_400.json").write_text(json.dumps(labels))
    assert main(["eval", "humanml3d-400", "--model", str(bundle), "--data", str(data), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"]["motions"] == 2 and report["top1"]["mean"] == 50, "two labels for one motion"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"padding": "motion", "guidance": Guidance(step=1.5, norm="all")},
        {"guidance": Guidance.reference(1.0)},
        {"guidance": Guidance.reference(1.0), "solver": "dopri5"},
    ],
    ids=["plain", "guidance", "released guidance", "released guidance and solver"],
)
def test_the_runtime_equals_the_networks(bundle: Path, changes: dict[str, Any]) -> None:
    generator, pipeline = Generator.load(bundle), CoamdPipeline.load(bundle)
    generator.settings = settings = released(generator, **changes)
    text = "walk and walk the"
    found = generator.generate(text, seconds=1.2, seed=3).joints
    (wanted,) = pipeline.generate([text], [24], settings, seed=3, samples=[0])
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
    motion = Motion(wanted, 20.0, "smpl22")
    found = generator.edit(motion, text, slice(8, 20), seed=4).joints
    wanted = pipeline.edit(motion.joints, text, np.arange(24) // 4 % 5 >= 2, settings, seed=4)
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_shorter_motion_in_a_batch_is_padded_as_released(bundle: Path) -> None:
    """Bit for bit as if the autoencoder decoded zeros beyond the motion, and unlike the motion alone."""
    pipeline = CoamdPipeline.load(bundle)
    tokens = torch.randn(2, 7, D)
    tokens[1, 3:] = 0
    networks = open_networks(Bundle.load(bundle, GenerationManifest))
    settings = Sampling(padding="batch")
    (_, found), (_, alone) = (networks.decode(tokens.numpy(), [7, 3], of) for of in (settings, Sampling()))
    wanted = pipeline.normalization.denormalize(pipeline.autoencoder.decode(tokens)[1, :12].numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - alone).max() > 1e-3


def test_a_motion_to_edit_is_padded_as_released(bundle: Path) -> None:
    pipeline, joints = CoamdPipeline.load(bundle), np.random.default_rng(0).normal(size=(1, 20, 22, 3))
    networks = open_networks(Bundle.load(bundle, GenerationManifest))
    found = networks.encode(joints, Sampling(padding="batch"))
    x = torch.zeros(1, 196, 66)
    x[0, :20] = torch.from_numpy(pipeline.normalization(joints[0]))
    np.testing.assert_allclose(found, pipeline.autoencoder.encode(x)[:, :5].numpy(), atol=1e-5)


def test_the_bundle_of_clip_gives_clips_features(bundle: Path, folder: Path) -> None:
    encoder, clip = (
        TextEncoder.of(Bundle.load(bundle, GenerationManifest)),
        ClipText.load(folder / "weights", config=CLIP),
    )
    texts = ["walk", "walk and walk the", "the end " * 60]
    found, wanted = encoder.encode(texts), clip.encode(texts)
    assert np.array_equal(encoder.ids(texts), clip.ids(texts)) and np.array_equal(found.mask, wanted.mask)
    for a, b in ((found.pooled, wanted.pooled), (found.tokens, wanted.tokens)):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_the_recognizers_space_of_the_runtime_is_that_of_the_networks(bundle: Path) -> None:
    retriever, pipeline = Retriever.load(bundle), CoamdPipeline.load(bundle)
    texts = ["walk", "the end and the end"]
    np.testing.assert_allclose(retriever.text_features(texts), pipeline.texts(texts), atol=1e-5)


def test_a_ddpm_is_sampled_as_one(bundle: Path) -> None:
    """The same graphs serve both objectives."""
    copy = shutil.copytree(bundle, bundle.with_name("ddpm"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["model"]["generator"]["objective"] = "ddpm"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    generator, pipeline = Generator.load(copy), CoamdPipeline.load(copy)
    assert pipeline.generator.config.objective == generator.bundle.manifest.objective == "ddpm"
    generator.settings = settings = replace(generator.settings, steps=2)
    found = generator.generate("walk", seconds=0.8, seed=1).joints
    (wanted,) = pipeline.generate(["walk"], [16], settings, seed=1, samples=[0])
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_an_encoder_that_is_a_bundle_already_is_used_again(bundle: Path) -> None:
    encoder = read_encoder(f"clip:{bundle.parent / 'bundle-text'}", bundle)
    assert isinstance(encoder, TextEncoder) and encoder.clip
    with pytest.raises(InputError, match="expected a bundle in the folder of"):
        read_encoder(f"clip:{bundle.parent / 'bundle-text'}", bundle / "inside" / "bundle")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, o: ("coamd", [*c, *o[2:]]), "needs --mean"),
        (lambda c, o: ("coamd", [*c, *o[:4]]), "needs --text"),
        (lambda c, o: ("coamd", [*c[:2], *o]), "2 checkpoints of kind coamd, expected one, or those of ae, coamd, mar"),
        (lambda c, o: ("coamd", [c[0], c[0], c[2], *o]), "ae.tar: a second checkpoint of kind ae"),
        (lambda c, o: ("coamd", [*c, *o[:4], "--text", "bert:x"]), "--text bert:x: expected clip:PATH"),
        (lambda c, o: ("coamd", [*c, *o, "--objective", "ddpm"]), "--objective ddpm, but for noise it predicts as one"),
        (lambda c, o: ("coamd", [*c, *o, "--objective", "gan"]), "--objective gan: expected flow or ddpm"),
        (lambda c, o: ("coamd", [*c, "--mean", c[0], *o[2:]]), "ae.tar: not a readable .npy file"),
        (lambda c, o: ("mar", [c[0]]), "has no 'contrast_model', expected an official mar checkpoint"),
        (lambda c, o: ("ctrgcn", [c[0]]), "ae.tar: an official ae checkpoint, expected one of kind ctrgcn"),
        (lambda c, o: ("tdsm", [c[2]]), "mar.tar: an official mar checkpoint, expected one of kind tdsm"),
        (
            lambda c, o: ("coamd", [changed(c[1], put="MARTransformer.2.attn.key.bias"), *o[6:]]),
            "changed.tar: no MARTransformer.1.attn.query.weight, which a network of depth 3 has",
        ),
        (lambda c, o: ("mar", [changed(c[2], drop="text_ln.bias")]), "changed.tar: no text_ln.bias"),
        (lambda c, o: ("ae", [c[0], "--labels", "x.txt"]), "--labels is not for kind ae"),
        (lambda c, o: ("ae", [c[0], *o[:2]]), "--mean and --std belong together"),
        (lambda c, o: ("clip", [c[0]]), "is not part of a text tower of this size|is missing"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    checkpoints: list[str],
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[str], list[str]], tuple[str, list[str]]],
    message: str,
) -> None:
    kind, arguments = change(checkpoints, options)
    assert main(["import", kind, *arguments, "-o", str(tmp_path / "no")]) == 2
    error = capsys.readouterr().err.strip()
    assert re.search(message, error) and "\n" not in error
    assert not (tmp_path / "no").exists()


def test_an_objective_that_nothing_tells_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = write(folder / "plain.tar", "coamd")
    assert main(["import", "coamd", str(plain), "-o", str(folder / "no")]) == 2
    assert "expected --objective flow or ddpm" in capsys.readouterr().err
    named, trained = write(folder / "DDPM-XL.tar", "coamd"), write(folder / "trained.tar", "coamd", "ddpm")
    for path, told, expected in (
        (plain, ["--objective", "flow"], "flow"),
        (named, [], "ddpm"),
        (trained, [], "ddpm"),
    ):
        out = folder / f"run-{path.stem}"
        assert main(["import", "coamd", str(path), *told, "-o", str(out)]) == 0
        assert json.loads((out / "recipe.json").read_text())["model"]["objective"] == expected
    capsys.readouterr()
    assert main(["export", str(out), "-o", str(folder / "no")]) == 2
    assert "an imported coamd" in capsys.readouterr().err


def test_networks_of_kit_get_their_normalization_in_meters(folder: Path, tmp_path: Path) -> None:
    model = coamd.AutoEncoder(replace(TINY.autoencoder, parents=KIT21_REFERENCE))
    torch.save({STATES["ae"]: official_state(model)}, tmp_path / "kit.tar")
    np.save(tmp_path / "numbers.npy", np.full((21, 3), 480, np.float32))
    options = ["--mean", str(tmp_path / "numbers.npy"), "--std", str(tmp_path / "numbers.npy")]
    assert main(["import", "ae", str(tmp_path / "kit.tar"), *options, "-o", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    np.testing.assert_allclose([record["mean"], record["std"]], 0.75, rtol=1e-6)
    assert record["model"]["parents"] == list(KIT21_REFERENCE)


def test_an_imported_autoencoder_keeps_its_normalization(
    folder: Path, checkpoints: list[str], options: list[str]
) -> None:
    assert main(["import", "ae", checkpoints[0], *options[:4], "-o", str(folder / "run-ae")]) == 0
    record = json.loads((folder / "run-ae" / "recipe.json").read_text())
    np.testing.assert_array_equal(np.float32(record["mean"]), np.load(folder / "Mean.npy").reshape(-1))
