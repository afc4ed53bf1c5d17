"""`open_networks`: a generation bundle's networks on any backend."""

from __future__ import annotations

from ..backends import factory
from ..bundles.bundle import Bundle
from ..bundles.schema import GenerationManifest
from ..bundles.signatures import INT8_SUFFIX, SIGNATURES
from .networks import Networks


def open_networks(
    bundle: Bundle[GenerationManifest], threads: int = 1, precision: str = "fp32", backend: str = "auto"
) -> Networks:
    """Open a bundle's networks with a backend, "auto", "onnx", "tensorrt" or "cuda" (or "cuda:1").

    Args:
        bundle: a verified bundle.
        threads: CPU threads per operator.
        precision: of the sampler's products: "fp32" or "int8" in ONNX Runtime, "fp32", "fp16" or "bf16" in TensorRT,
            "fp32" or "bf16" in CUDA; "auto": "int8" on a CPU, if the bundle has it, else "fp32".
    Raises:
        InputError: an unknown or unavailable backend or precision.
    """
    if precision == "auto":
        on_cpu = backend in ("auto", "onnx")
        precision = "int8" if on_cpu and "trunk" + INT8_SUFFIX in bundle.manifest.graphs else "fp32"
    if backend.startswith("cuda"):
        factory.pick(backend)
        from ..backends.cuda import CudaNetworks

        return CudaNetworks(bundle, precision, backend)
    open_graph = factory.session_opener(backend, bundle, threads, precision)
    if backend != "tensorrt":
        return Networks(bundle, open_graph, threads, precision)
    engine = SIGNATURES[bundle.manifest.task].open_sizes("times")["N"].engine
    assert engine is not None
    return Networks(bundle, open_graph, threads, precision, on_cpu=False, max_rows=engine[-1])
