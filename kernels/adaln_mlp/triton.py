"""One block in two kernels, and all blocks in one, for few rows; with many rows, PyTorch computes the products.

A tile is ROWS rows by COLS columns of a product. For few rows the time is dominated by reading the weights: a program
owns COLS rows of W, and no other program for the same rows reads them. If the rows need several tiles, their programs
are neighbors and share those weights in the L2 cache. Each program normalizes and modulates its rows itself when it
loads them for the first product, which is cheaper than writing and reading the result.

With all blocks in one launch there is at most one program per multiprocessor. Tiles are distributed round-robin, and
programs synchronize after every product, so the launch is cooperative: all programs are resident. Data written by other
programs is read past L1, which is not coherent.

With many rows every tile would read and normalize them all: 98 rows are 1.4 MB with their modulations, 112 times, and
the weights 13 MB. They are normalized and modulated in one launch, and the result is added to them in another.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear, silu

from ..device import dot, round_to
from ..dispatch import interpreted, precision_of, size_class, tuned
from .reference import EPS

FEW_ROWS = 32  # at most, for the kernels of tiles
CONFIGS = [
    triton.Config({"ROWS": rows, "COLS": cols, "IN": width}, num_warps=warps, num_stages=stages)
    for rows, cols, width, warps, stages in (
        (16, 16, 128, 4, 4),
        (16, 16, 256, 8, 3),
        (16, 32, 128, 4, 4),
        (32, 16, 128, 4, 3),
        (32, 32, 128, 4, 3),
        (32, 64, 64, 4, 3),
    )
]
KEY = ["size", "E", "PRECISION"]


def _fits_fp32(config: triton.Config) -> bool:
    return config.kwargs["ROWS"] * config.kwargs["IN"] <= 2048


def adaln_mlp(
    h_NE: Tensor,
    modulation_NM: Tensor,
    norm_weight_E: Tensor,
    norm_bias_E: Tensor,
    weight1_EE: Tensor,
    bias1_E: Tensor,
    weight2_EE: Tensor,
    bias2_E: Tensor,
    out: Tensor | None,
) -> Tensor:
    h, modulation, y, out = _laid_out(h_NE, modulation_NM, out)
    G, N, E = y.shape
    rows = G * N
    if rows > FEW_ROWS:
        weights = norm_weight_E.contiguous(), norm_bias_E.contiguous(), weight1_EE, bias1_E, weight2_EE, bias2_E
        _many_rows(y, h, modulation, *weights)
        return out
    hidden = weight1_EE.new_empty(rows, E)

    def grid(of: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(rows, of["ROWS"]), triton.cdiv(E, of["COLS"])

    _hidden[grid](
        h, modulation, norm_weight_E.contiguous(), norm_bias_E.contiguous(), weight1_EE.contiguous(),
        bias1_E.contiguous(), hidden, rows, N, size_class(rows), *h.stride()[:2], *modulation.stride()[:2],
        E=E, EPS=EPS, PRECISION=precision_of(hidden),
    )  # fmt: skip
    _result[grid](
        h, modulation, weight2_EE.contiguous(), bias2_E.contiguous(), hidden, y, rows, N, size_class(rows),
        *h.stride()[:2], *modulation.stride()[:2], *y.stride()[:2], E=E, PRECISION=precision_of(hidden),
    )  # fmt: skip
    return out


def adaln_mlp_blocks(
    h_NE: Tensor,
    modulations_KNM: Tensor,
    norm_weight_KE: Tensor,
    norm_bias_KE: Tensor,
    weight1_KEE: Tensor,
    bias1_KE: Tensor,
    weight2_KEE: Tensor,
    bias2_KE: Tensor,
    out: Tensor | None,
) -> Tensor:
    h, modulation, y, out = _laid_out(h_NE, modulations_KNM[0], out)
    G, N, E = y.shape
    rows = G * N
    norm_weight_KE, norm_bias_KE = norm_weight_KE.contiguous(), norm_bias_KE.contiguous()
    if rows > FEW_ROWS:
        weights = norm_weight_KE, norm_bias_KE, weight1_KEE, bias1_KE, weight2_KEE, bias2_KE
        for modulation_NM, *block in zip(modulations_KNM, *weights, strict=True):
            _, modulation, _, _ = _laid_out(h_NE, modulation_NM, out)
            _many_rows(y, h, modulation, *block)
            h = y
        return out
    hidden = weight1_KEE.new_empty(rows, E)
    arrived = torch.zeros(1, dtype=torch.int32, device=y.device)

    def grid(of: dict[str, int]) -> tuple[int]:
        limit = 1 if interpreted() else torch.cuda.get_device_properties(y.device).multi_processor_count
        return (min(limit, triton.cdiv(rows, of["ROWS"]) * triton.cdiv(E, of["COLS"])),)

    _blocks[grid](
        h, modulation, norm_weight_KE, norm_bias_KE, weight1_KEE.contiguous(),
        bias1_KE.contiguous(), weight2_KEE.contiguous(), bias2_KE.contiguous(), hidden, y, arrived,
        rows, N, len(modulations_KNM), size_class(rows), *h.stride()[:2], modulations_KNM.stride(0),
        *modulation.stride()[:2], *y.stride()[:2], E=E, EPS=EPS, PRECISION=precision_of(hidden),
        launch_cooperative_grid=True,
    )  # fmt: skip
    return out


def _many_rows(
    y: Tensor,
    h: Tensor,
    modulation: Tensor,
    norm_weight_E: Tensor,
    norm_bias_E: Tensor,
    weight1_EE: Tensor,
    bias1_E: Tensor,
    weight2_EE: Tensor,
    bias2_E: Tensor,
) -> None:
    """y = one block of h; y, h and modulation are laid out, and y can be h."""
    G, N, E = y.shape
    x = weight1_EE.new_empty(G * N, E)
    _modulate[(G * N,)](
        h, modulation, norm_weight_E, norm_bias_E, x, N, *h.stride()[:2], *modulation.stride()[:2],
        E=E, EPS=EPS, PRECISION=precision_of(x), WIDE=triton.next_power_of_2(E), num_warps=8,
    )  # fmt: skip
    x = linear(silu(linear(x, weight1_EE, bias1_E), inplace=True), weight2_EE, bias2_E)
    _add_gated[(G * N,)](
        h, modulation, x, y, N, *h.stride()[:2], *modulation.stride()[:2], *y.stride()[:2],
        E=E, PRECISION=precision_of(x), WIDE=triton.next_power_of_2(E), num_warps=8,
    )  # fmt: skip


def _laid_out(h: Tensor, modulation: Tensor, out: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """h, modulation and result as [G, N, ...] with contiguous rows, and the result in its final shape."""
    lead = torch.broadcast_shapes(h.shape[:-1], modulation.shape[:-1])
    out = h.new_empty(*lead, h.shape[-1]) if out is None else out
    assert out.shape == (*lead, h.shape[-1]) and out.dtype == h.dtype and out.stride(-1) == 1
    h, modulation = _rows(h).expand(out.shape), _rows(modulation).expand(*lead, -1)
    return (h, modulation, out, out) if len(lead) == 2 else (h[None], modulation[None], out[None], out)


def _rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


@triton.jit(do_not_specialize=["N"])
def _modulate(
    h, modulation, norm_weight, norm_bias, x, N, h_g, h_n, m_g, m_n,
    E: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """x = LN(h) (1 + scale) + shift of one row."""
    row, c = tl.program_id(0).to(tl.int64), tl.arange(0, WIDE)
    h, modulation = h + row // N * h_g + row % N * h_n, modulation + row // N * m_g + row % N * m_n
    x_W = tl.load(h + c, mask=c < E, other=0.0).to(tl.float32)
    x_W = tl.where(c < E, x_W - tl.sum(x_W) / E, 0.0)
    x_W *= 1 / tl.sqrt(tl.sum(x_W * x_W) / E + EPS)
    x_W *= tl.load(norm_weight + c, mask=c < E, other=0.0).to(tl.float32)
    x_W += tl.load(norm_bias + c, mask=c < E, other=0.0).to(tl.float32)
    x_W *= 1 + tl.load(modulation + E + c, mask=c < E, other=0.0).to(tl.float32)
    x_W += tl.load(modulation + c, mask=c < E, other=0.0).to(tl.float32)
    tl.store(x + row * E + c, round_to(x_W, x.dtype.element_ty, PRECISION), mask=c < E)


@triton.jit(do_not_specialize=["N"])
def _add_gated(
    h, modulation, x, y, N, h_g, h_n, m_g, m_n, y_g, y_n,
    E: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """y = h + gate x of one row."""
    row, c = tl.program_id(0).to(tl.int64), tl.arange(0, WIDE)
    gate_W = tl.load(modulation + row // N * m_g + row % N * m_n + 2 * E + c, mask=c < E, other=0.0).to(tl.float32)
    x_W = tl.load(x + row * E + c, mask=c < E, other=0.0).to(tl.float32)
    y_W = tl.load(h + row // N * h_g + row % N * h_n + c, mask=c < E, other=0.0).to(tl.float32) + gate_W * x_W
    tl.store(y + row // N * y_g + row % N * y_n + c, round_to(y_W, y.dtype.element_ty, PRECISION), mask=c < E)


@tuned(CONFIGS, key=KEY, fits_fp32=_fits_fp32)
@triton.jit(do_not_specialize=["rows", "N", "size"])
def _hidden(
    h, modulation, norm_weight, norm_bias, weight, bias, hidden, rows, N, size, h_g, h_n, m_g, m_n,
    E: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, IN: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(1) * COLS + tl.arange(0, COLS)
    _make_hidden(
        h + row // N * h_g + row % N * h_n, modulation + row // N * m_g + row % N * m_n,
        norm_weight, norm_bias, weight, bias, hidden + row * E, row < rows, o, E, EPS, IN, PRECISION,
    )  # fmt: skip


@tuned(CONFIGS, key=KEY, restore=["y"], fits_fp32=_fits_fp32)  # can be h
@triton.jit(do_not_specialize=["rows", "N", "size"])
def _result(
    h, modulation, weight, bias, hidden, y, rows, N, size, h_g, h_n, m_g, m_n, y_g, y_n,
    E: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, IN: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(1) * COLS + tl.arange(0, COLS)
    _make_result(
        h + row // N * h_g + row % N * h_n, modulation + row // N * m_g + row % N * m_n, weight, bias,
        hidden + row * E, y + row // N * y_g + row % N * y_n, row < rows, o, E, IN, PRECISION,
    )  # fmt: skip


@tuned(CONFIGS, key=KEY, restore=["y", "arrived"], fits_fp32=_fits_fp32)
@triton.jit(do_not_specialize=["rows", "N", "K", "size"])
def _blocks(
    h, modulation, norm_weight, norm_bias, weight1, bias1, weight2, bias2, hidden, y, arrived, rows, N, K, size,
    h_g, h_n, m_k, m_g, m_n, y_g, y_n,
    E: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, IN: tl.constexpr,
):  # fmt: skip
    row_tiles = tl.cdiv(rows, ROWS)
    tiles = row_tiles * tl.cdiv(E, COLS)
    for block in range(K):
        if block > 0:
            _synchronize(arrived, 2 * block)
        x = tl.where(block == 0, h, y)
        x_g = tl.where(block == 0, h_g, y_g)
        x_n = tl.where(block == 0, h_n, y_n)
        for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
            row = (tile % row_tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
            o = tile // row_tiles * COLS + tl.arange(0, COLS)
            _make_hidden(
                x + row // N * x_g + row % N * x_n, modulation + row // N * m_g + row % N * m_n,
                norm_weight, norm_bias, weight1, bias1, hidden + row * E, row < rows, o, E, EPS, IN, PRECISION,
            )  # fmt: skip
        _synchronize(arrived, 2 * block + 1)
        for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
            row = (tile % row_tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
            o = tile // row_tiles * COLS + tl.arange(0, COLS)
            _make_result(
                x + row // N * x_g + row % N * x_n, modulation + row // N * m_g + row % N * m_n, weight2, bias2,
                hidden + row * E, y + row // N * y_g + row % N * y_n, row < rows, o, E, IN, PRECISION,
            )  # fmt: skip
        modulation += m_k
        norm_weight += E
        norm_bias += E
        weight1 += E * E
        bias1 += E
        weight2 += E * E
        bias2 += E


@triton.jit
def _synchronize(arrived, count):
    """Wait until all programs have arrived `count` times; their previous writes are then visible."""
    tl.debug_barrier()  # all threads of the program have written before one of them signals
    tl.atomic_add(arrived, 1, sem="acq_rel", scope="gpu")
    while tl.atomic_add(arrived, 0, sem="acquire", scope="gpu") < count * tl.num_programs(0):
        pass
    tl.debug_barrier()


@triton.jit
def _make_hidden(
    h_R, modulation_R, norm_weight, norm_bias, weight, bias, hidden_R, inside, o,
    E: tl.constexpr, EPS: tl.constexpr, IN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Columns o of silu(W (LN(h) (1 + scale) + shift) + b); _R: pointers to the rows."""
    mean = tl.zeros(inside.shape, tl.float32)
    squares = tl.zeros(inside.shape, tl.float32)  # of deviations from the mean
    for c0 in tl.range(0, E, IN, num_stages=3):  # Chan, Golub and LeVeque 1983: merge partial sums without cancellation
        c = c0 + tl.arange(0, IN)
        there = inside[:, None] & (c < E)[None]
        x_RI = tl.load(h_R[:, None] + c[None], mask=there, other=0.0, cache_modifier=".cg").to(tl.float32)
        size = tl.minimum(IN, E - c0).to(tl.float32)
        part = tl.sum(x_RI, 1) / size
        off_RI = tl.where(there, x_RI - part[:, None], 0.0)
        apart, share = part - mean, size / (c0 + size)
        squares += tl.sum(off_RI * off_RI, 1) + apart * (apart * (c0 * share))
        mean += apart * share
    scale = 1 / tl.sqrt(squares / E + EPS)

    total = tl.zeros((inside.shape[0], o.shape[0]), tl.float32)
    for c0 in range(0, E, IN):
        c = c0 + tl.arange(0, IN)
        there = inside[:, None] & (c < E)[None]
        x_RI = tl.load(h_R[:, None] + c[None], mask=there, other=0.0, cache_modifier=".cg").to(tl.float32)
        norm_weight_I = tl.load(norm_weight + c, mask=c < E, other=0.0).to(tl.float32)
        norm_bias_I = tl.load(norm_bias + c, mask=c < E, other=0.0).to(tl.float32)
        shift_RI = tl.load(modulation_R[:, None] + c[None], mask=there, other=0.0).to(tl.float32)
        scale_RI = tl.load(modulation_R[:, None] + (E + c)[None], mask=there, other=0.0).to(tl.float32)
        x_RI = (x_RI - mean[:, None]) * scale[:, None] * norm_weight_I[None] + norm_bias_I[None]
        x_RI = x_RI * (1 + scale_RI) + shift_RI
        w_IO = tl.load(weight + o[None] * E + c[:, None], mask=(c < E)[:, None] & (o < E)[None], other=0.0)
        total = dot(round_to(x_RI, w_IO.dtype, PRECISION), w_IO, total, PRECISION)
    total += tl.load(bias + o, mask=o < E, other=0.0)[None].to(tl.float32)
    total *= tl.sigmoid(total)
    wanted = inside[:, None] & (o < E)[None]
    tl.store(hidden_R[:, None] + o[None], round_to(total, hidden_R.dtype.element_ty, PRECISION), mask=wanted)


