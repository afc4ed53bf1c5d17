"""The training loop: its loss, its averages, and runs that are interrupted."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from torch import Tensor, nn  # noqa: E402
from wait import wait_until  # noqa: E402

from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.training.loop import LoopConfig, MovingAverage, batches, fit, parameter_groups, usable_precision  # noqa: E402
from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig  # noqa: E402
from motionrt.training.recognition.loss import recognizer_loss, segment_and_frame_loss  # noqa: E402
from motionrt.training.recognition.tasks import StreamSample, collate  # noqa: E402

PARENTS = Layout.load("core15").parents
PLAIN = LoopConfig(steps=6, batch=2, precision="no", smoothing=0.0, frame_loss=0.5)


def network(seed: int = 0, dropout: float = 0.3) -> StreamGCN:
    torch.manual_seed(seed)
    return StreamGCN(StreamGCNConfig(parents=PARENTS, classes=3, fps=20.0, channels=(8, 8), dropout=dropout))


def sample(T: int, segments: list[int], classes: tuple[int, ...], seed: int = 0) -> StreamSample:
    rng = np.random.default_rng((seed, T))
    return StreamSample(
        frames=rng.normal(0, 0.3, (T, len(PARENTS), 3)).astype(np.float32),
        targets=np.array([classes[s] if s >= 0 else -1 for s in segments]),
        weights=np.linspace(0.5, 1, T, dtype=np.float32),
        segments=np.array(segments),
        classes=classes,
    )


def tensors(samples: list[StreamSample]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in collate(samples).items()}


class Samples:
    """Three classes that a network can tell apart by the height of the body; counts what it was asked for."""

    def __init__(self, break_at: int | None = None):
        self.break_at = break_at
        self.steps: list[int] = []

    def batch(self, step: int, size: int) -> list[StreamSample]:
        if step == self.break_at:
            raise KeyboardInterrupt
        self.steps.append(step)
        made = []
        for i in range(size):
            one = sample(8, [0] * 8, ((step + i) % 3,), seed=step * size + i)
            one.frames[..., 1] += one.classes[0] - 1
            made.append(one)
        return made


def no_figures(model: nn.Module) -> dict[str, float]:
    return {}


def bias(model: nn.Module) -> Tensor:
    return model.get_parameter("head.bias")


def log_softmax(logits: list[float], target: int) -> float:
    return logits[target] - math.log(sum(map(math.exp, logits)))


def test_the_loss_combines_mean_logits_and_weighted_frames() -> None:
    """Two frames of class 1, one frame that nobody asks for."""
    batch = tensors([sample(3, [0, 0, -1], (1,))])
    logits = [[1.0, 0.0, -1.0], [2.0, 3.0, 0.5], [9.0, -9.0, 4.0]]
    found = segment_and_frame_loss(torch.tensor([logits]), batch, PLAIN)
    of_clip = -log_softmax([1.5, 1.5, -0.25], 1)
    of_frames = -(0.5 * log_softmax(logits[0], 1) + 0.75 * log_softmax(logits[1], 1)) / 1.25
    assert float(found) == pytest.approx(of_clip + 0.5 * of_frames, rel=1e-5)


def test_segments_of_any_length_have_equal_weight() -> None:
    batch = tensors([sample(5, [0, 0, 0, 0, 1], (1, 2))])
    logits = torch.zeros(1, 5, 3)
    logits[0, 4, 2] = 2.0
    config = LoopConfig(steps=1, smoothing=0.0, frame_loss=0.0)
    wanted = (math.log(3) - log_softmax([0.0, 0.0, 2.0], 2)) / 2
    assert float(segment_and_frame_loss(logits, batch, config)) == pytest.approx(wanted, rel=1e-5)


def test_padding_and_frames_outside_segments_have_no_loss() -> None:
    batch = tensors([sample(3, [0, -1, 0], (1,)), sample(6, [0, 0, 1, 1, 1, 1], (0, 2))])
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    segment_and_frame_loss(logits, batch, PLAIN).backward()
    assert logits.grad is not None
    touched = (logits.grad != 0).any(2)
    assert touched.tolist() == [[True, False, True, False, False, False], [True] * 6]


def test_a_segment_without_frames_is_skipped() -> None:
    whole, cut = tensors([sample(4, [0, 0, 0, 0], (1,))]), tensors([sample(4, [0, 0, 0, 0], (1, 2))])
    logits = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    assert segment_and_frame_loss(logits, cut, PLAIN) == segment_and_frame_loss(logits, whole, PLAIN)


def test_the_average_starts_short_and_becomes_long() -> None:
    model = network()
    average = MovingAverage(model, decay=0.25)
    start = model.head.bias.detach().clone()
    with torch.no_grad():
        model.head.bias.add_(1.0)
    average.update_parameters(model)  # (1 + 1) / (10 + 1) of the old
    torch.testing.assert_close(bias(average.module), start + 1 - 2 / 11)
    average.update_parameters(model)  # 3 / 12
    torch.testing.assert_close(bias(average.module), start + 1 - 2 / 11 * 0.25)
    average.update_parameters(model)  # no longer than `decay`, though 4 / 13 would be
    torch.testing.assert_close(bias(average.module), start + 1 - 2 / 11 * 0.25**2)


def test_the_average_has_the_statistics_of_the_last_batches() -> None:
    model = network()
    average = MovingAverage(model, decay=0.99)
    model.train()(torch.randn(2, 10, len(PARENTS), 3) + 3)
    average.update_parameters(model)
    for found, wanted in zip(average.module.buffers(), model.buffers(), strict=True):
        assert torch.equal(found, wanted)
    assert not average.module.training and model.training


def test_the_average_of_an_older_checkpoint_is_loaded() -> None:
    model, other = network(), network(seed=1)
    average = MovingAverage(model, decay=0.25)
    for _ in range(2):
        average.update_parameters(other)
    resumed = MovingAverage(other, decay=0.25)
    resumed.load_state_dict({"model": average.module.state_dict(), "updates": 2})
    for wanted, found in zip(average.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(wanted, found)


def test_only_weights_of_layers_decay() -> None:
    model = network()
    decayed, free = (group["params"] for group in parameter_groups(model, 0.05))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert len(decayed) + len(free) == len(names)
    assert {names[id(p)].rsplit(".", 1)[-1] for p in decayed} == {"weight"}
    kept = [names[id(p)] for p in free]
    assert all(any(name.endswith(part) for name in kept) for part in (".A", "position", "pool", "bias"))
    assert all(p.ndim > 1 for p in decayed), "no batch-norm among them"
    groups = parameter_groups(model, 0.05)
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]


@pytest.mark.parametrize("muon_lr", [None, 2e-2])
def test_a_network_learns(tmp_path: Path, muon_lr: float | None) -> None:
    config = LoopConfig(steps=40, batch=6, precision="no", lr=1e-2, muon_lr=muon_lr, validate_every=20, ema=0.5)
    trained = fit(
        network(dropout=0.0), Samples(), config, tmp_path, lambda model: {"top1": 1.0}, partial(recognizer_loss, config)
    )
    assert trained is not None and not trained.training
    right = 0
    for one in Samples().batch(1000, 12):
        logits = trained(torch.from_numpy(one.frames)[None])[0]
        right += int(logits.mean((0, 1)).argmax()) == one.classes[0]
    assert right == 12
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40]
    assert all(line["top1"] == 1.0 and math.isfinite(line["loss"]) for line in lines)
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Dropout, the schedule, the optimizer and the average continue from where they were."""
    config = LoopConfig(steps=6, batch=2, precision="no", checkpoint_every=2, validate_every=100)
    whole = fit(network(), Samples(), config, tmp_path / "whole", no_figures, partial(recognizer_loss, config))
    with pytest.raises(KeyboardInterrupt):
        fit(network(), Samples(break_at=5), config, tmp_path / "cut", no_figures, partial(recognizer_loss, config))
    rest = Samples()
    resumed = fit(network(seed=1), rest, config, tmp_path / "cut", no_figures, partial(recognizer_loss, config))
    assert rest.steps == [4, 5], "from the last checkpoint, not from the beginning"
    assert whole is not None and resumed is not None
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-7, rtol=1e-6, msg=name)


