// A tiny skeleton for the tests: pelvis, left and right hip, head.
#pragma once

#include <limits>
#include <vector>

#include "config.hpp"

constexpr int kJoints = 4;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline motionrt::Config tiny_config() {
  motionrt::Config config;
  config.joints = kJoints;
  config.root = 0;
  config.left = {1};
  config.right = {2};
  config.labels = 3;
  config.none = 2;
  return config;
}

// A person at (x, z), facing +z.
inline std::vector<float> pose(float x = 0, float z = 0) {
  return {x, 1, z, x + 0.2f, 1, z, x - 0.2f, 1, z, x, 1.6f, z};
}

inline std::vector<float> unseen(std::vector<float> joints, std::initializer_list<int> hidden) {
  for (const int v : hidden) joints[3 * v + 1] = kNaN;
  return joints;
}

inline std::vector<float> identity() {
  std::vector<float> weights(kJoints * kJoints, 0.f);
  for (int v = 0; v < kJoints; ++v) weights[v * kJoints + v] = 1;
  return weights;
}
