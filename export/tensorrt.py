"""Builds TensorRT engines of a bundle's graphs into the user's cache. Written against the documentation of TensorRT 10
and 11; not yet run on hardware."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..runtime.backends.tensorrt import logger, plan_key
from ..runtime.backends.tensorrt_cache import Profile, check_precision, engine_graphs, profiles, store_plan
from ..runtime.bundles.bundle import Bundle
from ..runtime.errors import BundleError, InputError
from .tensorrt_graph import prepare

log = logging.getLogger(__name__)


def build_engines(bundle: Bundle[Any], precision: str = "fp32") -> list[Path]:
    """Build the engines of a bundle's graphs for this machine's GPU, which takes minutes.

    Args:
        bundle: a verified bundle.
        precision: of matrix products, "fp32", "fp16" or "bf16".
    Returns:
        The files in the cache.
    Raises:
        BundleError: TensorRT rejects a graph.
        InputError: unknown precision, a bundle without graphs for TensorRT, or a cache that cannot be written.
    """
    check_precision(precision)
    manifest, paths = bundle.manifest, []
    names = engine_graphs(manifest)
    if not names:
        raise InputError(f"{bundle.path}: task {manifest.task!r} runs in ONNX Runtime on every backend")
    for name in names:
        log.info("building the engine of %s in %s", manifest.graphs[name].file, precision)
        model = prepare(bundle, name, precision).SerializeToString()
        shapes = profiles(manifest.task, name, manifest.graphs[name])
        plan = build_plan(model, shapes, str(bundle.path / manifest.graphs[name].file))
        paths.append(store_plan(plan_key(manifest, name, precision), plan))
    return paths


def build_plan(model: bytes, shapes: dict[str, Profile], where: str) -> bytes:
    """Build a plan for this GPU from a serialized ModelProto; products keep the types of the model.

    Args:
        shapes: smallest, usual and largest shape of every input.
        where: names the graph in errors.
    Raises:
        BundleError: TensorRT rejects the model.
    """
    import tensorrt

    builder = tensorrt.Builder(logger())
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger())
    if not parser.parse(model):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BundleError(f"{where}: TensorRT rejects it ({' '.join(errors.split())[:300]})")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for name, (low, usual, high) in shapes.items():
        profile.set_shape(name, low, usual, high)
    config.add_optimization_profile(profile)
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # fp32 is fp32
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BundleError(f"{where}: TensorRT cannot build an engine from it; its log says why")
    return bytes(plan)
