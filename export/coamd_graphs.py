"""ONNX graphs of CoAMD's networks, one for each step of making a motion; see `runtime.bundles.signatures`."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from ..runtime.bundles.fields import Fields
from ..runtime.bundles.schema import GenerationManifest, coamd_sizes
from ..runtime.bundles.signatures import INT8_SUFFIX, SIGNATURES, VARIANTS
from ..training.coamd.exported import ExportedCoamd
from ..training.coamd.pipeline import CoamdPipeline
from .gradient import with_gradient
from .graphs import example_inputs, export_graph

TASK = GenerationManifest.task
GRADIENTS = {"guide": "reward", "guide_lengths": "reward_lengths"}  # graph -> method whose gradient it is


def graph_names(pipeline: CoamdPipeline) -> tuple[str, ...]:
    """Graphs of the networks in 32 bits."""
    words = pipeline.recognizer.config.words
    others = {name for kind, names in VARIANTS.items() if kind != words for name in names}
    return tuple(name for name in SIGNATURES[TASK].graphs if not name.endswith(INT8_SUFFIX) and name not in others)


def onnx_graphs(pipeline: CoamdPipeline, names: Collection[str] | None = None) -> dict[str, bytes]:
    """File name -> ONNX graph of the methods of `ExportedCoamd`; all graphs, or those of `names`."""
    networks = ExportedCoamd(pipeline).eval().requires_grad_(False)
    weights, sizes = dict(networks.state_dict()), coamd_sizes(Fields(pipeline.model, "model"))
    files = {}
    for name in graph_names(pipeline) if names is None else names:
        network: nn.Module = networks
        if name in GRADIENTS:
            reward = getattr(networks, GRADIENTS[name])
            network = with_gradient(networks, reward, tuple(example_inputs(TASK, name, sizes).values()))
        method = network.forward if name in GRADIENTS else getattr(networks, name)
        files[f"{name}.onnx"] = export_graph(network, method, TASK, name, sizes, weights=weights)
    return files