@triton.jit
def _make_result(
    h_R, modulation_R, weight, bias, hidden_R, y_R, inside, o,
    E: tl.constexpr, IN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Columns o of h + gate * (W hidden + b); _R: pointers to the rows."""
    total = tl.zeros((inside.shape[0], o.shape[0]), tl.float32)
    for c0 in range(0, E, IN):
        c = c0 + tl.arange(0, IN)
        there = inside[:, None] & (c < E)[None]
        x_RI = tl.load(hidden_R[:, None] + c[None], mask=there, other=0.0, cache_modifier=".cg")
        w_IO = tl.load(weight + o[None] * E + c[:, None], mask=(c < E)[:, None] & (o < E)[None], other=0.0)
        total = dot(x_RI, w_IO, total, PRECISION)
    total += tl.load(bias + o, mask=o < E, other=0.0)[None].to(tl.float32)
    wanted = inside[:, None] & (o < E)[None]
    gate = tl.load(modulation_R[:, None] + (2 * E + o)[None], mask=wanted, other=0.0).to(tl.float32)
    h = tl.load(h_R[:, None] + o[None], mask=wanted, other=0.0, cache_modifier=".cg").to(tl.float32)
    tl.store(y_R[:, None] + o[None], round_to(h + gate * total, y_R.dtype.element_ty, PRECISION), mask=wanted)
