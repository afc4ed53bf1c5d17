"""Plots of how the cost of a frame, and of a motion, scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, MissingExtra, install_hint

ENDINGS = (".png", ".svg")
Panel = Callable[[Any, dict[str, Any]], None]
OURS, OTHER = "#0b6e4f", "#b5541c"


def check_plot(path: Path) -> None:
    """Raise early if the plot could not be written: MissingExtra or InputError."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra(f"matplotlib is not installed: {install_hint('train')}") from None
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: ends in {path.suffix!r}, expected {' or '.join(ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: folder {path.parent} does not exist")


def draw(scaling: dict[str, Any], path: Path) -> None:
    """Three panels: history, people, joints; from the report of `measure_scaling`."""
    title = f"Cost of a frame on one CPU thread: model {scaling['model']}, backend {scaling['backend']}"
    _save(path, title, scaling, (_history, _people, _joints))


def draw_generation(scaling: dict[str, Any], path: Path) -> None:
    """Three panels: length, evaluations, batch; from the report of `generate.measure_scaling`."""
    title = f"Cost of a motion on the CPU: model {scaling['model']}"
    _save(path, title, scaling, (_lengths, _evaluations, _batches))


def _save(path: Path, title: str, scaling: dict[str, Any], panels: Sequence[Panel]) -> None:
    """Draw panels side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings: dict[Any, Any] = {"font.size": 11, "svg.hashsalt": "motionrt"}
    settings |= {"axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(settings):
        figure, row = plt.subplots(1, len(panels), figsize=(12, 3.8), layout="constrained")
        for axes, panel in zip(row, panels, strict=True):
            panel(axes, scaling)
            axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
            axes.legend(loc="upper left", frameon=False)
            axes.grid(axis="y", alpha=0.3)
        figure.suptitle(title)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _history(axes: Any, scaling: dict[str, Any]) -> None:
    rows = scaling["history"]
    frames = [row["frames"] for row in rows]
    axes.plot(frames, [row["window_ms"] for row in rows], "s-", color=OTHER, label="window rerun, ONNX Runtime")
    last = rows[-1]["step_ms"]
    axes.plot(
        frames,
        [row["step_ms"] for row in rows],
        "o-",
        color=OURS,
        label=f"stepped, {scaling['backend']}: {last:.2f} ms",
    )
    axes.set(title="history", ylabel="a frame, ms (median)", xlabel="frames seen or rerun")


def _people(axes: Any, scaling: dict[str, Any]) -> None:
    rows = scaling["people"]
    people = [row["people"] for row in rows]
    axes.plot(people, [row["one_by_one_ms"] for row in rows], "s-", color=OTHER, label="one by one")
    axes.plot(people, [row["ms"] for row in rows], "o-", color=OURS, label="in one call")
    axes.set(
        title="people", ylabel="a frame of all people, ms (median)", xlabel="visible people", xticks=[1, 4, 8, 12, 16]
    )


def _joints(axes: Any, scaling: dict[str, Any]) -> None:
    sensors, networks = scaling["sensors"], scaling.get("networks", [])
    if networks:
        joints, step = [row["joints"] for row in networks], [row["step_ms"] for row in networks]
        axes.plot(joints, step, "s-", color=OTHER, label="joints of the network (random weights)")
    joints, step = [row["joints"] for row in sensors], [row["ms"] for row in sensors]
    axes.plot(joints, step, "o-", color=OURS, label="joints of the sensor")
    axes.set(title="joints", ylabel="a frame, ms (median)", xlabel="joints")


def _lengths(axes: Any, scaling: dict[str, Any]) -> None:
    rows = scaling["lengths"]
    seconds = [row["seconds"] for row in rows]
    axes.plot(seconds, [row["guided_ms"] for row in rows], "s-", color=OTHER, label="guided, default settings")
    axes.plot(seconds, [row["unguided_ms"] for row in rows], "o-", color=OURS, label="unguided")
    axes.set(title="length", ylabel="ms (median)", xlabel="seconds of motion")


def _evaluations(axes: Any, scaling: dict[str, Any]) -> None:
    rows = scaling["evaluations"]
    counts = [row["evaluations"] for row in rows]
    axes.plot(counts, [row["ms"] for row in rows], "o-", color=OURS, label="9.8 s of motion")
    axes.set(title="evaluations", ylabel="ms (median)", xlabel="evaluations of the head per step", xticks=counts)


def _batches(axes: Any, scaling: dict[str, Any]) -> None:
    rows = scaling["batches"]
    sizes = [row["motions"] for row in rows]
    axes.plot(sizes, [row["ms"] / row["motions"] for row in rows], "o-", color=OURS, label="per motion")
    axes.set(title="batch", ylabel="ms (median)", xlabel="motions per batch", xticks=sizes)
