#include "check.hpp"
#include "poses.hpp"
#include "session.hpp"

using motionrt::Config;
using motionrt::Event;
using motionrt::Session;
using motionrt::Status;

const float kWave[] = {9, 0, 0};  // logits of label 0

struct Run {
  explicit Run(Config config = tiny_config()) : session(config) {
    session.add_layout(identity().data(), kJoints);
  }
  motionrt::Pushed push(motionrt::PersonId person, double t, const std::vector<float>& joints = pose()) {
    return session.push(person, t, joints.data(), nullptr, 0);
  }
  Event event(motionrt::PersonId person) {
    std::vector<float> scores(session.config().labels);
    return session.decide(person, scores.data()).event;
  }
  void wave(motionrt::PersonId person) {
    for (int i = 0; i < 40; ++i) session.observe(person, kWave);
  }
  Session session;
};

void late_frames_are_dropped() {
  Run run;
  run.push(0, 1);
  for (const double t : {1.0, 0.5, -3.0}) {
    const auto pushed = run.push(0, t);
    CHECK(pushed.status == Status::dropped && pushed.frames.empty() && !pushed.reset);
  }
  const auto& counters = run.session.counters();
  CHECK(counters.frames == 4 && counters.dropped == 3 && counters.resets == 0);
}

void a_gap_resets() {
  Run run;
  CHECK(run.push(0, 0).reset);  // a new person's state starts from zero
  CHECK(!run.push(0, 0.5).reset);
  run.wave(0);
  CHECK(run.event(0) == Event::onset);
  const auto pushed = run.push(0, 1.01);
  CHECK(pushed.reset && pushed.status == Status::ok && pushed.frames.size() == 3 * kJoints);
  CHECK(run.event(0) == Event::offset && run.event(0) == Event::none);
  CHECK(run.session.counters().resets == 1);
}

void a_lost_person_is_reset_and_can_return() {
  Run run;
  run.push(0, 0);
  run.wave(0);
  run.event(0);
  const auto hidden = unseen(pose(), {0, 1, 2, 3});
  for (int i = 1; i <= 10; ++i) CHECK(run.push(0, i * 0.05, hidden).frames.size() == 3 * kJoints);
  const auto pushed = run.push(0, 0.55, hidden);
  CHECK(pushed.status == Status::lost && pushed.reset && pushed.frames.empty());
  CHECK(run.event(0) == Event::offset);
  CHECK(run.push(0, 0.6, hidden).status == Status::missing);
  CHECK(run.push(0, 0.6).status == Status::dropped);  // its clock goes on
  CHECK(run.push(0, 0.65).status == Status::ok);
  CHECK(run.session.counters().lost == 1 && run.session.counters().resets == 0);
}

void people_do_not_touch_each_other() {
  Run run;
  run.push(7, 0);
  run.push(-3, 5);
  run.wave(7);
  CHECK(run.event(-3) == Event::none && run.event(7) == Event::onset);
  CHECK((run.session.people() == std::vector<motionrt::PersonId>{-3, 7}));
  run.session.reset(7);
  run.session.reset(99);
  CHECK(run.push(7, 0).status == Status::ok);  // the clock starts again
  run.session.reset();
  CHECK(run.session.people().empty());
}

void there_is_room_for_so_many_at_once() {
  Config config = tiny_config();
  config.max_people = 2;
  Run run(config);
  run.push(0, 0);
  run.push(1, 0.4);
  CHECK_FAILS(run.push(2, 0.5), "person 2 is one too many, expected at most 2 people at once");
  CHECK(run.push(2, 0.6).reset);  // person 0 has been away for long enough
  CHECK((run.session.people() == std::vector<motionrt::PersonId>{1, 2}));
}

void errors_leave_everything_as_it_was() {
  Run run;
  const auto joints = pose();
  CHECK_FAILS(run.push(0, std::nan("")), "t of person 0 is nan");
  CHECK_FAILS(run.push(0, 1.7e12), "expected seconds");  // milliseconds since 1970
  CHECK_FAILS(run.session.push(0, 0, joints.data(), nullptr, 1), "layout 1 is unknown, 1 were added");
  CHECK_FAILS(run.session.push(0, 0, joints.data(), nullptr, -1), "layout -1 is unknown");
  CHECK_FAILS(run.session.observe(5, kWave), "person 5 is unknown");
  CHECK_FAILS(run.event(5), "person 5 is unknown");
  CHECK(run.session.people().empty() && run.session.counters().frames == 0);
  run.push(0, 0);
  const float logits[] = {0, kNaN, 0};
  CHECK_FAILS(run.session.observe(0, logits), "logits[1] of person 0 is nan");
  float probs[3];
  CHECK(run.session.decide(0, probs).label == 2 && probs[2] == 1);
  Config config = tiny_config();
  config.labels = 0;
  CHECK_FAILS(Session{config}, "labels is 0");
}

int main() {
  late_frames_are_dropped();
  a_gap_resets();
  a_lost_person_is_reset_and_can_return();
  people_do_not_touch_each_other();
  there_is_room_for_so_many_at_once();
  errors_leave_everything_as_it_was();
  return result();
}
