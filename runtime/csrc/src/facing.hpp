// Rotates poses about the vertical so that the person faces +z.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "config.hpp"

namespace motionrt {

// Tracks the slow mean u of the left vector (left minus right hips and shoulders, in the ground plane, unit length) and
// rotates each pose so that u points to +x.
class Facing {
 public:
  // Rotates frame [V, 3], centered, in place. k: frames since the person appeared.
  void rotate(const Config& config, std::int64_t k, float* frame_V3) {
    if (config.facing_s <= 0) return;
    update(config, k, frame_V3);
    for (int v = 0; v < config.joints; ++v) {
      float* p = frame_V3 + 3 * v;
      const double x = p[0], z = p[2];
      p[0] = static_cast<float>(cos_ * x + sin_ * z);
      p[2] = static_cast<float>(cos_ * z - sin_ * x);
    }
  }

 private:
  void update(const Config& config, std::int64_t k, const float* frame_V3) {
    double x = 0, z = 0;
    for (std::size_t i = 0; i < config.left.size(); ++i) {
      const float* left = frame_V3 + 3 * config.left[i];
      const float* right = frame_V3 + 3 * config.right[i];
      x += static_cast<double>(left[0]) - right[0];
      z += static_cast<double>(left[2]) - right[2];
    }
    const double length = std::sqrt(x * x + z * z);
    if (length < kMinLength_m) return;
    // A plain mean at first, so that the first frame is already rotated, then an exponential one.
    const double rate =
        std::max(1.0 / static_cast<double>(k + 1), std::min(1.0, 1.0 / (config.rate_hz * config.facing_s)));
    u_x_ += rate * (x / length - u_x_);
    u_z_ += rate * (z / length - u_z_);
    const double norm = std::sqrt(u_x_ * u_x_ + u_z_ * u_z_);
    if (norm < kMinNorm) return;  // in an about-turn u vanishes for a moment: keep the last direction
    cos_ = u_x_ / norm;
    sin_ = u_z_ / norm;
  }

  static constexpr double kMinLength_m = 0.01;
  static constexpr double kMinNorm = 1e-6;
  double u_x_ = 0, u_z_ = 0;
  double cos_ = 1, sin_ = 0;
};

}  // namespace motionrt
