// The matrix product that the network is made of, once per instruction set, chosen when the program runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace motionrt {

// out[r, c] = act( bias[c] + add[r, c] + sum_s sum_k a[s][r, k] * b[s, k, c] )
// b is stored in panels of kPanel columns, each [segments * depth, b_stride]; the last panel may be narrower.
// Columns, strides and panels are multiples of kLine floats, and all pointers but a's are aligned to a line.
struct Product {
  int rows = 0, columns = 0, depth = 0, segments = 1;
  const float* const* a = nullptr;  // segments x [rows, a_stride]
  int a_stride = 0;
  const void* b = nullptr;  // float or, for product_bf16, the upper halves of floats
  int b_stride = 0, panel_stride = 0;
  const float* bias = nullptr;  // [columns] or null
  const float* add = nullptr;   // [rows, add_stride] or null
  int add_stride = 0;
  float* out = nullptr;  // [rows, out_stride]
  int out_stride = 0;
  bool relu = false;
};

constexpr int kLine = 16;   // floats of a cache line
constexpr int kPanel = 64;  // columns

struct Kernels {
  const char* name;
  void (*product)(const Product&);
  void (*product_bf16)(const Product&);
  double (*multiply_adds)(std::int64_t rounds);  // does nothing else, to find out this machine's peak
  int flops_per_round;                           // of multiply_adds
};

// Those that this machine can run, the fastest first.
const std::vector<const Kernels*>& supported_kernels();

}  // namespace motionrt
