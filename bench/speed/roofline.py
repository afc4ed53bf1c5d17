"""Roofline of one StreamGCN frame: arithmetic and bytes from the architecture, peaks from the machine.

For V joints, C channels, K = 3 adjacency subsets. Multiply-adds of a block from C_in to C_out channels:

    aggregation  K V V C_in           branches  kernel V width^2 per dilation, width = C_out / (dilations + 1)
    graph        K V C_in C_out       shortcut  V C_in C_out if the channels change
    stem         V C_out C_out

The body, into which the joints are joined, has V C D multiply-adds for that, and stems and branches with V = 1.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ...runtime import _core
from ...runtime.errors import InputError

SUBSETS, INPUTS, FLOAT_BYTES = 3, 9, 4
NEEDED = ("parents", "classes", "channels", "kernel", "dilations")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """Cost of one frame of one person.

    Attributes:
        macs: multiply-adds by part of the network.
        weight_bytes: reading every weight once, float32.
        state_bytes: reads and writes of the buffers of past frames.
    """

    macs: Mapping[str, int]
    weight_bytes: int
    state_bytes: int

    @property
    def flops(self) -> int:
        return 2 * sum(self.macs.values())

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.state_bytes

    def seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        """The lower bound, with arithmetic and memory traffic fully overlapped."""
        return max(self.flops / flops_per_s, self.bytes / bytes_per_s)


def step_cost(model: Mapping[str, Any], weight_bytes: int) -> StepCost:
    """The cost of a step from the `model` section of a manifest.

    Raises:
        InputError: the section does not describe a StreamGCN.
    """
    if missing := [name for name in NEEDED if name not in model]:
        raise InputError(f"the model is not a StreamGCN: its manifest has no model.{missing[0]}")
    V, channels, dilations = len(model["parents"]), model["channels"], model["dilations"]
    macs = dict.fromkeys(("embed", "aggregation", "graph", "shortcut", "stem", "branches", "join", "pool", "head"), 0)
    macs["embed"] = V * INPUTS * channels[0]
    state_floats = 2 * (1 + V * 3)  # the last frame, and a flag whether it exists
    for a, b in pairwise((channels[0], *channels)):
        macs["aggregation"] += SUBSETS * V * V * a
        macs["graph"] += SUBSETS * V * a * b
        macs["shortcut"] += V * a * b if a != b else 0
    body = model.get("body", 0)
    for joints, b in (*((V, b) for b in channels), *[(1, body)] * model.get("body_blocks", 0)):
        width = b // (len(dilations) + 1)
        macs["stem"] += joints * b * b
        macs["branches"] += len(dilations) * model["kernel"] * joints * width * width
        state_floats += len(dilations) * model["kernel"] * joints * width  # kernel - 1 past frames read, one written
    macs["join" if body else "pool"] = V * channels[-1] * (body or 1)
    macs["head"] = (body or channels[-1]) * model["classes"]
    return StepCost(macs=macs, weight_bytes=weight_bytes, state_bytes=state_floats * FLOAT_BYTES)


def roofline(model: Mapping[str, Any], weight_bytes: int, seconds: float) -> dict[str, Any]:
    """Lower bound of a step on this machine; its one-thread peaks are measured for about `seconds`."""
    cost = step_cost(model, weight_bytes)
    flops_per_s, bytes_per_s = _core.peak_flops(seconds / 2), read_bandwidth(weight_bytes, seconds / 2)
    return {
        "macs": dict(cost.macs),
        "flops": cost.flops,
        "weight_bytes": cost.weight_bytes,
        "state_bytes": cost.state_bytes,
        "peak_gflops": flops_per_s / 1e9,
        "read_gb_per_s": bytes_per_s / 1e9,
        "floor_ms": 1e3 * cost.seconds(flops_per_s, bytes_per_s),
        "bound_by": "arithmetic" if cost.flops / flops_per_s > cost.bytes / bytes_per_s else "memory",
    }


def read_bandwidth(size: int, seconds: float) -> float:
    """Bytes per second at which one thread repeatedly reads a buffer of `size` bytes; the best of many passes."""
    buffer, best = np.ones(max(size // FLOAT_BYTES, 1), np.float32), float("inf")
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end or best == float("inf"):
        buffer.max()  # vectorized, single-threaded
        best = min(best, time.perf_counter() - started)
    return buffer.nbytes / best
