"""Choice of the backend that runs a bundle's networks; each backend is imported on demand."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ..bundles.bundle import Bundle
from ..bundles.schema import CompiledManifest
from ..errors import InputError, MissingExtra
from ..extras import installed
from .protocols import Backend, Session
from .tensorrt_cache import check_precision
from .threads import check_threads

NAMES = ("native", "onnx", "tensorrt", "cuda")
AUTO = ("native", "onnx")  # tried in this order for "auto"
TORCH = (2, 11)  # of the CUDA backend: captures under no_grad after inference_mode, and brings Triton 3.6
_REQUIRED = {"tensorrt": ("tensorrt", "torch"), "cuda": ("torch",)}
_ONNX_PRECISIONS = ("fp32", "int8")  # of a generator's graphs in ONNX Runtime


def available() -> dict[str, str | None]:
    """Backend name -> None if it can be used here, otherwise the reason why not."""
    return {name: _unavailable(name) for name in NAMES}


def _unavailable(name: str) -> str | None:
    if name == "native":
        return None
    if name == "onnx":
        return None if installed("onnxruntime") else "onnxruntime is not installed"
    missing = [module for module in _REQUIRED[name] if not installed(module)]
    if missing:
        return f"{' and '.join(missing)} not installed"
    import torch

    if name == "cuda" and tuple(int(part) for part in torch.__version__.split(".")[:2]) < TORCH:
        return f"torch {torch.__version__} cannot capture every graph, expected {TORCH[0]}.{TORCH[1]} or newer"
    return None if torch.cuda.is_available() else "torch finds no GPU"


def pick(name: str = "auto") -> str:
    """Choose the backend to use.

    Args:
        name: "auto" for the first available one of `AUTO`, or one of `NAMES`, or "cuda:1" for the second GPU.
    Returns:
        Its name, without the number of a GPU.
    Raises:
        InputError: unknown name, or no such GPU.
        MissingExtra: a backend that cannot be used here, with the reason.
    """
    if name == "auto":
        for candidate in AUTO:
            if _unavailable(candidate) is None:
                return candidate
        reasons = "; ".join(f"{candidate}: {_unavailable(candidate)}" for candidate in AUTO)
        raise MissingExtra(f"no backend can be used here: {reasons}")
    kind, colon, number = name.partition(":")
    if kind not in NAMES or (colon and not (kind == "cuda" and number.isascii() and number.isdecimal())):
        raise InputError(f"unknown backend {name!r}, expected auto, {', '.join(NAMES)}")
    if (reason := _unavailable(kind)) is not None:
        raise MissingExtra(f"backend {name!r} cannot be used here: {reason}")
    if number:
        import torch

        if int(number) >= (count := torch.cuda.device_count()):
            raise InputError(f"backend {name!r}: torch finds {count} GPU{'s' * (count != 1)}, the first is cuda:0")
    return kind


def create(name: str, bundle: Bundle, threads: int = 1, precision: str = "fp32") -> Backend:
    """Create the backend `name` (or "auto") for `bundle`.

    Args:
        threads: CPU threads of a step, at most the CPUs that this process may use; the native engine uses one.
        precision: of the weights, see NativeBackend; of matrix products in TensorRT, see `tensorrt_cache.PRECISIONS`.
    """
    check_threads(threads)
    from .native import NativeBackend, supports

    chosen = pick(name)
    if name == "auto" and chosen == "native" and not supports(bundle):
        chosen = pick("onnx")
    if chosen == "native":
        return NativeBackend(bundle, precision)
    if isinstance(bundle.manifest, CompiledManifest):
        raise InputError(f"compiled labels run on the native backend only, not on {chosen}")
    if chosen == "tensorrt":
        from .tensorrt import TensorRTBackend

        check_precision(precision)
        return TensorRTBackend(bundle, precision)
    if precision != "fp32":
        raise InputError(f"precision {precision!r} needs the native backend, {chosen} runs fp32")
    if chosen == "cuda":
        from .cuda import CudaBackend

        return CudaBackend(bundle, name)
    from .onnx import OnnxBackend

    return OnnxBackend(bundle, threads)


def session_opener(
    name: str, bundle: Bundle[Any], threads: int = 1, precision: str = "fp32"
) -> Callable[[str], Session]:
    """Function that opens a bundle's graphs by name, with the backend `name` (or "auto").

    Args:
        threads: CPU threads of an operator.
        precision: "fp32" or "int8" in ONNX Runtime, "fp32" in CUDA; in TensorRT one of `tensorrt_cache.PRECISIONS`.
    Raises:
        InputError: a backend that cannot be used here or for these graphs, or a precision that it does not support.
    """
    check_threads(threads)
    if name == "native":
        raise InputError("the native backend runs recognizers only, expected auto, onnx, tensorrt or cuda")
    chosen = pick("onnx" if name == "auto" else name)
    if chosen == "tensorrt":
        from .tensorrt import open_engine

        check_precision(precision)
        return partial(open_engine, bundle, precision=precision)
    if chosen == "cuda":
        from .cuda import CudaClips

        if precision != "fp32":
            raise InputError(f"precision is {precision!r}, expected fp32")
        return partial(CudaClips, bundle, device=name)
    if precision not in _ONNX_PRECISIONS:
        raise InputError(f"precision is {precision!r}, expected {' or '.join(_ONNX_PRECISIONS)}")
    from .onnx_session import open_session

    return partial(open_session, bundle, threads=threads)
