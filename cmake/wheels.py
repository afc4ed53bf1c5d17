"""Build the wheels into dist/, install each in an empty environment, and step `live` there: `make wheels`.

x86_64 is compiled and checked for each Python of `VERSIONS` on this machine; aarch64 is cross-compiled against Debian's
Python of the running version and checked with that Python under qemu-user. Where ziglang is installed, the C library is
compiled for `TARGETS`, too, and not run. Results are written to bench/results/wheels.json. With arguments, such as
`3.12 aarch64 aarch64-macos`, only these are made, and the other results are kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "wheels"
DIST = ROOT / "dist"
RESULT = ROOT / "bench" / "results" / "wheels.json"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
TARGETS = ("x86_64-linux-musl", "aarch64-linux-musl", "x86_64-windows-gnu", "aarch64-macos")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CPYTHON = f"cpython-{PYTHON.replace('.', '')}"
CONSTRAINTS = ("-c", str(ROOT / "constraints.txt"))  # for the running version only

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


def interpreter(version: str) -> Path | None:
    """This Python, or another one on the path or of pyenv."""
    if version == PYTHON:
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*sorted(pyenv.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")]
    return next((Path(path) for path in found if path), None)


def environment(python: Path, folder: Path) -> Path:
    """Make an empty virtual environment; returns its Python."""
    run(python, "-m", "venv", "--clear", folder)
    return folder / "bin" / "python"


def build_here(version: str, python: Path) -> Path:
    """Build the wheel for a Python of this machine."""
    if version == PYTHON:
        return build("x86_64")
    builder = environment(python, BUILD / f"python{version}")
    run(builder, "-m", "pip", "install", "--quiet", "--upgrade", "pip", "scikit-build-core>=0.11", "pybind11>=2.13")
    return build("x86_64", python=builder)


def build(
    machine: str, *settings: str, env: Mapping[str, str] | None = None, python: str | Path = sys.executable
) -> Path:
    """Build the wheel for a machine type in dist/, with the lowest possible manylinux tag."""
    folder = BUILD / machine
    shutil.rmtree(folder, ignore_errors=True)
    options = [f"-C{setting}" for setting in (f"build-dir={folder / 'cmake'}", *settings)]
    pip = (python, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, *options, "-w", folder / "plain", ROOT, env=env)
    (plain,) = (folder / "plain").glob("*.whl")
    run(sys.executable, "-m", "auditwheel", "repair", "-w", folder / "repaired", plain)
    (repaired,) = (folder / "repaired").glob("*.whl")
    DIST.mkdir(exist_ok=True)
    return Path(shutil.copy(repaired, DIST))


def run_check(command: list[str | Path], installed: Path) -> list[dict[str, Any]]:
    """Run the check; it must have used the package installed in the folder."""
    lines = [json.loads(line) for line in run(*command, cwd=BUILD).splitlines()]
    for line in lines:
        if not Path(line.pop("installed")).is_relative_to(installed):
            sys.exit(f"wheels: the check did not use the package installed in {installed}")
    return lines


def check_here(wheel: Path, version: str, python: Path) -> list[dict[str, Any]]:
    """Check the wheel in a new virtual environment."""
    venv = BUILD / "venv"
    installed = environment(python, venv)
    run(installed, "-m", "pip", "install", *(CONSTRAINTS if version == PYTHON else ()), wheel)
    return run_check([installed, "-c", CHECK, "native", "onnx"], venv)


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
    pip = (sys.executable, "-m", "pip", "install", *CONSTRAINTS, "--target", target)
    run(*pip, *platforms, *only, wheel)
    python = ("qemu-aarch64", "-L", sysroot, "-E", f"PYTHONPATH={target}", sysroot / "usr" / "bin" / f"python{PYTHON}")
    return run_check([*python, "-S", "-c", CHECK, "native"], target)


def tag(wheel: Path) -> str:
    return wheel.stem.split("-", 2)[2]


def build_library(target: str, zig: Path) -> dict[str, Any]:
    """Compile and link the C library for another system, which is not run."""
    folder = BUILD / target
    shutil.rmtree(folder, ignore_errors=True)
    toolchain = ("--toolchain", ROOT / "cmake" / "zig.cmake", f"-DZIG={zig}", f"-DZIG_TARGET={target}")
    run("cmake", "-S", ROOT, "-B", folder, *toolchain, "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", folder, "--parallel", "2")
    (library,) = (path for suffix in ("so", "dll", "dylib") for path in folder.glob(f"libmotionrt.{suffix}"))
    return {"target": target, "file": library.name, "bytes": library.stat().st_size}


def describe(wheel: Path, machine: str, version: str, checks: list[dict[str, Any]]) -> dict[str, Any]:
    with zipfile.ZipFile(wheel) as archive:
        (module,) = (info for info in archive.infolist() if info.filename.endswith(".so"))
    expected = f"motionrt/runtime/_core.cpython-{version.replace('.', '')}-{machine}-linux-gnu.so"
    if module.filename != expected:
        sys.exit(f"wheels: {wheel.name} has {module.filename}, expected {expected}")
    return {
        "name": wheel.name,
        "tag": tag(wheel),
        "python": version,
        "machine": machine,
        "bytes": wheel.stat().st_size,
        "module_bytes": module.file_size,
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "checks": checks,
    }


def keep(kind: str, made: dict[str, Any]) -> None:
    """Write one result to the file, in the place of that of the same name."""
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result = {kind: results.get(kind, []) for kind in ("wheels", "libraries")}
    made["date"] = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    made["commit"] = run("git", "describe", "--always", "--dirty", "--exclude=*").strip()
    keys = ("target",) if kind == "libraries" else ("python", "machine")
    others = [one for one in result[kind] if any(one.get(key) != made[key] for key in keys)]
    result[kind] = sorted([*others, made], key=lambda one: [one[key] for key in keys])
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    name = made.get("tag") or made["target"]
    print(f"{name}: {made['bytes'] / 1e6:.1f} MB, {'not run' if kind == 'libraries' else 'installed and stepped'}")


def main() -> None:
    known = (*VERSIONS, "aarch64", *TARGETS)
    chosen = sys.argv[1:] or known
    if unknown := set(chosen) - {*known}:
        sys.exit(f"wheels: {', '.join(sorted(unknown))}, expected some of {', '.join(known)}")
    if chosen == known:
        shutil.rmtree(DIST, ignore_errors=True)
        RESULT.unlink(missing_ok=True)
    for version in VERSIONS:
        if version not in chosen:
            continue
        python = interpreter(version)
        if python is None:
            print(f"no wheel for Python {version}: it is not installed")
            continue
        wheel = build_here(version, python)
        keep("wheels", describe(wheel, "x86_64", version, check_here(wheel, version, python)))
    missing = [name for name in ("aarch64-linux-gnu-g++", "qemu-aarch64", "apt-get") if not shutil.which(name)]
    if "aarch64" in chosen and missing:
        print(f"no wheel for aarch64: {', '.join(missing)} not found (Debian: g++-aarch64-linux-gnu, qemu-user)")
    elif "aarch64" in chosen:
        sysroot = debian_arm64()
        wheel = build_aarch64(sysroot)
        keep("wheels", describe(wheel, "aarch64", PYTHON, check_emulated(wheel, sysroot)))
    zig = importlib.util.find_spec("ziglang")
    if zig is None or not zig.submodule_search_locations:
        print("no library for other systems: ziglang is not installed")
        return
    for target in TARGETS:
        if target in chosen:
            keep("libraries", build_library(target, Path(zig.submodule_search_locations[0], "zig")))


if __name__ == "__main__":
    main()
