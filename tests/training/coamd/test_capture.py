"""Nothing that is captured as a CUDA graph waits for the GPU or copies from the host; checked on meta tensors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from motionrt.runtime.generation.schedule import Guidance, Sampling  # noqa: E402
from motionrt.training.coamd.cuda_graph_sampler import draw_inputs  # noqa: E402
from motionrt.training.coamd.exported import ExportedCoamd  # noqa: E402
from motionrt.training.coamd.pipeline import CoamdPipeline  # noqa: E402
from motionrt.training.coamd.tasks import Normalization  # noqa: E402
from motionrt.training.models.coamd import (  # noqa: E402
    SIZES,
    AutoEncoder,
    LengthEstimator,
    MotionGenerator,
    MotionRecognizer,
)
from motionrt.training.models.ctr_gcn import CTRGCN, CTRGCNConfig  # noqa: E402
from motionrt.training.models.fast_ctr_gcn import fold as fold_ctr_gcn  # noqa: E402
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig, fold  # noqa: E402

META = torch.device("meta")
FROM_HOST = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, torch.Tensor.new_tensor)
SYNCHRONIZING = ("_local_scalar_dense", "item", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero")


class NothingFromHost(TorchFunctionMode):
    """Refuses tensors made from Python numbers, and lists as indices; these copies are hidden from a dispatch mode."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in FROM_HOST:
            raise AssertionError(f"{function.__name__} copies from the host")
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(part, list | tuple | np.ndarray) for part in index), "an index from the host"
        return function(*args, **(kwargs or {}))


class NothingWaits(TorchDispatchMode):
    """Refuses operations that wait for the GPU or copy from the host."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        assert name not in SYNCHRONIZING, f"{name} waits for the GPU"
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            target = args[0].device if name == "copy_" else torch.device((kwargs or {}).get("device") or source.device)
            assert source.device == target, f"{name} from {source.device} to {target}"
        return function(*args, **(kwargs or {}))


@contextmanager
def capture() -> Iterator[None]:
    with torch.no_grad(), NothingFromHost(), NothingWaits():
        yield


@pytest.fixture(scope="module", params=["small", "xl"])
def networks(request: pytest.FixtureRequest) -> ExportedCoamd:
    size = SIZES[request.param]
    mean, std = np.ones((2, size.autoencoder.coordinates), np.float32)
    with META:
        pipeline = CoamdPipeline(
            autoencoder=AutoEncoder(size.autoencoder),
            generator=MotionGenerator(size.generator),
            recognizer=MotionRecognizer(size.recognizer),
            lengths=LengthEstimator(size.generator.text, size.generator.qualities),
            normalization=Normalization(mean=mean, std=std),
            text=None,  # type: ignore[arg-type]
        )
    return ExportedCoamd(pipeline).to(META).eval().requires_grad_(False)


@pytest.mark.parametrize("guidance", [None, Guidance(step=1.0, last=2), Guidance(step=1.0, last=2, norm="token")])
def test_the_sampling_loop(networks: ExportedCoamd, guidance: Guidance | None) -> None:
    settings = Sampling(steps=3, evaluations=2, cfg=4.5, guidance=guidance)
    generator = networks.generator
    loop, arrays = draw_inputs(np.zeros(generator.config.latent, np.float32), [9, 6], settings)
    width = 6 * generator.config.width * generator.config.depth
    target = torch.empty(2, networks.recognizer.config.feature, device=META)
    inputs = [torch.empty(2, 2, width, device=META), target, *(torch.from_numpy(array).to(META) for array in arrays)]
    loop(networks, *inputs)  # a call before the capture
    with capture():
        assert loop(networks, *inputs).shape == (2, 16, generator.config.latent)


@pytest.mark.parametrize("guidance", [None, Guidance(step=1.0, last=2), Guidance(step=1.0, preview=1)])
def test_lengths_in_a_bucket_share_a_graph(guidance: Guidance | None) -> None:
    mask, settings = np.zeros(3, np.float32), Sampling(steps=5, evaluations=2, guidance=guidance)
    part = {"known_BLD": np.ones((2, 7, 3), np.float32), "regenerate_BL": np.arange(7)[None] % [[2], [3]] == 0}
    drawn = [draw_inputs(mask, [max(1, n - 2), n], settings) for n in range(1, 9)]
    drawn.append(draw_inputs(mask, [7, 6], settings, **part))
    for loop, arrays in drawn:
        assert loop == drawn[0][0] and hash(loop) == hash(drawn[0][0])
        assert [array.shape for array in arrays] == [array.shape for array in drawn[0][1]]
    assert draw_inputs(mask, [1, 9], settings)[0] != drawn[0][0]


GRAPHS: dict[str, Callable[[ExportedCoamd], tuple[torch.Tensor, ...]]] = {
    "motion": lambda networks: (torch.empty(2, 24, 22, 3, device=META), torch.empty(2, dtype=torch.long, device=META)),
    "encode": lambda networks: (torch.empty(2, 24, 22, 3, device=META), torch.empty(2, dtype=torch.long, device=META)),
    "decode": lambda networks: (
        torch.empty(2, 6, networks.generator.config.latent, device=META),
        torch.empty(2, dtype=torch.long, device=META),
    ),
    "condition": lambda networks: (
        torch.empty(2, networks.generator.config.text, device=META),
        torch.empty(2, dtype=torch.long, device=META),
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_graphs_of_a_bundle(networks: ExportedCoamd, graph: str) -> None:
    inputs = GRAPHS[graph](networks)
    with capture():
        getattr(networks, graph)(*inputs)


def test_the_recognizers_step() -> None:
    config = StreamGCNConfig(parents=(-1, 0, 1, 0, 3), classes=4, fps=20.0, channels=(16, 24), dilations=(1, 2))
    network = fold(StreamGCN(config).eval()).to(META).requires_grad_(False)
    network.stack()
    rings, slots = network.new_rings(4), torch.empty(2, dtype=torch.long, device=META)
    with capture():
        network.step_in_rings(torch.empty(2, 5, 3, device=META), rings, slots)


def test_a_ctr_gcns_clip() -> None:
    network = fold_ctr_gcn(CTRGCN(CTRGCNConfig(classes=4, channels=(16, 32)))).to(META)
    clip = torch.empty(2, 3, 16, 25, device=META)
    with capture():
        assert network.people(clip).shape == (4,)


X = torch.empty(3, 2, device=META)


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda: torch.tensor([1, 0], device=META),
        lambda: X.new_tensor([1.0]),
        lambda: X[:, [1, 0]],
        lambda: torch.ones(3).to(META),
        lambda: X.copy_(torch.ones(3, 2)),
        lambda: X[0, 0].item(),
        lambda: torch.nonzero(X),
    ],
)
def test_what_a_capture_forbids_is_found(forbidden: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError), capture():
        forbidden()
