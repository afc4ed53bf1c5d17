"""Skeletons in, actions out: real-time action recognition and motion generation on one representation.

    import motionrt

    recognizer = motionrt.Recognizer.load("live")
    out = recognizer.step(joints)  # [V, 3] metres, in recognizer.layout
    print(out.label, out.score, out.event)

The names below are imported on first use, so that `import motionrt` stays cheap.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "BundleError": ".runtime.errors",
    "Decision": ".runtime.recognition.decision",
    "Generator": ".runtime.generation.generator",
    "InputError": ".runtime.errors",
    "LayoutError": ".runtime.errors",
    "MissingExtra": ".runtime.errors",
    "Motion": ".runtime.body.motion",
    "MotionError": ".runtime.errors",
    "Recognizer": ".runtime.recognition.recognizer",
    "Retriever": ".runtime.retrieval.retriever",
    "doctor": ".runtime.doctor",
}

__all__ = [
    "BundleError",
    "Decision",
    "Generator",
    "InputError",
    "LayoutError",
    "MissingExtra",
    "Motion",
    "MotionError",
    "Recognizer",
    "Retriever",
    "__version__",
    "doctor",
]

if TYPE_CHECKING:
    from .runtime.body.motion import Motion
    from .runtime.doctor import doctor
    from .runtime.errors import BundleError, InputError, LayoutError, MissingExtra, MotionError
    from .runtime.generation.generator import Generator
    from .runtime.recognition.decision import Decision
    from .runtime.recognition.recognizer import Recognizer
    from .runtime.retrieval.retriever import Retriever
elif find_spec(".runtime._core", __name__) is None:
    raise ImportError(
        f"{__path__[0]} is motionrt's source, not compiled: run `pip install .` in it, start Python elsewhere"
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    return __all__
