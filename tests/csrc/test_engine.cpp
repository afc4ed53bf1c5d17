#include <map>

#include "check.hpp"
#include "engine.hpp"
#include "errors.hpp"
#include "poses.hpp"

using motionrt::Config;
using motionrt::Engine;
using motionrt::Event;
using motionrt::Observation;
using motionrt::Outcome;
using motionrt::PersonId;
using motionrt::Status;

// Outputs "wave" (label 0) if the head is more than 0.8 m above the pelvis, else "none"; counts its calls.
class FakeNetwork : public motionrt::Network {
 public:
  explicit FakeNetwork(int capacity = 16) : capacity_(capacity) {}
  int joints() const override { return kJoints; }
  int labels() const override { return 3; }
  int capacity() const override { return capacity_; }
  void begin(int slot) override {
    ++starts[slot];
    frames[slot] = 0;
  }
  void step(int n, const int* slots, const float* frames_NV3, float* logits_NC, float*) override {
    batches.emplace_back(slots, slots + n);
    for (int i = 0; i < n; ++i) {
      ++frames[slots[i]];
      const bool up = frames_NV3[3 * kJoints * i + 3 * 3 + 1] > 0.8f;
      const float logits[] = {up ? 9.f : 0.f, 0, up ? 0.f : 9.f};
      std::copy(logits, logits + 3, logits_NC + 3 * i);
      if (broken) logits_NC[3 * i + 1] = kNaN;
    }
  }
  std::map<int, int> starts, frames;  // by slot; frames since the last start
  std::vector<std::vector<int>> batches;
  bool broken = false;

 private:
  const int capacity_;
};

std::vector<float> arm_up() {
  auto joints = pose();
  joints[3 * 3 + 1] = 2;
  return joints;
}

struct Run {
  explicit Run(const Config& config = tiny_config())
      : network(std::make_shared<FakeNetwork>(config.max_people)), engine(config, network) {
    engine.add_layout(identity().data(), kJoints);
  }
  // All people in the same pose.
  const std::vector<Outcome>& step(double t, const std::vector<PersonId>& people,
                                   const std::vector<float>& joints = pose()) {
    std::vector<Observation> seen;
    for (const PersonId person : people) seen.push_back({person, joints.data(), nullptr});
    outcomes.assign(people.size(), {});
    network->batches.clear();
    engine.step(t, static_cast<int>(people.size()), seen.data(), 0, outcomes.data());
    return outcomes;
  }
  int slot(PersonId person) { return engine.session().find(person); }
  std::shared_ptr<FakeNetwork> network;
  Engine engine;
  std::vector<Outcome> outcomes;
};

void people_go_through_the_network_together() {
  Run run;
  const auto& out = run.step(0, {5, -1, 7});
  CHECK(run.network->batches.size() == 1 && run.network->batches[0].size() == 3);
  for (int i = 0; i < 3; ++i)
    CHECK(out[i].person == (std::vector<PersonId>{5, -1, 7})[i] && out[i].status == Status::ok && out[i].reset &&
          out[i].frames == 1 && out[i].decision.label == 2 && out[i].scores_C[2] > 0.9f);
}

void every_person_gets_the_frames_that_are_due() {
  Run run;
  run.step(0, {1, 2});
  run.step(0.1, {1});
  const auto& out = run.step(0.2, {1, 2, 3});  // since 0.1, since 0, new
  CHECK(out[0].frames == 2 && out[1].frames == 4 && out[2].frames == 1);
  const auto& batches = run.network->batches;
  CHECK(batches.size() == 4 && batches[0].size() == 3 && batches[1].size() == 2);
  CHECK((batches[3] == std::vector<int>{run.slot(2)}));
  CHECK(run.network->frames[run.slot(1)] == 5 && run.network->frames[run.slot(2)] == 5);
  CHECK(run.step(0.21, {1, 2})[0].frames == 0 && run.network->batches.empty());
}

void a_reset_restarts_the_network() {
  Run run;
  run.step(0, {1, 2});
  const int slot = run.slot(1);
  CHECK(run.network->starts[slot] == 1);
  CHECK(!run.step(0.1, {1, 2})[0].reset && run.network->starts[slot] == 1);
  const auto& out = run.step(0.7, {1, 3});  // a gap of 1; 3 is new
  CHECK(out[0].reset && out[0].frames == 1 && out[1].reset && run.network->starts[slot] == 2);
  CHECK(run.network->starts[run.slot(2)] == 1 && run.network->starts[run.slot(3)] == 1);
  run.engine.session().reset(1);
  CHECK(run.step(0.1, {1})[0].reset && run.network->frames[run.slot(1)] == 1);
}

