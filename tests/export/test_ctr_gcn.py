"""CTR-GCN folded for inference: the plain network's logits, in torch and in ONNX Runtime."""

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402

from motionrt.export.ctr_gcn import person_graph  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.schema import WEIGHTS  # noqa: E402
from motionrt.runtime.recognition.clips import scale_axes  # noqa: E402
from motionrt.training.models.ctr_gcn import CTRGCN, NWUCLA_PARENTS, CTRGCNConfig  # noqa: E402
from motionrt.training.models.fast_ctr_gcn import FastCTRGCN, fold  # noqa: E402
from motionrt.training.recognition.ctr_gcn import STREAMS, stream_input  # noqa: E402

TOLERANCE = 1e-5  # of logits of a few units
SMALL = (16, 32)


def network(**config: object) -> CTRGCN:
    """A network in which every parameter has an effect, with logits of a few units."""
    torch.manual_seed(0)
    model = CTRGCN(CTRGCNConfig(classes=7, **config))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith(("bn.weight", "alpha")):
                tensor.uniform_(0.2, 0.6)
            elif name.endswith(("bias", "PA")):
                tensor.add_(0.1 * torch.randn_like(tensor))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = None  # statistics of what follows alone
        logits = model.train()(torch.randn(4, 3, 24, model.config.joints, model.config.people))
        for tensor in model.fc.parameters():
            tensor.mul_(3 / logits.abs().max())
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def two_people() -> tuple[CTRGCN, FastCTRGCN]:
    """A small network for clips of two people, and its fast form."""
    model = network(channels=SMALL)
    return model, fold(model)


def same(found: Tensor, wanted: Tensor) -> None:
    assert wanted.abs().max() > 1
    torch.testing.assert_close(found, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("config", [{}, {"parents": NWUCLA_PARENTS, "people": 1}], ids=["ntu", "nw-ucla"])
def test_the_published_size_gives_the_same_logits(config: dict[str, object]) -> None:
    model = network(**config)
    x = torch.randn(2, 3, 21, model.config.joints, model.config.people)
    same(fold(model)(x), model(x))


@pytest.mark.parametrize("T", [1, 7, 16, 53])
def test_clips_of_any_length_give_the_same_logits(two_people: tuple[CTRGCN, FastCTRGCN], T: int) -> None:
    model, fast = two_people
    x = torch.randn(3, 3, T, 25, 2)
    same(fast(x), model(x))


@pytest.mark.parametrize("absent", [[(0, 1)], [(0, 0)], [(0, 0), (0, 1)], [(0, 1), (1, 0), (2, 0), (2, 1)]])
def test_absent_people_count_as_zeros(two_people: tuple[CTRGCN, FastCTRGCN], absent: list[tuple[int, int]]) -> None:
    model, fast = two_people
    x = torch.randn(3, 3, 13, 25, 2)
    for n, m in absent:
        x[n, ..., m] = 0
    wanted = model(x)
    same(fast(x), wanted)
    same(fast(x), wanted)


def test_absent_people_are_not_computed(two_people: tuple[CTRGCN, FastCTRGCN], monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = two_people
    x = torch.randn(3, 3, 11, 25, 2)
    x[1:, ..., 1] = 0
    fast(x)
    asked, person = [], fast.person

    def counted(x_PCTV: Tensor, place_P: Tensor) -> Tensor:
        asked.append(place_P.tolist())
        return person(x_PCTV, place_P)

    monkeypatch.setattr(fast, "person", counted)
    fast(x)
    fast(torch.zeros_like(x))
    assert asked == [[0, 1, 0, 0]]


@pytest.mark.parametrize("stream", STREAMS)
def test_real_clips_give_the_same_logits(samples: list[Motion], stream: str) -> None:
    model = network(parents=NWUCLA_PARENTS, people=1, channels=SMALL)
    to_kinect = Layout.load("kinect20").map_from(Layout.load("smpl22"))
    clips = [np.einsum("vw,twc->tvc", to_kinect, motion.joints) for motion in samples]
    x = torch.from_numpy(np.stack([stream_input(scale_axes(clip), stream) for clip in clips])[..., None])
    same(fold(model)(x), model(x))


def test_folding_leaves_the_network_alone() -> None:
    model = network(channels=SMALL).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = fold(model)
    assert model.training and not fast.training
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert {tensor.dtype for tensor in fast.state_dict().values()} == {torch.float32}
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in fast.modules())


@pytest.fixture(scope="module")
def ask(two_people: tuple[CTRGCN, FastCTRGCN]) -> Callable[[Tensor, Tensor], np.ndarray]:
    """The graph of the small network in ONNX Runtime, its weights bound by name."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    fast = two_people[1]
    model = onnx.load_from_string(person_graph(fast))
    weights = {name: tensor.numpy() for name, tensor in fast.state_dict().items()}
    external = [tensor for tensor in model.graph.initializer if tensor.external_data]
    assert external and {entry.value for tensor in external for entry in tensor.external_data} == {WEIGHTS}
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_external_initializers(
        [tensor.name for tensor in external],
        [ort.OrtValue.ortvalue_from_numpy(weights[tensor.name]) for tensor in external],
    )
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda clip, place: session.run(["logits"], {"clip": clip.numpy(), "place": place.numpy()})[0]


@pytest.mark.parametrize("T", [8, 13, 52])
def test_the_graph_classifies_people_one_by_one(
    two_people: tuple[CTRGCN, FastCTRGCN], ask: Callable[[Tensor, Tensor], np.ndarray], T: int
) -> None:
    model, _ = two_people
    x = torch.randn(3, 3, T, 25, 2)
    x[2, ..., 1] = 0
    people, places = x.permute(0, 4, 1, 2, 3).flatten(0, 1), torch.tensor([0, 1] * 3)
    same(torch.from_numpy(ask(people, places)).unflatten(0, (3, 2)).mean(1), model(x))
    one = torch.from_numpy(ask(people[4:5], places[4:5]) + ask(torch.zeros_like(people[:1]), places[1:2])) / 2
    same(one, model(x[2:]))
