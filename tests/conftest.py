import os
from pathlib import Path

import pytest

import motionrt
from motionrt.runtime.motion import Motion


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the data sets: $MOTIONRT_SHARED, else shared/data beside the checkout; skips without it."""
    named = os.environ.get("MOTIONRT_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; MOTIONRT_SHARED names another folder")
    return folder


@pytest.fixture(scope="session")
def samples() -> list[Motion]:
    """The recordings that ship with the package, but for the bow: one that is slow enough to pass for rest."""
    folders = Path(motionrt.__path__[0]) / "runtime" / "samples", Path(__file__).parent / "recordings"
    paths = {path.name: path for folder in folders for path in sorted(folder.glob("*.npz"))}
    return [Motion.load(paths[name]) for name in sorted(paths)]