void a_lost_person_does_not_affect_the_others() {
  Run run;
  for (int i = 0; i <= 20; ++i) run.step(i * 0.05, {1, 2}, arm_up());
  const auto up = arm_up(), hidden = unseen(pose(), {0, 1, 2, 3});
  std::vector<Outcome> out(2);
  for (int i = 21; i <= 31; ++i) {
    const Observation seen[] = {{1, hidden.data(), nullptr}, {2, up.data(), nullptr}};
    run.engine.step(i * 0.05, 2, seen, 0, out.data());
    CHECK(out[0].status == (i < 31 ? Status::ok : Status::lost) && out[1].status == Status::ok);
  }
  CHECK(out[0].reset && out[0].frames == 0 && out[0].decision.event == Event::offset);
  CHECK(out[0].decision.event_label == 0 && out[0].decision.label == 2);
  CHECK(!out[1].reset && out[1].frames == 1 && out[1].decision.label == 0);
}

void scores_are_available_for_every_person() {
  Run run;
  for (int i = 0; i < 20; ++i) run.step(i * 0.05, {1}, arm_up());
  run.step(1, {2});
  CHECK_NEAR(run.engine.scores(1)[0], 1, 0.01);
  CHECK_NEAR(run.engine.scores(2)[2], 1, 0.01);
  CHECK_FAILS(run.engine.scores(3), "person 3 is unknown");
}

void an_eviction_ends_the_action() {
  Run run;
  int onsets = 0;
  for (int i = 0; i < 40; ++i)
    for (const Outcome& out : run.step(i * 0.05, {1, 2}, arm_up()))
      onsets += out.decision.event == Event::onset && out.decision.event_label == 0;
  CHECK(onsets == 2);
  run.step(2.2, {2}, arm_up());
  std::vector<Outcome> gone(16);
  CHECK(run.engine.evict(2.4, gone.data()) == 0);
  CHECK(run.engine.evict(2.5, gone.data()) == 1);
  CHECK(gone[0].person == 1 && gone[0].status == Status::lost && gone[0].decision.event == Event::offset);
  CHECK(gone[0].decision.event_label == 0 && gone[0].scores_C[2] == 1);
  CHECK((run.engine.session().people() == std::vector<PersonId>{2}));
  CHECK(run.engine.evict(99, gone.data()) == 1 && gone[0].person == 2 && run.engine.evict(99, gone.data()) == 0);
  CHECK_FAILS(run.engine.evict(std::nan(""), gone.data()), "t is nan");
}

// Outputs any number of logits; the first label wins.
struct AnyLabels : FakeNetwork {
  int labels() const override { return count; }
  void relabel(int wanted) override { count = wanted; }
  void step(int n, const int* slots, const float*, float* logits_NC, float*) override {
    for (int i = 0; i < n; ++i) {
      ++frames[slots[i]];
      for (int c = 0; c < count; ++c) logits_NC[count * i + c] = c ? 0.f : 9.f;
    }
  }
  int count = 3;
};

void labels_change_while_people_are_tracked() {
  const auto network = std::make_shared<AnyLabels>();
  Engine engine(tiny_config(), network);
  engine.add_layout(identity().data(), kJoints);
  const auto joints = pose();
  const Observation seen[] = {{1, joints.data(), nullptr}, {2, joints.data(), nullptr}};
  Outcome out[2];
  int i = 0;
  const auto step = [&] { engine.step(0.05 * i++, 2, seen, 0, out); };
  const auto goes_on = [&] { return out[0].decision.event == Event::none && !out[0].reset && out[0].frames == 1; };
  while (i < 20) step();
  CHECK(out[0].decision.label == 0);
  for (const auto& [labels, none] : std::vector<std::pair<int, int>>{{5, 4}, {2, 1}, {1000, 999}, {3, -1}}) {
    engine.relabel(labels, none);
    CHECK(engine.scores(2)[0] == 0);
    step();
    CHECK(goes_on() && out[1].scores_C[0] > 0 && (none < 0 || out[1].scores_C[none] > 0.5f));
    int onsets = 0;
    for (const int end = i + 20; i < end; onsets += out[1].decision.event == Event::onset) step();
    CHECK(onsets == 1 && out[1].decision.label == 0 && out[1].decision.score > 0.8f);
  }
  const int slot = engine.session().find(1);
  CHECK(network->starts[slot] == 1 && network->frames[slot] == i && engine.session().counters().frames == 2 * i);
}

void invalid_labels_change_nothing() {
  Run run;
  CHECK_FAILS(run.engine.relabel(4, 3), "labels is 4, expected 3");
  CHECK_FAILS(run.engine.relabel(0, -1), "labels is 0, expected at least 1");
  CHECK_FAILS(run.engine.relabel(3, 3), "none is 3, expected -1 or a label index below 3");
  CHECK(run.engine.session().config().none == 2 && run.step(0, {1})[0].decision.label == 2);
  run.engine.relabel(3, 1);
  CHECK(run.step(0.05, {1})[0].decision.label == 1);
}

