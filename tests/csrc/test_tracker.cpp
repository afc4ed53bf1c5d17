#include "tracker.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "check.hpp"

using motionrt::TrackedPose;
using motionrt::Tracker;
using motionrt::TrackerConfig;

using Pose = std::vector<float>;
using Ids = std::vector<int>;

const std::vector<int> kParents = {-1, 0, 1, 2, 0, 4, 5};  // a trunk with two chains of bones
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A person of this size at x whose second chain is `limbs` times as long as the first.
Pose person(float x, float size = 1, float limbs = 1, float z = 0) {
  Pose pose;
  for (const float y : {0.f, 0.3f, 0.6f, 1.f}) pose.insert(pose.end(), {x + 0.1f * size * y, size * y, z});
  for (const float y : {0.2f, 0.5f, 0.8f}) pose.insert(pose.end(), {x - 0.3f * size * y, size * limbs * y, z});
  return pose;
}

Ids assign(Tracker& tracker, double t, const std::vector<Pose>& poses, int dims = 3) {
  std::vector<TrackedPose> tracked;
  for (const Pose& pose : poses) tracked.push_back({pose.data(), static_cast<int>(pose.size()) / dims, nullptr, 0});
  Ids ids(poses.size(), -7);
  tracker.assign(t, static_cast<int>(poses.size()), tracked.data(), dims, ids.data());
  return ids;
}

void people_who_meet_and_turn_back_keep_their_ids_by_shape() {
  for (const bool has_shape : {false, true}) {
    Tracker tracker({0.5, 16, has_shape ? kParents : std::vector<int>()});
    bool swapped = false;
    for (int k = 0; k < 80; ++k) {  // they turn where they meet, within a frame
      const float x = 0.05f * std::abs(static_cast<float>(k) - 40) - 0.1f;
      const Ids ids = assign(tracker, k / 30., {person(-x, 1, 1), person(x, 1, 1.25f)});
      swapped = swapped || ids != Ids{0, 1};
    }
    CHECK(swapped != has_shape);
  }
}

void people_who_return_within_ten_seconds_get_the_same_id() {
  for (const double away_s : {0.7, 5.0, 10.4, 10.7}) {
    Tracker tracker({0.5, 16, kParents});
    for (int k = 0; k <= 60; ++k) CHECK((assign(tracker, k / 30., {person(0), person(5, 1.1f)}) == Ids{0, 1}));
    const double t = 2 + away_s;
    CHECK((assign(tracker, t, {person(-9, 1.1f)}) == Ids{away_s < 10.5 ? 1 : 0}));
    CHECK((assign(tracker, t + 0.1, {person(3, 1.25f), person(-9, 1.1f)}) == Ids{2, 1}) == (away_s < 10.5));
  }
}

void an_ambiguous_shape_gets_a_new_id() {
  const auto returns = [](const std::vector<Pose>& poses, double seen_s = 2) {
    Tracker tracker({0.5, 16, kParents});
    int k = 0;
    for (; k < 30 * seen_s; ++k) assign(tracker, k / 30., {person(0), person(5, 1.01f), person(10, 1.2f)});
    return assign(tracker, k / 30. + 2, poses);
  };
  CHECK((returns({person(7, 1.2f)}) == Ids{2}));
  CHECK((returns({person(7, 1.3f)}) == Ids{3}));                      // a stranger
  CHECK((returns({person(7)}) == Ids{3}));                            // either of two
  CHECK((returns({person(7, 1.2f), person(0, 1.2f)}) == Ids{3, 4}));  // either of them
  CHECK((returns({person(7, 1.2f)}, 0.5) == Ids{0}));                 // they were hardly seen: nobody is remembered
  Pose torn = person(7, 1.2f);
  for (const int v : {1, 2, 3, 5}) torn[3 * v] = kNaN;
  CHECK((returns({torn}) == Ids{3}));
}

void the_shape_of_pixels_does_not_depend_on_the_distance() {
  const auto pixels = [](float x, float size, float limbs) {
    const Pose meters = person(x / 200, 1, limbs);
    Pose flat;
    for (int v = 0; v < 7; ++v)
      flat.insert(flat.end(), {x + size * 200 * (meters[3 * v] - x / 200), size * 200 * meters[3 * v + 1]});
    return flat;
  };
  Tracker tracker({0.5, 16, kParents});
  for (int k = 0; k <= 60; ++k)
    CHECK((assign(tracker, k / 30., {pixels(100, 1, 1), pixels(900, 1, 1.3f)}, 2) == Ids{0, 1}));
  CHECK((assign(tracker, 4, {pixels(300, 2, 1.3f), pixels(700, 0.5f, 1)}, 2) == Ids{1, 0}));
}

