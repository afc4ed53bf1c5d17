"""The training loop of every network: accelerate, EMA, resumable checkpoints, logs and a progress bar."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env, set_seed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from ..runtime.errors import InputError
from .distributed import rank_slice
from .muon import Muon

PATIENCE = timedelta(hours=2)  # for the main process to encode data or to validate
CHECKPOINTS = ("checkpoint", "checkpoint.old", "checkpoint.new")  # the last may be incomplete


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """Optimizer, schedule and duration of a training run."""

    steps: int
    batch: int = 32
    lr: float = 2e-3
    muon_lr: float | None = None  # of the weights of convolutions and linear layers, by Muon; None: AdamW, as the rest
    momentum: float | None = None  # of SGD with Nesterov's momentum, in which all parameters decay; None: AdamW or Muon
    weight_decay: float = 0.05
    beta2: float = 0.999  # of AdamW
    warmup: float = 0.1  # fraction of the steps
    gamma: float | None = None  # factor of the rate at each milestone, otherwise constant; None: one cycle
    milestones: tuple[int, ...] = ()  # steps
    clip_norm: float = 2.0
    smoothing: float = 0.1  # of labels
    frame_loss: float = 0.5  # weight of the per-frame loss relative to the per-segment loss
    own_labels: float = 0.0  # share of the loss in which a clip is compared with the labels of its own data set only
    ema: float = 0.99
    precision: str = "bf16"  # of accelerate: no, bf16, fp16; see `usable_precision`
    checkpoint_every: int = 150  # steps
    validate_every: int = 250  # steps
    seed: int = 0
    workers: int = 0  # processes that prepare batches; 0: the training process does
    log_with: str = "tensorboard"  # or wandb, without a network unless WANDB_MODE says otherwise


class Task(Protocol):
    def batch(self, step: int, size: int) -> list[Any]: ...


Loss = Callable[[nn.Module, list[Any], torch.device], Tensor]  # of a network on a batch of samples


def process_state() -> PartialState:
    """This process within the group it was launched in."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=PATIENCE)


