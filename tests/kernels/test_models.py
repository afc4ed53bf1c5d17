"""Networks with kernels give what they give without."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.dispatch import use_impl
from motionrt.training.models.coamd import GeneratorConfig, MotionGenerator
from motionrt.training.models.ctr_gcn import CTRGCN, CTRGCNConfig
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig, fold
from motionrt.training.models.tdsm import CrossDiT, CrossDiTConfig


@pytest.mark.parametrize("body", [0, 20])
@torch.no_grad()
def test_a_stream_gcns_clip_and_steps(body: int, device: torch.device) -> None:
    torch.manual_seed(0)
    parents = (-1, 0, 1, 0, 3)
    settings = {"channels": (16, 24), "dilations": (1, 2), "body": body, "body_blocks": body // 10}
    config = StreamGCNConfig(parents=parents, classes=4, fps=20.0, **settings)
    model = fold(StreamGCN(config).eval()).to(device)
    x_NTVC = torch.randn(2, 6, len(parents), 3, device=device)
    with use_impl("reference"):
        wanted, features, state = model(x_NTVC)
    model.stack()
    with use_impl("triton"):
        found = model(x_NTVC)
        rings, slots = model.new_rings(2), torch.arange(2, device=device)
        stepped = torch.stack([model.step_in_rings(x_NTVC[:, t], rings, slots)[0] for t in range(6)], 1)
    torch.testing.assert_close(found, (wanted, features, state), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(stepped, wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_ctr_gcns_clip(device: torch.device) -> None:
    torch.manual_seed(0)
    config = CTRGCNConfig(classes=4, parents=(-1, 0, 1, 0, 3), people=1, channels=(16, 16, 32))
    model = CTRGCN(config).to(device)
    x_NCTVM = torch.randn(2, 3, 8, 5, 1, device=device)
    for _ in range(3):  # batch-norms that have seen something
        model(x_NCTVM + torch.randn_like(x_NCTVM))
    wanted = model.eval()(x_NCTVM)
    model.fold()
    with use_impl("triton"):
        torch.testing.assert_close(model(x_NCTVM), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cross", [False, True])
@torch.no_grad()
def test_tdsms_noise(cross: bool, device: torch.device) -> None:
    torch.manual_seed(0)
    config = CrossDiTConfig(feature=8, text=12, tokens=5, width=32, depth=2, heads=2, cross=cross)
    model = CrossDiT(config).to(device).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    z_BF, words_BLW, pooled_BW = (torch.randn(3, *size, device=device) for size in ((8,), (5, 12), (12,)))
    valid_BL = torch.arange(5, device=device) < torch.tensor([[5], [3], [1]], device=device)
    inputs = (z_BF, torch.full((3,), 7, device=device), words_BLW, pooled_BW, valid_BL)
    with use_impl("reference"):
        wanted = model(*inputs)
    with use_impl("triton"):
        torch.testing.assert_close(model(*inputs), wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_flow_heads_velocity(device: torch.device) -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(latent=6, text=8, width=16, depth=1, heads=2, head_width=24, head_depth=3)
    head = MotionGenerator(config).head.to(device).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x_ND, z_GNE = torch.randn(5, 6, device=device), torch.randn(2, 5, 16, device=device)
    modulations = head.modulations(torch.tensor([0.3], device=device), z_GNE)
    with use_impl("reference"):
        wanted = head.velocity(x_ND, modulations)
    with use_impl("triton"):
        torch.testing.assert_close(head.velocity(x_ND, modulations), wanted, atol=1e-5, rtol=1e-4)
        head.stack()
        torch.testing.assert_close(head.velocity(x_ND, modulations), wanted, atol=1e-5, rtol=1e-4)
    head.blocks[1].fc1.weight.zero_()
    assert not head.stacked[2][1].any(), "the parameters are parts of what is stacked"
