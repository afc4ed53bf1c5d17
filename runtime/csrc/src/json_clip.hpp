// A clip in JSON, read without an object for each number.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace motionrt {

struct JsonClip {
  std::size_t frames, joints, dims;
  std::vector<float> joints_TVC;  // NaN for null
  std::string others;             // the text with null in place of the joints
};

// Reads the "joints" [T, V, C] of a JSON object, C 2 or 3: lists of numbers or null. Throws std::invalid_argument at
// the first problem, or if the text without them is longer than `max_others` bytes.
JsonClip parse_json_clip(std::string_view text, std::size_t min_frames, std::size_t max_frames, std::size_t max_joints,
                         std::size_t max_others);

}  // namespace motionrt
