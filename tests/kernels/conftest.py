"""What tests of kernels share. Without a GPU they run in Triton's interpreter, see `tests/conftest.py`."""

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
    """The same numbers as a view into memory that holds NaN after every row."""
    wide = torch.full((*tensor.shape[:-1], tensor.shape[-1] + after), torch.nan, dtype=tensor.dtype)
    wide[..., :-after] = tensor
    return wide.to(tensor.device)[..., :-after]


@pytest.fixture(name="poisoned")
def _poisoned() -> Callable[..., torch.Tensor]:
    return poisoned


@pytest.fixture
def as_exact() -> Callable[..., None]:
    """Checks a result against an fp32 one: it may be off by twice as much as PyTorch is in that type, and a little.

    That is a last place of the largest number in half precision, as the interpreter cuts bf16 off instead of rounding.
    """

    def check(found: torch.Tensor, torchs: torch.Tensor, exact: torch.Tensor) -> None:
        atol = 2e-5 if found.dtype == torch.float32 else torch.finfo(found.dtype).eps
        assert found.dtype == torchs.dtype and found.shape == exact.shape
        assert torch.isfinite(found).all()
        allowed = 2 * float((torchs.float() - exact).abs().max()) + atol * max(1.0, float(exact.abs().max()))
        assert float((found.float() - exact).abs().max()) <= allowed

    return check
