// Vectors and rotations in three dimensions.
#pragma once

#include <array>
#include <cmath>

namespace motionrt {

struct Vec3 {
  double x = 0, y = 0, z = 0;
};

inline Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec3 operator*(double s, Vec3 a) { return {s * a.x, s * a.y, s * a.z}; }
inline double dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec3 cross(Vec3 a, Vec3 b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
inline double length(Vec3 a) { return std::sqrt(dot(a, a)); }

// Row by row.
using Mat3 = std::array<double, 9>;
constexpr Mat3 kIdentity = {1, 0, 0, 0, 1, 0, 0, 0, 1};

inline Vec3 operator*(const Mat3& m, Vec3 a) {
  return {m[0] * a.x + m[1] * a.y + m[2] * a.z, m[3] * a.x + m[4] * a.y + m[5] * a.z,
          m[6] * a.x + m[7] * a.y + m[8] * a.z};
}

inline Mat3 operator*(const Mat3& a, const Mat3& b) {
  Mat3 c;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) c[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
  return c;
}

// The rotation by an angle about an axis of unit length (Rodrigues' formula).
inline Mat3 rotation_about(Vec3 a, double angle) {
  const double c = std::cos(angle), s = std::sin(angle), d = 1 - c;
  return {c + d * a.x * a.x,       d * a.x * a.y - s * a.z, d * a.x * a.z + s * a.y,
          d * a.x * a.y + s * a.z, c + d * a.y * a.y,       d * a.y * a.z - s * a.x,
          d * a.x * a.z - s * a.y, d * a.y * a.z + s * a.x, c + d * a.z * a.z};
}

// A unit quaternion w, x, y, z with w >= 0 (Shepperd, Quaternion from Rotation Matrix, 1978).
inline std::array<double, 4> quaternion_of(const Mat3& m) {
  const std::array<double, 4> squares = {1 + m[0] + m[4] + m[8], 1 + m[0] - m[4] - m[8], 1 - m[0] + m[4] - m[8],
                                         1 - m[0] - m[4] + m[8]};  // 4 w w, 4 x x, 4 y y, 4 z z
  int largest = 0;
  for (int i = 1; i < 4; ++i)
    if (squares[i] > squares[largest]) largest = i;
  const double wx = m[7] - m[5], wy = m[2] - m[6], wz = m[3] - m[1];
  const double xy = m[1] + m[3], xz = m[2] + m[6], yz = m[5] + m[7];
  const double rows[4][4] = {
      {squares[0], wx, wy, wz}, {wx, squares[1], xy, xz}, {wy, xy, squares[2], yz}, {wz, xz, yz, squares[3]}};
  const double* q = rows[largest];
  const double norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]) * (q[0] < 0 ? -1 : 1);
  return {q[0] / norm, q[1] / norm, q[2] / norm, q[3] / norm};
}

}  // namespace motionrt
