// Bones that get their lengths back.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace motionrt {

struct Bone {
  std::int64_t a, b;  // joints
  double length;
};

// Moves joints [V, 3, T] that are free, as little as possible, so that bones get their lengths, by so many Gauss-Seidel
// projections (Mueller et al. 2007). Returns by how much a length is still off, at most, of bones with a free end.
inline double project_lengths(double* joints_V3T, std::int64_t frames, std::vector<Bone> bones, const bool* is_free,
                              int projections) {
  const auto is_held = [&](const Bone& bone) { return !is_free[bone.a] && !is_free[bone.b]; };
  bones.erase(std::remove_if(bones.begin(), bones.end(), is_held), bones.end());
  const auto place = [&](std::int64_t joint) { return joints_V3T + joint * 3 * frames; };
  const auto length = [&](double x, double y, double z) { return std::sqrt(x * x + y * y + z * z); };
  for (int pass = 0; pass < projections; ++pass)
    for (const Bone& bone : bones) {
      const double share = 1.0 / (is_free[bone.a] + is_free[bone.b]);
      const double move_a = is_free[bone.a] ? -share : 0, move_b = is_free[bone.b] ? share : 0;
      double *ax = place(bone.a), *ay = ax + frames, *az = ay + frames;
      double *bx = place(bone.b), *by = bx + frames, *bz = by + frames;
      for (std::int64_t t = 0; t < frames; ++t) {
        const double x = ax[t] - bx[t], y = ay[t] - by[t], z = az[t] - bz[t];
        const double off = 1 - bone.length / (length(x, y, z) + 1e-9);
        ax[t] += move_a * (off * x), ay[t] += move_a * (off * y), az[t] += move_a * (off * z);
        bx[t] += move_b * (off * x), by[t] += move_b * (off * y), bz[t] += move_b * (off * z);
      }
    }
  double most = 0;
  for (const Bone& bone : bones)
    for (std::int64_t t = 0; t < frames; ++t) {
      const double *a = place(bone.a) + t, *b = place(bone.b) + t;
      const double now = length(a[0] - b[0], a[frames] - b[frames], a[2 * frames] - b[2 * frames]);
      most = std::max(most, std::abs(now - bone.length));
    }
  return most;
}

}  // namespace motionrt
