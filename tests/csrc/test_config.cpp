#include "check.hpp"
#include "poses.hpp"

using motionrt::Config;

template <class Change>
void fails(Change change, const char* part) {
  Config config = tiny_config();
  change(config);
  CHECK_FAILS(motionrt::validate(config), part);
}

int main() {
  motionrt::validate(tiny_config());
  const double nan = std::nan(""), infinite = std::numeric_limits<double>::infinity();
  fails([](Config& c) { c.joints = 0; }, "joints is 0, expected 1 to 256");
  fails([](Config& c) { c.joints = 257; }, "joints is 257");
  fails([](Config& c) { c.root = 4; }, "root is 4");
  fails([](Config& c) { c.root = -1; }, "root is -1");
  fails([](Config& c) { c.left = {1, 1}; }, "left has 2 joints and right 1");
  fails([](Config& c) { c.left = {-1}; }, "left holds joint -1");
  fails([](Config& c) { c.right = {4}; }, "right holds joint 4");
  fails([](Config& c) { c.left = c.right = {}; }, "left and right are empty");
  fails([](Config& c) { c.bones = {0, 1}; }, "bones has 2 lengths, expected 4");
  fails([](Config& c) { c.bones = {0, 1, 1, -1}; }, "bones holds -1, expected 0 to 10");
  fails([&](Config& c) { c.bones = {0, 1, 1, nan}; }, "bones holds nan");
  fails([](Config& c) { c.bones = {0, 1, 1, 1}; }, "parents has 0 joints, expected 4");
  fails(
      [](Config& c) {
        c.bones = {0, 1, 1, 1};
        c.parents = {-1, 0, 0, 4};
      },
      "parents holds joint 4");
  fails(
      [](Config& c) {
        c.bones = {0, 1, 1, 1};
        c.parents = {-1, 0, 3, 2};
      },
      "parents makes joint 2 its own ancestor");
  fails([](Config& c) { c.flat = true; }, "parents has 0 joints, expected 4");
  fails(
      [](Config& c) {
        c.flat = true;
        c.parents = {-1, 0, 0, 0};
      },
      "flat is set, expected hips, and shoulders with one parent, the neck");
  fails([](Config& c) { c.rate_hz = 0; }, "rate_hz is 0");
  fails([&](Config& c) { c.rate_hz = nan; }, "rate_hz is nan");
  fails([&](Config& c) { c.facing_s = infinite; }, "facing_s is inf");
  fails([](Config& c) { c.reach_m = 0; }, "reach_m is 0");
  fails([&](Config& c) { c.reach_m = infinite; }, "reach_m is inf");
  fails([](Config& c) { c.max_gap_s = 0; }, "max_gap_s is 0");
  fails([&](Config& c) { c.max_gap_s = infinite; }, "max_gap_s is inf");
  fails([](Config& c) { c.max_people = 0; }, "max_people is 0");
  fails([](Config& c) { c.labels = 0; }, "labels is 0");
  fails([](Config& c) { c.none = 3; }, "none is 3");
  fails([](Config& c) { c.none = -2; }, "none is -2");
  fails([](Config& c) { c.temperature = 0; }, "temperature is 0");
  fails([&](Config& c) { c.smooth_s = nan; }, "smooth_s is nan");
  fails([](Config& c) { c.off = 0.7; }, "off and on are 0.7 and 0.6");
  fails([](Config& c) { c.on = 1.1; }, "off and on");
  fails([](Config& c) { c.hold_s = -1; }, "hold_s is -1");
  fails([](Config& c) { c.others = 1.5; }, "others is 1.5, expected 0 to 1");
  fails([](Config& c) { c.by_label = {{0.5}, {0.5}}; }, "on_C and off_C have 1 and 1 values, expected none or 3");
  fails([](Config& c) { c.by_label.on = {1, 1, 1}; }, "on_C and off_C have 3 and 0 values");
  fails([](Config& c) { c.flat_by_label = {{1, 0.5, 1}, {0, 0.6, 0}}; }, "off and on are 0.6 and 0.5");
  for (const auto& chosen : {std::vector<int>{2}, {0, 0}, {3}, {-1}})
    CHECK_FAILS(motionrt::with_chosen(tiny_config(), chosen), "expected different labels below 3 other than none");

  Config unturned = tiny_config();
  unturned.left = unturned.right = {};
  unturned.facing_s = 0;
  motionrt::validate(unturned);
  return result();
}
