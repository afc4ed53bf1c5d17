"""Official TDSM checkpoints: files in their layout are read back, and all others are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import save_file  # noqa: E402

from motionrt.export.official import official_state, read_official  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.models.tdsm import SIZES, CrossDiT, CrossDiTConfig  # noqa: E402
from motionrt.training.runs import read_network  # noqa: E402

REDUCED = CrossDiTConfig(feature=8, text=12, tokens=5, width=16, depth=3, heads=2, compat="reference")


def layout() -> dict[str, list[int]]:
    """The keys of the released code with their shapes."""
    weights = {"x_embedder": (768, 256), "fl_embedder": (768, 2048)}
    weights |= {"t_embedder.mlp.0": (768, 256), "t_embedder.mlp.2": (768, 768)}
    weights |= {"fc_embedder.0": (768, 2048), "fc_embedder.2": (768, 768)}
    for i in range(12):
        for stream in ("", "_c"):
            weights |= {f"blocks.{i}.attn.qkv{stream}": (2304, 768), f"blocks.{i}.attn.proj{stream}": (768, 768)}
            weights |= {f"blocks.{i}.mlp{stream}.fc1": (3072, 768), f"blocks.{i}.mlp{stream}.fc2": (768, 3072)}
            weights[f"blocks.{i}.adaLN_modulation{stream}.1"] = (4608, 768)
    weights |= {"final_layer.linear": (256, 768), "final_layer.adaLN_modulation.1": (1536, 768)}
    keys = {f"{name}.weight": list(shape) for name, shape in weights.items()}
    keys |= {f"{name}.bias": [shape[0]] for name, shape in weights.items()}
    return keys | {"fl_pos_embed": [1, 35, 768]}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[CrossDiT, Path]]:
    """A network with random weights, and its file, after `change` of the tensors."""

    def write(change: Callable[[dict[str, Any]], Any] = lambda state: None) -> tuple[CrossDiT, Path]:
        torch.manual_seed(0)
        model = CrossDiT(REDUCED)
        for tensor in model.parameters():
            torch.nn.init.normal_(tensor)
        state = official_state(model)
        change(state)
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
        return model, tmp_path / "model.safetensors"

    return write


def test_the_published_size_has_the_published_layout() -> None:
    with torch.device("meta"):
        state = official_state(CrossDiT(SIZES["xl"]))
    assert {key: list(value.shape) for key, value in state.items()} == layout() and len(state) == 257


def test_random_weights_come_back_bit_for_bit(written: Callable[..., Any]) -> None:
    model, path = written()
    again = read_official("tdsm", path, REDUCED)
    assert again.config == model.config and not again.training
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.slow
def test_the_published_size_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = CrossDiT(SIZES["xl"])
    save_file(official_state(model), tmp_path / "model.safetensors")
    again = read_official("tdsm", tmp_path / "model.safetensors")
    assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("final_layer.linear.bias"), "no final_layer.linear.bias"),
        (lambda state: state.update({"blocks.4.mlp.fc1.bias": torch.zeros(64)}), "no blocks.3.attn.qkv.weight"),
        (
            lambda state: state.update({"fl_pos_embed": torch.zeros(1, 6, 16)}),
            r"fl_pos_embed has shape \[1, 6, 16\], expected \[1, 5, 16\]",
        ),
        (lambda state: state.update({"module.x": torch.zeros(1)}), "x is not a key of this network"),
        (lambda state: state.clear(), "no key like blocks.0."),
    ],
)
def test_a_wrong_tensor_is_refused_by_its_key(
    written: Callable[..., Any], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    _, path = written(change)
    with pytest.raises(InputError, match=message):
        read_official("tdsm", path, REDUCED)


def test_another_size_or_another_file_is_refused_in_one_line(written: Callable[..., Any], tmp_path: Path) -> None:
    _, path = written()
    (tmp_path / "text.safetensors").write_text("no checkpoint")
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-8])
    for name, message in (
        ("model.safetensors", r"fl_pos_embed has shape \[1, 5, 16\], expected \[1, 35, 768\]"),
        ("text.safetensors", "not a checkpoint of tensors"),
        ("cut.safetensors", "not a checkpoint of tensors"),
        ("nowhere.safetensors", "no such file"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            read_official("tdsm", tmp_path / name)
        assert "\n" not in str(refused.value)


def test_the_command_writes_the_folder_of_a_run(
    written: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from motionrt.runtime.cli import main

    monkeypatch.setitem(SIZES, "xl", REDUCED)
    model, path = written()
    assert main(["import", "tdsm", str(path), "-o", str(tmp_path / "run")]) == 0 and "wrote" in capsys.readouterr().out
    again, about = read_network(tmp_path / "run", CrossDiT, CrossDiTConfig)
    assert again.config == REDUCED and about["recipe"] == {"name": "tdsm", "size": "xl"}
    assert torch.equal(again.final_layer.linear.weight, model.final_layer.linear.weight)
