// A parallelogram of an image, resampled to a square.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace motionrt {

// Pixel (x, y) of `out` [size, size, 3], 0 to 1, is the color of `image` [height, width, 3] at origin + x right + y
// down: bilinear at 1/32 of a pixel and rounded to 1/255, as OpenCV 4 does it. Beyond the border the image goes on with
// its last color, or is black.
inline void cut_image(const std::uint8_t* image, int height, int width, const double origin[2], const double right[2],
                      const double down[2], int size, bool goes_on, float* out) {
  constexpr int kParts = 32, kFraction = 5;
  static constexpr double kFar = 1 << 20;  // pixels; far beyond any border
  const auto place = [](double value) {
    return static_cast<int>(std::nearbyint(std::clamp(value, -kFar, kFar) * kParts));
  };
  for (int j = 0; j < size; ++j)
    for (int i = 0; i < size; ++i, out += 3) {
      const int x = place(origin[0] + i * right[0] + j * down[0]), y = place(origin[1] + i * right[1] + j * down[1]);
      const int column = x >> kFraction, row = y >> kFraction;
      const int part_x = x & (kParts - 1), part_y = y & (kParts - 1);
      int color[3] = {kParts * kParts / 2, kParts * kParts / 2, kParts * kParts / 2};
      for (const int below : {0, 1})
        for (const int beside : {0, 1}) {
          const int at_x = std::clamp(column + beside, 0, width - 1), at_y = std::clamp(row + below, 0, height - 1);
          if (!goes_on && (at_x != column + beside || at_y != row + below)) continue;
          const int weight = (beside ? part_x : kParts - part_x) * (below ? part_y : kParts - part_y);
          const std::uint8_t* pixel = image + (static_cast<std::int64_t>(at_y) * width + at_x) * 3;
          for (const int c : {0, 1, 2}) color[c] += weight * pixel[c];
        }
      for (const int c : {0, 1, 2}) out[c] = static_cast<float>(color[c] / (kParts * kParts)) / 255.0f;
    }
}

}  // namespace motionrt
