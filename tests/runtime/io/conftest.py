from pathlib import Path

import pytest

import motionrt.runtime
from motionrt.runtime.body.motion import Motion

SAMPLES = Path(motionrt.runtime.__file__).parent / "samples"


@pytest.fixture(scope="session")
def wave() -> Motion:
    """A real clip: smpl22, one person, 20 frames per second."""
    return Motion.load(SAMPLES / "bandai_wave_right_hand.npz")
