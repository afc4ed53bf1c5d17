#include "check.hpp"
#include "poses.hpp"
#include "session.hpp"

using motionrt::Config;
using motionrt::Event;
using motionrt::PersonId;
using motionrt::Session;
using motionrt::Status;

const float kWave[] = {9, 0, 0};  // logits of label 0

struct Run {
  explicit Run(Config config = tiny_config()) : session(config) { session.add_layout(identity().data(), kJoints); }
  // Also fetches the frames that are due.
  motionrt::PushResult push(PersonId person, double t, const std::vector<float>& joints = pose()) {
    const motionrt::PushResult pushed = session.push(person, t, joints.data(), nullptr, 0);
    float frame[3 * kJoints];
    for (frames = 0; session.next(pushed.slot, frame);) ++frames;
    return pushed;
  }
  motionrt::Decision decide(int slot) {
    std::vector<float> scores(session.config().labels);
    return session.decide(slot, scores.data());
  }
  Event event(PersonId person) { return decide(session.find(person)).event; }
  void wave(PersonId person) {
    for (int i = 0; i < 40; ++i) session.observe(session.find(person), kWave);
  }
  Session session;
  int frames = 0;  // of the last push
};

// Poses of nobody: zeros, one point, and a body of a tenth of its size.
std::vector<std::vector<float>> nobody() {
  std::vector<float> point(3 * kJoints), tiny = pose(1, 2);
  for (std::size_t i = 0; i < point.size(); ++i) point[i] = static_cast<float>(i % 3);
  for (float& x : tiny) x *= 0.1f;
  return {std::vector<float>(3 * kJoints, 0.f), point, tiny};
}

void a_pose_without_extent_is_nobody() {
  for (const auto& joints : nobody()) {
    Run run;
    for (int i = 0; i < 40; ++i) CHECK(run.push(0, i * 0.05, joints).status == Status::missing && run.frames == 0);
    CHECK(run.push(0, 2, unseen(joints, {0})).status == Status::missing);
    CHECK(run.push(0, 2.05).status == Status::ok && run.frames == 1);
  }
}

// Pelvis, neck, shoulders, hips, left knee, ankle and foot.
enum { pelvis, neck, left_shoulder, right_shoulder, left_hip, right_hip, knee, ankle, foot, kBody };

Config body_config() {
  Config config;
  config.joints = kBody;
  config.left = {left_hip, left_shoulder};
  config.right = {right_hip, right_shoulder};
  config.parents = {-1, pelvis, neck, neck, pelvis, pelvis, left_hip, knee, ankle};
  config.labels = 1;
  return config;
}

// Weights of a sensor that sees the first joints only.
std::vector<float> seen(int joints) {
  std::vector<float> weights(kBody * joints, 0.f);
  for (int v = 0; v < joints; ++v) weights[v * joints + v] = 1;
  return weights;
}

void legs_that_a_sensor_lacks_hang_at_rest() {
  const std::vector<float> person = {0, 1, 0, 0, 1.5f, 0, 0.2f, 1.6f, 0, -0.2f, 1.4f, 0, 0.3f, 0.9f, 0, -0.1f, 1, 0};
  for (const int joints : {4, 6}) {  // without and with hips
    Session session(body_config());
    const int layout = session.add_layout(seen(joints).data(), joints);
    for (int i = 0; i < 40; ++i) {
      CHECK(session.push(0, i * 0.05, person.data(), nullptr, layout).status == Status::ok);
      float frame[3 * kBody];
      CHECK(session.next(0, frame));
      const float hip_x = joints == 4 ? 0.1f : 0.3f, hip_y = joints == 4 ? 0 : -0.1f;
      const float y[] = {hip_y, joints == 4 ? hip_y : 0, hip_y - 0.4f, hip_y - 0.8f, hip_y - 0.8f};
      for (int v = left_hip; v < kBody; ++v) {
        CHECK_NEAR(frame[3 * v], v == right_hip ? -0.1f : hip_x, 1e-5f);
        CHECK_NEAR(frame[3 * v + 1], y[v - left_hip], 1e-5f);
        CHECK_NEAR(frame[3 * v + 2], 0, 1e-5f);
      }
    }
    CHECK(session.push(0, 2, std::vector<float>(3 * joints).data(), nullptr, layout).status == Status::ok);
    CHECK(session.push(0, 2.6, std::vector<float>(3 * joints).data(), nullptr, layout).status != Status::ok);
  }
}

void only_legs_may_lack_a_source() {
  Session session(body_config());
  CHECK_FAILS(session.add_layout(seen(3).data(), 3), "weights row 3 is all zero, expected a source joint");
  CHECK(session.add_layout(seen(5).data(), 5) == 0);
}

