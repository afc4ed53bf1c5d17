"""Shared fixtures of kernel tests. Without a GPU they run in Triton's interpreter, see `tests/conftest.py`."""

from collections.abc import Callable, Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _convolutions_in_fp32() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def poisoned(tensor: torch.Tensor, after: int = 1) -> torch.Tensor:
    """The same values as a view into memory with NaN after every row."""
    wide = torch.full((*tensor.shape[:-1], tensor.shape[-1] + after), torch.nan, dtype=tensor.dtype)
    wide[..., :-after] = tensor
    return wide.to(tensor.device)[..., :-after]


@pytest.fixture(name="poisoned")
def _poisoned() -> Callable[..., torch.Tensor]:
    return poisoned


@pytest.fixture
def as_exact() -> Callable[..., None]:
    """Compare a result with fp32: its error must be at most twice PyTorch's error in the same type, plus a tolerance.

    The tolerance is one unit in the last place of the largest number, because the interpreter truncates bf16.
    """

    def check(found: torch.Tensor, torchs: torch.Tensor, exact: torch.Tensor) -> None:
        atol = 2e-5 if found.dtype == torch.float32 else torch.finfo(found.dtype).eps
        assert found.dtype == torchs.dtype and found.shape == exact.shape
        assert torch.isfinite(found).all()
        allowed = 2 * float((torchs.float() - exact).abs().max()) + atol * max(1.0, float(exact.abs().max()))
        assert float((found.float() - exact).abs().max()) <= allowed

    return check
