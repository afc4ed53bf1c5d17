// Everything around the network, for several people: poses in, frames for the model out; logits in, decisions
// out.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "config.hpp"
#include "decider.hpp"
#include "layout_map.hpp"
#include "track.hpp"

namespace motionrt {

using PersonId = std::int64_t;

struct Pushed {
  const std::vector<float>& frames;  // [n, V, 3], valid until the next push
  bool reset;  // the network's state of this person starts from zero, before these frames
  Status status;
};

struct Counters {
  std::int64_t frames = 0;   // pushed
  std::int64_t dropped = 0;  // of these, late or repeated
  std::int64_t resets = 0;   // gaps longer than max_gap_s
  std::int64_t lost = 0;     // people lost from sight
};

// Not for use from several threads at once. Throws std::invalid_argument, before anything is changed.
class Session {
 public:
  explicit Session(Config config) : config_(std::move(config)) {
    validate(config_);
    mapped_.resize(3 * config_.joints);
  }
  Session(const Session&) = delete;  // people refer to config_
  Session& operator=(const Session&) = delete;

  // weights [V, S] of a sensor's skeleton; returns its number, for push.
  int add_layout(const float* weights_VS, int source_joints) {
    layouts_.emplace_back(weights_VS, config_.joints, source_joints);
    return static_cast<int>(layouts_.size()) - 1;
  }

  // joints [S, 3] metres; confidence [S] or null; t in seconds, rising.
  Pushed push(PersonId person, double t, const float* joints_S3, const float* confidence_S, int layout) {
    require(std::abs(t) <= kMaxTimeS, "t of person ", person, " is ", t,
            ", expected seconds, finite and within ", kMaxTimeS);
    layout_at(layout);
    const auto [id, is_new] = find_or_add(person, t);
    Person& p = id->second;
    ++counters_.frames;
    frames_.clear();
    if (t <= p.last_s) {
      ++counters_.dropped;
      return {frames_, false, Status::dropped};
    }
    const bool gap = !is_new && t - p.last_s > config_.max_gap_s + kSlackS;
    if (gap) {
      p.restart();
      ++counters_.resets;
    }
    p.last_s = t;
    layouts_[layout].apply(joints_S3, confidence_S, mapped_.data());
    const Status status = p.track.push(t, mapped_.data(), frames_);
    if (status == Status::lost) {
      p.restart();
      ++counters_.lost;
    }
    return {frames_, is_new || gap || status == Status::lost, status};
  }

  // logits [C] of one frame that push returned.
  void observe(PersonId person, const float* logits_C) {
    for (int c = 0; c < config_.labels; ++c)
      require(std::isfinite(logits_C[c]), "logits[", c, "] of person ", person, " is ", logits_C[c],
              ", expected a finite number");
    find(person).decider.observe(logits_C);
  }

  Decision decide(PersonId person, float* scores_C) { return find(person).decider.decide(scores_C); }
  Decision decide_clip(PersonId person, float* probs_C) { return find(person).decider.decide_clip(probs_C); }

  // Forgets a person, pending event included; an unknown one is no error.
  void reset(PersonId person) { people_.erase(person); }
  void reset() { people_.clear(); }

  std::vector<PersonId> people() const {
    std::vector<PersonId> ids;
    for (const auto& entry : people_) ids.push_back(entry.first);
    return ids;
  }

  const Counters& counters() const { return counters_; }
  const Config& config() const { return config_; }

  const LayoutMap& layout_at(int layout) const {
    require(layout >= 0 && layout < static_cast<int>(layouts_.size()), "layout ", layout, " is unknown, ",
            layouts_.size(), " were added");
    return layouts_[layout];
  }

 private:
  struct Person {
    explicit Person(const Config& config) : track(config), decider(config) {}
    void restart() {
      track.restart();
      decider.restart();
    }
    double last_s = -std::numeric_limits<double>::infinity();
    Track track;
    Decider decider;
  };
  using People = std::map<PersonId, Person>;

  Person& find(PersonId person) {
    const auto id = people_.find(person);
    require(id != people_.end(), "person ", person, " is unknown, ", people_.size(), " were pushed");
    return id->second;
  }

  std::pair<People::iterator, bool> find_or_add(PersonId person, double t) {
    const auto id = people_.find(person);
    if (id != people_.end()) return {id, false};
    if (static_cast<int>(people_.size()) >= config_.max_people) make_room(person, t);
    return people_.try_emplace(person, config_);
  }

  // Trackers number people on and on: whoever has not been pushed for longest gives way, if that is over
  // max_gap_s.
  void make_room(PersonId person, double t) {
    auto oldest = people_.begin();
    for (auto id = people_.begin(); id != people_.end(); ++id)
      if (id->second.last_s < oldest->second.last_s) oldest = id;
    require(t - oldest->second.last_s > config_.max_gap_s + kSlackS, "person ", person,
            " is one too many, expected at most ", config_.max_people, " people at once");
    people_.erase(oldest);
  }

  const Config config_;
  std::vector<LayoutMap> layouts_;
  People people_;
  Counters counters_;
  std::vector<float> mapped_;  // [V, 3]
  std::vector<float> frames_;  // [n, V, 3]
};

}  // namespace motionrt