void a_pose_without_extent_is_a_gap() {
  for (const auto& joints : nobody()) {
    Run run;
    const int slot = run.push(0, 0, pose(3, 4)).slot;
    run.wave(0);
    CHECK(run.event(0) == Event::onset);
    CHECK(run.session.push(0, 0.05, joints.data(), nullptr, 0).status == Status::ok);
    float frame[3 * kJoints];
    CHECK(run.session.next(slot, frame));
    CHECK_NEAR(frame[3 * 3 + 1], 0.6f, 1e-5f);  // the head is where it was
    CHECK(!run.session.next(slot, frame));
    for (int i = 2; i <= 10; ++i) CHECK(run.push(0, i * 0.05, unseen(joints, {0})).status == Status::ok);
    CHECK(run.push(0, 0.55, joints).status == Status::lost && run.frames == 0);
    CHECK(run.event(0) == Event::offset);
  }
}

void late_frames_are_dropped() {
  Run run;
  run.push(0, 1);
  for (const double t : {1.0, 0.5, -3.0}) {
    const auto pushed = run.push(0, t);
    CHECK(pushed.status == Status::dropped && run.frames == 0 && !pushed.reset);
  }
  const auto& counters = run.session.counters();
  CHECK(counters.frames == 4 && counters.dropped == 3 && counters.resets == 0);
}

void a_clock_that_is_set_back_is_a_gap_for_everybody() {
  Run run;
  for (const PersonId person : {0, 1}) {
    run.push(person, 10);
    run.wave(person);
    CHECK(run.event(person) == Event::onset);
  }
  CHECK(run.push(0, 3).status == Status::dropped);  // a straggler
  CHECK(run.push(0, 10.05).status == Status::ok && run.push(0, 3.1).status == Status::dropped);
  CHECK(run.push(0, 3).status == Status::dropped);  // not later than the last one
  CHECK(run.session.find_absent(10.1) < 0);
  const auto pushed = run.push(0, 3.05);
  CHECK(pushed.status == Status::ok && pushed.reset && run.event(0) == Event::offset);
  const int gone = run.session.find_absent(3.05);
  CHECK(gone >= 0 && run.session.person_at(gone) == 1 && run.decide(gone).event == Event::offset);
  run.session.reset(1);
  CHECK(run.session.find_absent(3.05) < 0 && run.push(0, 3.1).status == Status::ok && !run.push(0, 3.15).reset);
  const auto& counters = run.session.counters();
  CHECK(counters.dropped == 3 && counters.resets == 1 && counters.lost == 1);
}

void a_gap_resets() {
  Run run;
  CHECK(run.push(0, 0).reset);  // a new person's state starts from zero
  CHECK(!run.push(0, 0.5).reset);
  run.wave(0);
  CHECK(run.event(0) == Event::onset);
  const auto pushed = run.push(0, 1.01);
  CHECK(pushed.reset && pushed.status == Status::ok && run.frames == 1);
  CHECK(run.event(0) == Event::offset && run.event(0) == Event::none);
  CHECK(run.session.counters().resets == 1);
}

void a_lost_person_is_reset_and_can_return() {
  Run run;
  run.push(0, 0);
  run.wave(0);
  run.event(0);
  const auto hidden = unseen(pose(), {0, 1, 2, 3});
  for (int i = 1; i <= 10; ++i) CHECK(run.push(0, i * 0.05, hidden).status == Status::ok && run.frames == 1);
  const auto pushed = run.push(0, 0.55, hidden);
  CHECK(pushed.status == Status::lost && pushed.reset && run.frames == 0);
  CHECK(run.event(0) == Event::offset);
  CHECK(run.push(0, 0.6, hidden).status == Status::missing);
  CHECK(run.push(0, 0.6).status == Status::dropped);  // the clock continues
  CHECK(run.push(0, 0.65).status == Status::ok);
  CHECK(run.session.counters().lost == 1 && run.session.counters().resets == 0);
}

void people_do_not_affect_each_other() {
  Run run;
  run.push(7, 0);
  run.push(-3, 5);
  run.wave(7);
  CHECK(run.event(-3) == Event::none && run.event(7) == Event::onset);
  CHECK((run.session.people() == std::vector<PersonId>{-3, 7}));
  run.session.reset(7);
  run.session.reset(99);
  CHECK(run.push(7, 0).status == Status::ok);  // the clock starts over
  run.session.reset();
  CHECK(run.session.people().empty());
}

void the_number_of_people_is_limited() {
  Config config = tiny_config();
  config.max_people = 2;
  Run run(config);
  run.push(0, 0);
  run.push(1, 0.4);
  CHECK_FAILS(run.push(2, 0.5), "person 2 is one too many, expected at most 2 people at once");
  CHECK(run.push(2, 0.6).reset);  // person 0 has been away long enough
  CHECK((run.session.people() == std::vector<PersonId>{1, 2}));
}

void every_person_keeps_a_slot() {
  Config config = tiny_config();
  config.max_people = 3;
  Run run(config);
  const int slots[] = {run.push(10, 0).slot, run.push(11, 0.1).slot, run.push(12, 0.2).slot};
  CHECK(slots[0] != slots[1] && slots[0] != slots[2] && slots[1] != slots[2]);
  for (int i = 0; i < 3; ++i) {
    CHECK(slots[i] >= 0 && slots[i] < 3 && run.session.person_at(slots[i]) == 10 + i);
    CHECK(run.push(10 + i, 0.3).slot == slots[i] && run.session.find(10 + i) == slots[i]);
  }
}

