// All kernels that this machine runs, against three plain loops.
#include "kernels.hpp"

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "check.hpp"

using motionrt::Gemm;
using motionrt::kLineFloats;
using motionrt::kPanel;

constexpr float kUntouched = 12345;

std::mt19937 random_bits(1);

struct Aligned {  // starts on a cache line
  explicit Aligned(std::size_t size) : storage(size + kLineFloats) {
    const auto address = reinterpret_cast<std::uintptr_t>(storage.data()) / sizeof(float);
    data = storage.data() + (kLineFloats - address % kLineFloats) % kLineFloats;
  }
  std::vector<float> storage;
  float* data;
};

float uniform() { return std::uniform_real_distribution<float>(-1, 1)(random_bits); }

std::uint16_t upper_half(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}

float rounded(float value) {  // to the precision of its upper half
  const std::uint32_t bits = std::uint32_t{upper_half(value)} << 16;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Case {
  int rows, columns, depth, segments;
  bool bias, add, relu;
};

// The product of random matrices, against a[s][r, k] * b[s, k, c] summed in double precision.
void check_gemm(const motionrt::Kernels& kernels, const Case& c, bool bf16) {
  const int a_stride = c.depth + 3, add_stride = c.columns + kLineFloats, out_stride = c.columns + 2 * kLineFloats;
  const int width = std::min(c.columns, kPanel), panels = (c.columns + kPanel - 1) / kPanel;
  const int total = c.segments * c.depth;
  std::vector<std::vector<float>> a(c.segments);
  std::vector<const float*> a_data;
  for (auto& segment : a) {
    for (int i = 0; i < c.rows * a_stride; ++i) segment.push_back(uniform());
    a_data.push_back(segment.data());
  }
  std::vector<float> weights(static_cast<std::size_t>(total) * c.columns);  // [segments * depth, columns]
  for (float& weight : weights) weight = bf16 ? rounded(uniform()) : uniform();
  const std::size_t panel_stride = static_cast<std::size_t>(total) * width;
  Aligned b(panel_stride * panels), bias(c.columns), add(static_cast<std::size_t>(c.rows) * add_stride),
      out(static_cast<std::size_t>(c.rows) * out_stride);
  auto* halves = reinterpret_cast<std::uint16_t*>(b.data);
  for (int k = 0; k < total; ++k)
    for (int column = 0; column < c.columns; ++column) {
      const std::size_t at = column / kPanel * panel_stride + k * width + column % kPanel;
      const float weight = weights[k * c.columns + column];
      if (bf16)
        halves[at] = upper_half(weight);
      else
        b.data[at] = weight;
    }
  for (int i = 0; i < c.columns; ++i) bias.data[i] = uniform();
  for (int i = 0; i < c.rows * add_stride; ++i) add.data[i] = uniform();
  for (int i = 0; i < c.rows * out_stride; ++i) out.data[i] = kUntouched;

  Gemm p;
  p.rows = c.rows;
  p.columns = c.columns;
  p.depth = c.depth;
  p.segments = c.segments;
  p.a = a_data.data();
  p.a_stride = a_stride;
  p.b = b.data;
  p.b_stride = width;
  p.panel_stride = static_cast<int>(panel_stride);
  p.bias = c.bias ? bias.data : nullptr;
  p.add = c.add ? add.data : nullptr;
  p.add_stride = add_stride;
  p.out = out.data;
  p.out_stride = out_stride;
  p.relu = c.relu;
  (bf16 ? kernels.gemm_bf16 : kernels.gemm)(p);

  double worst = 0;
  for (int row = 0; row < c.rows; ++row)
    for (int column = 0; column < out_stride; ++column) {
      const float got = out.data[row * out_stride + column];
      if (column >= c.columns) {
        CHECK(got == kUntouched);
        continue;
      }
      double sum = c.bias ? bias.data[column] : 0, size = 1;
      if (c.add) sum += add.data[row * add_stride + column];
      for (int k = 0; k < total; ++k) {
        const double term = double(a[k / c.depth][row * a_stride + k % c.depth]) * weights[k * c.columns + column];
        sum += term;
        size += std::abs(term);
      }
      const double wanted = c.relu ? std::max(sum, 0.) : sum;
      worst = std::max(worst, std::abs(got - wanted) / size);
    }
  if (worst <= 1e-6) return;
  std::fprintf(stderr, "%s%s: rows %d, columns %d, depth %d, segments %d, bias %d, add %d, relu %d\n", kernels.name,
               bf16 ? " bf16" : "", c.rows, c.columns, c.depth, c.segments, c.bias, c.add, c.relu);
  CHECK_NEAR(worst, 0, 1e-6);
}

void every_shape_matches_plain_loops(const motionrt::Kernels& kernels) {
  const int columns[] = {16, 32, 48, 64, 80, 96, 112, 128, 144}, depths[] = {1, 5, 16, 45};
  int i = 0;
  for (int rows = 1; rows <= 33; ++rows)
    for (const int count : columns)
      for (int segments = 1; segments <= 5; ++segments, ++i)
        check_gemm(kernels, {rows, count, depths[i % 4], segments, i % 2 == 0, i % 3 == 0, i % 5 < 2}, i % 7 < 3);
}

void bias_addend_and_relu_are_optional(const motionrt::Kernels& kernels) {
  for (int flags = 0; flags < 16; ++flags)
    check_gemm(kernels, {15, 80, 9, 2, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0}, (flags & 8) != 0);
}

void empty_products_are_bias_plus_addend(const motionrt::Kernels& kernels) {
  check_gemm(kernels, {7, 48, 4, 0, true, true, false}, false);
  check_gemm(kernels, {0, 48, 4, 1, true, true, false}, false);
}

void the_peak_is_measured_with_finite_numbers(const motionrt::Kernels& kernels) {
  CHECK(std::isfinite(kernels.multiply_adds(1000)) && kernels.flops_per_round >= 2 * 4);
}

int main() {
  const auto& supported = motionrt::supported_kernels();
  CHECK(!supported.empty() && std::string(supported.back()->name) == "portable");
  for (const motionrt::Kernels* kernels : supported) {
    std::printf("%s\n", kernels->name);
    every_shape_matches_plain_loops(*kernels);
    bias_addend_and_relu_are_optional(*kernels);
    empty_products_are_bias_plus_addend(*kernels);
    the_peak_is_measured_with_finite_numbers(*kernels);
  }
  return result();
}
