#include "check.hpp"
#include "decider.hpp"
#include "poses.hpp"

using motionrt::Config;
using motionrt::Decider;
using motionrt::Decision;
using motionrt::Event;

Config sharp_config(double hold_s = 0) {  // labels 0 and 1 are actions, 2 is none; scores are not smoothed
  Config config = tiny_config();
  config.smooth_s = 0;
  config.hold_s = hold_s;
  return config;
}

struct Run {
  explicit Run(const Config& c) : config(c), decider(config) {}
  // Observes probabilities p0, p1 and the rest for label 2.
  Decision see(double p0, double p1) {
    const float logits[] = {log(p0), log(p1), log(1 - p0 - p1)};
    decider.observe(logits);
    return decider.decide(probs);
  }
  static float log(double p) { return static_cast<float>(std::log(std::max(p, 1e-9))); }
  const Config config;
  Decider decider;
  float probs[3];
};

bool is(const Decision& d, Event event, int label) { return d.event == event && d.event_label == label; }

void scores_start_at_none_and_are_smoothed() {
  Run run(tiny_config());
  CHECK(run.decider.decide(run.probs).label == 2 && run.probs[2] == 1);
  const Decision d = run.see(0.9, 0.05);
  const double blend = 1 - std::exp(-1 / (20 * 0.2));
  CHECK_NEAR(run.probs[0], 0.9 * blend, 1e-6);
  CHECK(d.label == 2 && d.score == run.probs[2]);
  CHECK_NEAR(run.probs[0] + run.probs[1] + run.probs[2], 1.f, 1e-6f);
}

void scores_start_at_the_first_frame_without_none() {
  Config config = tiny_config();
  config.none = -1;
  Run run(config);
  CHECK(run.decider.decide(run.probs).label == -1 && run.decider.decide_clip(run.probs).label == -1);
  CHECK(run.see(0.7, 0.2).label == 0);
  CHECK_NEAR(run.probs[0], 0.7f, 1e-6f);
  CHECK(run.decider.decide_clip(run.probs).label == 0);
}

void logits_are_calibrated() {
  Config config = sharp_config();
  config.temperature = 2;
  Run run(config);
  const float logits[] = {4, 0, 0};
  run.decider.observe(logits);
  run.decider.decide(run.probs);
  CHECK_NEAR(run.probs[0], std::exp(2.) / (std::exp(2.) + 2), 1e-6);
  const float large[] = {3e38f, -3e38f, 3e38f};
  run.decider.observe(large);
  run.decider.decide(run.probs);
  CHECK_NEAR(run.probs[0], 0.5f, 1e-6f);
}

void an_action_starts_high_and_ends_low() {
  Run run(sharp_config());
  CHECK(is(run.see(0.55, 0), Event::none, -1));
  CHECK(is(run.see(0.65, 0), Event::onset, 0));
  CHECK(is(run.see(0.35, 0), Event::none, -1));  // between off and on
  CHECK(is(run.see(0.9, 0), Event::none, -1));   // still the same action
  CHECK(is(run.see(0.25, 0), Event::offset, 0));
  CHECK(is(run.see(0.25, 0), Event::none, -1));
}

void an_action_must_hold() {
  Run run(sharp_config(0.15));  // three frames
  run.see(0.9, 0), run.see(0.9, 0);
  CHECK(is(run.see(0.1, 0.8), Event::none, -1));  // another action: counted from one
  CHECK(is(run.see(0.1, 0.8), Event::none, -1));
  CHECK(is(run.see(0.1, 0.5), Event::none, -1));  // interrupted
  run.see(0.1, 0.8), run.see(0.1, 0.8);
  CHECK(is(run.see(0.1, 0.8), Event::onset, 1));
}

void an_onset_wins_over_an_offset() {
  Run run(sharp_config());
  run.see(0.9, 0);
  CHECK(is(run.see(0.1, 0.9), Event::onset, 1));
  CHECK(is(run.see(0.1, 0.1), Event::offset, 1));
}

void an_onset_has_the_start_of_its_action() {
  Run run(sharp_config());
  run.see(0.1, 0);
  run.see(0.3, 0.3);  // something starts: 0.4 none
  run.see(0.3, 0.4);
  CHECK_NEAR(run.see(0.9, 0).event_age_s, 2 / 20., 1e-6);
  run.see(0.2, 0.5);  // soon the other one becomes more likely: it was that one from the start
  CHECK_NEAR(run.see(0, 0.9).event_age_s, 4 / 20., 1e-6);
  for (int frame = 0; frame < 40; ++frame) run.see(0, 0.9);
  run.see(0.5, 0.4);  // later it is another action
  CHECK_NEAR(run.see(0.9, 0).event_age_s, 1 / 20., 1e-6);
}

