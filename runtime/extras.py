"""Optional packages: detection and import."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .errors import MissingExtra, install_hint


def require(module: str, extra: str = "webcam", what: str = "video") -> Any:
    """Import an optional package. Raises MissingExtra, which names the extra to install for `what`."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{what} needs {module} ({error}): {install_hint(extra)}") from None


def installed(module: str) -> bool:
    """True if a module can be imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # its import is blocked
        return False
