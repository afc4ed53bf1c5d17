#include <cmath>
#include <vector>

#include "check.hpp"
#include "flat_pose.hpp"
#include "session.hpp"

using motionrt::Config;
using motionrt::Session;
using motionrt::Status;

// Pelvis, neck, left and right shoulder, left and right hip, left hand.
constexpr int kBody = 7;
enum { pelvis, neck, left_shoulder, right_shoulder, left_hip, right_hip, hand };
constexpr float kHidden = std::numeric_limits<float>::quiet_NaN();

Config flat_config() {
  Config config;
  config.joints = kBody;
  config.left = {left_hip, left_shoulder};
  config.right = {right_hip, right_shoulder};
  config.parents = {-1, pelvis, neck, neck, pelvis, pelvis, left_shoulder};
  config.flat = true;
  config.labels = 2;
  return config;
}

using Points = std::vector<float>;  // [V, 2]

// Meters, y up; the left hand is raised.
Points person() { return {0, 1, 0, 1.5f, 0.2f, 1.5f, -0.2f, 1.5f, 0.1f, 1, -0.1f, 1, 0.4f, 1.8f}; }

// In an image of `scale` pixels a meter.
Points pixels(Points points, float scale = 200, float x = 600, float y = 900) {
  for (std::size_t i = 0; i < points.size(); i += 2) {
    points[i] = x + scale * points[i];
    points[i + 1] = y - scale * points[i + 1];
  }
  return points;
}

Points hidden(Points points, std::initializer_list<int> joints) {
  for (const int v : joints) points[2 * v] = kHidden;
  return points;
}

// Brought near the ground by bowing: the neck is level with the hips.
Points bowed() {
  Points points = person();
  for (const int v : {neck, left_shoulder, right_shoulder, hand}) points[2 * v + 1] = 1.02f;
  return points;
}

struct Run {
  explicit Run(const Config& config = flat_config()) : session(config) {
    Points identity(kBody * kBody, 0.f);
    for (int v = 0; v < kBody; ++v) identity[v * kBody + v] = 1;
    flat = session.add_layout(identity.data(), kBody, true);
    solid = session.add_layout(identity.data(), kBody);
  }
  Status push(double t, const Points& points) {
    const auto pushed = session.push(0, t, points.data(), nullptr, flat);
    count = 0;
    Points frame(3 * kBody);
    for (; session.next(pushed.slot, frame.data()); ++count) last = frame;
    return pushed.status;
  }
  float at(int joint, int axis) const { return last[3 * joint + axis]; }
  Session session;
  int flat = 0, solid = 0, count = 0;
  Points last = Points(3 * kBody);
};

void check_person(const Run& run, float tolerance = 1e-5f) {
  const Points wanted = person();
  for (int v = 0; v < kBody; ++v) {
    CHECK_NEAR(run.at(v, 0), wanted[2 * v], tolerance);
    CHECK_NEAR(run.at(v, 1), wanted[2 * v + 1] - 1, tolerance);
    CHECK(run.at(v, 2) == 0);
  }
}

void any_unit_and_direction_of_y_give_the_same_pose() {
  for (const Points& points :
       {person(), pixels(person()), pixels(person(), 2000, -5e4f, 3e4f), pixels(person(), 0.3f, 0.4f, 0.9f)}) {
    Run run;
    for (int i = 0; i < 5; ++i) CHECK(run.push(i * 0.05, points) == Status::ok && run.count == 1);
    check_person(run, 2e-3f);
  }
}

void the_trunk_gets_the_length_of_the_model() {
  Config config = flat_config();
  config.bones = {0, 0.6, 0.2, 0.2, 0.1, 0.1, 0.3};
  Run run(config);
  run.push(0, pixels(person()));
  CHECK_NEAR(run.at(neck, 1), 0.6f, 1e-5f);
  CHECK_NEAR(run.at(left_shoulder, 0), 0.24f, 1e-5f);  // the other bones are not changed
}

void a_bow_does_not_change_the_size() {
  Run run;
  run.push(0, pixels(person()));
  for (int i = 1; i <= 20; ++i) run.push(i * 0.05, pixels(bowed()));
  CHECK_NEAR(run.at(left_shoulder, 0), 0.2f * std::exp2(0.2f), 1e-3f);  // after 1 s of a half-life of 5 s
}

void missing_hips_keep_the_size() {
  Run run;
  run.push(0, pixels(person()));
  for (int i = 1; i <= 400; ++i)
    CHECK(run.push(i * 0.05, hidden(pixels(person()), {pelvis, left_hip, right_hip})) == Status::ok);
  check_person(run, 1e-5f);  // 20 s later
}

void half_bodies_get_hips_below_the_neck() {
  for (const float scale : {300.f, 0.3f}) {
    Run run;
    const Points desk = hidden(pixels(person(), scale), {pelvis, left_hip, right_hip});
    for (int i = 0; i < 5; ++i) CHECK(run.push(i * 0.05, desk) == Status::ok && run.count == 1);
    CHECK_NEAR(run.at(neck, 1), 0.5f, 1e-5f);
    CHECK_NEAR(run.at(neck, 0), 0.f, 1e-5f);
    CHECK_NEAR(run.at(left_hip, 0), 0.2f / 1.2f / 2, 1e-3f);  // shoulders 0.4, so a trunk of 0.6 that becomes 0.5
    CHECK_NEAR(run.at(right_hip, 0), -0.2f / 1.2f / 2, 1e-3f);
    CHECK_NEAR(run.at(left_hip, 1), 0.f, 1e-3f);
    CHECK(run.at(hand, 1) > run.at(neck, 1));
  }
}

