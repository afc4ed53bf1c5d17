"""ONNX graphs of CoAMD's networks, one for each step of making a motion; see `runtime.bundles.signatures`."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from ..runtime.bundles.fields import Fields
from ..runtime.bundles.schema import GenerationManifest, coamd_sizes
from ..runtime.bundles.signatures import INT8_SUFFIX, SIGNATURES
from ..training.coamd.exported import ExportedCoamd
from ..training.coamd.pipeline import CoamdPipeline
from .gradient import with_gradient
from .graphs import example_inputs, export_graph

TASK = GenerationManifest.task
GRAPHS = tuple(name for name in SIGNATURES[TASK].graphs if not name.endswith(INT8_SUFFIX))


def onnx_graphs(pipeline: CoamdPipeline, names: Collection[str] = GRAPHS) -> dict[str, bytes]:
    """File name -> ONNX graph of the methods of `ExportedCoamd`; "guide" is the gradient of its `reward`."""
    networks = ExportedCoamd(pipeline).eval().requires_grad_(False)
    weights, sizes = dict(networks.state_dict()), coamd_sizes(Fields(pipeline.model, "model"))
    files = {}
    for name in names:
        network: nn.Module = networks
        if name == "guide":
            network = with_gradient(networks, networks.reward, tuple(example_inputs(TASK, name, sizes).values()))
        method = network.forward if name == "guide" else getattr(networks, name)
        files[f"{name}.onnx"] = export_graph(network, method, TASK, name, sizes, weights=weights)
    return files
