#include <cmath>

#include "check.hpp"
#include "pose_normalizer.hpp"
#include "poses.hpp"

using motionrt::Config;
using motionrt::PoseNormalizer;
using motionrt::Status;

// A normalizer and the frames of its last push.
struct Run {
  explicit Run(const Config& c) : config(c), track(config) {}
  Status push(double t, const std::vector<float>& joints) {
    const Status status = track.push(t, joints.data());
    frames.clear();
    for (std::vector<float> frame(3 * kJoints); track.next(frame.data());)
      frames.insert(frames.end(), frame.begin(), frame.end());
    return status;
  }
  int count() const { return static_cast<int>(frames.size()) / (3 * kJoints); }
  float at(int frame, int joint, int axis) const { return frames[(frame * kJoints + joint) * 3 + axis]; }
  const Config config;
  PoseNormalizer track;
  std::vector<float> frames;
};

Config still_config() {  // not rotated to the front
  Config config = tiny_config();
  config.facing_s = 0;
  return config;
}

void frames_fall_on_the_grid() {
  Run run(still_config());
  CHECK(run.push(10, pose()) == Status::ok && run.count() == 1);
  CHECK(run.push(10.03, pose()) == Status::ok && run.count() == 0);     // the grid is 50 ms
  CHECK(run.push(10.2, pose()) == Status::ok && run.count() == 4);      // 10.05, 10.1, 10.15, 10.2
  CHECK(run.push(10.24995, pose()) == Status::ok && run.count() == 1);  // within the rounding slack
}

void frames_are_interpolated_and_centered() {
  Run run(still_config());
  auto raised = pose(5, 5);
  raised[3 * 3 + 1] = 2.6f;
  run.push(0, pose());
  run.push(0.1, raised);
  CHECK(run.count() == 2);
  CHECK_NEAR(run.at(0, 3, 1), 1.1f, 1e-5f);  // halfway
  CHECK_NEAR(run.at(1, 3, 1), 1.6f, 1e-5f);
  for (int axis = 0; axis < 3; ++axis) CHECK(run.at(0, 0, axis) == 0);
  CHECK_NEAR(run.at(1, 1, 0), 0.2f, 1e-6f);
}

void a_missing_joint_keeps_its_offset() {
  Run run(still_config());
  run.push(0, pose());
  CHECK(run.push(0.05, unseen(pose(3, 4), {1})) == Status::ok);
  CHECK_NEAR(run.at(0, 1, 0), 0.2f, 1e-5f);
  auto outlier = pose(3, 4);
  outlier[3 * 1] += 2.5f;  // beyond reach
  run.push(0.1, outlier);
  CHECK_NEAR(run.at(0, 1, 0), 0.2f, 1e-5f);
}

void a_missing_root_stays_where_it_was() {
  Run run(still_config());
  run.push(0, pose());
  CHECK(run.push(0.05, unseen(pose(0.1f), {0})) == Status::ok);
  CHECK_NEAR(run.at(0, 1, 0), 0.3f, 1e-5f);
  CHECK(run.push(0.1, unseen(pose(9), {0})) == Status::ok);  // all out of reach of it
  CHECK_NEAR(run.at(0, 1, 0), 0.3f, 1e-5f);
}

void a_joint_that_was_never_seen_is_at_the_root() {
  Run run(still_config());
  CHECK(run.push(0, unseen(pose(2, 2), {3})) == Status::ok);
  for (int axis = 0; axis < 3; ++axis) CHECK(run.at(0, 3, axis) == 0);
}

void a_person_starts_with_root_and_half_the_joints() {
  Run run(still_config());
  CHECK(run.push(0, unseen(pose(), {0, 1, 2, 3})) == Status::missing && run.count() == 0);
  CHECK(run.push(0.1, unseen(pose(), {0})) == Status::missing);
  CHECK(run.push(0.2, unseen(pose(), {1, 2, 3})) == Status::missing);
  CHECK(run.push(0.33, unseen(pose(), {1, 2})) == Status::ok && run.count() == 1);  // the grid starts here
  CHECK(run.push(0.38, pose()) == Status::ok && run.count() == 1);
}

void a_person_is_lost_when_the_root_is() {
  Run run(still_config());
  run.push(0, pose());
  for (int i = 1; i <= 10; ++i) CHECK(run.push(i * 0.05, unseen(pose(), {0})) == Status::ok);
  CHECK(run.push(0.55, unseen(pose(), {0})) == Status::lost && run.count() == 0);
}

void a_person_is_lost_when_more_than_half_the_joints_are() {
  Run run(still_config());
  run.push(0, pose());
  for (int i = 1; i < 40; ++i) CHECK(run.push(i * 0.05, unseen(pose(), {1, 2})) == Status::ok);
  for (int i = 40; i < 50; ++i) CHECK(run.push(i * 0.05, unseen(pose(), {1, 2, 3})) == Status::ok);
  CHECK(run.push(2.5, unseen(pose(), {1, 2, 3})) == Status::lost);

  Run joint_never_seen(still_config());  // counted from the start
  joint_never_seen.push(0, unseen(pose(), {1, 2}));
  CHECK(joint_never_seen.push(0.3, unseen(pose(), {1, 2, 3})) == Status::ok);
  CHECK(joint_never_seen.push(0.55, unseen(pose(), {1, 2})) == Status::ok);
}

