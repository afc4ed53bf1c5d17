"""One training loop for every network: accelerate, EMA, checkpoints to resume from, TensorBoard, a progress bar."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env, set_seed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from ..runtime.errors import InputError
from .distributed import mean_over_ranks, rank_slice
from .recognition.tasks import StreamSample, collate

PATIENCE = timedelta(hours=2)  # while the main process encodes what is kept, or validates
CHECKPOINTS = ("checkpoint", "checkpoint.old", "checkpoint.new")  # the last one may be half written


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long and how to train."""

    steps: int
    batch: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.05
    beta2: float = 0.999  # of AdamW
    warmup: float = 0.1  # share of the steps
    clip_norm: float = 2.0
    smoothing: float = 0.1  # of the labels
    frame_loss: float = 0.5  # weight of the loss of single frames beside that of whole segments
    ema: float = 0.99
    precision: str = "bf16"  # of accelerate: no, bf16, fp16
    checkpoint_every: int = 150  # steps
    validate_every: int = 250  # steps
    seed: int = 0
    workers: int = 0  # processes that prepare batches; 0: the one that trains


class Task(Protocol):
    def batch(self, step: int, size: int) -> list[Any]: ...


Loss = Callable[[nn.Module, list[Any], torch.device], Tensor]  # of a network on a batch of samples


def process_state() -> PartialState:
    """This process among those that were started together."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=PATIENCE)


def fit(
    model: nn.Module,
    task: Task,
    config: LoopConfig,
    run: Path,
    validate: Callable[[nn.Module], dict[str, float]],
    loss: Loss | None = None,
) -> nn.Module | None:
    """Train `model`, resuming from `run` if it holds a checkpoint; the averaged (EMA) model, in the main process.

    In a multi-process run every process trains on its slice of each batch (see `process_state`); batch norm sees that
    slice only, and the main process's statistics are kept. Writes run/checkpoint, run/metrics.jsonl and TensorBoard
    events. The default `loss` is that of a recognizer on `tasks.StreamSample`.
    """
    loss = loss or partial(recognizer_loss, config)
    some_rest = DistributedDataParallelKwargs(find_unused_parameters=True)  # a helper's, where no sample has a text
    accelerator = Accelerator(
        mixed_precision=config.precision, log_with="tensorboard", project_dir=run, kwargs_handlers=[some_rest]
    )
    accelerator.init_trackers("tensorboard")
    set_seed(config.seed, device_specific=True)  # no two processes drop the same
    average = MovingAverage(model, config.ema, accelerator.device)
    groups = parameter_groups(model, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.lr, total_steps=config.steps, pct_start=config.warmup
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.register_for_checkpointing(schedule, average)
    begin = load_checkpoint(accelerator, run)

    with progress_bar(accelerator) as bar:
        row = bar.add_task(run.name, total=config.steps, completed=begin, loss=float("nan"))
        for step, samples in enumerate(batches(task, config, begin, rank_slice()), begin):
            model.train()
            value = loss(model, samples, accelerator.device)
            accelerator.backward(value)
            accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            average.update(accelerator.unwrap_model(model))
            now = float(accelerator.reduce(value.detach(), "mean"))
            bar.update(row, advance=1, loss=now)
            accelerator.log({"loss": now, "lr": schedule.get_last_lr()[0]}, step)
            done = step + 1
            if accelerator.is_main_process and (done % config.validate_every == 0 or done == config.steps):
                metrics = {"step": done, "loss": now} | validate(average.model)
                accelerator.log(metrics, step)
                with (run / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps(metrics) + "\n")
            if done % config.checkpoint_every == 0 or done == config.steps:
                save_checkpoint(accelerator, run, done)
    accelerator.end_training()
    return average.model if accelerator.is_main_process else None


def batches(task: Task, config: LoopConfig, begin: int, mine: slice) -> Iterable[list[Any]]:
    """This process's part of the batch of every step from `begin` on."""

    class Batches(Dataset[list[Any]]):
        def __len__(self) -> int:
            return config.steps - begin

        def __getitem__(self, i: int) -> list[Any]:
            if i >= len(self):
                raise IndexError
            return task.batch(begin + i, config.batch)[mine]

    own = torch.Generator()  # that of the network must go on after a resume as if there had been none
    return DataLoader(Batches(), batch_size=None, num_workers=config.workers, collate_fn=list, generator=own)