void a_newcomer_takes_a_free_slot_or_that_of_the_person_away_longest() {
  Config config = tiny_config();
  config.max_people = 3;
  Run run(config);
  run.push(0, 0);
  const int second = run.push(1, 0.1).slot;
  run.push(2, 0.2);
  run.wave(1);
  CHECK(run.event(1) == Event::onset);
  run.session.reset(1);
  const auto newcomer = run.push(3, 0.3);
  CHECK(newcomer.slot == second && newcomer.reset && run.frames == 1);
  CHECK(run.event(3) == Event::none);  // nothing remains of the last person
  const int third = run.session.find(2);
  run.push(0, 0.35);
  CHECK(run.push(4, 1.0).slot == third);  // 0, 2 and 3 have been away, 2 for longest
  CHECK((run.session.people() == std::vector<PersonId>{0, 3, 4}));
  CHECK_FAILS(run.session.find(2), "person 2 is unknown, 3 were pushed");
}

void people_not_pushed_for_half_a_second_are_absent() {
  Run run;
  const int slot = run.push(5, 0).slot;
  run.push(6, 0.3);
  run.wave(5);
  CHECK(run.event(5) == Event::onset);
  CHECK(run.session.find_absent(0.5) == -1);
  CHECK(run.session.find_absent(0.51) == slot);
  const auto last = run.decide(slot);
  CHECK(last.event == Event::offset && last.event_label == 0);
  run.session.reset(5);
  CHECK(run.session.find_absent(0.51) == -1 && run.session.counters().lost == 1);
  CHECK((run.session.people() == std::vector<PersonId>{6}));
  CHECK(run.push(5, 0.6).reset && run.event(5) == Event::none);
}

void check_throws_as_push_does_and_changes_nothing() {
  Run run;
  std::vector<PersonId> people;
  for (int i = 0; i < 17; ++i) people.push_back(i);
  run.session.check(0, 16, people.data(), 0);
  CHECK(run.session.people().empty());
  const char* too_many = "person 16 is one too many, expected at most 16 people at once";
  CHECK_FAILS(run.session.check(0, 17, people.data(), 0), too_many);
  for (int i = 0; i < 16; ++i) run.push(i, 0);
  CHECK_FAILS(run.session.check(0.5, 1, &people[16], 0), too_many);
  CHECK_FAILS(run.session.check(0.6, 17, people.data(), 0), too_many);  // people in the call stay
  run.session.check(0.6, 1, &people[16], 0);
  CHECK(run.session.people().size() == 16 && run.session.counters().frames == 16);
  CHECK(run.push(0, 0.1).status == Status::ok);
  CHECK_FAILS(run.session.check(std::nan(""), 1, &people[3], 0), "t of person 3 is nan");
  CHECK_FAILS(run.session.check(0.2, 0, nullptr, 1), "layout 1 is unknown");
}

void errors_change_nothing() {
  Run run;
  const auto joints = pose();
  CHECK_FAILS(run.push(0, std::nan("")), "t of person 0 is nan");
  CHECK_FAILS(run.push(0, 1.7e12), "expected seconds");  // milliseconds since 1970
  CHECK_FAILS(run.session.push(0, 0, joints.data(), nullptr, 1), "layout 1 is unknown, 1 were added");
  CHECK_FAILS(run.session.push(0, 0, joints.data(), nullptr, -1), "layout -1 is unknown");
  CHECK_FAILS(run.session.find(5), "person 5 is unknown, 0 were pushed");
  CHECK(run.session.people().empty() && run.session.counters().frames == 0);
  const int slot = run.push(0, 0).slot;
  const float logits[] = {0, kNaN, 0};
  CHECK_FAILS(run.session.observe(slot, logits), "logits[1] of person 0 is nan");
  float probs[3];
  CHECK(run.session.decide(slot, probs).label == 2 && probs[2] == 1);
  Config config = tiny_config();
  config.labels = 0;
  CHECK_FAILS(Session{config}, "labels is 0");
}

int main() {
  a_pose_without_extent_is_nobody();
  a_pose_without_extent_is_a_gap();
  legs_that_a_sensor_lacks_hang_at_rest();
  only_legs_may_lack_a_source();
  late_frames_are_dropped();
  a_clock_that_is_set_back_is_a_gap_for_everybody();
  a_gap_resets();
  a_lost_person_is_reset_and_can_return();
  people_do_not_affect_each_other();
  the_number_of_people_is_limited();
  every_person_keeps_a_slot();
  a_newcomer_takes_a_free_slot_or_that_of_the_person_away_longest();
  people_not_pushed_for_half_a_second_are_absent();
  check_throws_as_push_does_and_changes_nothing();
  errors_change_nothing();
  return result();
}
