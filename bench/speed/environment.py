"""Environment of a measurement: machine, versions, commit and model."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.schema import WEIGHTS

ROOT = Path(__file__).parents[2]
PACKAGES = ("numpy", "onnxruntime", "torch")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def environment(bundle: Bundle) -> dict[str, Any]:
    """Everything needed to reproduce a measurement; None for unknown values."""
    from ...runtime import _core  # GPU benchmarks run without it

    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "instruction_set": _core.instruction_set(),
        "governor": _first_line(GOVERNOR),
        "load_average": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: package_version(name) for name in PACKAGES},
        "commit": commit(),
        "model": bundle.manifest.name,
        "weights_sha256": bundle.manifest.files[WEIGHTS].sha256,
        "manifest_sha256": bundle.sha256,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


@contextmanager
def one_core() -> Iterator[int | None]:
    """Pin this thread, and those that it starts, to one core; yields that core, or None if pinning is not supported."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    core = max(allowed)  # interrupts tend to run on the first core
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, allowed)


def resident_bytes() -> int:
    """Resident memory of this process.

    Raises:
        OSError: the system has no /proc.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The checkout's commit, with a + if files differ from it; None outside a checkout."""
    if not (ROOT / ".git").exists():
        return None
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        return name + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