void a_restart_forgets_the_pose() {
  Run run(still_config());
  run.push(0, pose());
  run.track.restart();
  CHECK(run.push(0.01, unseen(pose(), {3})) == Status::ok && run.count() == 1);
  CHECK(run.at(0, 3, 1) == 0);
}

void poses_are_rotated_to_the_front() {
  Run run(tiny_config());
  const std::vector<float> facing_x = {0, 1, 0, 0, 1, -0.2f, 0, 1, 0.2f, 0.3f, 1.6f, 0};  // head leans forward
  run.push(0, facing_x);
  CHECK_NEAR(run.at(0, 1, 0), 0.2f, 1e-6f);  // left hip to +x
  CHECK_NEAR(run.at(0, 3, 2), 0.3f, 1e-6f);  // forward to +z
  CHECK_NEAR(run.at(0, 3, 1), 0.6f, 1e-6f);

  // An about-turn is followed slowly, also while the mean direction vanishes.
  Run turning(tiny_config());
  turning.push(0, pose());
  auto back = pose();
  std::swap(back[3], back[6]);
  for (int i = 1; i <= 400; ++i) {
    turning.push(i * 0.05, back);
    for (const float value : turning.frames) CHECK(std::isfinite(value));
  }
  CHECK_NEAR(turning.at(0, 1, 0), 0.2f, 1e-5f);
}

void a_pose_without_width_is_not_rotated() {
  Run run(tiny_config());
  auto narrow = pose();
  narrow[3] = narrow[6] = 0;
  narrow[3 * 3 + 2] = 0.3f;
  run.push(0, narrow);
  CHECK_NEAR(run.at(0, 3, 2), 0.3f, 1e-6f);
  run.push(0.05, pose());
  CHECK_NEAR(run.at(0, 1, 0), 0.2f, 1e-6f);
}

void poses_get_the_bones_of_the_settings() {
  Config config = still_config();
  config.parents = {-1, 3, 3, 0};  // a parent after its children
  config.bones = {0, 0.3, 0.1, 0.5};
  Run run(config);
  run.push(0, pose(4, 4));
  CHECK_NEAR(run.at(0, 3, 1), 0.5f, 1e-6f);
  CHECK_NEAR(run.at(0, 1, 0), 0.3f, 1e-6f);  // on both sides of their parent, the head
  CHECK_NEAR(run.at(0, 2, 0), -0.1f, 1e-6f);
  CHECK_NEAR(run.at(0, 1, 1), 0.5f, 1e-6f);

  config.parents = {-1, 0, 0, 0};
  Run between(config);
  auto raised = pose();
  raised[1] += 0.3f;  // the pelvis, which is put between the hips
  raised[3 * 3] += 0.6f;
  between.push(0, raised);
  CHECK_NEAR(between.at(0, 3, 0), 0.5f / std::sqrt(2.f), 1e-6f);
  CHECK_NEAR(between.at(0, 3, 1), 0.5f / std::sqrt(2.f), 1e-6f);
  CHECK_NEAR(between.at(0, 1, 1), 0.f, 1e-6f);
}

void extreme_numbers_stay_finite() {
  Config config = tiny_config();
  config.reach_m = motionrt::kMaxReachM;
  const float large = 3e38f;
  const float values[] = {
      large, -large, std::numeric_limits<float>::denorm_min(), -0.f, std::numeric_limits<float>::infinity(), kNaN};
  Run run(config);
  unsigned seed = 1;
  double t = 1e11 - 1e4;
  run.push(t, pose());
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> joints = pose(1e6f);
    for (float& value : joints) {
      seed = seed * 1664525u + 1013904223u;
      if (seed >> 28 == 0) value = values[(seed >> 16) % 6];
    }
    t += 1e-3 * static_cast<double>(seed >> 24);
    CHECK(run.push(t, joints) == Status::ok || run.count() == 0);
    for (int frame = 0; frame < run.count(); ++frame)
      for (int v = 0; v < kJoints; ++v) CHECK(std::isfinite(run.at(frame, v, 0)));
  }
}

void a_lost_person_gives_no_frames_until_it_is_seen_again() {
  Run run(still_config());
  run.push(0, pose());
  CHECK(run.push(1, unseen(pose(), {0, 1, 2, 3})) == Status::lost && run.count() == 0);
  run.track.restart();
  CHECK(run.push(1.05, unseen(pose(), {0, 1, 2, 3})) == Status::missing && run.count() == 0);
  CHECK(run.push(1.1, pose(1)) == Status::ok && run.count() == 1);
}

int main() {
  frames_fall_on_the_grid();
  frames_are_interpolated_and_centered();
  a_missing_joint_keeps_its_offset();
  a_missing_root_stays_where_it_was();
  a_joint_that_was_never_seen_is_at_the_root();
  a_person_starts_with_root_and_half_the_joints();
  a_person_is_lost_when_the_root_is();
  a_person_is_lost_when_more_than_half_the_joints_are();
  a_lost_person_gives_no_frames_until_it_is_seen_again();
  a_restart_forgets_the_pose();
  poses_are_rotated_to_the_front();
  a_pose_without_width_is_not_rotated();
  poses_get_the_bones_of_the_settings();
  extreme_numbers_stay_finite();
  return result();
}
