"""The kernel of CTR-GCN's graph convolution is its reference, and that is the network's."""

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.ctr_graph_conv import cost, ctr_graph_conv
from motionrt.kernels.ctr_graph_conv.triton import CONFIGS, _ctr_graph_conv
from motionrt.kernels.dispatch import use_impl
from motionrt.training.models.ctr_gcn import NTU_PARENTS, GraphConv, adjacency

SHAPES = [(2, 9, 24, 3, 20, 8), (1, 24, 17, 18, 25, 3), (3, 3, 16, 1, 22, 8), (1, 40, 7, 5, 37, 17)]  # N, C, O, T, V, R


def make_inputs(N: int, C: int, O: int, T: int, V: int, R: int, K: int = 3) -> dict[str, torch.Tensor]:  # noqa: E741
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(shape, generator=draw)

    return {
        "x_NCTV": normal(N, C, T, V),
        "A_KVV": normal(K, V, V, scale=V**-0.5),
        "alpha": torch.tensor([0.7]),
        "w1_KRC": normal(K, R, C, scale=C**-0.5),
        "b1_KR": normal(K, R),
        "w2_KRC": normal(K, R, C, scale=C**-0.5),
        "b2_KR": normal(K, R),
        "w3_KOC": normal(K, O, C, scale=C**-0.5),
        "b3_KO": normal(K, O),
        "w4_KOR": normal(K, O, R, scale=(R * V) ** -0.5),
        "b4_KO": normal(K, O, scale=V**-0.5),
        "bias_O": normal(O),
        "residual_NOTV": normal(N, O, T, V),
    }


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("channels", [(16, 16), (3, 8)], ids=["as it was", "widened"])
def test_it_is_the_network_s_with_batch_norm_folded(channels: tuple[int, int], impl: str, device: torch.device) -> None:
    torch.manual_seed(0)
    conv = GraphConv(*channels, adjacency(NTU_PARENTS)).to(device).eval().requires_grad_(False)
    for parameter in conv.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3)
    conv.bn.running_mean.normal_()
    conv.bn.running_var.uniform_(0.5, 2)
    x = torch.randn(2, channels[0], 4, 25, device=device)
    wanted = conv(x)
    conv.fold()
    with use_impl(impl):
        torch.testing.assert_close(conv(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_is_as_exact_as_pytorch(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = {name: tensor.to(device, dtype) for name, tensor in make_inputs(*shape).items()}
    exact = ctr_graph_conv(**{name: tensor.float() for name, tensor in of.items()}, relu=True, impl="reference")
    found = ctr_graph_conv(**of, relu=True, impl="triton")
    as_exact(found, ctr_graph_conv(**of, relu=True, impl="reference"), exact)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_configuration_of_the_autotuner_is_correct(
    config: object, device: torch.device, as_exact: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ctr_graph_conv, "configs", [config])
    of = {name: tensor.to(device) for name, tensor in make_inputs(1, 9, 20, 18, 18, 8, K=2).items()}
    exact = ctr_graph_conv(**of, impl="reference")
    as_exact(ctr_graph_conv(**of, impl="triton"), exact, exact)


@pytest.mark.parametrize("by_joint", [False, True])
def test_memory_next_to_its_tensors_is_not_read(
    by_joint: bool,
    device: torch.device,
    poisoned: Callable[..., torch.Tensor],
    as_exact: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = next(config for config in CONFIGS if (config.kwargs["FROM"] == 1) == by_joint)
    monkeypatch.setattr(_ctr_graph_conv, "configs", [chosen])
    of = {name: tensor.to(device) for name, tensor in make_inputs(2, 18, 12, 3, 25, 8).items()}
    exact = ctr_graph_conv(**of, impl="reference")
    of = {name: poisoned(tensor, 2) for name, tensor in of.items()}
    out = torch.full((2, 12, 3, 28), torch.nan, device=device)
    found = ctr_graph_conv(**of, out=out[..., :25], impl="triton")
    as_exact(found, exact, exact)
    assert found.data_ptr() == out.data_ptr() and out[..., 25:].isnan().all()


def test_memory_may_be_channels_last_and_stays_so(device: torch.device, as_exact: Callable[..., None]) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs(2, 16, 24, 4, 20, 8).items()}
    exact = ctr_graph_conv(**of, impl="reference")
    of["x_NCTV"] = of["x_NCTV"].contiguous(memory_format=torch.channels_last)
    found = ctr_graph_conv(**of, impl="triton")
    as_exact(found, exact, exact)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_residual_may_be_left_out(device: torch.device, as_exact: Callable[..., None]) -> None:
    of = {
        name: tensor.to(device) for name, tensor in make_inputs(1, 16, 16, 3, 20, 8).items() if name != "residual_NOTV"
    }
    exact = ctr_graph_conv(**of, impl="reference")
    as_exact(ctr_graph_conv(**of, impl="triton"), exact, exact)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_the_result_is_written_where_it_is_wanted(impl: str, device: torch.device) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs(1, 16, 16, 3, 20, 8).items()}
    out = torch.empty_like(of["residual_NOTV"])
    found = ctr_graph_conv(**of, out=out, impl=impl)
    assert found.data_ptr() == out.data_ptr()
    torch.testing.assert_close(out, ctr_graph_conv(**of, impl="reference"), rtol=0, atol=1e-4)


def test_nan_is_not_rectified_away(device: torch.device) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs(2, 16, 16, 2, 20, 8).items()}
    of["x_NCTV"][0, 0, 0, 0] = torch.nan
    found = ctr_graph_conv(**of, relu=True, impl="triton")
    assert found[0].isnan().all() and not found[1].isnan().any()


def test_the_cost_is_that_of_its_products() -> None:
    of = cost(N=2, C=64, O=128, T=32, V=25, K=3, R=8, size=2, residual=True)
    relations = 2 * 2 * 3 * (25 * 64 * 8 * 2 + 25 * 25 * 8 * 128)
    assert of.flops == relations + 2 * 2 * 3 * 32 * (25 * 64 * 128 + 25 * 25 * 128)
    weights = 3 * (25 * 25 + 2 * (8 * 64 + 8) + 128 * 64 + 128 + 128 * 8 + 128) + 1 + 128
    assert of.bytes == 2 * (2 * 32 * 25 * (64 + 128 + 128) + weights)
