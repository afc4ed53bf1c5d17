"""Device functions shared by several kernels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dot(a, b, total, PRECISION: tl.constexpr):
    """a b + total. "upcast" is for the interpreter, which multiplies bf16 as if it were integers."""
    if PRECISION == "upcast":
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision="ieee")
    else:
        return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def round_to(x, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """Convert fp32 to another type. "upcast" is for the interpreter, which truncates bf16 where a GPU rounds."""
    if PRECISION == "upcast" and dtype == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        nearest = (bits + 0x7FFF + ((bits >> 16) & 1)).to(tl.float32, bitcast=True)
        x = tl.where(x == x, nearest, x)
    return x.to(dtype)


@triton.jit
def relu(x):
    """ReLU that propagates NaN, as in PyTorch."""
    return tl.where(x != x, x, tl.maximum(x, 0.0))
