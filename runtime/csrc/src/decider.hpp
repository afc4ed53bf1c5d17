// One person's decision: logits -> calibrated, smoothed scores -> onset and offset of actions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "config.hpp"

namespace motionrt {

enum class Event { none, onset, offset };

struct Decision {
  int label = -1;  // most probable label; -1 before the first logits of a model without a none label
  float score = 0;
  Event event = Event::none;
  int event_label = -1;
  double event_age_s = 0;  // of an onset: how long its action has been going on, at the frame that told it
};

class Decider {
 public:
  explicit Decider(const Config& config)
      : config_(config),
        blend_(config.smooth_s > 0 ? 1 - std::exp(-1 / (config.rate_hz * config.smooth_s)) : 1),
        hold_(std::max<std::int64_t>(1, std::llround(config.hold_s * config.rate_hz))),
        probs_(config.labels),
        scores_(config.labels),
        evidence_(config.labels) {
    restart();
  }

  // Takes the logits [C] of one model frame, all finite.
  void observe(const float* logits_C) {
    softmax(logits_C);
    const bool first = observed_++ == 0;
    for (int c = 0; c < config_.labels; ++c) {
      scores_[c] = first && config_.none < 0 ? probs_[c] : scores_[c] + blend_ * (probs_[c] - scores_[c]);
      evidence_[c] += logits_C[c] / config_.temperature;
    }
    const double acting = config_.none >= 0 ? 1 - scores_[config_.none] : 1;
    acted_ = std::max(acted_, acting);
    acting_frames_ = acting >= kActed ? acting_frames_ + 1 : 0;
    update_events();
  }

  // scores [C] are the smoothed probabilities. The pending event is handed out once.
  Decision decide(float* scores_C) {
    std::copy(scores_.begin(), scores_.end(), scores_C);
    Decision decision = pending_;
    pending_ = {};
    if (observed_ > 0 || config_.none >= 0) {
      decision.label = static_cast<int>(std::max_element(scores_.begin(), scores_.end()) - scores_.begin());
      decision.score = scores_C[decision.label];
    }
    return decision;
  }

  // One label for everything since the start: the action with the highest mean logit, or none where nothing was
  // acted. probs [C] are the softmax of the mean logits.
  Decision decide_clip(float* probs_C) const {
    if (observed_ == 0) {
      std::copy(scores_.begin(), scores_.end(), probs_C);
      return {config_.none, config_.none < 0 ? 0.f : 1.f};
    }
    const bool acted = config_.labels > 1 && acted_ >= kActed;
    const int label = acted ? best_action(evidence_) : config_.none;
    const int left_out = acted ? config_.none : -1;
    double top = -std::numeric_limits<double>::infinity(), total = 0;
    for (int c = 0; c < config_.labels; ++c)
      if (c != left_out) top = std::max(top, evidence_[c]);
    const auto share = [&](int c) { return c == left_out ? 0 : std::exp((evidence_[c] - top) / double(observed_)); };
    for (int c = 0; c < config_.labels; ++c) total += share(c);
    for (int c = 0; c < config_.labels; ++c) probs_C[c] = static_cast<float>(share(c) / total);
    return {label, probs_C[label]};
  }

  // Labels have become others: forgets everything.
  void relabel() {
    for (auto* values : {&probs_, &scores_, &evidence_}) values->assign(config_.labels, 0);
    clear();
  }

  // Forgets everything.
  void clear() {
    active_ = -1;
    pending_ = {};
    restart();
  }

  // Forgets everything but the end of the action that was going on, which becomes the pending event.
  void restart() {
    if (active_ >= 0) pending_ = event(Event::offset, active_);
    active_ = candidate_ = -1;
    held_ = observed_ = acting_frames_ = best_frames_ = 0;
    acted_ = 0;
    std::fill(evidence_.begin(), evidence_.end(), 0.0);
    std::fill(scores_.begin(), scores_.end(), 0.0);
    if (config_.none >= 0) scores_[config_.none] = 1;
  }

 private:
  static Decision event(Event kind, int label) { return {-1, 0, kind, label, 0}; }

  void softmax(const float* logits_C) {
    const double top = *std::max_element(logits_C, logits_C + config_.labels);
    double total = 0;
    for (int c = 0; c < config_.labels; ++c)
      total += probs_[c] = std::exp((logits_C[c] - top) / config_.temperature);
    for (double& p : probs_) p /= total;
  }

  // Label with the highest value, none excepted; -1 where there is no other.
  int best_action(const std::vector<double>& values_C) const {
    int best = -1;
    for (int c = 0; c < config_.labels; ++c)
      if (c != config_.none && (best < 0 || values_C[c] > values_C[best])) best = c;
    return best;
  }

  void update_events() {
    const int best = best_action(scores_);
    best_frames_ = best == best_ ? best_frames_ + 1 : 1;
    best_ = best;
    // After rest an action begins with the movement, whatever it was taken for at first; after another action that
    // went on for a while, when it became the likelier one.
    ++told_frames_;
    if (active_ >= 0 && best != active_ && double(told_frames_) > config_.rate_hz * kReviseS)
      acting_frames_ = std::min(acting_frames_, best_frames_);
    if (active_ >= 0 && scores_[active_] < config_.off) {
      pending_ = event(Event::offset, active_);
      active_ = -1;
    }
    const bool rising = best >= 0 && best != active_ && scores_[best] >= config_.on;
    held_ = !rising ? 0 : best == candidate_ ? held_ + 1 : 1;
    candidate_ = rising ? best : -1;
    if (held_ < hold_) return;
    pending_ = event(Event::onset, best);
    const double lag_s = std::log(2.) * config_.smooth_s;  // of a smoothed score at a half
    pending_.event_age_s = double(std::max<std::int64_t>(acting_frames_, 1) - 1) / config_.rate_hz + lag_s;
    told_frames_ = 0;
    active_ = best;
    candidate_ = -1;
    held_ = 0;
  }

  static constexpr double kReviseS = 1.0;  // an action told within this time before another one was taken for it
  static constexpr double kActed = 0.5;  // share of the score that was not none, at its highest
  const Config& config_;
  const double blend_;
  const std::int64_t hold_;       // frames
  std::vector<double> probs_;     // [C] of the last frame
  std::vector<double> scores_;    // [C] smoothed
  std::vector<double> evidence_;  // [C] summed logits
  std::int64_t observed_ = 0;
  double acted_ = 0;
  int active_ = -1, candidate_ = -1, best_ = -1;
  std::int64_t held_ = 0, acting_frames_ = 0, best_frames_ = 0;  // frames in a row
  std::int64_t told_frames_ = 0;                                  // since the last onset
  Decision pending_;
};

}  // namespace motionrt
