"""The CUDA backend matches ONNX Runtime. Without a GPU, everything except the capture is tested on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.runtime.backends import factory  # noqa: E402
from motionrt.runtime.backends.cuda import PEOPLE, CudaBackend, CudaGraph, CudaGraphCache, CudaNetworks, to_device  # noqa: E402
from motionrt.runtime.backends.onnx import OnnxBackend  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.bundles.schema import GenerationManifest, ZeroShotManifest  # noqa: E402
from motionrt.runtime.errors import BundleError, InputError  # noqa: E402
from motionrt.runtime.generation.networks import Networks  # noqa: E402
from motionrt.runtime.generation.open_networks import open_networks  # noqa: E402
from motionrt.runtime.generation.schedule import Guidance, Sampling, noise_keys  # noqa: E402
from motionrt.runtime.recognition.open_labels import encoder_bundle  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: graphs are captured only there")


@pytest.fixture(scope="module")
def backend() -> CudaBackend:
    return CudaBackend(Bundle.load("live"), DEVICE)


@pytest.fixture(scope="module")
def reference() -> OnnxBackend:
    return OnnxBackend(Bundle.load("live"))


def walk(frames: int, joints: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.cumsum(draw.normal(0, 0.03, (frames, joints, 3)), 0).astype(np.float32)


def test_people_who_come_and_go_get_the_outputs_of_onnx_runtime(backend: CudaBackend, reference: OnnxBackend) -> None:
    people, V = 5, backend.streams(1)._network.config.joints
    ours, theirs = backend.streams(people), reference.streams(people)
    walks = np.stack([walk(40, V, seed) for seed in range(people)])
    draw = np.random.default_rng(1)
    for t in range(40):
        slots = sorted(draw.choice(people, draw.integers(1, people + 1), replace=False).tolist())
        if t in (13, 27):
            for streams in (ours, theirs):
                streams.begin(slots[0])
        (logits, features), wanted = (streams.step(slots, walks[slots, t]) for streams in (ours, theirs))
        np.testing.assert_allclose(logits, wanted[0], atol=1e-3)
        np.testing.assert_allclose(features, wanted[1], atol=1e-3)


def test_a_clip_gets_the_outputs_of_onnx_runtime(backend: CudaBackend, reference: OnnxBackend) -> None:
    frames = walk(30, 15)
    for found, wanted in zip(backend.clip(frames), reference.clip(frames), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_the_encoder_of_a_zero_shot_recognizer_gets_the_outputs_of_onnx_runtime() -> None:
    bundle = encoder_bundle(Bundle.load("zero-shot", ZeroShotManifest))
    ours, theirs = CudaBackend(bundle, DEVICE).streams(1), OnnxBackend(bundle).streams(1)
    for frame in walk(5, bundle.manifest.joints):
        for found, wanted in zip(ours.step([0], frame[None]), theirs.step([0], frame[None]), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_padding_streams_do_not_change_those_of_people(backend: CudaBackend) -> None:
    V = 15
    alone, together = backend.streams(3), backend.streams(3)
    for t, frame in enumerate(walk(12, V)):
        wanted, _ = alone.step([1], frame[None])
        if t % 2:  # three people run in a batch of four
            found = together.step([0, 1, 2], np.stack([frame + 1, frame, frame - 1]))[0][1:2]
        else:
            found, _ = together.step([1], frame[None])
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert PEOPLE[-1] == 16


def test_results_of_a_step_are_not_those_of_a_later_one(backend: CudaBackend) -> None:
    streams, (first, second) = backend.streams(2), walk(2, 15)
    found = streams.step([0], first[None])
    kept = [part.copy() for part in found]
    streams.step([1], second[None] + 1)
    for part, as_kept in zip(found, kept, strict=True):
        np.testing.assert_array_equal(part, as_kept)


def test_steps_are_captured_when_streams_are_made(backend: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = backend.streams(5)
    monkeypatch.setattr("motionrt.runtime.backends.cuda.CudaGraph", None)
    for people in range(1, 6):
        assert len(streams.step(range(people), np.zeros((people, 15, 3), np.float32))[0]) == people


def test_frames_can_be_tensors(backend: CudaBackend) -> None:
    frame = walk(1, 15)
    wanted, _ = backend.streams(1).step([0], frame)
    found, _ = backend.streams(1).step([0], torch.from_numpy(frame).to(DEVICE))
    np.testing.assert_array_equal(found, wanted)


class Exporter:
    """Supports DLPack only."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.__dlpack__, self.__dlpack_device__ = tensor.__dlpack__, tensor.__dlpack_device__


