"""Build the wheels into dist/, install each in an empty environment, and step `live` there: `make wheels`.

x86_64 is compiled and checked on this machine; aarch64 is cross-compiled against Debian's Python of the running version
and checked with that Python under qemu-user. Results are written to bench/results/wheels.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "wheels"
DIST = ROOT / "dist"
RESULT = ROOT / "bench" / "results" / "wheels.json"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CPYTHON = f"cpython-{PYTHON.replace('.', '')}"

# Debian's Python for arm64, its headers and shared libraries
PACKAGES = (
    *(
        name.format(PYTHON)
        for name in ("libpython{}-dev", "libpython{}-minimal", "libpython{}-stdlib", "python{}-minimal")
    ),
    *("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "libssl3", "libbz2-1.0", "liblzma5"),
    *("libsqlite3-0", "libcrypt1", "libuuid1"),
)
MANYLINUX = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")  # accepted for dependencies

CHECK = """
import json, platform, sys
from pathlib import Path
import motionrt

folder = Path(motionrt.__path__[0])
motion = motionrt.Motion.load(folder / "runtime" / "samples" / "bandai_wave_right_hand.npz")
for backend in sys.argv[1:]:
    live = motionrt.Recognizer.load("live", backend=backend)
    steps = [live.step(pose, timestamp=k / motion.fps, layout=motion.layout) for k, pose in enumerate(motion.joints)]
    onsets = [out.event_label for out in steps if out.event == "onset"]
    assert "wave" in onsets, onsets
    print(json.dumps({"machine": platform.machine(), "python": platform.python_version(), "backend": live.backend,
                      "frames": len(steps), "onsets": onsets, "installed": str(folder)}))
