"""The temporal convolution's kernels are their references, and steps with rings are a clip."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.temporal_conv import cost, cost_of_step, temporal_conv, temporal_step
from motionrt.kernels.temporal_conv.triton import CONFIGS, _conv, _step

DILATIONS = (1, 2, 4)
SHAPES = [(2, 64, 5, 20), (1, 70, 19, 25), (3, 19, 2, 22)]  # N, C, T, V


def make_inputs(N: int, C: int, T: int, V: int, L: int = 5, seed: int = 0) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)
    D = len(DILATIONS)
    W = C // (D + 1)
    return {
        "x_NCTV": torch.randn(N, C, T, V, generator=draw),
        "weights": torch.randn(D, W, W, L, 1, generator=draw) / (W * L) ** 0.5,
        "biases": torch.randn(D, W, generator=draw),
        "dilations": DILATIONS,
        "past": [torch.randn(N, d * (L - 1), V, W, generator=draw) for d in DILATIONS],
        "residual_NCTV": torch.randn(N, C, T, V, generator=draw),
    }


def to(of: dict[str, Any], *kinds: Any) -> dict[str, Any]:
    tensors = {name: value.to(*kinds) for name, value in of.items() if isinstance(value, torch.Tensor)}
    return of | tensors | ({"past": [part.to(*kinds) for part in of["past"]]} if "past" in of else {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_is_as_exact_as_pytorch(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = to(make_inputs(*shape), device, dtype)
    exact, _ = temporal_conv(**to(of, torch.float32), relu=True, impl="reference")
    found, kept = temporal_conv(**of, relu=True, impl="triton")
    theirs, their_kept = temporal_conv(**of, relu=True, impl="reference")
    as_exact(found, theirs, exact)
    torch.testing.assert_close(kept, their_kept, rtol=0, atol=0)


@pytest.mark.parametrize("left_out", ["past", "residual_NCTV"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_configuration_of_the_autotuner_is_correct(
    config: object,
    left_out: str,
    device: torch.device,
    as_exact: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_conv, "configs", [config])
    of = {name: value for name, value in to(make_inputs(2, 20, 6, 17), device).items() if name != left_out}
    exact, _ = temporal_conv(**of, impl="reference")
    as_exact(temporal_conv(**of, impl="triton")[0], exact, exact)


def test_memory_next_to_its_tensors_is_not_read(
    device: torch.device, poisoned: Callable[..., torch.Tensor], as_exact: Callable[..., None]
) -> None:
    of = to(make_inputs(2, 19, 6, 25), device)
    exact, _ = temporal_conv(**of, impl="reference")
    for name in ("x_NCTV", "residual_NCTV"):
        of[name] = poisoned(of[name], 3)
    of["past"] = [poisoned(part, 3) for part in of["past"]]
    out = torch.full((2, 19, 6, 28), torch.nan, device=device)
    as_exact(temporal_conv(**of, out=out[..., :25], impl="triton")[0], exact, exact)
    assert out[..., 25:].isnan().all()


def test_memory_may_be_channels_last_and_stays_so(device: torch.device, as_exact: Callable[..., None]) -> None:
    of = to(make_inputs(2, 64, 3, 20), device)
    exact, _ = temporal_conv(**of, impl="reference")
    of["x_NCTV"] = of["x_NCTV"].contiguous(memory_format=torch.channels_last)
    found, _ = temporal_conv(**of, impl="triton")
    as_exact(found, exact, exact)
    assert found.is_contiguous(memory_format=torch.channels_last)


def stepped(impl: str, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """21 frames of two of three streams, of which one joins later: outputs [2, C, T, V], those of clips, rings."""
    of = to(make_inputs(2, 19, 21, 5), device, dtype)
    x, weight, bias, residual = (of[name] for name in ("x_NCTV", "weights", "biases", "residual_NCTV"))
    rings = x.new_zeros(3, sum(part[0].numel() for part in of["past"]))
    places, slots = torch.tensor([0, 0, 0], device=device), torch.tensor([2, 0], device=device)
    late = 4
    made = torch.zeros_like(x)
    for t in range(21):
        who = slice(0, 2 if t >= late else 1)
        slot = slots[who]
        made[who, :, t] = temporal_step(
            x[who, :, t], weight, bias, DILATIONS, rings, places, slot, residual[who, :, t], relu=True, impl=impl
        )
        places[slot] += 1
    clips = [
        temporal_conv(
            x[m : m + 1, :, t:], weight, bias, DILATIONS, None, residual[m : m + 1, :, t:], relu=True, impl="reference"
        )[0]
        for m, t in ((0, 0), (1, late))
    ]
    wanted = torch.zeros_like(made)
    wanted[0], wanted[1, :, late:] = clips[0][0], clips[1][0]
    return made, wanted, rings


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_steps_with_rings_are_a_clip(impl: str, device: torch.device, as_exact: Callable[..., None]) -> None:
    made, wanted, rings = stepped(impl, device)
    as_exact(made, wanted, wanted)
    assert (rings[1] == 0).all(), "a stream that was not stepped has changed"


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_configuration_of_a_step_is_correct(
    config: object, device: torch.device, as_exact: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_step, "configs", [config])
    made, wanted, rings = stepped("triton", device)
    as_exact(made, wanted, wanted)
    torch.testing.assert_close(rings, stepped("reference", device)[2], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_step_is_as_exact_as_pytorch(dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]) -> None:
    found, theirs, exact = (
        stepped("triton", device, dtype)[0],
        stepped("reference", device, dtype)[0],
        stepped("reference", device)[1],
    )
    as_exact(found, theirs, exact)


def test_the_cost_is_that_of_its_products() -> None:
    of = cost(N=1, C=64, T=10, V=20, D=3, W=16, L=5, size=4, residual=True)
    assert of.flops == 2 * 10 * 20 * 3 * 16 * 16 * 5
    assert of.bytes == 4 * (3 * 64 * 10 * 20 + 3 * 16 * 16 * 5 + 3 * 16)
    one = cost_of_step(M=2, C=64, V=20, D=3, W=16, L=5, size=4)
    assert one.bytes == 4 * (2 * 2 * 64 * 20 + 3 * 16 * 81 + 2 * 3 * 16 * 20 * 5)
