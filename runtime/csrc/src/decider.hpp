// One person's decisions: logits -> calibrated, smoothed scores -> onsets and offsets of actions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "config.hpp"

namespace motionrt {

enum class Event { none, onset, offset };

struct Decision {
  int label = -1;  // most probable label; -1 before the first logits of a model without a none label
  float score = 0;
  Event event = Event::none;
  int event_label = -1;
  double event_age_s = 0;  // of an onset: time since the start of its action
};

class Decider {
 public:
  explicit Decider(const Config& config)
      : config_(config),
        blend_(config.smooth_s > 0 ? 1 - std::exp(-1 / (config.rate_hz * config.smooth_s)) : 1),
        hold_(std::max<std::int64_t>(1, std::llround(config.hold_s * config.rate_hz))),
        folded_(config.chosen.size()),
        probs_(config.labels),
        scores_(config.labels),
        evidence_(config.labels) {
    restart();
  }

  // Takes the logits [outputs] of one model frame, all finite.
  void observe(const float* logits) {
    if (config_.chosen.empty()) {
      add(logits);
    } else {
      fold(logits, folded_.data());
      add(folded_.data());
    }
    const bool first = observed_++ == 0;
    for (int c = 0; c < config_.labels; ++c)
      scores_[c] = first && config_.none < 0 ? probs_[c] : scores_[c] + blend_ * (probs_[c] - scores_[c]);
    const double activity = config_.none >= 0 ? 1 - scores_[config_.none] : 1;
    max_activity_ = std::max(max_activity_, activity);
    active_frames_ = activity >= kMinActivity ? active_frames_ + 1 : 0;
    update_events();
  }

  // Writes the smoothed probabilities [C]. The pending event is returned once.
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

  // One label for everything since the start: the action with the highest mean probability (of a model without a none
  // label: mean logit), or none if there was no action. Writes the probabilities [C]; of none it is 0 after an action.
  Decision decide_clip(float* probs_C) const {
    if (observed_ == 0) {
      std::copy(scores_.begin(), scores_.end(), probs_C);
      return {config_.none, config_.none < 0 ? 0.f : 1.f};
    }
    const int best = best_action(evidence_);
    const double needed = config_.chosen.empty() ? kMinClipActivity : kMinActivity;  // else none is other actions, too
    const bool is_active = best >= 0 && max_activity_ >= needed;
    const int label = is_active ? best : config_.none;
    const int excluded = is_active ? config_.none : -1;
    const double top = evidence_[label];
    const auto weight = [&](int c) {
      return c == excluded ? 0 : config_.none < 0 ? std::exp((evidence_[c] - top) / double(observed_)) : evidence_[c];
    };
    double total = 0;
    for (int c = 0; c < config_.labels; ++c) total += weight(c);
    for (int c = 0; c < config_.labels; ++c) probs_C[c] = static_cast<float>(weight(c) / total);
    return {label, probs_C[label]};
  }

  // Adapts to changed labels: forgets everything.
  void relabel() {
    folded_.assign(config_.chosen.size(), 0);
    probs_.assign(config_.labels, 0);
    scores_.assign(config_.labels, 0);
    evidence_.assign(config_.labels, 0);
    clear();
  }

  // Forgets everything.
  void clear() {
    active_ = -1;
    pending_ = {};
    restart();
  }

  // Whether the next logits are of 2-D poses, which can have thresholds of their own.
  void set_flat(bool is_flat) { is_flat_ = is_flat && !config_.flat_by_label.on.empty(); }

  // Forgets everything; the offset of the current action becomes the pending event.
  void restart() {
    if (active_ >= 0) pending_ = event(Event::offset, active_);
    active_ = candidate_ = -1;
    held_ = observed_ = active_frames_ = best_frames_ = 0;
    max_activity_ = 0;
    std::fill(evidence_.begin(), evidence_.end(), 0.0);
    std::fill(scores_.begin(), scores_.end(), 0.0);
    if (config_.none >= 0) scores_[config_.none] = 1;
  }

 private:
  static Decision event(Event kind, int label) { return {-1, 0, kind, label, 0}; }