"""


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Standard output of the command; ends the program if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **(env or {})}
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(
            f"{done.stdout[-4000:]}{done.stderr[-4000:]}\nwheels: exit {done.returncode}: {' '.join(map(str, command))}"
        )
    return done.stdout


def build(machine: str, *settings: str, env: Mapping[str, str] | None = None) -> Path:
    """Build the wheel for a machine type in dist/, with the lowest possible manylinux tag."""
    folder = BUILD / machine
    options = [f"-C{setting}" for setting in (f"build-dir={folder / 'cmake'}", *settings)]
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, *options, "-w", folder / "plain", ROOT, env=env)
    (plain,) = (folder / "plain").glob("*.whl")
    run(sys.executable, "-m", "auditwheel", "repair", "-w", folder / "repaired", plain)
    (repaired,) = (folder / "repaired").glob("*.whl")
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob(f"*_{machine}.whl"):
        old.unlink()
    return Path(shutil.copy(repaired, DIST))


def run_check(command: list[str | Path], installed: Path) -> list[dict[str, Any]]:
    """Run the check; it must have used the package installed in the folder."""
    lines = [json.loads(line) for line in run(*command, cwd=BUILD).splitlines()]
    for line in lines:
        if not Path(line.pop("installed")).is_relative_to(installed):
            sys.exit(f"wheels: the check did not use the package installed in {installed}")
    return lines


def check_here(wheel: Path) -> list[dict[str, Any]]:
    """Check the wheel in a new virtual environment."""
    venv = BUILD / "venv"
    run(sys.executable, "-m", "venv", "--clear", venv)
    run(venv / "bin" / "python", "-m", "pip", "install", "-c", ROOT / "constraints.txt", wheel)
    return run_check([venv / "bin" / "python", "-c", CHECK, "native", "onnx"], venv)


def debian_arm64() -> Path:
    """Unpack Debian's arm64 packages into a folder, without touching the lists and caches of apt."""
    sysroot, apt = BUILD / "arm64", BUILD / "apt"
    if (sysroot / "usr" / "bin" / f"python{PYTHON}").exists():
        return sysroot
    for folder in ("lists", "cache", "debs"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    settings = {"Architecture": "arm64", "Architectures": "arm64", "Sandbox::User": "root"}
    options = [f"-oAPT::{name}={value}" for name, value in settings.items()]
    settings = {"State::lists": "lists", "State::status": "status", "Cache": "cache"}
    options += [f"-oDir::{name}={apt / value}" for name, value in settings.items()]
    run("apt-get", *options, "update")
    run("apt-get", *options, "download", *PACKAGES, cwd=apt / "debs")
    for deb in sorted((apt / "debs").glob("*.deb")):
        run("dpkg", "-x", deb, sysroot)
    return sysroot


def build_aarch64(sysroot: Path) -> Path:
    """Build the wheel for aarch64."""
    return build(
        "aarch64",
        f"cmake.args=--toolchain={ROOT / 'cmake' / 'aarch64.cmake'}",
        "cmake.define.PYBIND11_USE_CROSSCOMPILING=ON",
        f"cmake.define.Python_INCLUDE_DIR={sysroot / 'usr' / 'include' / f'python{PYTHON}'}",
        f"cmake.define.CMAKE_CXX_FLAGS=-isystem {sysroot / 'usr' / 'include'}",  # pyconfig.h of the architecture
        env={"_PYTHON_HOST_PLATFORM": "linux-aarch64", "SETUPTOOLS_EXT_SUFFIX": f".{CPYTHON}-aarch64-linux-gnu.so"},
    )


def check_emulated(wheel: Path, sysroot: Path) -> list[dict[str, Any]]:
    """Check the native engine with Debian's Python in an emulator, where ONNX Runtime crashes."""
    target = BUILD / "aarch64" / "installed"
    shutil.rmtree(target, ignore_errors=True)
    tags = (*MANYLINUX, tag(wheel).split("-")[-1].removesuffix("_aarch64"))
    platforms = [f"--platform={name}_aarch64" for name in tags]
    only = ("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}")
    pip = (sys.executable, "-m", "pip", "install", "-c", ROOT / "constraints.txt", "--target", target)
    run(*pip, *platforms, *only, wheel)
    python = ("qemu-aarch64", "-L", sysroot, "-E", f"PYTHONPATH={target}", sysroot / "usr" / "bin" / f"python{PYTHON}")
    return run_check([*python, "-S", "-c", CHECK, "native"], target)


def tag(wheel: Path) -> str:
    return wheel.stem.split("-", 2)[2]


def describe(wheel: Path, machine: str, checks: list[dict[str, Any]]) -> dict[str, Any]:
    with zipfile.ZipFile(wheel) as archive:
        (module,) = (info for info in archive.infolist() if info.filename.endswith(".so"))
    expected = f"motionrt/runtime/_core.{CPYTHON}-{machine}-linux-gnu.so"
    if module.filename != expected:
        sys.exit(f"wheels: {wheel.name} has {module.filename}, expected {expected}")
    return {
        "name": wheel.name,
        "tag": tag(wheel),
        "bytes": wheel.stat().st_size,
        "module_bytes": module.file_size,
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "checks": checks,
    }


def main() -> None:
    for machine in ("x86_64", "aarch64"):
        shutil.rmtree(BUILD / machine, ignore_errors=True)
    wheel = build("x86_64")
    wheels = [describe(wheel, "x86_64", check_here(wheel))]
    missing = [name for name in ("aarch64-linux-gnu-g++", "qemu-aarch64", "apt-get") if not shutil.which(name)]
    if missing:
        print(f"no wheel for aarch64: {', '.join(missing)} not found (Debian: g++-aarch64-linux-gnu, qemu-user)")
    else:
        sysroot = debian_arm64()
        wheel = build_aarch64(sysroot)
        wheels.append(describe(wheel, "aarch64", check_emulated(wheel, sysroot)))
    commit = run("git", "describe", "--always", "--dirty", "--exclude=*").strip()
    result = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit, "wheels": wheels}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for found in wheels:
        stepped = " and ".join(check["backend"] for check in found["checks"])
        print(f"dist/{found['name']}: {found['bytes'] / 1e6:.1f} MB, installed and stepped: {stepped}")


if __name__ == "__main__":
    main()