void an_onset_corrects_for_the_smoothing() {
  Run run(tiny_config());
  Decision d;
  int frames = 0;
  while (d.event != Event::onset) d = run.see(1, 0), ++frames;
  CHECK_NEAR(d.event_age_s, frames / 20., 1.01 / 20);
}

void none_is_not_an_action() {
  Run run(sharp_config());
  CHECK(is(run.see(0, 0), Event::none, -1));
  Config config = sharp_config();
  config.labels = 1;
  config.none = 0;
  Decider alone(config);
  const float logit = 1;
  float prob = 0;
  alone.observe(&logit);
  CHECK(alone.decide(&prob).label == 0 && prob == 1);
  CHECK(alone.decide_clip(&prob).label == 0 && prob == 1);
}

void a_restart_ends_the_action() {
  Run run(sharp_config());
  run.see(0.9, 0);
  run.decider.restart();
  const Decision d = run.decider.decide(run.probs);
  CHECK(is(d, Event::offset, 0) && d.label == 2 && d.score == 1);
  CHECK(is(run.decider.decide(run.probs), Event::none, -1));
  run.decider.restart();
  CHECK(is(run.decider.decide(run.probs), Event::none, -1));
}

void a_clip_is_the_action_with_the_most_evidence() {
  Run run(sharp_config());
  CHECK(run.decider.decide_clip(run.probs).label == 2 && run.probs[2] == 1);
  run.see(0.1, 0.05);
  run.see(0.1, 0.05);
  CHECK(run.decider.decide_clip(run.probs).label == 2);  // no activity: all actions together at most 0.15
  CHECK_NEAR(run.probs[2], 0.85f, 1e-6f);
  run.see(0, 0.9);
  const Decision d = run.decider.decide_clip(run.probs);
  CHECK(d.label == 1);
  const double a = 0.1 + 0.1 + 0, b = 0.05 + 0.05 + 0.9;  // mean probabilities of the actions
  CHECK_NEAR(d.score, b / (a + b), 1e-6);
  CHECK(run.probs[2] == 0);
  CHECK_NEAR(run.probs[0], a / (a + b), 1e-6);
  run.decider.restart();
  CHECK(run.decider.decide_clip(run.probs).label == 2);
}

Config chosen_config(double others, int none = 2) {  // label 1 of labels 0, 1, 2
  Config config = sharp_config();
  config.none = none;
  config.others = others;
  return motionrt::with_chosen(config, {1});
}

void a_label_that_was_not_chosen_counts_as_none() {
  Run run(chosen_config(1));
  CHECK(run.see(0.7, 0.2).label == 1);
  CHECK_NEAR(run.probs[0], 0.2, 1e-6);
  CHECK_NEAR(run.probs[1], 0.8, 1e-6);
  CHECK(is(run.see(0.1, 0.8), Event::onset, 0));
  CHECK(is(run.see(0.8, 0.1), Event::offset, 0));
}

void others_is_the_share_that_counts_as_none() {
  Run half(chosen_config(0.5)), dropped(chosen_config(0));
  half.see(0.4, 0.4);
  CHECK_NEAR(half.probs[0], 0.4 / (0.4 + 0.2 + 0.5 * 0.4), 1e-6);
  dropped.see(0.4, 0.4);
  CHECK_NEAR(dropped.probs[0], 0.4 / (0.4 + 0.2), 1e-6);
  CHECK_NEAR(dropped.probs[0] + dropped.probs[1], 1, 1e-6);
}

void choosing_all_labels_changes_only_their_order() {
  Config config = tiny_config();
  config.temperature = 1.5;
  Run all(config), swapped(motionrt::with_chosen(config, {1, 0}));
  for (const double p : {0.9, 0.2, 0.5}) {
    const Decision a = all.see(p, 0.9 * (1 - p)), b = swapped.see(p, 0.9 * (1 - p));
    CHECK(a.score == b.score && a.event == b.event);
    CHECK(all.probs[0] == swapped.probs[1] && all.probs[1] == swapped.probs[0] && all.probs[2] == swapped.probs[2]);
  }
}