void remembered_ids_are_used_if_there_is_no_other() {
  Tracker tracker({0.5, 2, kParents});
  for (int k = 0; k <= 60; ++k) assign(tracker, k / 30., {person(0), person(5, 1.2f)});
  assign(tracker, 2.2, {person(5, 1.2f)});
  CHECK((assign(tracker, 4, {person(9, 1.4f)}) == Ids{0}));  // away for longer than 1
  CHECK((assign(tracker, 4.1, {person(9, 1.4f), person(0)}) == Ids{0, 1}));
  CHECK((assign(tracker, 4.2, {person(9, 1.4f), person(0), person(20)}) == Ids{0, 1, -1}));
}

void a_clock_that_is_set_back_starts_over() {
  Tracker tracker({0.5, 16, kParents});
  for (int k = 0; k <= 60; ++k) assign(tracker, 10 + k / 30., {person(0), person(5, 1.2f)});
  CHECK((assign(tracker, 11.7, {person(5, 1.2f)}) == Ids{1}));  // a straggler
  CHECK((assign(tracker, 10, {person(5, 1.2f)}) == Ids{0}));
  tracker.reset();
  CHECK((assign(tracker, 10.1, {person(9), person(5, 1.2f)}) == Ids{0, 1}));
}

void unseen_joints_are_left_out() {
  Tracker tracker({0.5, 16, kParents});
  Pose torn = person(0), nowhere(21, kNaN);
  torn[3] = kNaN;
  CHECK((assign(tracker, 0, {nowhere, torn}) == Ids{-1, 0}));
  std::vector<float> confidence = {1, 1, 1, 0, kNaN, -1, 1}, none(7, 0.f);
  const Pose whole = person(0);
  const TrackedPose poses[] = {{whole.data(), 7, none.data(), 7}, {whole.data(), 7, confidence.data(), 7}};
  Ids ids(2);
  tracker.assign(0.1, 2, poses, 3, ids.data());
  CHECK((ids == Ids{-1, 0}));
}

void a_pose_in_one_point_is_nobody() {
  Tracker tracker({0.5, 16, kParents});
  const Pose zeros(21, 0.f), point(21, 3.f);
  CHECK((assign(tracker, 0, {zeros, person(0), point, zeros}) == Ids{-1, 0, -1, -1}));
  CHECK((assign(tracker, 0.1, {person(0), zeros}) == Ids{0, -1}));
  Pose joint(21, kNaN);
  std::copy_n(person(0).begin(), 3, joint.begin());
  CHECK((assign(tracker, 0.2, {joint}) == Ids{0}));  // a single joint in sight is somebody's
}

void a_setting_out_of_range_is_named() {
  const auto with = [](TrackerConfig config) { Tracker tracker(std::move(config)); };
  CHECK_FAILS(with({-1, 16, {}}), "forget_s is -1, expected seconds, not negative");
  CHECK_FAILS(with({0.5, 0, {}}), "max_people is 0, expected 1 to 1024");
  CHECK_FAILS(with({0.5, 16, {-1, 2}}), "parents[1] is 2, expected -1 or another joint's index below 2");
  CHECK_FAILS(with({0.5, 16, {0}}), "parents[0] is 0");
  CHECK_FAILS(with({0.5, 16, std::vector<int>(257, -1)}), "parents has 257 joints, expected at most 256");
  Tracker tracker(TrackerConfig{});
  CHECK_FAILS(assign(tracker, kNaN, {}), "t is nan, expected seconds");
  CHECK_FAILS(assign(tracker, 1, {}, 4), "poses have 4 dimensions, expected 2 or 3");
}

int main() {
  a_pose_in_one_point_is_nobody();
  people_who_meet_and_turn_back_keep_their_ids_by_shape();
  people_who_return_within_ten_seconds_get_the_same_id();
  an_ambiguous_shape_gets_a_new_id();
  the_shape_of_pixels_does_not_depend_on_the_distance();
  remembered_ids_are_used_if_there_is_no_other();
  a_clock_that_is_set_back_starts_over();
  unseen_joints_are_left_out();
  a_setting_out_of_range_is_named();
  return result();
}
