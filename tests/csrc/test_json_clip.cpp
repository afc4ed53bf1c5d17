#include "json_clip.hpp"

#include <cmath>
#include <string>

#include "check.hpp"

namespace {

motionrt::JsonClip parse(const std::string& text) { return motionrt::parse_json_clip(text, 2, 3, 2, 100); }

std::string with_joints(const std::string& joints) { return "{\"fps\": 20, \"joints\": " + joints + "}"; }

void joints_are_read() {
  const auto clip =
      parse("{\"fps\": 20, \"j\\u006fints\" : [[[1, -0.1, 1e3]], [[null, 1e39, 1e-60]]] , \"a\": [[\"]\"]]}");
  CHECK(clip.frames == 2 && clip.joints == 1);
  CHECK(clip.joints_TVC.size() == 6);
  CHECK(clip.joints_TVC[0] == 1 && clip.joints_TVC[1] == -0.1f && clip.joints_TVC[2] == 1000);
  CHECK(std::isnan(clip.joints_TVC[3]) && std::isinf(clip.joints_TVC[4]) && clip.joints_TVC[5] == 0);
  CHECK(clip.others == "{\"fps\": 20, \"j\\u006fints\" : null , \"a\": [[\"]\"]]}");
  CHECK(parse(with_joints("[[[1, 2]], [[3, 4]]]")).dims == 2);
}

void the_first_problem_is_named() {
  CHECK_FAILS(parse(""), "body: not valid JSON");
  CHECK_FAILS(parse("[]"), "body: expected a JSON object");
  CHECK_FAILS(parse("{\"fps\": 20}"), "joints: expected a list of poses");
  CHECK_FAILS(parse(with_joints("\"\"")), "joints: expected a list of poses");
  CHECK_FAILS(parse(with_joints("[]")), "joints: 0 frames, expected 2 to 3");
  CHECK_FAILS(parse(with_joints("[[], [], [], []]")), "joints: 4 frames, expected 2 to 3");
  CHECK_FAILS(parse(with_joints("[0, 0]")), "joints.0: 0 joints, expected a list of 1 to 2");
  CHECK_FAILS(parse(with_joints("[[0, 0, 0], []]")), "joints.0: 3 joints, expected a list of 1 to 2");
  CHECK_FAILS(parse(with_joints("[[[0, 0, 0]], [0, 0]]")), "joints.1: 2 joints, expected 1 as in the first frame");
  CHECK_FAILS(parse(with_joints("[[[0, 0, 0], [0, 0]], []]")), "joints.0.1: 2 coordinates, expected 3");
  CHECK_FAILS(parse(with_joints("[[[0]], []]")), "joints.0.0: expected a list of 2 or 3 coordinates");
  CHECK_FAILS(parse(with_joints("[[[0, 0, 0]], [[0, \"1\", []]]]")), "joints.1.0: \"1\" is not a coordinate");
  CHECK_FAILS(parse(with_joints("[[[0, 0, 1e999]], []]")), "joints.0.0: 1e999 is not a coordinate");
  CHECK_FAILS(parse(with_joints("[]" + std::string(100, ' '))),
              "body: 123 bytes besides the joints, expected at most 100");
}

}  // namespace

int main() {
  joints_are_read();
  the_first_problem_is_named();
  return result();
}
