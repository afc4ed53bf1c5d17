"""The picture of how the cost of a frame grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, MissingExtra

ENDINGS = (".png", ".svg")
OURS, OTHER = "#0b6e4f", "#b5541c"


def check_plot(path: Path) -> None:
    """Raises what would keep a picture from being drawn in the end: MissingExtra or InputError."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra("matplotlib is not installed: pip install 'motionrt[train]'") from None
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: ends in {path.suffix!r}, expected {' or '.join(ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent} to write it in")


def draw(growth: dict[str, Any], path: Path) -> None:
    """Three panels: history, people, joints; from what `growth.growth` returns."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings: dict[Any, Any] = {"font.size": 11, "svg.hashsalt": "motionrt"}
    settings |= {"axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(settings):
        figure, (history, people, joints) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
        _history(history, growth)
        _people(people, growth)
        _joints(joints, growth)
        for axes in (history, people, joints):
            axes.set_ylabel("a frame of all, ms (median)" if axes is people else "a frame, ms (median)")
            axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
            axes.legend(loc="upper left", frameon=False)
            axes.grid(axis="y", alpha=0.3)
        figure.suptitle(f"What a frame costs on one CPU thread: model {growth['model']}, backend {growth['backend']}")
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
    axes.set(title="history", xlabel="frames seen or re-run")


def _people(axes: Any, growth: dict[str, Any]) -> None:
    rows = growth["people"]
    people = [row["people"] for row in rows]
    axes.plot(people, [row["one_by_one_ms"] for row in rows], "s-", color=OTHER, label="one by one")
    axes.plot(people, [row["ms"] for row in rows], "o-", color=OURS, label="in one call")
    axes.set(title="people", xlabel="people in sight", xticks=[1, 4, 8, 12, 16])


def _joints(axes: Any, growth: dict[str, Any]) -> None:
    sensors, networks = growth["sensors"], growth.get("networks", [])
    if networks:
        joints, step = [row["joints"] for row in networks], [row["step_ms"] for row in networks]
        axes.plot(joints, step, "s-", color=OTHER, label="of the network (random weights)")
    joints, step = [row["joints"] for row in sensors], [row["ms"] for row in sensors]
    axes.plot(joints, step, "o-", color=OURS, label="of the sensor")
    axes.set(title="joints", xlabel="joints")
