"""The user's cache of motionrt."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """One of the folders below $XDG_CACHE_HOME or ~/.cache; it may not exist yet."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(folder) if os.path.isabs(folder) else Path.home() / ".cache") / "motionrt" / name
