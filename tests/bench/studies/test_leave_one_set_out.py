"""Labels of a set that occur in other sets."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.bench.studies.leave_one_set_out import shared_labels


def test_a_label_is_shared_if_it_occurs_in_another_set(data: Path, tmp_path: Path) -> None:
    assert shared_labels(data) == {
        "bandai": {"bow", "run", "walk", "wave"},
        "nw-ucla": {"bow", "walk"},
        "msr-action3d": {"wave"},
        "utkinect": {"run"},
        "florence3d": {"bow"},
    }
    for name in ("kinect.npz", "kinect.json"):
        shutil.copy(data / name, tmp_path / name)
    alone = shared_labels(tmp_path)
    assert alone["nw-ucla"] == alone["florence3d"] == {"bow"}
    assert alone["msr-action3d"] == alone["utkinect"] == alone["bandai"] == set()
