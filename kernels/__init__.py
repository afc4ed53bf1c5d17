"""Fused operations: what is slow as several of PyTorch's operations, as one Triton kernel each.

Every operation has a folder: `reference.py`, plain PyTorch, is what it means; `triton.py` is the kernel; `__init__.py`
chooses between them and says what a call costs. Nothing here knows a model.
"""

import os

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # a multiply-add is one operation, whatever Triton's default is
