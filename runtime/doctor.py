"""Diagnosis of an installation: what works here, and why the rest does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from importlib import import_module
from typing import Any

from .backends import factory
from .bundles.bundle import Bundle, bundled
from .bundles.schema import Manifest
from .errors import MotionError, install_hint
from .extras import installed

# Extra -> modules that it installs.
EXTRAS = {
    "train": ("torch", "accelerate"),
    "wandb": ("torch", "accelerate", "wandb"),
    "export": ("torch", "onnx", "onnxscript"),
    "clip": ("torch", "accelerate", "transformers"),
    "webcam": ("ai_edge_litert", "cv2", "av", "PIL"),
    "io": ("rtmlib", "cv2", "av", "PIL"),
    "net": ("websockets",),
    "bag": ("rosbags",),
    "zmq": ("zmq",),
    "mqtt": ("paho",),
    "hub": ("huggingface_hub",),
    "files": ("av", "PIL", "pygltflib"),
    "robot": ("mujoco", "av", "PIL"),
    "viewer": ("viser", "pygltflib"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "websockets"),
    "ray": ("ray",),
}


def doctor() -> dict[str, Any]:
    """Examine the installation.

    Returns:
        "versions" and "machine": name -> text. "core", and by name "backends", "extras" and "models": None if
        it works, else the reason why not.
    """
    return {
        "versions": {
            "motionrt": _version("motionrt"),
            "python": platform.python_version(),
            "numpy": _version("numpy"),
            "onnxruntime": _version("onnxruntime"),
        },
        "machine": {"system": platform.platform(), "cpu_cores": str(os.cpu_count())},
        "core": _problem(import_module, f"{__package__}._core"),
        "backends": factory.available(),
        "extras": {extra: _missing(extra, modules) for extra, modules in EXTRAS.items()},
        "models": {name: _problem(Bundle.load, name, Manifest) for name in bundled()},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _problem(action: Any, *arguments: Any) -> str | None:
    try:
        action(*arguments)
    except (MotionError, ImportError) as error:
        return str(error)
    return None


def _missing(extra: str, modules: tuple[str, ...]) -> str | None:
    missing = [module for module in modules if not installed(module)]
    return f"{', '.join(missing)} not installed: {install_hint(extra)}" if missing else None
