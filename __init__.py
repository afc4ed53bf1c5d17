"""Skeletons in, actions out: real-time action recognition and motion generation on one representation.

    import motionrt

    recognizer = motionrt.Recognizer.load("live")
    out = recognizer.step(joints)  # [V, 3] meters, in recognizer.layout
    print(out.label, out.score, out.event)
    print(motionrt.recognize("clip.mp4"))

The names below are imported on first use, so that `import motionrt` stays cheap.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "BundleError": ".runtime.errors",
    "Client": ".runtime.serve.client",
    "Decision": ".runtime.recognition.decision",
    "Generator": ".runtime.generation.generator",
    "InputError": ".runtime.errors",
    "Layout": ".runtime.body.layout",
    "LayoutError": ".runtime.errors",
    "MissingExtra": ".runtime.errors",
    "Motion": ".runtime.body.motion",
    "MotionError": ".runtime.errors",
    "PoseEstimator": ".runtime.io.pose",
    "Recognizer": ".runtime.recognition.recognizer",
    "Retargeter": ".runtime.robots.retargeter",
    "Retriever": ".runtime.retrieval.retriever",
    "Segment": ".runtime.recognition.segments",
    "doctor": ".runtime.doctor",
    "recognize": ".runtime.recognition.recognize",
}
_MODULES = {"rotations": ".runtime.body.rotations"}

__all__ = [
    "BundleError",
    "Client",
    "Decision",
    "Generator",
    "InputError",
    "Layout",
    "LayoutError",
    "MissingExtra",
    "Motion",
    "MotionError",
    "PoseEstimator",
    "Recognizer",
    "Retargeter",
    "Retriever",
    "Segment",
    "__version__",
    "doctor",
    "recognize",
    "rotations",
]

if TYPE_CHECKING:
    from .runtime.body import rotations
    from .runtime.body.layout import Layout
    from .runtime.body.motion import Motion
    from .runtime.doctor import doctor
    from .runtime.errors import BundleError, InputError, LayoutError, MissingExtra, MotionError
    from .runtime.generation.generator import Generator
    from .runtime.io.pose import PoseEstimator
    from .runtime.recognition.decision import Decision
    from .runtime.recognition.recognize import recognize
    from .runtime.recognition.recognizer import Recognizer
    from .runtime.recognition.segments import Segment
    from .runtime.retrieval.retriever import Retriever
    from .runtime.robots.retargeter import Retargeter
    from .runtime.serve.client import Client


def __getattr__(name: str) -> Any:
    home = _MODULES.get(name) or _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = import_module(home, __name__)
    except ImportError:
        if find_spec(".runtime._core", __name__) is not None:
            raise
        raise ImportError(
            f"{__path__[0]} is motionrt's source, not compiled: run `pip install .` in it, start Python elsewhere"
        ) from None
    value = value if name in _MODULES else getattr(value, name)
    globals()[name] = value  # the next access is direct
    return value


def __dir__() -> list[str]:
    return __all__
