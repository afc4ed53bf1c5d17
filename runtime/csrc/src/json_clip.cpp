#include "json_clip.hpp"

#include <cmath>
#include <limits>

#include "json.hpp"

namespace motionrt {

namespace {

float coordinate(const JsonValue& value, std::size_t t, std::size_t v) {
  if (value.is_null()) return std::numeric_limits<float>::quiet_NaN();
  const auto number = value.number();
  if (!number)
    throw_invalid_argument("joints.", t, ".", v, ": ", value.excerpt(),
                           " is not a coordinate, expected a number or null");
  constexpr double kLargest = std::numeric_limits<float>::max();
  if (std::abs(*number) > kLargest) return std::numeric_limits<float>::infinity();  // a missing joint
  return static_cast<float>(*number);
}

}  // namespace

JsonClip parse_json_clip(std::string_view text, std::size_t min_frames, std::size_t max_frames, std::size_t max_joints,
                         std::size_t max_others) try {
  const JsonDocument document(text, "body");
  require(document.root().is_object(), "body: expected a JSON object");
  const auto list = document.root().find("joints");
  require(list && list->is_list(), "joints: expected a list of poses");
  const std::string_view source = list->source();
  const std::size_t others = text.size() - source.size();
  require(others <= max_others, "body: ", others, " bytes besides the joints, expected at most ", max_others);

  const auto poses = list->items();
  require(poses.size() >= min_frames && poses.size() <= max_frames, "joints: ", poses.size(), " frames, expected ",
          min_frames, " to ", max_frames);
  JsonClip clip{poses.size(), poses[0].items().size(), 0, {}, {}};
  for (std::size_t t = 0; t < clip.frames; ++t) {
    const auto joints = poses[t].items();
    require(!joints.empty() && joints.size() <= max_joints, "joints.", t, ": ", joints.size(),
            " joints, expected a list of 1 to ", max_joints);
    require(joints.size() == clip.joints, "joints.", t, ": ", joints.size(), " joints, expected ", clip.joints,
            " as in the first frame");
    for (std::size_t v = 0; v < clip.joints; ++v) {
      const auto xyz = joints[v].items();
      require(xyz.size() == 2 || xyz.size() == 3, "joints.", t, ".", v, ": expected a list of 2 or 3 coordinates");
      if (clip.joints_TVC.empty()) clip.dims = xyz.size();
      require(xyz.size() == clip.dims, "joints.", t, ".", v, ": ", xyz.size(), " coordinates, expected ", clip.dims,
              " as in the first joint");
      for (const auto& value : xyz) clip.joints_TVC.push_back(coordinate(value, t, v));
    }
  }
  const auto begin = static_cast<std::size_t>(source.data() - text.data());
  clip.others.append(text.substr(0, begin)).append("null").append(text.substr(begin + source.size()));
  return clip;
} catch (const BundleError& error) {  // of the JSON
  throw std::invalid_argument(error.what());
}

}  // namespace motionrt
