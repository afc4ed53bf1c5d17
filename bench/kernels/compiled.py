"""Kernels compiled for a Hopper GPU, on a machine without one: `python -m motionrt.bench.kernels.compiled [-o FILE]`.

Every configuration of the autotuner is compiled for every case. Registers that do not fit are spilled to memory, which
is slow; a kernel that needs more shared memory than available does not start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import torch

from . import OPERATIONS

HOPPER = ("cuda", 90, 32)
SHARED_MEMORY = 227 * 1024  # bytes available to a program
DTYPES = (torch.float32, torch.bfloat16)


def compiled(names: tuple[str, ...] = OPERATIONS, all_configs: bool = True) -> list[dict[str, Any]]:
    """Kernel, configuration, dtype, registers per thread, spilled bytes and shared memory, for all cases.

    Args:
        names: operations.
        all_configs: False: only the first configuration of each kernel.
    """
    found: dict[str, dict[str, Any]] = {}
    with compile_only(all_configs) as compiled_kernels:
        for name in names:
            for dtype in DTYPES:
                for case in import_module(f".{name}", __package__).cases(torch.device("cpu"), dtype):
                    case("triton")
                    for kernel, config in compiled_kernels:
                        found[kernel.hash] = {
                            "operation": name,
                            "kernel": kernel.metadata.name,
                            "case": case.name,
                            "dtype": str(dtype).removeprefix("torch."),
                            "config": config,
                            "shared_bytes": kernel.metadata.shared,
                            **_resources(kernel.asm["cubin"]),
                        }
                    compiled_kernels.clear()
    return list(found.values())


@contextmanager
def compile_only(
    all_configs: bool = True, share: tuple[int, int] = (0, 1)
) -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """Compile called kernels without running them, for this GPU or for Hopper; yields the list of (kernel, settings).

    Args:
        all_configs: False: only the first configuration of each kernel.
        share: (k, n): compile only share k of n, for n processes that fill Triton's cache on disk together.
    """
    assert os.environ.get("TRITON_INTERPRET") != "1", "interpreted kernels are not compiled"
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import JITFunction

    from ...kernels import dispatch

    compiled_kernels: list[tuple[Any, dict[str, Any]]] = []
    config: dict[str, Any] = {}
    launch = JITFunction.run

    def compile_one(self: Any, *args: Any, grid: Any, warmup: bool, **settings: Any) -> Any:
        dtypes = [str(getattr(arg, "dtype", "")) for arg in args]
        key = f"{self.fn.__name__} {dtypes} {sorted((name, str(value)) for name, value in settings.items())}"
        if crc32(key.encode()) % share[1] == share[0]:
            try:
                kernel = launch(self, *args, grid=grid, warmup=True, **settings)
                compiled_kernels.append((kernel, dict(config)))
                if torch.cuda.is_available():
                    _ = kernel.run  # compiles the launcher, too
            except Exception:  # for example too much shared memory; a call meets it again
                if share == (0, 1):
                    raise

    def compile_all(self: Any, *args: Any, **settings: Any) -> None:
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        configs = self.prune_configs(settings)
        for one in configs if all_configs else configs[:1]:
            config.update(one.all_kwargs())
            self.fn.run(*args, **settings, **config)
        config.clear()

    hopper = SimpleNamespace(
        get_current_target=lambda: GPUTarget(*HOPPER),
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
        get_device_properties=lambda device: {"max_shared_mem": SHARED_MEMORY, "multiprocessor_count": 132},
    )
    patched = (
        (JITFunction, "run", compile_one),
        (Autotuner, "run", compile_all),
        (dispatch, "_unavailable", lambda _: None),
    )
    before = [(holder, name, getattr(holder, name)) for holder, name, _ in patched]
    if not torch.cuda.is_available():
        driver.set_active(hopper)
    try:
        for holder, name, replacement in patched:
            setattr(holder, name, replacement)
        yield compiled_kernels
    finally:
        for holder, name, original in before:
            setattr(holder, name, original)
        driver.set_active(None)


def _resources(cubin: bytes) -> dict[str, int]:
    """Registers per thread, and bytes of spilled registers."""
    import triton.backends.nvidia

    tool = Path(triton.backends.nvidia.__path__[0]) / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    numbers = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage.stdout)}
    return {"registers": numbers["REG"], "spilled_bytes": numbers["STACK"] + numbers["LOCAL"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help=f"some of {', '.join(OPERATIONS)}")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--first", action="store_true", help="only the first configuration of each kernel")
    args = parser.parse_args()
    rows = compiled(tuple(args.operations) or OPERATIONS, not args.first)
    if args.out:
        args.out.write_text(json.dumps({"target": "sm_90", "kernels": rows}, indent=1) + "\n")
    for row in rows:
        config = " ".join(f"{name}={value}" for name, value in row["config"].items() if value is not None)
        print(
            f"{row['kernel']} {row['dtype']} {row['case']} {config}: {row['registers']} registers, "
            f"{row['spilled_bytes']} bytes spilled, {row['shared_bytes'] / 1024:.0f} KiB shared"
        )


if __name__ == "__main__":
    main()
