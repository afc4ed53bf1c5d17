"""The runtime works where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from motionrt.runtime.bundles import bundle

PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "triton", "tensorrt", "accelerate", "onnx"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Blocked())
try:
    import torch
except ImportError:
    pass
else:
    sys.exit("torch is not blocked")

import numpy as np
import motionrt

recognizer = motionrt.Recognizer.load(sys.argv[1])
V = len(motionrt.Layout.load(recognizer.layout).joints)
joints = np.random.default_rng(0).normal(0, 0.3, (30, V, 3)).astype(np.float32)
for pose in joints:
    out = recognizer.step(pose)
assert out.status == "ok" and out.label in recognizer.labels and abs(out.probs.sum() - 1) < 1e-4, out
clip = recognizer.recognize(motionrt.Motion(joints, recognizer.fps, recognizer.layout))
assert clip.label in recognizer.labels
for name in motionrt.__all__:
    getattr(motionrt, name)
motionrt.doctor()
import motionrt.runtime.io
from motionrt.runtime.cli import app, develop, info, recognize
assert not {"torch", "triton", "tensorrt"} & set(sys.modules)
print("works")
"""


def works_without_torch(model: str | Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(model)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("works\n", 0), done.stderr


def test_the_live_model_loads_and_steps_without_torch() -> None:
    if not (bundle.MODELS / "live").exists():
        pytest.skip("the model `live` is not bundled yet")
    works_without_torch("live")


def test_a_bundle_loads_and_steps_without_torch(tmp_path: Path) -> None:
    from . import tiny

    works_without_torch(tiny.tiny_bundle(tmp_path / "tiny"))
