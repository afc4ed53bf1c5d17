// Brings one person's 2-D poses, of an image for example, to the size and the axes of 3-D ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "config.hpp"
#include "layout_map.hpp"

namespace motionrt {

// The longest trunk seen of late, from the neck to the middle of the hips, is as long as that of the model's body: it
// looks shorter when somebody bows. The trunk also tells whether y is up or, as in images, down. Without hips, as at a
// desk, they are put where they must be.
class FlatPose {
 public:
  // Replaces the pose [V, 3] at time t (s, increasing), in any unit and with any z, by one in meters with y up and z 0,
  // centered on the last root; all NaN as long as the size is unknown. config.flat must be set.
  void apply(const Config& config, double t, float* pose_V3) {
    const int left_hip = config.left[0], right_hip = config.right[0], neck = config.neck();
    const int left_shoulder = config.left[1], right_shoulder = config.right[1];
    const auto at = [&](int v, int axis) { return static_cast<double>(pose_V3[3 * v + axis]); };
    const auto is_seen = [&](int v) { return std::isfinite(at(v, 0)) && std::isfinite(at(v, 1)); };
    const auto middle = [&](int a, int b, int axis) { return (at(a, axis) + at(b, axis)) / 2; };

    const double kept = is_new_ ? 0 : std::exp2(-(t - last_s_) / kHalfLifeS);
    is_new_ = false;
    last_s_ = t;
    const bool has_shoulders = is_seen(left_shoulder) && is_seen(right_shoulder);
    if (has_shoulders)
      width_ = std::max(width_ * kept, std::hypot(at(left_shoulder, 0) - at(right_shoulder, 0),
                                                  at(left_shoulder, 1) - at(right_shoulder, 1)));
    if (is_seen(neck) && is_seen(left_hip) && is_seen(right_hip)) {
      const double rise = at(neck, 1) - middle(left_hip, right_hip, 1);
      trunk_ = std::max(trunk_ * kept, std::hypot(at(neck, 0) - middle(left_hip, right_hip, 0), rise));
      rise_ += rise;
    }
    const double trunk = trunk_ > kPoint ? trunk_ : kTrunkOfWidth * width_, up = rise_ > 0 ? 1 : -1;
    if (!(trunk > kPoint)) {
      std::fill(pose_V3, pose_V3 + 3 * config.joints, std::numeric_limits<float>::quiet_NaN());
      return;
    }
    if (is_seen(neck) && has_shoulders && !is_seen(left_hip) && !is_seen(right_hip)) {
      const double side = kHipsOfWidth * (at(left_shoulder, 0) - at(right_shoulder, 0)) / 2;
      const double x = at(neck, 0), y = at(neck, 1) - up * trunk;
      set(pose_V3 + 3 * left_hip, x + side, y);
      set(pose_V3 + 3 * right_hip, x - side, y);
      if (!is_seen(config.root)) set(pose_V3 + 3 * config.root, x, y);
    }
    if (is_seen(config.root))
      for (int axis = 0; axis < 2; ++axis) root_[axis] = at(config.root, axis);
    const double scale = config.trunk_m() / trunk;
    for (int v = 0; v < config.joints; ++v)
      set(pose_V3 + 3 * v, scale * (at(v, 0) - root_[0]), up * scale * (at(v, 1) - root_[1]));
  }

 private:
  static void set(float* point, double x, double y) {
    point[0] = static_cast<float>(x);
    point[1] = static_cast<float>(y);
    point[2] = 0;
  }

  static constexpr double kHalfLifeS = 5;
  static constexpr double kTrunkOfWidth = 1.5;  // of the shoulders
  static constexpr double kPoint = 1e-4;        // a body that is smaller, in any unit, is nobody
  bool is_new_ = true;
  double last_s_ = 0;
  double trunk_ = 0, width_ = 0;  // longest of late, the latter of the shoulders
  double rise_ = 0;               // sum of the heights of the neck above the hips
  double root_[2] = {0, 0};       // last seen
};

}  // namespace motionrt
