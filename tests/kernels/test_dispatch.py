"""Selection of kernels."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels import dispatch
from motionrt.kernels.temporal_conv import temporal_conv
from motionrt.kernels.temporal_conv.triton import CONFIGS, _conv


def test_an_old_triton_is_the_reason(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    assert dispatch.use_triton("triton", torch.ones(1, device=device))
    monkeypatch.setattr(dispatch, "version", lambda name: "3.5.1")
    dispatch.triton_problem.cache_clear()
    with pytest.raises(RuntimeError, match="cannot run: triton 3.5.1 is too old, expected 3.6 or newer"):
        dispatch.use_triton("triton", torch.ones(1, device=device))
    monkeypatch.undo()
    dispatch.triton_problem.cache_clear()


def test_lengths_of_one_size_are_tuned_once(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    timed: list[object] = []

    def do_bench(call: object, quantiles: object) -> float:
        timed.append(call)
        return float(len(timed))

    monkeypatch.setattr(_conv, "configs", CONFIGS[:2])
    monkeypatch.setattr(_conv, "cache", {})
    monkeypatch.setattr(_conv, "cache_results", False)
    monkeypatch.setattr(_conv, "do_bench", do_bench)  # what is timed is not run
    weights, biases = torch.zeros(1, 8, 8, 3, 1, device=device), torch.zeros(1, 8, device=device)
    for frames in (5, 6, 7, 8, 9):  # 20 to 36 rows
        temporal_conv(torch.zeros(1, 16, frames, 4, device=device), weights, biases, (1,), impl="triton")
        assert len(timed) == (4 if frames == 9 else 2)
