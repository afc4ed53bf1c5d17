"""CoAMD's graphs match the networks for any sizes, including the gradient for guidance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.export.coamd_graphs import ExportedCoamd  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.bundles.schema import GenerationManifest  # noqa: E402
from motionrt.runtime.bundles.signatures import INT8_SUFFIX, SIGNATURES  # noqa: E402
from motionrt.runtime.generation.networks import Networks  # noqa: E402
from motionrt.runtime.generation.open_networks import open_networks  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.coamd.pipeline import CoamdPipeline  # noqa: E402

D, W, F, E, H = 8, 384, 384, 16, 24  # of the tiny bundle: latent, text, feature, trunk, head


@pytest.fixture(scope="module")
def networks(exported_coamd: Path) -> ExportedCoamd:
    return ExportedCoamd(CoamdPipeline.load(exported_coamd, TextEncoder.load("text"))).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def graphs(exported_coamd: Path) -> Networks:
    return open_networks(Bundle.load(exported_coamd, GenerationManifest), threads=1)


def ask(graphs: Networks, name: str, *inputs: Any) -> list[np.ndarray]:
    return graphs.run(name, *(x.numpy() for x in inputs))


CASES = {  # of one motion and of several
    "condition": lambda B: (torch.randn(B, W), torch.arange(B) % 2),
    "trunk": lambda B: (
        torch.randn(B, 11, D),
        torch.arange(B) + 9,
        torch.randn(2 if B > 1 else 1, B, 2 * 6 * E),
        torch.stack([torch.randperm(9)[:4] for _ in range(B)]),
    ),
    "times": lambda B: (torch.rand(B), torch.randn(2 * B, E)),
    "velocity": lambda B: (torch.randn(B, D), torch.randn(2, B, (3 * 2 + 2) * H)),
    "decode": lambda B: (torch.randn(B, 11, D), torch.arange(B) + 9),
    "encode": lambda B: (torch.randn(B, 44, 22, 3), 4 * torch.arange(B) + 36),
    "motion": lambda B: (torch.randn(B, 44, 22, 3), 4 * torch.arange(B) + 36),
    "describe": lambda B: (torch.randn(B, 6, W), torch.arange(B) + 4),
}


def test_every_graph_has_a_case(graphs: Networks) -> None:
    about, signatures = graphs.bundle.manifest.graphs, SIGNATURES["generation"].graphs
    assert {*CASES, "guide"} == {name.removesuffix(INT8_SUFFIX) for name in about}
    assert all(tuple(about[name].outputs) == tuple(signatures[name].outputs) for name in about)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_graph_matches_the_network(networks: ExportedCoamd, graphs: Networks, name: str, count: int) -> None:
    torch.manual_seed(count)
    inputs = CASES[name](count)
    with torch.no_grad():
        wanted = getattr(networks, name)(*inputs)
    for found, expected in zip(ask(graphs, name, *inputs), wanted, strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected.numpy()).max() < 1e-4 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize(("count", "length"), [(1, 49), (2, 11)])
def test_the_gradient_matches_autograd(networks: ExportedCoamd, graphs: Networks, count: int, length: int) -> None:
    torch.manual_seed(length)
    tokens, counts = torch.randn(count, length, D), length - 2 * torch.arange(count)
    target = torch.randn(count, F)
    leaf = tokens.clone().requires_grad_()
    reward = networks.reward(leaf, counts, target)
    (wanted,) = torch.autograd.grad(reward.sum(), leaf)
    gradient, found = ask(graphs, "guide", tokens, counts, target)
    assert np.abs(found - reward.detach().numpy()).max() < 1e-5
    assert np.abs(gradient - wanted.numpy()).max() <= 1e-5 * float(wanted.abs().max())
    assert not gradient[-1, int(counts[-1]) :].any(), "padding has no gradient"


@torch.no_grad()
def test_the_parts_match_the_whole_trunk_and_head(networks: ExportedCoamd, graphs: Networks) -> None:
    generator = networks.generator
    text, quality, tokens = torch.randn(1, W), torch.tensor([1]), torch.randn(1, 8, D)
    valid, places = torch.ones(1, 8, dtype=torch.bool), torch.tensor([[5, 2, 7]])
    blocks = generator.modulations(generator.condition(text, quality))
    z = generator.trunk(tokens, blocks, valid)[0, places[0]]
    modulation, _ = ask(graphs, "condition", text, quality)
    (found,) = ask(graphs, "trunk", tokens, torch.tensor([8]), torch.from_numpy(modulation)[None], places)
    assert np.abs(found[0, 0] - z.numpy()).max() < 1e-4 * float(z.abs().max())
    x, times = torch.randn(3, D), torch.tensor([0.0, 0.25, 0.7])
    (modulations,) = ask(graphs, "times", times, z)
    for k, t in enumerate(times):
        (v,) = ask(graphs, "velocity", x, torch.from_numpy(modulations[k])[None])
        wanted = generator.head(x, t[None], z)
        assert np.abs(v[0] - wanted.numpy()).max() < 1e-4 * float(wanted.abs().max())
