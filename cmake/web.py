"""Build the npm package of the recognizer into dist/, and the page that uses it: `make web`.

The package holds the C API as WebAssembly, `web/`, and `live` with `live-2d`, whose weights are rounded to bfloat16.
The page, build/web/page/index.html, is examples/web with all files that it needs: the package and, from npm,
MediaPipe's pose estimator. A browser opens it from the disk. Needs emscripten, Node.js and npm.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "web"
PACKAGE = BUILD / "package"
MODELS = ROOT / "runtime" / "models"
FLAGS = "-msimd128 -fwasm-exceptions"
POSE = "@mediapipe/pose@0.5.1675469404"
POSE_FILES = (
    "pose.js", "pose_web.binarypb", "pose_solution_packed_assets.data", "pose_solution_packed_assets_loader.js",
    "pose_solution_simd_wasm_bin.js", "pose_solution_simd_wasm_bin.wasm", "pose_landmark_lite.tflite",
)  # fmt: skip


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Standard output of the command; ends the program if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, env={**os.environ, "PATH": path}, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(
            f"{done.stdout[-4000:]}{done.stderr[-4000:]}\nweb: exit {done.returncode}: {' '.join(map(str, command))}"
        )
    return done.stdout


def build_package() -> None:
    """Compile the core and fill the package's folder."""
    core = BUILD / "core"
    run("emcmake", "cmake", "-S", ROOT, "-B", core, "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_CXX_FLAGS={FLAGS}")
    run("cmake", "--build", core, "--parallel", "2")
    shutil.rmtree(PACKAGE, ignore_errors=True)
    shutil.copytree(ROOT / "web", PACKAGE)
    for file in (core / "motionrt.wasm", ROOT / "LICENSE", ROOT / "NOTICE"):
        shutil.copy(file, PACKAGE)
    (version,) = re.findall(r'^__version__ = "(.+)"', (ROOT / "__init__.py").read_text(), re.MULTILINE)
    about = json.loads((PACKAGE / "package.json").read_text())
    (PACKAGE / "package.json").write_text(json.dumps(about | {"version": version}, indent=2) + "\n")
    for name in ("live", "live-2d"):
        (PACKAGE / "models" / name).mkdir(parents=True)
        shutil.copy(MODELS / name / "weights.safetensors", PACKAGE / "models" / name)
        write_compact(PACKAGE / "models" / name, json.loads((MODELS / name / "manifest.json").read_text()))
    halve(PACKAGE / "models" / "live-2d")


def write_compact(bundle: Path, manifest: dict) -> None:
    (bundle / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")))


def halve(bundle: Path) -> None:
    """Replace the weights of a bundle, all of which are float32, by weights.bf16: their upper halves, rounded.

    The manifest then describes weights.safetensors with zeros as the lower halves.
    """
    weights = bundle / "weights.safetensors"
    data = weights.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header, bits = data[:start], np.frombuffer(data[start:], "<u4")
    halves = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")  # to nearest, ties to even
    rounded = header + (halves.astype("<u4") << 16).tobytes()
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["weights.safetensors"]["sha256"] = hashlib.sha256(rounded).hexdigest()
    write_compact(bundle, manifest)
    (bundle / "weights.bf16").write_bytes(header + halves.tobytes())
    weights.unlink()


def pack() -> Path:
    """Pack the package into dist/."""
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    (packed,) = json.loads(run("npm", "pack", "--json", "--pack-destination", dist, PACKAGE))
    return dist / packed["filename"]


def build_page() -> Path:
    """Write the page, with the files that it reads as text in a script: pages from a disk may not fetch."""
    pose = BUILD / "pose"
    if not (pose / "package").is_dir():
        pose.mkdir(parents=True, exist_ok=True)
        (packed,) = json.loads(run("npm", "pack", "--json", "--pack-destination", pose, POSE))
        shutil.unpack_archive(pose / packed["filename"], pose)
    page = BUILD / "page"
    shutil.rmtree(page, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "web", page)
    files = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*") if path.is_file()}
    files |= {name: pose / "package" / name for name in POSE_FILES}
    texts = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    (page / "files.js").write_text(f"const FILES = {json.dumps(texts, indent=0)};\n")
    return page / "index.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-page", action="store_true", help="only the package, for which nothing is downloaded")
    options = parser.parse_args()
    missing = [name for name in ("emcmake", "node", "npm") if not shutil.which(name)]
    if missing:
        sys.exit(f"web: {', '.join(missing)} not found (Debian: emscripten, nodejs, npm)")
    build_package()
    total = sum(path.stat().st_size for path in PACKAGE.rglob("*") if path.is_file())
    print(f"{pack().relative_to(ROOT)}: {total / 1e6:.2f} MB when unpacked")
    if not options.no_page:
        print(build_page().relative_to(ROOT))


if __name__ == "__main__":
    main()
