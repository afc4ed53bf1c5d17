// Matrix products of the network, compiled once per instruction set and selected at run time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace motionrt {

// out[r, c] = act( bias[c] + add[r, c] + sum_s sum_k a[s][r, k] * b[s, k, c] )
// b is stored in panels of kPanel columns, each [segments * depth, b_stride]; the last panel may be narrower.
// Columns, strides and panels are multiples of kLineFloats, and all pointers except a's are aligned to a cache line.
struct Gemm {
  int rows = 0, columns = 0, depth = 0, segments = 1;
  const float* const* a = nullptr;  // segments x [rows, a_stride]
  int a_stride = 0;
  const void* b = nullptr;  // float or, for gemm_bf16, the upper halves of floats
  int b_stride = 0, panel_stride = 0;
  const float* bias = nullptr;  // [columns] or null
  const float* add = nullptr;   // [rows, add_stride] or null
  int add_stride = 0;
  float* out = nullptr;  // [rows, out_stride]
  int out_stride = 0;
  bool relu = false;
};

constexpr int kLineFloats = 16;  // floats per cache line
constexpr int kPanel = 64;       // columns

struct Kernels {
  const char* name;
  void (*gemm)(const Gemm&);
  void (*gemm_bf16)(const Gemm&);
  double (*multiply_adds)(std::int64_t rounds);  // measures this machine's peak
  int flops_per_round;                           // of multiply_adds
};

// Kernels that this machine can run, the fastest first.
const std::vector<const Kernels*>& supported_kernels();

}  // namespace motionrt
