"""Official CTR-GCN checkpoints: one stream's plain state dict, read strictly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.export.official import official_state, read_official  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.models.ctr_gcn import CTRGCN, NWUCLA_PARENTS, CTRGCNConfig  # noqa: E402

SMALL = {"classes": 5, "channels": (16, 16, 32)}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[CTRGCN, Path]]:
    """A network with random weights and statistics, and its file, after `change` of the tensors."""

    def write(change: Callable[[dict[str, Any]], Any] = lambda state: None, **config: Any) -> tuple[CTRGCN, Path]:
        torch.manual_seed(0)
        model = CTRGCN(CTRGCNConfig(**{**SMALL, **config}))
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                torch.nn.init.normal_(tensor)
            else:
                tensor.fill_(77)  # batches that a batch-norm has seen
        state = official_state(model)
        change(state)
        torch.save(state, tmp_path / "runs-65.pt")
        return model, tmp_path / "runs-65.pt"

    return write


@pytest.mark.parametrize(
    "config",
    [{"channels": CTRGCNConfig(classes=1).channels, "classes": 60}, {"people": 1, "parents": NWUCLA_PARENTS}, {}],
    ids=["ntu-60", "nw-ucla", "small"],
)
def test_random_weights_come_back_bit_for_bit(written: Callable[..., Any], config: dict[str, Any]) -> None:
    model, path = written(**config)
    again = read_official("ctrgcn", path)
    assert isinstance(again, CTRGCN) and again.config == model.config and not again.training
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert state[key].dtype == value.dtype and torch.equal(state[key], value), key


def put(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state.update({key: value})


def remove(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("fc.bias"), "no fc.bias"),
        (remove("fc.weight"), "no fc.weight"),
        (remove("l1.gcn1.PA"), "no l1.gcn1.PA"),
        (remove("l2.tcn1.branches.2.4.running_var"), "no l2.tcn1.branches.2.4.running_var"),
        (put("l4.gcn1.alpha", torch.zeros(1)), "no l4.gcn1.bn.weight"),
        (
            put("l3.residual.conv.weight", torch.zeros(32, 16)),
            r"l3.residual.conv.weight has shape \[32, 16\], expected",
        ),
        (put("data_bn.weight", torch.zeros(151)), r"data_bn.weight has shape \[151\], expected \[150\]"),
        (put("l1.gcn1.PA", torch.zeros(3, 18, 18)), "l1.gcn1.PA has 18 joints, expected 25 or 20"),
        (put("l1.gcn1.PA", torch.zeros(())), "l1.gcn1.PA has too few dimensions"),
        (put("l1.gcn1.convs.0.conv3.weight", torch.zeros(16, 9, 1, 1)), "has shape"),
        (put("l1.residual.conv.weight", torch.zeros(1)), "l1.residual.conv.weight is not a key of this network"),
        (put("fc.bias", "five"), "fc.bias is not a tensor"),
    ],
)
def test_a_wrong_tensor_is_refused_by_its_key(
    written: Callable[..., Any], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    _, path = written(change)
    with pytest.raises(InputError, match=message) as refused:
        read_official("ctrgcn", path)
    assert "\n" not in str(refused.value)


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds no names, expected an official ctrgcn checkpoint"):
        read_official("ctrgcn", tmp_path / "list.pt")


def test_a_network_of_nw_ucla_becomes_a_bundle_with_its_actions(
    written: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from motionrt.runtime.cli import main

    def positive(state: dict[str, Any]) -> None:
        for key in state:
            if key.endswith("running_var"):
                state[key].abs_()

    _, path = written(positive, people=1, parents=NWUCLA_PARENTS, classes=10)
    assert main(["import", "ctrgcn", str(path), "-o", str(tmp_path / "nwucla")]) == 0
    assert "wrote" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "nwucla" / "manifest.json").read_text())
    assert (manifest["layout"], len(manifest["labels"]), manifest["labels"][-1]) == ("kinect20", 10, "carry")
    assert manifest["official"]["joint"]["name"] == path.name and manifest["model"]["scaled"]
