"""The graph convolution's kernel is its reference."""

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.graph_conv import cost, graph_conv
from motionrt.kernels.graph_conv.triton import CONFIGS, _graph_conv

SHAPES = [(2, 9, 3, 20, 24), (1, 40, 7, 25, 33), (3, 16, 1, 22, 16), (1, 3, 5, 17, 70)]  # N, C, T, V, O


def make_inputs(N: int, C: int, T: int, V: int, O: int, K: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:  # noqa: E741
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    return {
        "x_NCTV": normal(N, C, T, V),
        "A_RV": normal(V * K, V) / V**0.5,
        "weight_OM11": normal(O, K * C, 1, 1) / (K * C) ** 0.5,
        "bias_O": normal(O),
        "residual_NOTV": normal(N, O, T, V),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_is_as_exact_as_pytorch(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = {name: tensor.to(device, dtype) for name, tensor in make_inputs(*shape).items()}
    exact = graph_conv(**{name: tensor.float() for name, tensor in of.items()}, relu=True, impl="reference")
    found = graph_conv(**of, relu=True, impl="triton")
    as_exact(found, graph_conv(**of, relu=True, impl="reference"), exact)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_configuration_of_the_autotuner_is_correct(
    config: object, device: torch.device, as_exact: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_graph_conv, "configs", [config])
    of = {name: tensor.to(device) for name, tensor in make_inputs(1, 20, 2, 25, 33).items()}
    exact = graph_conv(**of, impl="reference")
    as_exact(graph_conv(**of, impl="triton"), exact, exact)


@pytest.mark.parametrize("dot", [False, True])
def test_memory_next_to_its_tensors_is_not_read(
    dot: bool,
    device: torch.device,
    poisoned: Callable[..., torch.Tensor],
    as_exact: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_graph_conv, "configs", [next(c for c in CONFIGS if c.kwargs["DOT"] == dot)])
    of = {name: tensor.to(device) for name, tensor in make_inputs(2, 18, 3, 25, 20).items()}
    exact = graph_conv(**of, impl="reference")
    of["x_NCTV"], of["residual_NOTV"] = poisoned(of["x_NCTV"], 3), poisoned(of["residual_NOTV"], 2)
    out = torch.full((2, 20, 3, 28), torch.nan, device=device)
    found = graph_conv(**of, out=out[..., :25], impl="triton")
    as_exact(found, exact, exact)
    assert found.data_ptr() == out.data_ptr() and out[..., 25:].isnan().all()


def test_memory_may_be_channels_last_and_stays_so(device: torch.device, as_exact: Callable[..., None]) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs(2, 16, 4, 20, 24).items()}
    exact = graph_conv(**of, impl="reference")
    of["x_NCTV"] = of["x_NCTV"].contiguous(memory_format=torch.channels_last)
    found = graph_conv(**of, impl="triton")
    as_exact(found, exact, exact)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("left_out", ["bias_O", "residual_NOTV"])
def test_bias_and_residual_may_be_left_out(left_out: str, device: torch.device, as_exact: Callable[..., None]) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs(1, 16, 3, 20, 16).items() if name != left_out}
    exact = graph_conv(**of, impl="reference")
    as_exact(graph_conv(**of, impl="triton"), exact, exact)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_one_frame_is_a_clip_of_one(impl: str, device: torch.device) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs(3, 16, 1, 22, 20).items()}
    clip = graph_conv(**of, relu=True, impl=impl)
    one = {
        name: tensor[:, :, 0] if tensor.shape[-1] == 22 and tensor.dim() == 4 else tensor for name, tensor in of.items()
    }
    out = torch.empty_like(one["residual_NOTV"])
    found = graph_conv(**one, relu=True, out=out, impl=impl)
    torch.testing.assert_close(found, clip[:, :, 0], rtol=0, atol=1e-5)
    assert found.data_ptr() == out.data_ptr()


def test_nan_is_not_rectified_away(device: torch.device) -> None:
    of = {name: tensor.to(device) for name, tensor in make_inputs(1, 16, 1, 20, 16).items()}
    of["x_NCTV"][0, 0, 0, 0] = torch.nan
    assert graph_conv(**of, relu=True, impl="triton").isnan().all()


def test_the_cost_is_that_of_its_products() -> None:
    of = cost(N=1, C=64, O=64, T=300, V=25, K=3, size=2, residual=True)
    assert of.flops == 2 * 300 * 3 * (25 * 25 * 64 + 25 * 64 * 64)
    assert of.bytes == 2 * (3 * 300 * 25 * 64 + 3 * 25 * 25 + 64 * 192 + 64)