def test_arrays_are_accepted_by_dlpack() -> None:
    array, device = walk(2, 3), torch.device(DEVICE)
    tensor = torch.from_numpy(array).to(device)
    for source, wanted in ((array, array), (tensor, array), (Exporter(tensor), array), (array[:, ::2], array[:, ::2])):
        np.testing.assert_array_equal(to_device(source, device).cpu().numpy(), wanted)


@gpu
@pytest.mark.gpu
def test_arrays_are_accepted_by_the_cuda_array_interface() -> None:
    tensor = torch.from_numpy(walk(2, 3)).cuda()
    source = type("Interface", (), {"__cuda_array_interface__": tensor.__cuda_array_interface__})()
    torch.testing.assert_close(to_device(source, tensor.device), tensor)


def test_a_graph_reads_new_inputs_and_says_why_it_was_not_captured() -> None:
    first = torch.arange(3.0, device=DEVICE)
    graph = CudaGraph(lambda x: (2 * x,), [first])
    assert graph(first + 1)[0].tolist() == [2, 4, 6] and graph(first)[0].tolist() == [0, 2, 4]
    assert graph.reason == (None if DEVICE == "cuda" else "tensors are on cpu")


def test_the_cache_keeps_a_limited_number_of_graphs_by_key_and_shape() -> None:
    graphs, made = CudaGraphCache(), []

    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made.append(len(x))
        return (x + 1,)

    for size in [*range(1, 20), 3]:
        assert graphs("add", function, [torch.ones(size)])[0].tolist() == [2.0] * size
    assert len(graphs._graphs) == 16


@gpu
@pytest.mark.gpu
def test_steps_of_all_sizes_are_captured(backend: CudaBackend) -> None:
    streams = backend.streams(16)
    assert [streams.reason(people) for people in PEOPLE] == [None] * len(PEOPLE)


def test_weights_of_another_network_are_refused() -> None:
    bundle = Bundle.load("default", GenerationManifest)
    with pytest.raises(BundleError, match="not those of a StreamGCN"):
        CudaBackend(bundle, DEVICE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def networks() -> CudaNetworks:
    return CudaNetworks(Bundle.load("default", GenerationManifest), device=DEVICE)


@pytest.fixture(scope="module")
def plain() -> Networks:
    return open_networks(Bundle.load("default", GenerationManifest), 1)


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(steps=4, evaluations=4, cfg=2.5),
        Sampling(steps=4, evaluations=3, cfg=1.0, solver="midpoint"),
        Sampling(steps=4, evaluations=4, cfg=2.5, guidance=Guidance(step=1.0, last=2)),
        Sampling(steps=4, evaluations=4, cfg=2.5, guidance=Guidance(step=0.5, norm="token", preview=1)),
        Sampling(steps=4, evaluations=4, cfg=2.5, padding="batch"),
    ],
    ids=["plain", "text alone", "guided at the end", "guided with a preview", "padded as released"],
)
def test_tokens_are_those_of_onnx_runtime(networks: CudaNetworks, plain: Networks, settings: Sampling) -> None:
    found = TextEncoder.load("text").encode(["a person walks forward", "a person waves"])
    text = found.pooled
    with_text, without = (plain.condition(x, np.array([0, 1]))[0] for x in (text, np.zeros_like(text)))
    modulation_GBM = np.stack([with_text, without][: 1 if settings.cfg == 1 else 2])
    np.testing.assert_allclose(networks.condition(text, np.array([0, 1]))[0], with_text, atol=1e-3)
    (target,) = plain.run("describe", found.tokens, found.mask.sum(1).astype(np.int64))
    for seed, counts in ((0, [3, 1]), (1, [3, 1]), (0, [9, 6])):  # the second replays
        tokens, wanted = (
            n.sample(modulation_GBM, counts, settings, keys=noise_keys(2, seed), target_BF=target)
            for n in (networks, plain)
        )
        np.testing.assert_allclose(tokens[:, : max(counts)], wanted, atol=2e-3)
        assert not tokens[:, max(counts) :].any()
    for motion, as_wanted in zip(networks.decode(wanted, [9, 6]), plain.decode(wanted, [9, 6]), strict=True):
        np.testing.assert_allclose(motion, as_wanted, atol=1e-4)


