"""Fused operations: sequences of PyTorch operations that are slow, as one Triton kernel each.

Every operation has a folder: `reference.py` defines it in plain PyTorch; `triton.py` is the kernel; `__init__.py`
selects one of them and declares the cost of a call. Nothing here depends on a model.
"""

import os

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # fuse multiply-adds, independent of Triton's default
