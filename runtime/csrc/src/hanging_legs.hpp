// Legs of people whose sensor does not see any, such as a headset: they hang at rest.
#pragma once

#include <algorithm>
#include <vector>

#include "config.hpp"
#include "layout_map.hpp"

namespace motionrt {

class HangingLegs {
 public:
  // Throws std::invalid_argument if another joint than a hip or one below it has no source in the map.
  HangingLegs(const Config& config, const LayoutMap& map) {
    for (int v = 0; v < config.joints; ++v) {
      if (map.has_source(v)) continue;
      const int depth = config.below_hip(v);
      require(depth >= 0, "weights row ", v, " is all zero, expected a source joint");
      int above = v, bones = depth;
      for (; bones > 0 && !map.has_source(above); --bones) above = config.parents[above];
      const double drop_m = kBoneM * (std::min(depth, 2) - std::min(bones, 2));
      if (map.has_source(above))
        legs_.push_back({v, above, drop_m, 0});
      else
        legs_.push_back({v, config.root, drop_m, (above == config.left[0] ? 1 : -1) * kHipsOfWidth / 2});
    }
  }

  // Completes the pose [V, 3]: hips beside the root, along the line through the shoulders; knees and ankles straight
  // below; feet at the ankles. NaN if the joints that they hang from are.
  void apply(const Config& config, float* pose_V3) const {
    for (const auto& [joint, above, drop_m, beside] : legs_) {
      const float *from = pose_V3 + 3 * above, *left = pose_V3 + 3 * config.left[1],
                  *right = pose_V3 + 3 * config.right[1];
      float* to = pose_V3 + 3 * joint;
      to[0] = static_cast<float>(from[0] + beside * (left[0] - right[0]));
      to[1] = static_cast<float>(from[1] - drop_m);
      to[2] = static_cast<float>(from[2] + beside * (left[2] - right[2]));
    }
  }

 private:
  struct Leg {
    int joint, above;  // the joint that it hangs from
    double drop_m;
    double beside;  // distance to the left, of the width of the shoulders
  };
  static constexpr double kBoneM = 0.4;
  std::vector<Leg> legs_;
};

}  // namespace motionrt
