from pathlib import Path

import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.training.data.clips import LabeledClip, load_clips

from .clip_folder import write_folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread: networks as small as those in tests wait for threads longer than they compute."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, samples: list[Motion]) -> Path:
    """A small folder in the format of the data sets; see `clip_folder`."""
    return write_folder(tmp_path_factory.mktemp("data"), samples)


@pytest.fixture(scope="session")
def layout() -> Layout:
    return Layout.load("core15")


@pytest.fixture(scope="session")
def clips(data: Path, layout: Layout) -> list[LabeledClip]:
    """Every clip of the small folder, in core15."""
    return load_clips(data, layout)