void one_missing_hip_is_a_missing_joint() {
  Run run;
  run.push(0, pixels(person()));
  run.push(0.05, hidden(pixels(person()), {left_hip}));
  check_person(run, 1e-5f);
}

void nobody_is_nobody() {
  for (const float value : {0.f, 300.f, kHidden}) {
    Run run;
    for (int i = 0; i < 5; ++i)
      CHECK(run.push(i * 0.05, Points(2 * kBody, value)) == Status::missing && run.count == 0);
    CHECK(run.push(0.5, pixels(person())) == Status::ok && run.count == 1);
    for (int i = 1; i <= 10; ++i) CHECK(run.push(0.5 + i * 0.05, Points(2 * kBody, value)) == Status::ok);
    CHECK(run.push(1.1, Points(2 * kBody, value)) == Status::lost);
  }
}

void a_gap_forgets_the_size_and_so_does_another_person() {
  Run run;
  run.push(0, pixels(person()));
  run.push(2, pixels(person(), 20));
  check_person(run, 2e-3f);
  run.session.reset();
  run.push(2.05, pixels(person(), 2));
  check_person(run, 2e-2f);
}

void a_change_between_2_and_3_dimensions_is_a_gap() {
  Run run;
  run.push(0, pixels(person()));
  Points solid;
  for (int v = 0; v < kBody; ++v) solid.insert(solid.end(), {0.f, person()[2 * v + 1], -person()[2 * v]});
  const auto pushed = run.session.push(0, 0.05, solid.data(), nullptr, run.solid);
  CHECK(pushed.status == Status::ok && pushed.reset);
  Points frame(3 * kBody);
  CHECK(run.session.next(pushed.slot, frame.data()));
  CHECK_NEAR(frame[3 * left_hip], 0.1f, 1e-5f);  // 3-D poses are turned to the front
}

void thresholds_are_those_of_the_kind_of_pose() {
  Config config = flat_config();
  config.none = 1;
  config.hold_s = 0;
  config.flat_by_label = {{1, 1}, {0, 0}};
  Run run(config);
  const auto onset_in = [&](int layout, double t) {
    const Points points = person();
    Points joints;
    for (int v = 0; v < kBody; ++v) joints.insert(joints.end(), {points[2 * v], points[2 * v + 1], 0});
    const float logits[] = {9, 0};
    bool found = false;
    for (int frame = 0; frame < 40; ++frame, t += 0.05) {
      const auto pushed = run.session.push(0, t, layout == run.flat ? points.data() : joints.data(), nullptr, layout);
      for (float pose[3 * kBody]; run.session.next(pushed.slot, pose);) run.session.observe(pushed.slot, logits);
      float scores[2];
      found |= run.session.decide(pushed.slot, scores).event == motionrt::Event::onset;
    }
    return found;
  };
  CHECK(!onset_in(run.flat, 0) && onset_in(run.solid, 3) && !onset_in(run.flat, 6));
}

void flat_people_are_not_turned() {
  Run run;
  Points narrow = person();  // from the side
  for (std::size_t i = 0; i < narrow.size(); i += 2) narrow[i] *= -0.3f;
  for (int i = 0; i < 40; ++i) run.push(i * 0.05, narrow);
  CHECK_NEAR(run.at(left_hip, 0), -0.03f, 1e-5f);
}

void extreme_numbers_stay_finite() {
  const float values[] = {3e38f, -3e38f, 1e-45f, -0.f, std::numeric_limits<float>::infinity(), kHidden};
  Run run;
  unsigned seed = 1;
  for (int i = 0; i < 2000; ++i) {
    Points points = pixels(person());
    for (float& value : points) {
      seed = seed * 1664525u + 1013904223u;
      if (seed >> 28 == 0) value = values[(seed >> 16) % 6];
    }
    run.push(i * 0.03, points);
    for (const float value : run.last) CHECK(std::isfinite(value));
  }
}

void a_model_without_2d_refuses_it() {
  Config config = flat_config();
  config.flat = false;
  Session session(config);
  const Points identity(kBody * kBody, 1.f);
  CHECK_FAILS(session.add_layout(identity.data(), kBody, true), "the layout is 2-D, the model takes 3-D ones only");
}

int main() {
  any_unit_and_direction_of_y_give_the_same_pose();
  the_trunk_gets_the_length_of_the_model();
  a_bow_does_not_change_the_size();
  missing_hips_keep_the_size();
  half_bodies_get_hips_below_the_neck();
  one_missing_hip_is_a_missing_joint();
  nobody_is_nobody();
  a_gap_forgets_the_size_and_so_does_another_person();
  a_change_between_2_and_3_dimensions_is_a_gap();
  thresholds_are_those_of_the_kind_of_pose();
  flat_people_are_not_turned();
  extreme_numbers_stay_finite();
  a_model_without_2d_refuses_it();
  return result();
}