void without_none_what_was_not_chosen_is_dropped() {
  Config config = sharp_config();
  config.none = -1;
  Run run(motionrt::with_chosen(config, {2, 0}));
  CHECK(run.see(0.3, 0.6).label == 1);
  CHECK_NEAR(run.probs[1], 0.3 / (0.3 + 0.1), 1e-6);
  CHECK(run.decider.decide_clip(run.probs).label == 1);
  CHECK_NEAR(run.probs[0], 0.1 / (0.3 + 0.1), 1e-6);
}

void extreme_logits_give_probabilities_of_chosen_labels() {
  for (const double others : {1., 0.25, 0.}) {
    Config config = chosen_config(others);
    Decider decider(config);
    float probs[2];
    const float unlikely[] = {3e38f, -3e38f, -3e38f}, likely[] = {-3e38f, 3e38f, -3e38f};
    decider.observe(unlikely);
    decider.decide(probs);
    CHECK_NEAR(probs[0], others == 0 ? 0.5 : 0, 1e-6);
    CHECK_NEAR(probs[0] + probs[1], 1, 1e-6);
    decider.observe(likely);
    decider.decide(probs);
    CHECK_NEAR(probs[0], 1, 1e-6);
  }
}

void a_clip_of_a_model_without_none_is_the_action_with_the_highest_mean_logit() {
  Config config = sharp_config();
  config.none = -1;
  Run run(config);
  run.see(0.9, 0.05);
  run.see(0.05, 0.9);
  run.see(1e-6, 0.5);
  const double a = std::cbrt(0.9 * 0.05 * 1e-6), b = std::cbrt(0.05 * 0.9 * 0.5);
  CHECK(run.decider.decide_clip(run.probs).label == 1);
  CHECK_NEAR(run.probs[0] / run.probs[1], a / b, 1e-6);
}

void a_clip_is_decided_among_chosen_labels() {
  Run run(chosen_config(1));
  run.see(0.6, 0.1);
  CHECK(run.decider.decide_clip(run.probs).label == 1);  // another action
  CHECK_NEAR(run.probs[0], 0.1, 1e-6);
  CHECK_NEAR(run.probs[1], 0.9, 1e-6);
  run.see(0.1, 0.3);
  CHECK(run.decider.decide_clip(run.probs).label == 1);
  CHECK_NEAR(run.probs[0], (0.1 + 0.3) / 2, 1e-6);
  run.see(0.1, 0.8);
  CHECK(run.decider.decide_clip(run.probs).label == 0 && run.probs[0] == 1);
}

void thresholds_may_differ_by_label() {
  Config config = sharp_config();
  config.by_label = {{0.9, 0.4, 1}, {0.5, 0.1, 1}};
  Run run(config);
  CHECK(is(run.see(0.8, 0.1), Event::none, -1));
  CHECK(is(run.see(0.95, 0), Event::onset, 0));
  CHECK(is(run.see(0.45, 0), Event::offset, 0));
  CHECK(is(run.see(0, 0.45), Event::onset, 1));
  CHECK(is(run.see(0, 0.15), Event::none, -1));
  CHECK(is(run.see(0, 0.05), Event::offset, 1));
  Run chosen(motionrt::with_chosen(config, {1}));
  CHECK(is(chosen.see(0, 0.45), Event::onset, 0));
  CHECK(is(chosen.see(0, 0.05), Event::offset, 0));
}

int main() {
  a_label_that_was_not_chosen_counts_as_none();
  others_is_the_share_that_counts_as_none();
  choosing_all_labels_changes_only_their_order();
  without_none_what_was_not_chosen_is_dropped();
  extreme_logits_give_probabilities_of_chosen_labels();
  a_clip_of_a_model_without_none_is_the_action_with_the_highest_mean_logit();
  a_clip_is_decided_among_chosen_labels();
  thresholds_may_differ_by_label();
  scores_start_at_none_and_are_smoothed();
  scores_start_at_the_first_frame_without_none();
  logits_are_calibrated();
  an_action_starts_high_and_ends_low();
  an_action_must_hold();
  an_onset_wins_over_an_offset();
  an_onset_has_the_start_of_its_action();
  an_onset_corrects_for_the_smoothing();
  none_is_not_an_action();
  a_restart_ends_the_action();
  a_clip_is_the_action_with_the_most_evidence();
  return result();
}
