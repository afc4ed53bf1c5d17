// Maps a sensor's joints to the model's joints.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "config.hpp"

namespace motionrt {

inline bool is_finite3(const float* p) { return std::isfinite(p[0]) && std::isfinite(p[1]) && std::isfinite(p[2]); }

// Each of V model joints is a weighted mean of S sensor joints, of D dimensions: 2 of a flat layout, else 3.
class LayoutMap {
 public:
  // weights [V, S]: finite, not negative; a row of zeros is a joint without a source.
  LayoutMap(const float* weights_VS, int joints, int source_joints, bool is_flat = false)
      : source_joints_(source_joints), dims_(is_flat ? 2 : 3) {
    require(source_joints >= 1 && source_joints <= kMaxJoints, "weights has ", source_joints,
            " columns, expected 1 to ", kMaxJoints);
    for (int v = 0; v < joints; ++v) {
      for (int s = 0; s < source_joints; ++s) {
        const float weight = weights_VS[v * source_joints + s];
        require(std::isfinite(weight) && weight >= 0, "weights[", v, ", ", s, "] is ", weight,
                ", expected a finite number, not negative");
        if (weight > 0) terms_.push_back({s, weight});
      }
      row_end_.push_back(terms_.size());
    }
  }

  int source_joints() const { return source_joints_; }
  int dims() const { return dims_; }
  bool is_flat() const { return dims_ == 2; }
  bool has_source(int v) const { return row_end_[v] > (v > 0 ? row_end_[v - 1] : 0); }

  // Weights are renormalized over the source joints present: finite and, if confidence is not null, with a confidence
  // above 0. A joint without any is NaN; otherwise its third coordinate is 0 if there are two.
  void apply(const float* source_SD, const float* confidence_S, float* out_V3) const {
    std::size_t i = 0;
    for (std::size_t v = 0; v < row_end_.size(); ++v) {
      double sum[3] = {0, 0, 0}, total = 0;
      for (; i < row_end_[v]; ++i) {
        const auto [s, weight] = terms_[i];
        const float* p = source_SD + dims_ * s;
        if (!std::all_of(p, p + dims_, [](float x) { return std::isfinite(x); }) ||
            (confidence_S && !(confidence_S[s] > 0)))
          continue;
        for (int axis = 0; axis < dims_; ++axis) sum[axis] += static_cast<double>(weight) * p[axis];
        total += weight;
      }
      for (int axis = 0; axis < 3; ++axis)
        out_V3[3 * v + axis] =
            total > 0 ? static_cast<float>(sum[axis] / total) : std::numeric_limits<float>::quiet_NaN();
    }
  }

 private:
  struct Term {
    int source;
    float weight;
  };
  int source_joints_, dims_;
  std::vector<Term> terms_;           // row after row
  std::vector<std::size_t> row_end_;  // [V]
};

}  // namespace motionrt