def test_a_run_is_logged_with_weights_and_biases_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = LoopConfig(steps=2, batch=2, precision="no", log_with="wandb")
    fit(network(), Samples(), config, tmp_path, lambda model: {"top1": 0.5}, partial(recognizer_loss, config))
    (log,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    wait_until(lambda: b"top1" in log.read_bytes(), 30, "the log has the metrics")
    assert not list(tmp_path.rglob("events.out.tfevents.*"))


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    config = LoopConfig(steps=2, batch=2, precision="no")
    first = fit(network(), Samples(), config, tmp_path, no_figures, partial(recognizer_loss, config))
    task = Samples()
    again = fit(network(seed=1), task, config, tmp_path, no_figures, partial(recognizer_loss, config))
    assert task.steps == []
    assert first is not None and again is not None
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_run_interrupted_while_saving_keeps_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    config = LoopConfig(steps=4, batch=2, precision="no", checkpoint_every=1)
    save, saved = Accelerator.save_state, 0

    def breaks_at_the_third(self: Accelerator, folder: str) -> None:
        nonlocal saved
        saved += 1
        if saved == 3:
            Path(folder).mkdir()
            (Path(folder) / "model.safetensors").write_bytes(b"half a file")
            (Path(folder) / "step.json").write_text('{"step": 3}')  # left by a save before
            raise KeyboardInterrupt
        save(self, folder)

    monkeypatch.setattr(Accelerator, "save_state", breaks_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), Samples(), config, tmp_path, no_figures, partial(recognizer_loss, config))
    monkeypatch.undo()
    task = Samples()
    assert fit(network(), task, config, tmp_path, no_figures, partial(recognizer_loss, config)) is not None
    assert task.steps == [2, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_in_order_with_and_without_workers(workers: int) -> None:
    class Steps:
        def batch(self, step: int, size: int) -> list[tuple[int, int]]:
            return [(step, k) for k in range(size)]

    config = LoopConfig(steps=7, batch=4, workers=workers)
    found = list(batches(Steps(), config, 3, slice(1, None, 2)))
    assert found == [[(step, 1), (step, 3)] for step in (3, 4, 5, 6)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for CPUs")
def test_bf16_is_used_only_by_processors_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, used in (({"avx512_bf16": False}, "no"), ({"avx2": True, "amx_bf16": True}, "bf16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capabilities=capabilities: capabilities)
        assert usable_precision("bf16") == used and usable_precision("fp16") == "fp16"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert usable_precision("bf16") == "bf16"
