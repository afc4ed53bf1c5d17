"""`load_isolated`: a bundle is opened and run in a child with limits before this process opens it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..errors import BundleError
from . import hub
from .bundle import Bundle, M

MAX_BYTES = 4 << 30  # of memory that the child may map
MAX_CPU_S, MAX_S = 60, 120  # of the child: time on CPUs, and by the clock
MAX_MESSAGE = 500  # characters of its error that are repeated
CHILD = f"{__package__.rpartition('.')[0]}.open_isolated"


def load_isolated(name: str | Path, kind: type[M]) -> Bundle[M]:
    """Load a bundle that a child could open and run.

    The child opens all that the bundle has and runs each graph once. This process then opens the same files, by their
    hashes; what crashes, hangs or takes too much memory in the child never gets here. The child is no sandbox: code of
    an attacker would run with the rights of the user.

    Args:
        name, kind: see `Bundle.load`.
    Raises:
        BundleError: as `Bundle.load`; or the child refused the bundle, crashed, or reached a limit.
    """
    if str(name).startswith(hub.SCHEME):
        name = hub.fetch(str(name))  # the child has no time for it
    sha256 = _opened(str(name))
    bundle = Bundle.load(name, kind)
    if bundle.sha256 != sha256:
        raise BundleError(f"{name}: was changed while it was opened")
    return bundle


def _opened(name: str) -> Any:
    """Hash of the bundle that a child opened."""
    limits = str(MAX_BYTES), str(MAX_CPU_S)
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-B", "-m", CHILD, name, *limits],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            timeout=MAX_S,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"{name}: a child that opened it took longer than {MAX_S:g} s") from None
    except OSError as error:
        raise BundleError(f"{name}: no child could be started to open it ({error})") from None
    if child.returncode == -signal.SIGXCPU:
        raise BundleError(f"{name}: a child that opened it took more than {MAX_CPU_S} s on the CPU")
    if child.returncode < 0:
        raise BundleError(f"{name}: a child that opened it was ended by {signal.Signals(-child.returncode).name}")
    try:
        reply = json.loads(child.stdout.splitlines()[-1])
        found, refusal = reply.get("sha256"), reply.get("error")
    except (ValueError, IndexError, AttributeError):
        raise BundleError(f"{name}: a child that opened it exited with status {child.returncode}") from None
    if refusal is not None:
        raise BundleError(str(refusal)[:MAX_MESSAGE])
    return found