  // Logits [C] of the chosen labels from those of all the network's labels: `others` of the probability of the rest is
  // added to none.
  void fold(const float* logits, double* logits_C) const {
    for (int c = 0; c < config_.labels; ++c) logits_C[c] = logits[config_.chosen[c]];
    if (config_.none < 0 || config_.others == 0) return;
    const double scale = config_.temperature;
    double& none = logits_C[config_.none];
    double top = none, rest = 0;
    for (const int label : config_.rest) top = std::max(top, double(logits[label]));
    for (const int label : config_.rest) rest += std::exp((logits[label] - top) / scale);
    none = top + scale * std::log(std::exp((none - top) / scale) + config_.others * rest);
  }

  // Adds a frame's logits [C] to the clip, and writes their softmax.
  template <class Value>
  void add(const Value* logits_C) {
    const double top = *std::max_element(logits_C, logits_C + config_.labels);
    double total = 0;
    for (int c = 0; c < config_.labels; ++c) total += probs_[c] = std::exp((logits_C[c] - top) / config_.temperature);
    for (double& p : probs_) p /= total;
    for (int c = 0; c < config_.labels; ++c)
      evidence_[c] += config_.none < 0 ? logits_C[c] / config_.temperature : probs_[c];
  }

  // Label with the highest value other than none; -1 if there is no other.
  int best_action(const std::vector<double>& values_C) const {
    int best = -1;
    for (int c = 0; c < config_.labels; ++c)
      if (c != config_.none && (best < 0 || values_C[c] > values_C[best])) best = c;
    return best;
  }

  const Thresholds& by_label() const { return is_flat_ ? config_.flat_by_label : config_.by_label; }
  double on(int label) const { return by_label().on.empty() ? config_.on : by_label().on[output(label)]; }
  double off(int label) const { return by_label().off.empty() ? config_.off : by_label().off[output(label)]; }
  int output(int label) const { return config_.chosen.empty() ? label : config_.chosen[label]; }

  void update_events() {
    const int best = best_action(scores_);
    best_frames_ = best == best_ ? best_frames_ + 1 : 1;
    best_ = best;
    // After rest, an action starts with the movement, whatever it was classified as at first; after another action of
    // some length, when it became the most likely one.
    ++frames_since_onset_;
    if (active_ >= 0 && best != active_ && double(frames_since_onset_) > config_.rate_hz * kRevisionS)
      active_frames_ = std::min(active_frames_, best_frames_);
    if (active_ >= 0 && scores_[active_] < off(active_)) {
      pending_ = event(Event::offset, active_);
      active_ = -1;
    }
    const bool rising = best >= 0 && best != active_ && scores_[best] >= on(best);
    held_ = !rising ? 0 : best == candidate_ ? held_ + 1 : 1;
    candidate_ = rising ? best : -1;
    if (held_ < hold_) return;
    pending_ = event(Event::onset, best);
    const double lag_s = std::log(2.) * config_.smooth_s;  // until a smoothed score reaches one half
    pending_.event_age_s = double(std::max<std::int64_t>(active_frames_, 1) - 1) / config_.rate_hz + lag_s;
    frames_since_onset_ = 0;
    active_ = best;
    candidate_ = -1;
    held_ = 0;
  }

  static constexpr double kRevisionS = 1.0;        // an onset this soon before another was a wrong first guess
  static constexpr double kMinActivity = 0.5;      // score of all actions together from which somebody is active
  static constexpr double kMinClipActivity = 0.2;  // in one frame, if that is all that is asked of a clip
  const Config& config_;
  const double blend_;
  const std::int64_t hold_;       // frames
  std::vector<double> folded_;    // [C] logits of the last frame, if labels were chosen
  std::vector<double> probs_;     // [C] of the last frame
  std::vector<double> scores_;    // [C] smoothed
  std::vector<double> evidence_;  // [C] summed probabilities, or logits
  std::int64_t observed_ = 0;
  double max_activity_ = 0;
  int active_ = -1, candidate_ = -1, best_ = -1;
  std::int64_t held_ = 0, active_frames_ = 0, best_frames_ = 0;  // consecutive frames
  std::int64_t frames_since_onset_ = 0;
  bool is_flat_ = false;
  Decision pending_;
};

}  // namespace motionrt
