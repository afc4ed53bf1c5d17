// Rebuilds poses with the bones of one body, so that they do not tell people and sensors apart.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "config.hpp"

namespace motionrt {

// Every joint is put at the end of its bone, of a given length, in the direction that the pose shows. Hips and
// shoulders with the same parent lie on both sides of it, along the line through them, and the root of the tree is
// between the hips: sensors disagree on where pelvis and neck are. Keeps no state.
class CanonicalBody {
 public:
  explicit CanonicalBody(const Config& config) : root_(config.root), bones_m_(config.bones) {
    if (bones_m_.empty()) return;
    pose_.resize(3 * config.joints);
    for (int v = 0; v < config.joints; ++v) order_.push_back({v, config.parents[v], v, config.parents[v]});
    for (std::size_t i = 0; i < config.left.size(); ++i) {
      const int left = config.left[i], right = config.right[i], parent = config.parents[left];
      if (left == right || parent < 0 || parent != config.parents[right]) continue;
      order_[left].from = right;
      order_[right].from = left;
      if (config.parents[parent] >= 0 || middle_ >= 0) continue;
      middle_ = parent;
      left_ = left;
      right_ = right;
    }
    const auto depth = [&](int v) {
      int above = 0;
      while ((v = config.parents[v]) >= 0) ++above;
      return above;
    };
    std::stable_sort(order_.begin(), order_.end(),
                     [&](const Bone& a, const Bone& b) { return depth(a.joint) < depth(b.joint); });
  }

  // Rebuilds frame [V, 3] in place, centered; does nothing without bones.
  void apply(float* frame_V3) {
    if (bones_m_.empty()) return;
    std::copy(frame_V3, frame_V3 + pose_.size(), pose_.begin());
    for (int axis = 0; middle_ >= 0 && axis < 3; ++axis)
      pose_[3 * middle_ + axis] = (pose_[3 * left_ + axis] + pose_[3 * right_ + axis]) / 2;
    for (const auto& [joint, parent, to, from] : order_) {
      float* out = frame_V3 + 3 * joint;
      if (parent < 0) {
        std::copy_n(&pose_[3 * joint], 3, out);
        continue;
      }
      double bone[3], squared = 0;
      for (int axis = 0; axis < 3; ++axis) {
        bone[axis] = static_cast<double>(pose_[3 * to + axis]) - pose_[3 * from + axis];
        squared += bone[axis] * bone[axis];
      }
      const double scale = bones_m_[joint] / std::max(std::sqrt(squared), kMinLength_m);
      for (int axis = 0; axis < 3; ++axis)
        out[axis] = static_cast<float>(frame_V3[3 * parent + axis] + scale * bone[axis]);
    }
    const float center[] = {frame_V3[3 * root_], frame_V3[3 * root_ + 1], frame_V3[3 * root_ + 2]};
    for (std::size_t i = 0; i < pose_.size(); ++i) frame_V3[i] -= center[i % 3];
  }

 private:
  struct Bone {
    int joint, parent;
    int to, from;  // joints of the pose that give its direction
  };
  static constexpr double kMinLength_m = 1e-3;
  int root_;                                // joint that poses are centered on
  int middle_ = -1, left_ = 0, right_ = 0;  // root of the tree, which is put between the hips; -1: it is not
  std::vector<double> bones_m_;             // [V]
  std::vector<Bone> order_;                 // parents first
  std::vector<float> pose_;                 // [V, 3] that is rebuilt
};

}  // namespace motionrt
