"""Selection of kernels."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from motionrt.kernels import dispatch


def test_an_old_triton_is_the_reason(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    assert dispatch.use_triton("triton", torch.ones(1, device=device))
    monkeypatch.setattr(dispatch, "version", lambda name: "3.5.1")
    dispatch.triton_problem.cache_clear()
    with pytest.raises(RuntimeError, match="cannot run: triton 3.5.1 is too old, expected 3.6 or newer"):
        dispatch.use_triton("triton", torch.ones(1, device=device))
    monkeypatch.undo()
    dispatch.triton_problem.cache_clear()
