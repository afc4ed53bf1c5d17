"""The joint attention's kernel is its reference, and that is the network's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.joint_attention import cost, joint_attention
from motionrt.kernels.joint_attention.triton import CONFIGS, _joint_attention
from motionrt.training.models.tdsm import JointAttention

SHAPES = [(2, 35, 2, 64), (1, 15, 3, 32), (3, 17, 1, 48), (2, 1, 2, 16), (1, 33, 1, 20)]  # B, L, heads, D


def make_inputs(B: int, L: int, heads: int, D: int, masked: bool = True, text: bool = True) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    E = heads * D
    valid_BS = torch.rand(B, 1 + L, generator=draw) < 0.6
    valid_BS[:, 0] = True
    return {
        "qkv_B1M": 2 * torch.randn(B, 1, 3 * E, generator=draw),
        "qkv_text_BLM": 2 * torch.randn(B, L, (3 if text else 2) * E, generator=draw),
        "valid_BS": valid_BS if masked else None,
        "heads": heads,
        "text": text,
    }


def put(of: dict[str, Any], device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    return {
        name: value.to(device, dtype if value.is_floating_point() else None) if torch.is_tensor(value) else value
        for name, value in of.items()
    }


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_the_network_s_between_its_projections(masked: bool, text: bool, impl: str, device: torch.device) -> None:
    torch.manual_seed(0)
    attention = JointAttention(32, heads=2).to(device).requires_grad_(False)
    of = put(make_inputs(2, 9, 2, 16, masked), device)
    exact, exact_text = attention(of["qkv_B1M"], of["qkv_text_BLM"], of["valid_BS"], last=not text)
    found, found_text = joint_attention(**of | {"text": text}, impl=impl)
    torch.testing.assert_close(attention.proj(found), exact, rtol=0, atol=1e-5)
    assert (found_text is None) == (exact_text is None)
    if text:
        torch.testing.assert_close(attention.proj_c(found_text), exact_text, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_is_as_exact_as_pytorch(
    shape: tuple[int, ...], masked: bool, dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = put(make_inputs(*shape, masked=masked), device, dtype)
    exact = joint_attention(**put(of, device), impl="reference")
    torchs = joint_attention(**of, impl="reference")
    for found, *others in zip(joint_attention(**of, impl="triton"), torchs, exact, strict=True):
        as_exact(found, *others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_of_a_text_that_asks_nothing_keys_and_values_are_enough(
    dtype: torch.dtype, device: torch.device, as_exact: Callable[..., None]
) -> None:
    of = put(make_inputs(2, 19, 2, 32, text=False), device, dtype)
    exact, _ = joint_attention(**put(of, device), impl="reference")
    found, found_text = joint_attention(**of, impl="triton")
    as_exact(found, joint_attention(**of, impl="reference")[0], exact)
    assert found_text is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_configuration_of_the_autotuner_is_correct(
    config: object,
    dtype: torch.dtype,
    device: torch.device,
    as_exact: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_joint_attention, "configs", [config])
    of = put(make_inputs(2, 35, 2, 48), device, dtype)
    exact = joint_attention(**put(of, device), impl="reference")
    torchs = joint_attention(**of, impl="reference")
    for found, *others in zip(joint_attention(**of, impl="triton"), torchs, exact, strict=True):
        as_exact(found, *others)


def test_memory_next_to_its_tensors_is_not_read(
    device: torch.device, poisoned: Callable[..., torch.Tensor], as_exact: Callable[..., None]
) -> None:
    of = put(make_inputs(3, 19, 2, 48), device)
    exact = joint_attention(**of, impl="reference")
    longer = torch.full((3, 24, 3 * 96), torch.nan, device=device)  # a text is read up to a length
    longer[:, :19] = of["qkv_text_BLM"]
    of["qkv_B1M"], of["qkv_text_BLM"] = poisoned(of["qkv_B1M"], 5), poisoned(longer, 3)[:, :19]
    of["valid_BS"] = torch.cat([of["valid_BS"], torch.ones(3, 5, dtype=torch.bool, device=device)], 1)[:, :20]
    out = torch.full((3, 24, 100), torch.nan, device=device)
    found = joint_attention(**of, out=(out[:, :1, :96], out[:, 1:20, :96]), impl="triton")
    for one, other in zip(found, exact, strict=True):
        as_exact(one, other, other)
    assert found[0].data_ptr() == out.data_ptr()
    assert out[:, 20:].isnan().all() and out[:, :, 96:].isnan().all()


def test_one_text_may_stand_for_a_batch(device: torch.device, as_exact: Callable[..., None]) -> None:
    of = put(make_inputs(3, 5, 2, 16), device)
    of["qkv_text_BLM"] = of["qkv_text_BLM"][:1].expand(3, -1, -1)
    exact = joint_attention(**of, impl="reference")
    for found, other in zip(joint_attention(**of, impl="triton"), exact, strict=True):
        as_exact(found, other, other)


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("text", [True, False])
def test_the_results_are_written_where_they_are_wanted(text: bool, impl: str, device: torch.device) -> None:
    of = put(make_inputs(2, 7, 2, 16, text=text), device)
    exact = joint_attention(**of, impl="reference")
    out = tuple(None if part is None else torch.empty_like(part) for part in exact)
    found = joint_attention(**of, out=out, impl=impl)
    for one, other, expected in zip(found, out, exact, strict=True):
        assert one is other
        if expected is not None:
            torch.testing.assert_close(one, expected, rtol=0, atol=1e-5)


def test_large_logits_do_not_overflow(device: torch.device, as_exact: Callable[..., None]) -> None:
    of = put(make_inputs(1, 20, 1, 32), device)
    of["qkv_B1M"], of["qkv_text_BLM"] = 30 * of["qkv_B1M"], 30 * of["qkv_text_BLM"]
    exact = joint_attention(**of, impl="reference")
    for found, other in zip(joint_attention(**of, impl="triton"), exact, strict=True):
        torch.testing.assert_close(found, other, rtol=0, atol=1e-4)


def test_the_cost_is_that_of_its_products() -> None:
    of = cost(B=3, L=35, E=768, size=2, masked=True)
    assert of.flops == 3 * 2 * (2 * 36 * 36 * 768)
    assert of.bytes == 3 * (2 * (36 * 3 * 768 + 36 * 768) + 36)
    of = cost(B=1, L=35, E=768, size=4, text=False)
    assert of.flops == 2 * (2 * 36 * 768)
    assert of.bytes == 4 * (3 * 768 + 35 * 2 * 768 + 768)
