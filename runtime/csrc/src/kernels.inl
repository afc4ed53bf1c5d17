// Body of kernels_<isa>.cpp, compiled with the flags of that instruction set. Define before including: MOTIONRT_ISA,
// the name of the table; LANES, floats per vector; WIDE, vectors of the widest tile; ROWS(v), rows of a tile of v
// vectors. Do not include the standard library: its inline functions, compiled here, could be linked into other code
// and run on a machine that lacks the instructions.
#include "kernels.hpp"

namespace motionrt {
namespace {

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float VectorInMemory __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef std::uint32_t Bits __attribute__((vector_size(LANES * 4)));
typedef std::uint16_t Halves __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

constexpr int kChains = 12;

inline Vector load(const float* p) { return *reinterpret_cast<const VectorInMemory*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<VectorInMemory*>(p) = v; }

inline Vector load(const std::uint16_t* p) {
  const Bits bits = __builtin_convertvector(*reinterpret_cast<const Halves*>(p), Bits) << 16;
  return (Vector)bits;  // the same bits
}

// R rows and N vectors of columns of the product, kept in registers.
template <int R, int N, class Weight>
inline void tile(const Gemm& p, const Weight* b, int row, int column) {
  Vector sum[R][N];
  for (int n = 0; n < N; ++n) {
    const Vector bias = p.bias ? load(p.bias + column + n * LANES) : Vector{};
    for (int r = 0; r < R; ++r) sum[r][n] = bias;
  }
  if (p.add)
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) sum[r][n] += load(p.add + (row + r) * p.add_stride + column + n * LANES);
  for (int s = 0; s < p.segments; ++s) {
    const float* a = p.a[s] + row * p.a_stride;
    for (int k = 0; k < p.depth; ++k, b += p.b_stride) {
      Vector weights[N];
      for (int n = 0; n < N; ++n) weights[n] = load(b + n * LANES);
      for (int r = 0; r < R; ++r)
        for (int n = 0; n < N; ++n) sum[r][n] += a[r * p.a_stride + k] * weights[n];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) {
      const Vector value = p.relu ? (sum[r][n] > 0 ? sum[r][n] : Vector{}) : sum[r][n];
      store(p.out + (row + r) * p.out_stride + column + n * LANES, value);
    }
}

// The remaining rows, fewer than a whole tile.
template <int R, int N, class Weight>
inline void last_rows(const Gemm& p, const Weight* b, int row, int column, int count) {
  if constexpr (R > 0) {
    if (count == R)
      tile<R, N>(p, b, row, column);
    else
      last_rows<R - 1, N>(p, b, row, column, count);
  }
}

template <int N, class Weight>
void columns_of(const Gemm& p, const Weight* b, int column) {
  int row = 0;
  for (; row + ROWS(N) <= p.rows; row += ROWS(N)) tile<ROWS(N), N>(p, b, row, column);
  last_rows<ROWS(N) - 1, N>(p, b, row, column, p.rows - row);
}

template <int N, class Weight>
void columns_up_to(const Gemm& p, const Weight* b, int column, int vectors) {
  if constexpr (N > 0) {
    if (vectors >= N)
      columns_of<N>(p, b, column);
    else
      columns_up_to<N - kLineFloats / LANES>(p, b, column, vectors);
  }
}

template <class Weight>
void gemm_of(const Gemm& p) {
  const auto* panel = static_cast<const Weight*>(p.b);
  for (int from = 0; from < p.columns; from += kPanel, panel += p.panel_stride) {
    const int end = p.columns < from + kPanel ? p.columns : from + kPanel;
    for (int column = from; column < end; column += WIDE * LANES)
      columns_up_to<WIDE>(p, panel + (column - from), column, (end - column) / LANES);
  }
}

void gemm(const Gemm& p) { gemm_of<float>(p); }
void gemm_bf16(const Gemm& p) { gemm_of<std::uint16_t>(p); }

// Chains of multiply-adds without memory access, enough to hide their latency; all different, or they would be merged.
double multiply_adds(std::int64_t rounds) {
  const Vector factor = Vector{} + 0.5f, term = Vector{} + 0.25f;
  Vector sum[kChains], total = {};
  for (int c = 0; c < kChains; ++c) sum[c] = Vector{} + static_cast<float>(c);
  for (std::int64_t i = 0; i < rounds; ++i)
    for (int c = 0; c < kChains; ++c) sum[c] = sum[c] * factor + term;
  for (int c = 0; c < kChains; ++c) total += sum[c];
  return total[0];
}

}  // namespace

extern const Kernels MOTIONRT_ISA;
const Kernels MOTIONRT_ISA = {MOTIONRT_ISA_NAME, gemm, gemm_bf16, multiply_adds, 2 * LANES * kChains};

}  // namespace motionrt