def recognizer_loss(config: LoopConfig, model: nn.Module, samples: list[StreamSample], device: torch.device) -> Tensor:
    """The loss of a recogniser."""
    batch = {name: torch.from_numpy(array).to(device) for name, array in collate(samples).items()}
    logits, *_ = model(batch["frames"])
    return recognition_loss(logits.float(), batch, config)


def recognition_loss(logits_NTC: Tensor, batch: dict[str, Tensor], config: LoopConfig) -> Tensor:
    """Cross-entropy of every segment's mean logits, and of every frame's by its weight."""
    logits, targets, weights = logits_NTC.flatten(0, 1), batch["targets"].flatten(), batch["weights"].flatten()
    segments = batch["segments"].flatten()
    inside = segments >= 0
    count = torch.bincount(segments[inside], minlength=len(batch["classes"]))
    total = logits.new_zeros(len(count), logits.shape[1]).index_add(0, segments[inside], logits[inside])
    seen = count > 0
    mean, classes = total[seen] / count[seen, None], batch["classes"][seen]
    clip_loss = cross_entropy(mean, classes, reduction="sum", label_smoothing=config.smoothing)
    clip_loss = clip_loss / mean_over_ranks(seen.sum())
    frame_loss = cross_entropy(logits, targets.clamp(min=0), reduction="none", label_smoothing=config.smoothing)
    weights = weights * (targets >= 0)
    return clip_loss + config.frame_loss * (frame_loss * weights).sum() / mean_over_ranks(weights.sum())


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions and linear layers decay; adjacencies, offsets and batch-norms do not."""
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)}
    groups: tuple[list[Tensor], list[Tensor]] = ([], [])
    for parameter in model.parameters():
        groups[id(parameter) not in decayed].append(parameter)
    return [{"params": groups[0], "weight_decay": weight_decay}, {"params": groups[1], "weight_decay": 0.0}]


class MovingAverage:
    """Exponential moving average of a model's parameters, short at first; batch-norm statistics are copied."""

    def __init__(self, model: nn.Module, decay: float, device: torch.device | None = None):
        self.model = type(model)(model.config)
        self.model.load_state_dict(model.state_dict())
        self.model.to(device)
        self.model.eval()
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)
        for kept, current in zip(self.model.buffers(), model.buffers(), strict=True):
            kept.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


def save_checkpoint(accelerator: Accelerator, run: Path, step: int) -> None:
    """Replace run/checkpoint; at every moment one whole checkpoint is there under one of the names in `CHECKPOINTS`.

    Raises InputError: it cannot be written; the one before is still there.
    """
    current, old, new = (run / name for name in CHECKPOINTS)
    try:
        accelerator.save_state(str(new))
        if accelerator.is_main_process:
            (new / "step.json").write_text(json.dumps({"step": step}))
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have their own for a full disk
        shutil.rmtree(new, ignore_errors=True)
        raise InputError(f"{current}: cannot be written; is the disk full? ({str(error).splitlines()[0]})") from error
    accelerator.wait_for_everyone()  # until every process has written its part
    if accelerator.is_main_process:
        shutil.rmtree(old, ignore_errors=True)
        if current.exists():
            current.rename(old)
        new.rename(current)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator: Accelerator, run: Path) -> int:
    """Load the newest whole checkpoint if there is one; returns the steps already done."""
    for folder in (run / name for name in CHECKPOINTS[:2]):
        if (folder / "step.json").is_file():
            accelerator.load_state(str(folder))
            return int(json.loads((folder / "step.json").read_text())["step"])
    return 0


def progress_bar(accelerator: Accelerator) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not accelerator.is_main_process,
    )
