"""Pictures of how the cost of a frame, and of a motion, grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, MissingExtra, install_hint

ENDINGS = (".png", ".svg")
Panel = Callable[[Any, dict[str, Any]], None]
OURS, OTHER = "#0b6e4f", "#b5541c"


def check_plot(path: Path) -> None:
    """Raises what would keep a picture from being drawn in the end: MissingExtra or InputError."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra(f"matplotlib is not installed: {install_hint('train')}") from None
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: ends in {path.suffix!r}, expected {' or '.join(ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent} to write it in")


def draw(growth: dict[str, Any], path: Path) -> None:
    """Three panels: history, people, joints; from what `growth.growth` returns."""
    title = f"What a frame costs on one CPU thread: model {growth['model']}, backend {growth['backend']}"
    _save(path, title, growth, (_history, _people, _joints))


def draw_generation(growth: dict[str, Any], path: Path) -> None:
    """Three panels: length, evaluations, batch; from what `generate.growth` returns."""
    title = f"What a motion costs on the CPU: model {growth['model']}"
    _save(path, title, growth, (_lengths, _evaluations, _batches))


def _save(path: Path, title: str, growth: dict[str, Any], panels: Sequence[Panel]) -> None:
    """Panels beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings: dict[Any, Any] = {"font.size": 11, "svg.hashsalt": "motionrt"}
    settings |= {"axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(settings):
        figure, row = plt.subplots(1, len(panels), figsize=(12, 3.8), layout="constrained")
        for axes, panel in zip(row, panels, strict=True):
            panel(axes, growth)
            axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
            axes.legend(loc="upper left", frameon=False)
            axes.grid(axis="y", alpha=0.3)
        figure.suptitle(title)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _history(axes: Any, growth: dict[str, Any]) -> None:
    rows = growth["history"]
    frames = [row["frames"] for row in rows]
    axes.plot(frames, [row["window_ms"] for row in rows], "s-", color=OTHER, label="window re-run, ONNX Runtime")
    last = rows[-1]["step_ms"]
    axes.plot(
        frames, [row["step_ms"] for row in rows], "o-", color=OURS, label=f"stepped, {growth['backend']}: {last:.2f} ms"
    )
    axes.set(title="history", ylabel="a frame, ms (median)", xlabel="frames seen or re-run")


def _people(axes: Any, growth: dict[str, Any]) -> None:
    rows = growth["people"]
    people = [row["people"] for row in rows]
    axes.plot(people, [row["one_by_one_ms"] for row in rows], "s-", color=OTHER, label="one by one")
    axes.plot(people, [row["ms"] for row in rows], "o-", color=OURS, label="in one call")
    axes.set(title="people", ylabel="a frame of all, ms (median)", xlabel="people in sight", xticks=[1, 4, 8, 12, 16])


def _joints(axes: Any, growth: dict[str, Any]) -> None:
    sensors, networks = growth["sensors"], growth.get("networks", [])
    if networks:
        joints, step = [row["joints"] for row in networks], [row["step_ms"] for row in networks]
        axes.plot(joints, step, "s-", color=OTHER, label="of the network (random weights)")
    joints, step = [row["joints"] for row in sensors], [row["ms"] for row in sensors]
    axes.plot(joints, step, "o-", color=OURS, label="of the sensor")
    axes.set(title="joints", ylabel="a frame, ms (median)", xlabel="joints")


def _lengths(axes: Any, growth: dict[str, Any]) -> None:
    rows = growth["lengths"]
    seconds = [row["seconds"] for row in rows]
    axes.plot(seconds, [row["guided_ms"] for row in rows], "s-", color=OTHER, label="guided as it ships")
    axes.plot(seconds, [row["unguided_ms"] for row in rows], "o-", color=OURS, label="unguided")
    axes.set(title="length", ylabel="ms (median)", xlabel="seconds of motion")


def _evaluations(axes: Any, growth: dict[str, Any]) -> None:
    rows = growth["evaluations"]
    counts = [row["evaluations"] for row in rows]
    axes.plot(counts, [row["ms"] for row in rows], "o-", color=OURS, label="9.8 s of motion")
    axes.set(title="evaluations", ylabel="ms (median)", xlabel="of the head in a step", xticks=counts)


def _batches(axes: Any, growth: dict[str, Any]) -> None:
    rows = growth["batches"]
    sizes = [row["motions"] for row in rows]
    axes.plot(sizes, [row["ms"] / row["motions"] for row in rows], "o-", color=OURS, label="a motion of them")
    axes.set(title="batch", ylabel="ms (median)", xlabel="motions made together", xticks=sizes)