@pytest.mark.parametrize("guidance", [None, Guidance(step=1.0, last=2, norm="token")])
def test_tokens_of_a_batch_are_those_of_single_calls(networks: CudaNetworks, guidance: Guidance | None) -> None:
    counts, keys = [9, 4, 12], [(5, 0), (0, 2), (5, 1)]
    words = TextEncoder.load("text").encode(["a person walks forward", "a person waves", "a person bows"])
    texts = (words.pooled, np.zeros_like(words.pooled))
    modulation_GBM = np.stack([networks.condition(text, np.zeros(3, np.int64))[0] for text in texts])
    (target,) = networks.run("describe", words.tokens, words.mask.sum(1).astype(np.int64))
    settings = Sampling(steps=4, evaluations=3, cfg=2.5, guidance=guidance)
    found = networks.sample(modulation_GBM, counts, settings, keys=keys, target_BF=target)
    for b, (count, key) in enumerate(zip(counts, keys, strict=True)):
        one = slice(b, b + 1)
        alone = networks.sample(modulation_GBM[:, one], [count], settings, keys=[key], target_BF=target[one])
        (motion,), (wanted,) = (networks.decode(tokens, [count]) for tokens in (found[one, :count], alone))
        np.testing.assert_allclose(motion, wanted, atol=1e-5)
        assert not found[b, count:].any()


def test_known_tokens_of_an_edit_stay(networks: CudaNetworks, plain: Networks) -> None:
    draw = np.random.default_rng(0)
    modulation, known = plain.condition(np.zeros((1, 384), np.float32), np.array([0]))[0], draw.normal(0, 1, (1, 8, 64))
    regenerate = np.arange(8)[None] // 3 == 1
    settings = Sampling(steps=3, evaluations=2, cfg=1.0)
    edit = {"known_BLD": known.astype(np.float32), "regenerate_BL": regenerate}
    found, wanted = (n.sample(modulation[None], [8], settings, **edit) for n in (networks, plain))
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    np.testing.assert_allclose(found[~regenerate], known[~regenerate].astype(np.float32))


def test_half_precision_gives_nearly_the_same_tokens(plain: Networks) -> None:
    half = CudaNetworks(Bundle.load("default", GenerationManifest), "bf16", DEVICE)
    modulation = plain.condition(np.zeros((1, 384), np.float32), np.array([0]))[0][None]
    settings = Sampling(steps=3, evaluations=4, cfg=1.0)
    found, wanted = (n.sample(modulation, [16], settings) for n in (half, plain))
    assert 0 < np.abs(found - wanted).mean() < 0.1 * wanted.std()


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision is 'int8', expected fp32 or bf16"):
        CudaNetworks(Bundle.load("default", GenerationManifest), "int8", DEVICE)


def test_one_of_several_gpus_is_chosen_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []

    def on_cpu(kind: Any) -> Any:
        def make(*args: Any, device: str = "") -> Any:
            *args, device = [*args, device] if device else args
            chosen.append(device)
            return kind(*args, device="cpu")

        return make

    for kind in (CudaBackend, CudaNetworks):
        monkeypatch.setattr(f"motionrt.runtime.backends.cuda.{kind.__name__}", on_cpu(kind))
    monkeypatch.setattr(factory, "_unavailable", lambda name: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    bundle = Bundle.load("default", GenerationManifest)
    assert factory.create("cuda:1", Bundle.load("live")).name == factory.pick("cuda:0") == "cuda"
    open_networks(bundle, backend="cuda:1")
    assert chosen == ["cuda:1", "cuda:1"]
    with pytest.raises(InputError, match="backend 'cuda:2': torch finds 2 GPUs, the first is cuda:0"):
        open_networks(bundle, backend="cuda:2")
    for wrong in ("cuda:", "cuda:x", "onnx:1", "cudas"):
        with pytest.raises(InputError, match=f"unknown backend '{wrong}'"):
            open_networks(bundle, backend=wrong)


def test_a_bundle_of_other_shapes_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.load("live")
    short = {name: array[:1] for name, array in bundle.weights.items()}
    changed = type("Changed", (), {"manifest": bundle.manifest, "weights": short, "path": tmp_path})()
    with pytest.raises(BundleError, match="not those of a StreamGCN"):
        CudaBackend(changed, DEVICE)


def test_without_triton_it_runs_and_logs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("motionrt.runtime.backends.cuda.installed", lambda module: module != "triton")
    CudaBackend(Bundle.load("live"), DEVICE)
    assert "PyTorch's own operations are used: triton is not installed" in caplog.text


def test_an_old_torch_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert factory.available()["cuda"] is None
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.10.1+cu128"))
    assert factory.available()["cuda"] == "torch 2.10.1+cu128 cannot capture every graph, expected 2.11 or newer"
