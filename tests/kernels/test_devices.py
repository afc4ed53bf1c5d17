"""Kernels run on the GPU of their tensors, whichever is the current one, and reach beyond 2^31 elements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.bench.gpu_task import cases
from motionrt.bench.kernels import OPERATIONS
from motionrt.kernels.adaln_mlp import adaln_mlp, adaln_mlp_blocks
from motionrt.kernels.ctr_graph_conv import ctr_graph_conv
from motionrt.kernels.graph_conv import graph_conv
from motionrt.kernels.joint_attention import joint_attention
from motionrt.kernels.temporal_conv import temporal_conv

SAMPLE = 2**30  # elements between samples: the third one begins at 2^31


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kernel_is_launched_on_the_device_of_its_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.Tensor] = []

    @contextmanager
    def device_of(tensor: torch.Tensor) -> Iterator[None]:
        chosen.append(tensor)
        yield
        chosen.clear()

    def launch(*args: Any, **kwargs: Any) -> torch.Tensor:
        assert chosen, "the current device may be another one"
        return chosen[0]

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    kernels = import_module(f"motionrt.kernels.{name}.triton")
    for op, case in {case.op.__name__: case for case in cases(name, torch.device("cpu"), torch.float32)}.items():
        monkeypatch.setattr(kernels, op, launch)
        assert case("triton")


@pytest.fixture
def far(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.Tensor], torch.Tensor]:
    """Copies a tensor of three samples to memory of which hardly anything is touched, samples far from each other."""
    if device.type == "cpu":
        from triton.runtime.interpreter import GridExecutor

        monkeypatch.setattr(GridExecutor, "_restore_args_dev", lambda *args: None)  # copies all memory onto itself
    memory, used = torch.empty(2 * SAMPLE + 2**14, dtype=torch.float16, device=device), 0

    def copy(near: torch.Tensor) -> torch.Tensor:
        nonlocal used
        begin, used = used, used + near[0].numel()
        return memory.as_strided(near.shape, (SAMPLE, *near.stride()[1:]), begin).copy_(near)

    return copy


def test_samples_may_be_more_than_2_to_the_31_elements_apart(
    device: torch.device, far: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    def randn(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=draw).half().to(device)

    draw = torch.Generator().manual_seed(0)
    x, residual, A, weight = randn(3, 16, 2, 4), randn(3, 16, 2, 4), randn(8, 4), randn(16, 32, 1, 1)
    for relu in (False, True):
        args = {"A_RV": A, "weight_OM11": weight, "relu": relu, "impl": "triton"}
        wanted = graph_conv(x, residual_NOTV=residual, **args)
        found = graph_conv(far(x), residual_NOTV=far(residual), out=far(x), **args)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    weights, biases = randn(2, 8, 8, 3, 1), randn(2, 8)
    past = [randn(3, 2 * dilation, 4, 8) for dilation in (1, 2)]
    wanted, _ = temporal_conv(x, weights, biases, (1, 2), past, residual, impl="triton")
    found, _ = temporal_conv(far(x), weights, biases, (1, 2), past, far(residual), out=far(x), impl="triton")
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    qkv, text = randn(3, 1, 3 * 32), randn(3, 5, 3 * 32)
    wanted_x, wanted_text = joint_attention(qkv, text, 2, impl="triton")
    out = (far(torch.zeros_like(wanted_x)), far(torch.zeros_like(wanted_text)))
    found_x, found_text = joint_attention(far(qkv), far(text), 2, out=out, impl="triton")
    torch.testing.assert_close(found_x, wanted_x, rtol=0, atol=0)
    torch.testing.assert_close(found_text, wanted_text, rtol=0, atol=0)

    w1, w2, b1, b2 = randn(2, 4, 16), randn(2, 4, 16), randn(2, 4), randn(2, 4)
    inputs = (x, randn(2, 4, 4), randn(1), w1, b1, w2, b2, randn(2, 16, 16), randn(2, 16), randn(2, 16, 4))
    inputs += (randn(2, 16), randn(16))
    wanted = ctr_graph_conv(*inputs, residual, impl="triton")
    found = ctr_graph_conv(*inputs, far(residual), out=far(residual), impl="triton")
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    for N in (2, 12):  # few and many rows
        h, modulations = randn(3, N, 16), randn(2, 3, N, 48)
        weights = randn(2, 16), randn(2, 16), randn(2, 16, 16), randn(2, 16), randn(2, 16, 16), randn(2, 16)
        block = [modulations[0], *(weight[0] for weight in weights)]
        wanted = adaln_mlp(h, *block, impl="triton")
        found = adaln_mlp(far(h), far(block[0]), *block[1:], out=far(h), impl="triton")
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        wanted = adaln_mlp_blocks(h, modulations, *weights, impl="triton")
        found = adaln_mlp_blocks(far(h), modulations, *weights, out=far(h), impl="triton")
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