def usable_precision(precision: str) -> str:
    """The precision, but float32 for bf16 on a CPU without instructions for it, on which bf16 is many times slower."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # of recent versions
    if precision != "bf16" or process_state().device.type != "cpu" or capabilities is None:
        return precision
    return precision if any(has for name, has in capabilities().items() if "bf16" in name) else "no"


def fit(
    model: nn.Module,
    task: Task,
    config: LoopConfig,
    run: Path,
    validate: Callable[[nn.Module], dict[str, float]],
    loss: Loss,
) -> nn.Module | None:
    """Train `model`, resuming from a checkpoint in `run` if there is one.

    In a multi-process run every process trains on its slice of each batch (see `process_state`); batch norm sees that
    slice only, and the main process's statistics are kept. Writes run/checkpoint, run/metrics.jsonl and, below it, the
    files of TensorBoard or Weights & Biases.

    Returns:
        The averaged (EMA) model in the main process, None in the others.
    """
    unused_ok = DistributedDataParallelKwargs(find_unused_parameters=True)  # a helper's, if no sample has a text
    accelerator = Accelerator(
        mixed_precision=usable_precision(config.precision),
        log_with=config.log_with,
        project_dir=run,
        kwargs_handlers=[unused_ok],
    )
    wandb = {"name": run.name, "dir": str(run), "mode": os.environ.get("WANDB_MODE", "offline")}
    accelerator.init_trackers(config.log_with, init_kwargs={"wandb": wandb})
    set_seed(config.seed, device_specific=True)  # different dropout in every process
    average = MovingAverage(model, config.ema, accelerator.device)
    optimizer = make_optimizer(model, config)
    schedule = rate_schedule(optimizer, config)
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.register_for_checkpointing(schedule, average)
    first_step = load_checkpoint(accelerator, run)

    with progress_bar(accelerator) as bar:
        row = bar.add_task(run.name, total=config.steps, completed=first_step, loss=float("nan"))
        for step, samples in enumerate(batches(task, config, first_step, rank_slice()), first_step):
            model.train()
            value = loss(model, samples, accelerator.device)
            accelerator.backward(value)
            accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            average.update_parameters(accelerator.unwrap_model(model))
            mean_loss = float(accelerator.reduce(value.detach(), "mean"))
            bar.update(row, advance=1, loss=mean_loss)
            accelerator.log({"loss": mean_loss, "lr": schedule.get_last_lr()[0]}, step)
            done = step + 1
            if accelerator.is_main_process and (done % config.validate_every == 0 or done == config.steps):
                metrics = {"step": done, "loss": mean_loss} | validate(average.module)
                accelerator.log(metrics, step)
                with (run / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps(metrics) + "\n")
            if done % config.checkpoint_every == 0 or done == config.steps:
                save_checkpoint(accelerator, run, done)
    accelerator.end_training()
    return average.module if accelerator.is_main_process else None


def make_optimizer(model: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    """AdamW, Muon or SGD."""
    if config.momentum is not None:
        return torch.optim.SGD(
            model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=True
        )
    groups, kind = parameter_groups(model, config.weight_decay), torch.optim.AdamW
    if config.muon_lr is not None:
        groups[0] |= {"muon": True, "lr": config.muon_lr}
        kind = Muon
    return kind(groups, lr=config.lr, betas=(0.9, config.beta2))


def rate_schedule(optimizer: torch.optim.Optimizer, config: LoopConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle, or a linear warm-up and a rate that falls at the milestones."""
    if config.gamma is None:
        rates = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=config.steps, pct_start=config.warmup)
    gamma, warmup = config.gamma, max(1, round(config.warmup * config.steps))

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * gamma ** sum(step >= milestone for milestone in config.milestones)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def batches(task: Task, config: LoopConfig, first_step: int, rows: slice) -> Iterable[list[Any]]:
    """Rows of the batch of every step, from `first_step` on."""

    class Batches(Dataset[list[Any]]):
        def __len__(self) -> int:
            return config.steps - first_step

        def __getitem__(self, i: int) -> list[Any]:
            if i >= len(self):
                raise IndexError
            return task.batch(first_step + i, config.batch)[rows]

    generator = torch.Generator()  # a loader draws a seed; the global generator must not depend on resuming
    return DataLoader(Batches(), batch_size=None, num_workers=config.workers, collate_fn=list, generator=generator)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: only weights of convolutions and linear layers decay."""
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)}
    groups: tuple[list[Tensor], list[Tensor]] = ([], [])
    for parameter in model.parameters():
        groups[id(parameter) not in decayed].append(parameter)
    return [{"params": groups[0], "weight_decay": weight_decay}, {"params": groups[1], "weight_decay": 0.0}]


class MovingAverage(AveragedModel):
    """Exponential moving average of a model's parameters, in evaluation mode; buffers are copied.

    Update n keeps min(decay, (1 + n) / (10 + n)) of the average, so that it starts short.
    """

    def __init__(self, model: nn.Module, decay: float, device: torch.device | None = None):
        type(model)(model.config)  # draws random numbers, as earlier versions did: runs stay reproducible
        super().__init__(model, device, multi_avg_fn=self._blend)
        self.module.eval()
        self.decay = decay
        self.n_averaged.fill_(1)  # the initial weights
        self.register_load_state_dict_pre_hook(_upgrade_average)

    def _blend(self, averages: Sequence[Tensor], values: Sequence[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value, 1 - min(self.decay, (1 + n) / (10 + n)))


def _upgrade_average(average: nn.Module, state: dict[str, Any], *_: Any) -> None:
    """Convert the state of an older checkpoint, {"model": weights, "updates": count}."""
    if state.keys() == {"model", "updates"}:
        state["n_averaged"] = torch.tensor(state.pop("updates") + 1)
        state |= {f"module.{name}": value for name, value in state.pop("model").items()}


def save_checkpoint(accelerator: Accelerator, run: Path, step: int) -> None:
    """Replace run/checkpoint; at any moment one of the names in `CHECKPOINTS` is a complete checkpoint.

    Raises:
        InputError: the checkpoint cannot be written; the previous one is still there.
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
    """Load the newest complete checkpoint, if any, and return the number of finished steps."""
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
