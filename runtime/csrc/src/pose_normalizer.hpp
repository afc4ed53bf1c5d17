// Prepares one person's poses for the model: outliers and gaps filled, resampled to the model's rate, given the bones
// of one body, centered and rotated to the front.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "canonical_body.hpp"
#include "config.hpp"
#include "facing.hpp"
#include "layout_map.hpp"

namespace motionrt {

enum class Status {
  ok,       // the pose was taken; the next frame of the model may not be due yet
  dropped,  // not later than the frame before
  missing,  // no person visible yet
  lost,     // out of sight for too long
};

class PoseNormalizer {
 public:
  explicit PoseNormalizer(const Config& config)
      : config_(config),
        seen_s_(config.joints),
        offset_(3 * config.joints),
        before_(3 * config.joints),
        now_(3 * config.joints),
        body_(config) {}

  // Takes the pose [V, 3] at time t; NaN: not seen. A flat one keeps its bones and is not rotated.
  Status push(double t, const float* mapped_V3, bool is_flat = false) {
    const bool first = !tracking_;
    is_flat_ = is_flat;
    if (!first) {
      before_.swap(now_);
      before_s_ = now_s_;
    }
    const float* root = mapped_V3 + 3 * config_.root;
    if (first) {
      if (!is_finite3(root)) return Status::missing;
      std::fill(offset_.begin(), offset_.end(), 0.f);
      std::fill(seen_s_.begin(), seen_s_.end(), t);
    }
    if (is_finite3(root)) std::copy(root, root + 3, root_);
    const int visible = fill(t, mapped_V3);
    if (first) {
      if (2 * visible < config_.joints) return Status::missing;
      start(t);
    } else if (is_lost(t)) {
      return Status::lost;
    }
    now_s_ = t;
    return Status::ok;
  }

  // Writes the next frame [V, 3] that is due after a push; false if there is none. Frames are at start_s + k / rate,
  // each interpolated between the last two poses.
  bool next(float* frame_V3) {
    const double grid_s = static_cast<double>(emitted_) / config_.rate_hz;  // since start_s
    if (!tracking_ || grid_s > now_s_ - start_s_ + kSlackS) return false;
    const double step_s = now_s_ - before_s_;
    const double alpha = step_s > 0 ? std::clamp((grid_s - (before_s_ - start_s_)) / step_s, 0.0, 1.0) : 1.0;
    interpolate_centered(alpha, frame_V3);
    if (!is_flat_) {
      body_.apply(frame_V3);
      facing_.rotate(config_, emitted_, frame_V3);
    }
    ++emitted_;
    return true;
  }

  void restart() { tracking_ = false; }

 private:
  void start(double t) {
    tracking_ = true;
    start_s_ = before_s_ = now_s_ = t;
    before_ = now_;
    emitted_ = 0;
    facing_ = {};
  }

  // Sets now_: a joint that is missing or out of reach keeps its last offset from the root. Returns the number of
  // joints seen.
  int fill(double t, const float* mapped_V3) {
    const double reach_squared = config_.reach_m * config_.reach_m;
    int visible = 0;
    for (int v = 0; v < config_.joints; ++v) {
      const float* p = mapped_V3 + 3 * v;
      float* offset = &offset_[3 * v];
      double squared = 0;
      for (int axis = 0; axis < 3; ++axis) squared += square(static_cast<double>(p[axis]) - root_[axis]);
      if (squared <= reach_squared) {  // never true of NaN
        for (int axis = 0; axis < 3; ++axis) offset[axis] = p[axis] - root_[axis];
        seen_s_[v] = t;
        ++visible;
      }
      for (int axis = 0; axis < 3; ++axis) now_[3 * v + axis] = root_[axis] + offset[axis];
    }
    return visible;
  }

  bool is_lost(double t) const {
    const auto unseen = [&](double seen_s) { return t - seen_s > config_.max_gap_s + kSlackS; };
    return unseen(seen_s_[config_.root]) || 2 * std::count_if(seen_s_.begin(), seen_s_.end(), unseen) > config_.joints;
  }

  void interpolate_centered(double alpha, float* frame_V3) const {
    const auto at = [&](int i) { return before_[i] + alpha * (static_cast<double>(now_[i]) - before_[i]); };
    for (int axis = 0; axis < 3; ++axis) {
      const double root = at(3 * config_.root + axis);
      for (int v = 0; v < config_.joints; ++v) frame_V3[3 * v + axis] = static_cast<float>(at(3 * v + axis) - root);
    }
  }

  static double square(double x) { return x * x; }

  const Config& config_;
  bool tracking_ = false, is_flat_ = false;
  double start_s_ = 0, before_s_ = 0, now_s_ = 0;
  std::int64_t emitted_ = 0;
  float root_[3] = {0, 0, 0};        // last seen
  std::vector<double> seen_s_;       // [V] when each joint was last seen; initially the start
  std::vector<float> offset_;        // [V, 3] from the root, last seen
  std::vector<float> before_, now_;  // [V, 3] filled poses in world coordinates
  CanonicalBody body_;
  Facing facing_;
};

}  // namespace motionrt
