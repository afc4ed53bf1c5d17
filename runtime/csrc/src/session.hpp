// Everything around the network, for several people: poses in, frames for the model out; logits in, decisions
// out.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "config.hpp"
#include "decider.hpp"
#include "layout_map.hpp"
#include "track.hpp"

namespace motionrt {

using PersonId = std::int64_t;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Pushed {
  Status status;
  bool reset;  // the network's state of this person starts from zero, before the frames that are due
  int slot;    // of the person among max_people, as long as the person stays
};

struct Counters {
  std::int64_t frames = 0;   // pushed
  std::int64_t dropped = 0;  // of these, late or repeated
  std::int64_t resets = 0;   // gaps longer than max_gap_s
  std::int64_t lost = 0;     // people lost from sight, or gone
};

// Not for use from several threads at once. Throws std::invalid_argument, before anything is changed. Allocates
// nothing after the layouts are added, but to relabel.
class Session {
 public:
  explicit Session(Config config) : config_(std::move(config)) {
    validate(config_);
    mapped_.resize(3 * config_.joints);
    people_.reserve(config_.max_people);
    for (int slot = 0; slot < config_.max_people; ++slot) people_.emplace_back(config_);
  }
  Session(const Session&) = delete;  // people refer to config_
  Session& operator=(const Session&) = delete;

  // Labels are others from now on: a running action ends without an event, scores start anew, all else stays.
  void relabel(int labels, int none) {
    config_ = relabelled(config_, labels, none);
    for (Person& p : people_) p.decider.relabel();
  }

  // weights [V, S] of a sensor's skeleton; returns its number, for push.
  int add_layout(const float* weights_VS, int source_joints) {
    layouts_.emplace_back(weights_VS, config_.joints, source_joints);
    return static_cast<int>(layouts_.size()) - 1;
  }

  // Throws what pushing n different people at time t would, whatever their poses.
  void check(double t, int n, const PersonId* people, int layout) const {
    layout_at(layout);
    require(n == 0 || std::abs(t) <= kMaxTimeS, "t of person ", n == 0 ? 0 : people[0], " is ", t,
            ", expected seconds, finite and within ", kMaxTimeS);
    const auto is_here = [&](const Person& p) {
      return p.here && (std::find(people, people + n, p.id) != people + n || !is_absent(p, t));
    };
    int here = static_cast<int>(std::count_if(people_.begin(), people_.end(), is_here));
    for (int i = 0; i < n; ++i)
      if (slot_of(people[i]) < 0)
        require(here++ < config_.max_people, "person ", people[i], " is one too many, expected at most ",
                config_.max_people, " people at once");
  }

  // joints [S, 3] metres; confidence [S] or null; t in seconds, rising: what is not later than the frame before is
  // dropped, unless it is the second in a row that is more than max_gap_s earlier: the clock has been set back then,
  // which is a gap to everybody. The frames that are due to the network are
  // fetched by `next`, until it has none, before the person is pushed again.
  Pushed push(PersonId person, double t, const float* joints_S3, const float* confidence_S, int layout) {
    check(t, 1, &person, layout);
    int slot = slot_of(person);
    const bool is_new = slot < 0;
    if (is_new) slot = add(person);
    Person& p = people_[slot];
    ++counters_.frames;
    const bool long_ago = !is_new && p.last_s - t > config_.max_gap_s + kSlackS;
    const bool set_back = long_ago && t > p.late_s;  // the second one in a row is no straggler
    p.late_s = long_ago ? t : kInfinity;
    if (set_back) forget_clock(t);
    if (t <= p.last_s) {
      ++counters_.dropped;
      return {Status::dropped, false, slot};
    }
    const bool gap = !is_new && is_absent(p, t);
    if (gap) {
      p.restart();
      ++counters_.resets;
    }
    p.last_s = t;
    layouts_[layout].apply(joints_S3, confidence_S, mapped_.data());
    const Status status = p.track.push(t, mapped_.data());
    if (status == Status::lost) {
      p.restart();
      ++counters_.lost;
    }
    return {status, is_new || gap || status == Status::lost, slot};
  }

  // Writes the next frame [V, 3] that is due; false: there is none.
  bool next(int slot, float* frame_V3) { return people_[slot].track.next(frame_V3); }

  // logits [C] of a frame that next gave.
  void observe(int slot, const float* logits_C) {
    for (int c = 0; c < config_.labels; ++c)
      require(std::isfinite(logits_C[c]), "logits[", c, "] of person ", people_[slot].id, " is ", logits_C[c],
              ", expected a finite number");
    people_[slot].decider.observe(logits_C);
  }

  Decision decide(int slot, float* scores_C) { return people_[slot].decider.decide(scores_C); }
  Decision decide_clip(int slot, float* probs_C) const { return people_[slot].decider.decide_clip(probs_C); }

  // Slot of somebody who has not been pushed for over max_gap_s at time t, whose last decision is the end of the
  // action that was going on; -1: nobody. To be reset before the next call.
  int absent(double t) {
    for (std::size_t slot = 0; slot < people_.size(); ++slot)
      if (people_[slot].here && is_absent(people_[slot], t)) {
        people_[slot].restart();
        ++counters_.lost;
        return static_cast<int>(slot);
      }
    return -1;
  }

  // Forgets a person, pending event included; an unknown one is no error.
  void reset(PersonId person) {
    const int slot = slot_of(person);
    if (slot >= 0) people_[slot].here = false;
  }
  void reset() {
    for (Person& p : people_) p.here = false;
  }

  // Throws if the person is not here.
  int find(PersonId person) const {
    const int slot = slot_of(person);
    if (slot < 0) fail("person ", person, " is unknown, ", people().size(), " were pushed");
    return slot;
  }

  PersonId person_at(int slot) const { return people_[slot].id; }

  std::vector<PersonId> people() const {
    std::vector<PersonId> ids;
    for (const Person& p : people_)
      if (p.here) ids.push_back(p.id);
    std::sort(ids.begin(), ids.end());
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
    PersonId id = 0;
    bool here = false;
    double last_s = 0;
    double late_s = 0;  // of the frame before, if it was dropped as one from long ago; else infinite
    Track track;
    Decider decider;
  };

  int slot_of(PersonId person) const {
    const auto is_person = [&](const Person& p) { return p.here && p.id == person; };
    const auto p = std::find_if(people_.begin(), people_.end(), is_person);
    return p == people_.end() ? -1 : static_cast<int>(p - people_.begin());
  }

  bool is_absent(const Person& p, double t) const { return t - p.last_s > config_.max_gap_s + kSlackS; }

  // Whoever was seen at times that are yet to come now was last seen before the clock was set back to t.
  void forget_clock(double t) {
    for (Person& p : people_)
      if (p.last_s - t > config_.max_gap_s + kSlackS) p.last_s = -kInfinity;
  }

  // Takes a free slot, else that of whoever has not been pushed for longest: trackers number people on and on.
  int add(PersonId person) {
    const auto rank = [](const Person& p) { return p.here ? p.last_s : -kInfinity; };
    auto place = people_.begin();
    for (auto p = people_.begin(); p != people_.end(); ++p)
      if (rank(*p) < rank(*place)) place = p;
    place->id = person;
    place->here = true;
    place->last_s = -kInfinity;
    place->late_s = kInfinity;
    place->track.restart();
    place->decider.clear();
    return static_cast<int>(place - people_.begin());
  }

  Config config_;
  std::vector<LayoutMap> layouts_;
  std::vector<Person> people_;  // [max_people]
  Counters counters_;
  std::vector<float> mapped_;  // [V, 3]
};

}  // namespace motionrt
