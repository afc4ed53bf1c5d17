"""The kernels of the flow head's blocks are their reference, and that is the head."""

from collections.abc import Callable
from inspect import signature

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.adaln_mlp import adaln_mlp, adaln_mlp_blocks, cost
from motionrt.kernels.adaln_mlp.triton import CONFIGS, _blocks, _hidden, _result
from motionrt.training.models.coamd.generator import HeadBlock

Op = Callable[..., Tensor]
OPS = [adaln_mlp, adaln_mlp_blocks]
SHAPES = [((5,), 40), ((2, 9), 33), ((1,), 16), ((40,), 24), ((2, 17), 33)]  # rows, E


def make_inputs(rows: tuple[int, ...], E: int, op: Op = adaln_mlp, K: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Arguments of K blocks, or of the first of them."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    norm = [1 + normal(K, E) / 4, normal(K, E)]
    layers = [number for _ in range(2) for number in (normal(K, E, E) / E**0.5, normal(K, E))]
    blocks = [normal(K, *rows, 3 * E), *norm, *layers]
    numbers = [normal(*rows, E), *(blocks if op is adaln_mlp_blocks else [number[0] for number in blocks])]
    return dict(zip(signature(op).parameters, numbers, strict=False))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("rows", "E"), SHAPES)
def test_kernel_is_as_exact_as_pytorch(
    rows: tuple[int, ...], E: int, dtype: torch.dtype, op: Op, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = {name: tensor.to(device, dtype) for name, tensor in make_inputs(rows, E, op).items()}
    exact = op(**{name: tensor.float() for name, tensor in of.items()}, impl="reference")
    as_exact(op(**of, impl="triton"), op(**of, impl="reference"), exact)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_configuration_of_the_autotuner_is_correct(
    config: object, op: Op, device: torch.device, as_exact: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kernel in (_hidden, _result, _blocks):
        monkeypatch.setattr(kernel, "configs", [config])
    of = {name: tensor.to(device) for name, tensor in make_inputs((29,), 70, op, K=2).items()}
    exact = op(**of, impl="reference")
    as_exact(op(**of, impl="triton"), exact, exact)


@pytest.mark.parametrize("op", OPS)
def test_h_may_stay_in_fp32(op: Op, device: torch.device, as_exact: Callable[..., None]) -> None:
    of = {name: tensor.to(device, torch.bfloat16) for name, tensor in make_inputs((5,), 40, op).items()}
    of["h_NE"] = of["h_NE"].float()
    exact = op(**{name: tensor.float() for name, tensor in of.items()}, impl="reference")
    found = op(**of, impl="triton")
    assert found.dtype == torch.float32
    as_exact(found, op(**of, impl="reference"), exact)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("N", [9, 20])
def test_memory_next_to_its_tensors_is_not_read(
    N: int, op: Op, device: torch.device, poisoned: Callable[..., Tensor], as_exact: Callable[..., None]
) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs((2, N), 40, op).items()}
    exact = op(**of, impl="reference")
    of = {name: poisoned(tensor, 3) for name, tensor in of.items()}
    out = torch.full((2, N, 45), torch.nan, device=device)
    found = op(**of, out=out[..., :40], impl="triton")
    as_exact(found, exact, exact)
    assert found.data_ptr() == out.data_ptr() and out[..., 40:].isnan().all()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("N", [7, 40])
def test_the_result_can_replace_h(
    N: int, impl: str, op: Op, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs((N,), 40, op).items()}
    exact = op(**of, impl="reference")
    assert op(**of, out=of["h_NE"], impl=impl) is of["h_NE"]
    as_exact(of["h_NE"], exact, exact)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("N", [5, 20])
def test_the_same_rows_can_have_different_conditions(
    N: int, op: Op, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs((2, N), 40, op).items()}
    of["h_NE"] = of["h_NE"][0]
    exact = op(**of, impl="reference")
    assert exact.shape == (2, N, 40)
    as_exact(op(**of, impl="triton"), exact, exact)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("N", [3, 33])
def test_rows_far_from_zero_are_normalized_exactly(
    N: int, op: Op, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs((N,), 300, op, K=2).items()}
    of["h_NE"] = of["h_NE"] + 3000
    exact = op(**{name: tensor.double() for name, tensor in of.items()}, impl="reference").float()
    as_exact(op(**of, impl="triton") - 3000, op(**of, impl="reference") - 3000, exact - 3000)


@pytest.mark.parametrize("op", OPS)
def test_the_same_input_gives_the_same_bits(op: Op, device: torch.device) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs((35,), 70, op).items()}
    first = op(**of, impl="triton")
    assert all(torch.equal(op(**of, impl="triton"), first) for _ in range(20 if device.type == "cuda" else 1))


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_it_is_the_flow_heads_block(impl: str, device: torch.device, as_exact: Callable[..., None]) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs((2, 4), 24, adaln_mlp_blocks).items()}
    h_NE, modulations_KNM, *weights = of.values()
    exact = h_NE
    for modulation_NM, *numbers in zip(modulations_KNM, *weights, strict=True):
        block = HeadBlock(24).to(device)
        with torch.no_grad():
            for at, layer in enumerate((block.norm, block.fc1, block.fc2)):
                layer.weight.copy_(numbers[2 * at])
                layer.bias.copy_(numbers[2 * at + 1])
            before, exact = exact, block(exact, modulation_NM)
        as_exact(adaln_mlp(before, modulation_NM, *numbers, impl=impl), exact, exact)
    as_exact(adaln_mlp_blocks(**of, impl=impl), exact, exact)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("op", OPS)
def test_it_can_be_captured_and_replayed(op: Op, device: torch.device) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs((9,), 256, op).items()}
    expected, out = op(**of, impl="triton"), torch.empty_like(of["h_NE"])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        op(**of, out=out, impl="triton")
    for _ in range(3):
        out.fill_(torch.nan)
        graph.replay()
        assert torch.equal(out, expected)


def test_the_cost_is_that_of_its_products() -> None:
    of = cost(N=8, E=1792, size=2)
    assert of.flops == 2 * (2 * 8 * 1792 * 1792)
    assert of.bytes == 2 * (2 * 1792 * 1792 + 4 * 1792 + 8 * (3 + 1 + 1) * 1792)
    of = cost(N=8, E=1792, size=2, K=16)
    assert of.flops == 16 * 2 * (2 * 8 * 1792 * 1792)
    assert of.bytes == 2 * (16 * (2 * 1792 * 1792 + 4 * 1792 + 8 * 3 * 1792) + 2 * 8 * 1792)