void labels_are_chosen_while_people_are_tracked() {
  Run run;
  double t = 0;
  while (t < 1) run.step(t += 0.05, {1}, arm_up());
  CHECK_FAILS(run.engine.choose({2}), "chosen holds 2");
  CHECK(run.engine.session().config().labels == 3);
  for (const std::vector<int>& chosen : {std::vector<int>{1}, {0}, {1, 0}}) {
    run.engine.choose(chosen);
    const Config& config = run.engine.session().config();
    CHECK(config.labels == static_cast<int>(chosen.size()) + 1 && config.none == config.labels - 1);
    const Outcome out = run.step(t += 0.05, {1}, arm_up())[0];
    CHECK(!out.reset && out.frames == 1 && out.decision.event == Event::none && out.scores_C[config.none] > 0);
  }
  run.engine.choose({});
  CHECK(run.engine.session().config().labels == 3 && run.engine.session().config().outputs() == 3);
}

void thresholds_change_while_people_are_tracked() {
  Run run;
  const auto onsets = [&](double from) {
    int count = 0;
    for (double t = from; t < from + 2; t += 0.05)
      count += run.step(t, {1}, arm_up())[0].decision.event == Event::onset;
    return count;
  };
  CHECK_FAILS(run.engine.session().set_thresholds({{1}, {1}}), "on_C and off_C have 1 and 1 values");
  run.engine.session().set_thresholds({{1, 1, 1}, {0, 0, 0}});
  CHECK(onsets(0) == 0);
  run.engine.choose({0, 1});
  CHECK(onsets(2) == 0);
  run.engine.session().set_thresholds({{0.5, 0.5, 0.5}, {0, 0, 0}});
  CHECK(onsets(4) == 1);
  CHECK(run.engine.session().config().by_label.on.size() == 3);
}

void late_poses_change_nothing() {
  Run run;
  run.step(1, {1}, arm_up());
  const float score = run.outcomes[0].decision.score;
  const auto& out = run.step(1, {1});
  CHECK(out[0].status == Status::dropped && out[0].frames == 0 && run.network->batches.empty());
  CHECK(out[0].decision.score == score);
}

void errors_change_nothing() {
  Config config = tiny_config();
  config.max_people = 4;
  Run run(config);
  run.step(0, {1, 2, 3});
  CHECK_FAILS(run.step(0.1, {1, 2, 1}), "person 1 occurs twice, expected different people");
  CHECK_FAILS(run.step(0.1, {1, 2, 3, 4, 5}), "5 people in one step, expected 0 to 4");
  CHECK_FAILS(run.step(0.1, {4, 5}), "person 5 is one too many");
  CHECK_FAILS(run.step(std::nan(""), {1}), "t of person 1 is nan");
  Outcome out;
  CHECK_FAILS(run.engine.step(0.1, -1, nullptr, 0, &out), "-1 people in one step");
  CHECK_FAILS(run.engine.step(0.1, 0, nullptr, 1, &out), "layout 1 is unknown");
  CHECK(run.engine.session().counters().frames == 3);
  CHECK((run.engine.session().people() == std::vector<PersonId>{1, 2, 3}));
  const auto& now = run.step(0.1, {1, 2, 3});
  CHECK(now[0].frames == 2 && now[1].frames == 2 && now[2].frames == 2);
}

void logits_that_are_not_finite_are_a_bundle_error() {
  Run run;
  run.network->broken = true;
  std::string message = "no error";
  try {
    run.step(0, {7});
  } catch (const motionrt::BundleError& error) {
    message = error.what();
  }
  CHECK(message == "logits[1] of person 7 is nan, expected a finite number");
}

void the_network_must_match_the_settings() {
  const auto network = std::make_shared<FakeNetwork>(2);
  Config config = tiny_config();
  CHECK_FAILS(Engine(config, network), "max_people is 16, expected at most 2");
  config.max_people = 2;
  config.labels = 4;
  CHECK_FAILS(Engine(config, network), "labels is 4, expected 3");
  config.labels = 3;
  config.joints = 5;
  CHECK_FAILS(Engine(config, network), "joints is 5, expected 4");
}

void a_trace_receives_every_phase() {
  struct Recorder : motionrt::Trace {
    explicit Recorder(std::string& l) : log(l) {}
    void begin(const char* phase) override { log += std::string(phase) + "("; }
    void end() override { log += ")"; }
    std::string& log;
  };
  std::string log;
  Engine engine(tiny_config(), std::make_shared<FakeNetwork>(), std::make_unique<Recorder>(log));
  engine.add_layout(identity().data(), kJoints);
  const auto joints = pose();
  const Observation seen = {0, joints.data(), nullptr};
  Outcome out;
  engine.step(0, 1, &seen, 0, &out);
  CHECK(log == "map()step()decide()");
}

int main() {
  people_go_through_the_network_together();
  every_person_gets_the_frames_that_are_due();
  a_reset_restarts_the_network();
  a_lost_person_does_not_affect_the_others();
  scores_are_available_for_every_person();
  an_eviction_ends_the_action();
  labels_change_while_people_are_tracked();
  invalid_labels_change_nothing();
  labels_are_chosen_while_people_are_tracked();
  thresholds_change_while_people_are_tracked();
  late_poses_change_nothing();
  errors_change_nothing();
  logits_that_are_not_finite_are_a_bundle_error();
  the_network_must_match_the_settings();
  a_trace_receives_every_phase();
  return result();
}
