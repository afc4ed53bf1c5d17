"""Networks with kernels give what they give without."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels.dispatch import auto_is
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig, fold


@torch.no_grad()
def test_a_stream_gcns_clip_and_steps(device: torch.device) -> None:
    torch.manual_seed(0)
    parents = (-1, 0, 1, 0, 3)
    config = StreamGCNConfig(parents=parents, classes=4, fps=20.0, channels=(16, 24), dilations=(1, 2))
    model = fold(StreamGCN(config).eval()).to(device)
    x_NTVC = torch.randn(2, 6, len(parents), 3, device=device)
    with auto_is("reference"):
        wanted, features, state = model(x_NTVC)
    for block in model.blocks:
        block.time.stack()
    with auto_is("triton"):
        found = model(x_NTVC)
        rings, slots = model.new_rings(2), torch.arange(2, device=device)
        stepped = torch.stack([model.step_in_rings(x_NTVC[:, t], rings, slots)[0] for t in range(6)], 1)
    torch.testing.assert_close(found, (wanted, features, state), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(stepped, wanted, atol=1e-5, rtol=1e-4)
