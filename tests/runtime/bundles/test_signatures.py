"""The table of graphs has all that manifests, exports and engines take from it."""

import pytest

from motionrt.runtime.bundles.bundle import Bundle, bundled
from motionrt.runtime.bundles.schema import Manifest
from motionrt.runtime.bundles.signatures import SIGNATURES

GRAPHS = [(task, graph) for task, signatures in SIGNATURES.items() for graph in signatures.graphs]


@pytest.mark.parametrize(("task", "graph"), GRAPHS)
def test_every_open_size_is_in_the_table_and_has_an_example_of_its_own(task: str, graph: str) -> None:
    signature, sizes = SIGNATURES[task].graphs[graph], SIGNATURES[task].open_sizes(graph)
    names = {size for spec in signature.inputs.values() for size in spec.shape if str(size).isupper()}
    assert names <= sizes.keys()
    examples = [sizes[str(name)].example for name in names]
    assert 1 not in examples and len(set(examples)) == len(examples), "the exporter would take them for the same"


@pytest.mark.parametrize("name", bundled())
def test_a_bundles_inputs_are_in_the_order_of_the_table(name: str) -> None:
    manifest = Bundle.load(name, Manifest).manifest
    for graph, about in manifest.graphs.items():
        signature = SIGNATURES[manifest.task].graphs[graph]
        assert list(about.inputs) == list(signature.inputs) and list(about.outputs) == list(signature.outputs)
