"""Official checkpoints: files in their layout are read back, and all others are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.export.official import MODELS, STATES, official_state, read_official  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.models.coamd import (  # noqa: E402
    SIZES,
    AutoEncoder,
    AutoEncoderConfig,
    GeneratorConfig,
    MotionRecognizerConfig,
    Size,
)
from motionrt.training.models.coamd.views import KIT21_REFERENCE  # noqa: E402

REDUCED = Size(
    autoencoder=AutoEncoderConfig(width=8, latent=8),
    generator=GeneratorConfig(latent=8, text=12, width=16, depth=3, heads=2, head_width=12, head_depth=2),
    recognizer=MotionRecognizerConfig(width=16, depth=2, heads=2, hidden=8, feature=16),
)
CONFIGS = {"ae": "autoencoder", "coamd": "generator", "mar": "recognizer"}
TENSORS = {"ae": 70, "coamd": 230, "mar": 430}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """A network with random weights, and its file, after `change` of the tensors."""

    def write(kind: str, change: Callable[[dict[str, Any]], Any] = lambda state: None, **config: Any) -> Any:
        torch.manual_seed(0)
        model = MODELS[kind](replace(getattr(REDUCED, CONFIGS[kind]), **config))
        for tensor in model.parameters():
            torch.nn.init.normal_(tensor)
        state = official_state(model)
        change(state)
        path = tmp_path / f"{kind}.tar"
        torch.save({STATES[kind]: state, "ep": 3, "total_it": 7}, path)
        return model, path

    return write


@pytest.mark.parametrize("kind", CONFIGS)
def test_random_weights_come_back_bit_for_bit(written: Callable[..., Any], kind: str) -> None:
    model, path = written(kind)
    again = read_official(kind, path, REDUCED)
    assert again.config == model.config and not again.training
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_published_size_has_the_published_number_of_tensors(kind: str) -> None:
    with torch.device("meta"):
        model = MODELS[kind](getattr(SIZES["xl"], CONFIGS[kind]))
    assert len(official_state(model)) == TENSORS[kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ae", "mar"])
def test_the_published_size_comes_back_bit_for_bit(tmp_path: Path, kind: str) -> None:
    model = MODELS[kind](getattr(SIZES["xl"], CONFIGS[kind]))
    torch.save({STATES[kind]: official_state(model)}, tmp_path / "xl.tar")
    again = read_official(kind, tmp_path / "xl.tar")
    assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("depth", [1, 5])
def test_the_depth_is_counted_in_the_keys(written: Callable[..., Any], depth: int) -> None:
    _, path = written("coamd", depth=depth)
    again = read_official("coamd", path, REDUCED)
    assert len(again.blocks) == again.config.depth == depth


def test_weights_of_the_kit_skeleton_are_recognized_by_their_width(written: Callable[..., Any]) -> None:
    _, path = written("ae", parents=KIT21_REFERENCE)
    again = read_official("ae", path, REDUCED)
    assert isinstance(again, AutoEncoder) and again.config.parents == KIT21_REFERENCE


def test_weights_of_clip_are_left_out(written: Callable[..., Any]) -> None:
    _, path = written("coamd", lambda state: state.update({"clip_model.logit_scale": torch.ones(())}))
    read_official("coamd", path, REDUCED)


def remove(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state.pop(key)


def put(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("ae", remove("decoder.model.6.bias"), "no decoder.model.6.bias"),
        ("coamd", remove("MARTransformer.1.mlp.fc2.weight"), "no MARTransformer.1.mlp.fc2.weight"),
        ("coamd", put("MARTransformer.4.mlp.fc1.bias", torch.zeros(64)), "no MARTransformer.3.attn.query.weight"),
        ("mar", put("textTransEncoder.layers.2.norm1.bias", torch.zeros(16)), r"no joint.*|no .*layers.2"),
        ("mar", put("text_ln.bias", torch.zeros(17)), r"text_ln.bias has shape \[17\], expected \[16\]"),
        ("coamd", put("mask_latent", torch.zeros(8)), r"mask_latent has shape \[8\], expected \[1, 1, 8\]"),
        ("ae", put("encoder.extra.weight", torch.zeros(1)), "encoder.extra.weight is not a key of this network"),
        (
            "coamd",
            put("position_enc.pe", torch.zeros(5000, 1, 16)),
            "position_enc.pe differs from the published sinusoids",
        ),
        ("ae", put("encoder.joint_proj.bias", "eight"), "encoder.joint_proj.bias is not a tensor"),
    ],
)
def test_a_wrong_tensor_is_refused_by_its_key(
    written: Callable[..., Any], kind: str, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    _, path = written(kind, change)
    with pytest.raises(InputError, match=message):
        read_official(kind, path, REDUCED)


def test_other_files_are_refused_in_one_line(written: Callable[..., Any], tmp_path: Path) -> None:
    _, path = written("ae")
    with pytest.raises(InputError, match="has no 'contrast_model', expected an official mar checkpoint"):
        read_official("mar", path, REDUCED)
    (tmp_path / "text.tar").write_text("no checkpoint")
    for name, message in (("text.tar", "not a checkpoint of tensors"), ("nowhere.tar", "no such file")):
        with pytest.raises(InputError, match=message) as refused:
            read_official("ae", tmp_path / name)
        assert "\n" not in str(refused.value)


def test_the_command_writes_the_folder_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from motionrt.runtime.cli import main
    from motionrt.training.coamd.recipes import load_autoencoder

    model = AutoEncoder(SIZES["xl"].autoencoder)
    torch.save({"ae": official_state(model)}, tmp_path / "net_best_fid.tar")
    command = ["import", "ae", str(tmp_path / "net_best_fid.tar"), "-o", str(tmp_path / "run")]
    assert main(command) == 0 and "wrote" in capsys.readouterr().out
    again, _ = load_autoencoder(tmp_path / "run")
    assert torch.equal(again.decoder.out.weight, model.decoder.out.weight)
    assert main(command) == 2 and "already exists" in capsys.readouterr().err
    assert main(["import", "vae", "x.tar", "-o", str(tmp_path / "no")]) == 2
    assert "unknown kind 'vae', expected ae, coamd, mar" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"ae": Bomb()}, tmp_path / "bomb.tar")
    with pytest.raises(InputError, match="not a checkpoint of tensors"):
        read_official("ae", tmp_path / "bomb.tar")
    assert not (tmp_path / "ran").exists()
