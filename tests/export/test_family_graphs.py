"""CoAMD's graphs give what the networks give, for any sizes, the gradient that guides among them."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.export.family_graphs import OUTPUTS, Networks, family_graphs  # noqa: E402
from motionrt.training.coamd import Normalisation  # noqa: E402
from motionrt.training.family import Family  # noqa: E402
from motionrt.training.models.coamd import (  # noqa: E402
    AutoEncoder,
    AutoEncoderConfig,
    Generator,
    GeneratorConfig,
    LengthEstimator,
    MotionRecognizer,
    MotionRecognizerConfig,
)

D, W, F, E, H = 6, 20, 12, 16, 24  # latent, text, feature, trunk, head


@pytest.fixture(scope="module")
def networks() -> Networks:
    """Small networks, none of whose gates is closed."""
    torch.manual_seed(0)
    recognizer = MotionRecognizerConfig(
        patch=4, width=16, depth=1, heads=2, hidden=16, feature=F, words="features", text=W, timestep=False
    )
    generator = GeneratorConfig(latent=D, text=W, width=E, depth=2, heads=2, head_width=H, head_depth=2, qualities=2)
    rng = np.random.default_rng(0)
    family = Family(
        autoencoder=AutoEncoder(AutoEncoderConfig(width=8, latent=D, dilations=(3,))),
        generator=Generator(generator),
        recognizer=MotionRecognizer(recognizer),
        lengths=LengthEstimator(W),
        normalisation=Normalisation(
            mean=rng.normal(size=66).astype(np.float32), std=rng.uniform(0.5, 2, 66).astype(np.float32)
        ),
        text=None,  # type: ignore[arg-type]
    )
    made = Networks(family).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def sessions(networks: Networks) -> dict[str, ort.InferenceSession]:
    weights = {name: tensor.numpy() for name, tensor in networks.state_dict().items()}
    found = {}
    family: Any = networks  # its parts have the names of a family's
    for file, graph in family_graphs(as_family(family)).items():
        model = onnx.load_model_from_string(graph)
        names = [i.name for i in model.graph.initializer if i.data_location == onnx.TensorProto.EXTERNAL]
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_external_initializers(names, [ort.OrtValue.ortvalue_from_numpy(weights[name]) for name in names])
        found[file.removesuffix(".onnx")] = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return found


def as_family(networks: Any) -> Family:
    mean, std = networks.mean.numpy(), networks.std.numpy()
    parts = {name: getattr(networks, name) for name in ("autoencoder", "generator", "recognizer", "lengths")}
    return Family(**parts, normalisation=Normalisation(mean=mean, std=std), text=None)  # type: ignore[arg-type]


def ask(session: ort.InferenceSession, *inputs: Any) -> list[np.ndarray]:
    names = [node.name for node in session.get_inputs()]
    found: list[np.ndarray] = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    return found


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


def test_every_graph_has_a_case(sessions: dict[str, ort.InferenceSession]) -> None:
    assert set(sessions) == set(OUTPUTS) == {*CASES, "guide"}
    for name, session in sessions.items():
        assert tuple(node.name for node in session.get_outputs()) == OUTPUTS[name]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_graph_gives_what_the_network_gives(
    networks: Networks, sessions: dict[str, ort.InferenceSession], name: str, count: int
) -> None:
    torch.manual_seed(count)
    inputs = CASES[name](count)
    with torch.no_grad():
        wanted = getattr(networks, name)(*inputs)
    for found, expected in zip(ask(sessions[name], *inputs), wanted, strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected.numpy()).max() < 1e-4 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize(("count", "length"), [(1, 49), (2, 11)])
def test_the_gradient_is_autograds(
    networks: Networks, sessions: dict[str, ort.InferenceSession], count: int, length: int
) -> None:
    torch.manual_seed(length)
    tokens, counts = torch.randn(count, length, D), length - 2 * torch.arange(count)
    target = torch.randn(count, F)
    leaf = tokens.clone().requires_grad_()
    reward = networks.reward(leaf, counts, target)
    (wanted,) = torch.autograd.grad(reward.sum(), leaf)
    gradient, found = ask(sessions["guide"], tokens, counts, target)
    assert np.abs(found - reward.detach().numpy()).max() < 1e-5
    assert np.abs(gradient - wanted.numpy()).max() <= 1e-5 * float(wanted.abs().max())
    assert not gradient[-1, int(counts[-1]) :].any(), "padding has no gradient"


@torch.no_grad()
def test_what_is_computed_apart_is_the_trunk_and_the_head_as_a_whole(
    networks: Networks, sessions: dict[str, ort.InferenceSession]
) -> None:
    generator = networks.generator
    text, quality, tokens = torch.randn(1, W), torch.tensor([1]), torch.randn(1, 8, D)
    valid, places = torch.ones(1, 8, dtype=torch.bool), torch.tensor([[5, 2, 7]])
    modulations = generator.modulations(generator.condition(text, quality))
    z = generator.trunk(tokens, modulations, valid)[0, places[0]]
    told, _ = ask(sessions["condition"], text, quality)
    (found,) = ask(sessions["trunk"], tokens, torch.tensor([8]), torch.from_numpy(told)[None], places)
    assert np.abs(found[0, 0] - z.numpy()).max() < 1e-4
    x, times = torch.randn(3, D), torch.tensor([0.0, 0.25, 0.7])
    (told,) = ask(sessions["times"], times, z)
    for k, t in enumerate(times):
        (v,) = ask(sessions["velocity"], x, torch.from_numpy(told[k])[None])
        assert np.abs(v[0] - generator.head(x, t[None], z).numpy()).max() < 1e-4
