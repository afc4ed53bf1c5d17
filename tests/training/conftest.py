from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.cli import main
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


@pytest.fixture
def train_and_resume(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`motionrt train` that is interrupted after the first step, and given again."""
    from motionrt.training import loop

    save = loop.save_checkpoint

    def interrupt(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    def train(*arguments: str) -> None:
        command = ["train", *arguments, "checkpoint_every=1", "validate_every=1"]
        with monkeypatch.context() as patch:
            patch.setattr(loop, "save_checkpoint", interrupt)
            assert main(command) == 1
        assert main(command) == 0 and main(command) == 0

    return train


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
