"""On a GPU, "auto" is the faster implementation; here with a stopwatch that tells a fixed time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels import choice
from motionrt.kernels.adaln_mlp import adaln_mlp_blocks
from motionrt.kernels.dispatch import use_impl
from motionrt.kernels.guided_step import masked_step
from motionrt.kernels.temporal_conv import temporal_step


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was timed, on a machine that seems to have a GPU, on which the reference of fewer than 32 rows is faster."""
    seen: list[str] = []

    def graph_ms(calls: list[Any]) -> list[float]:
        seen.append(calls[0]())
        impl, rows = seen[-1].split()
        return [2.0 if (impl == "triton") == (int(rows) < 32) else 1.0]

    monkeypatch.setattr(choice, "_choices", {})
    monkeypatch.setattr(choice, "graph_ms", graph_ms)
    monkeypatch.setattr(choice, "use_triton", lambda impl, *tensors: True)
    monkeypatch.setattr(choice, "_kernel", lambda op: "source")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return seen


@choice.faster()
def operation(x_N: torch.Tensor, *, relu: bool = False, out: object = None, impl: str = "auto") -> str:
    assert out is None or impl != "auto"
    return f"{impl} {len(x_N)}"


def test_the_faster_implementation_runs_and_sizes_of_a_class_are_timed_once(timed: list[str]) -> None:
    few, many = torch.zeros(20), torch.zeros(40)
    assert operation(few) == "reference 20" and operation(many) == "triton 40"
    assert timed == ["triton 20", "reference 20", "triton 40", "reference 40"]
    assert operation(torch.zeros(50), out=few) == "triton 50" and len(timed) == 4
    assert operation(many, relu=True) == "triton 40" and len(timed) == 6


def test_a_choice_is_stored(timed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert operation(torch.zeros(20)) == "reference 20"
    monkeypatch.setattr(choice, "_choices", {})
    assert operation(torch.zeros(20)) == "reference 20" and len(timed) == 2
    monkeypatch.setattr(choice, "_choices", {})
    monkeypatch.setattr(choice, "_kernel", lambda op: "another source")
    assert operation(torch.zeros(20)) == "reference 20" and len(timed) == 4


def test_nothing_is_timed_where_it_must_not_be(timed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = torch.zeros(20)
    assert operation(few, impl="triton") == "triton 20"
    with use_impl("reference"):
        assert operation(few) == "auto 20", "the operation decides"
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        assert operation(few) == "triton 20"
    with monkeypatch.context() as patch:
        patch.setenv("MOTIONRT_FIRST_CONFIG", "1")
        assert operation(few) == "triton 20"
    assert timed == [] and operation(few) == "reference 20"


@pytest.mark.parametrize("op", [temporal_step, adaln_mlp_blocks, masked_step])
def test_the_source_of_a_kernel_is_found(op: Callable[..., Any]) -> None:
    assert f"def {op.__name__}(" in choice._kernel(op)


def test_rings_are_not_changed_by_timing(timed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "graph_ms", lambda calls: [float(len([call() for call in calls[:3]]))])
    draw = torch.Generator().manual_seed(0)
    x, weights, biases = (torch.randn(*size, generator=draw) for size in ((1, 8, 2), (1, 4, 4, 3, 1), (1, 4)))
    rings = [torch.zeros(1, 2 * 2 * 4) + 0.5 for _ in range(2)]
    place, slots = torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    found, wanted = (
        temporal_step(x, weights, biases, (1,), ring, place, slots, impl=impl)
        for ring, impl in zip(rings, ("auto", "triton"), strict=True)
    )
    torch.testing.assert_close((found, rings[0]), (wanted, rings[1]), rtol=0, atol=0)


def test_the_stopwatch_divides_by_the_calls_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Stream:
        def wait_stream(self, stream: object) -> None: ...

    class Event:
        def __init__(self, enable_timing: bool) -> None: ...

        def record(self) -> None: ...

        def synchronize(self) -> None: ...

        def elapsed_time(self, end: object) -> float:
            return 12.0

    class Graph:
        def replay(self) -> None:
            log.append("replay")

    @contextmanager
    def graph(target: Graph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        log.append("capture")
        yield

    for name, fake in (("Stream", Stream), ("Event", Event), ("CUDAGraph", Graph), ("graph", graph)):
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    calls = [lambda: log.append("a"), lambda: log.append("b"), lambda: log.append("c")]
    assert choice.graph_ms(calls, replays=2) == [4.0, 4.0]
    assert log == ["a", "a", "capture", "a", "b", "c", "replay", "replay", "replay"]
