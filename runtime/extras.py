"""Optional packages: whether they are installed, and how to get them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .errors import MissingExtra, install_hint


def require(module: str, extra: str = "webcam", what: str = "video") -> Any:
    """An optional package, needed for `what`. Raises MissingExtra, naming the extra that brings it, without it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{what} needs {module} ({error}): {install_hint(extra)}") from None


def installed(module: str) -> bool:
    """Whether a module could be imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # made unimportable
        return False
