// Everything around the network, for several people: poses in, model frames out; logits in, decisions out.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "config.hpp"
#include "decider.hpp"
#include "flat_pose.hpp"
#include "hanging_legs.hpp"
#include "layout_map.hpp"
#include "pose_normalizer.hpp"

namespace motionrt {

using PersonId = std::int64_t;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct PushResult {
  Status status;
  bool reset;  // zero the network's state of this person before the frames that are due
  int slot;    // of the person, below max_people; constant while the person stays
};

struct Counters {
  std::int64_t frames = 0;   // pushed
  std::int64_t dropped = 0;  // late or repeated ones among them
  std::int64_t resets = 0;   // gaps longer than max_gap_s
  std::int64_t lost = 0;     // people out of sight or gone
};

// Not thread-safe. Throws std::invalid_argument before anything is changed. After the layouts are added, only relabel,
// choose and set_thresholds allocate.
class Session {
 public:
  explicit Session(Config config) : all_(std::move(config)), config_(all_) {
    validate(config_);
    mapped_.resize(3 * config_.joints);
    people_.reserve(config_.max_people);
    for (int slot = 0; slot < config_.max_people; ++slot) people_.emplace_back(config_);
  }
  Session(const Session&) = delete;  // people refer to config_
  Session& operator=(const Session&) = delete;

  // Changes the network's labels: a current action ends without an event, scores are reset, everything else stays.
  void relabel(int labels, int none) {
    all_ = with_labels(all_, labels, none);
    choose({});
  }

  // Limits the labels to some of the network's, in this order, and none: as `relabel`. Empty: all labels.
  void choose(const std::vector<int>& labels) {
    config_ = with_chosen(all_, labels);
    for (Person& p : people_) p.decider.relabel();
  }

  // Sets thresholds for each of the network's labels, from the next frame on; those of 2-D poses, or as of 3-D ones.
  void set_thresholds(Thresholds by_label, Thresholds flat_by_label = {}) {
    Config changed = all_;
    changed.by_label = std::move(by_label);
    changed.flat_by_label = std::move(flat_by_label);
    validate(changed);
    config_.by_label = changed.by_label;
    config_.flat_by_label = changed.flat_by_label;
    all_ = std::move(changed);
  }

  // Adds a sensor's skeleton by its weights [V, S]; returns its number, for push. Flat: its joints are in 2-D. Rows of
  // hips and joints below them may be zeros: in 3-D, legs without a source hang at rest.
  int add_layout(const float* weights_VS, int source_joints, bool is_flat = false) {
    require(!is_flat || config_.flat, "the layout is 2-D, the model takes 3-D ones only");
    LayoutMap map(weights_VS, config_.joints, source_joints, is_flat);
    legs_.emplace_back(config_, map);
    layouts_.push_back(std::move(map));
    return static_cast<int>(layouts_.size()) - 1;
  }

  // Throws if n different people cannot be pushed at time t.
  void check(double t, int n, const PersonId* people, int layout) const {
    layout_at(layout);
    require(n == 0 || std::abs(t) <= kMaxTimeS, "t of person ", n == 0 ? 0 : people[0], " is ", t,
            ", expected seconds, finite and within ", kMaxTimeS);
    const auto is_present = [&](const Person& p) {
      return p.present && (std::find(people, people + n, p.id) != people + n || !is_absent(p, t));
    };
    int present = static_cast<int>(std::count_if(people_.begin(), people_.end(), is_present));
    for (int i = 0; i < n; ++i)
      if (slot_of(people[i]) < 0)
        require(present++ < config_.max_people, "person ", people[i], " is one too many, expected at most ",
                config_.max_people, " people at once");
  }

  // joints [S, 3] meters, or [S, 2] in any unit; confidence [S] or null; t in seconds, increasing. A pose without
  // extent, such as the zeros of a sensor's unused slot, is nobody: all its joints count as missing. A frame that is
  // not later than the person's last one is dropped, unless it is the second consecutive one that is more than
  // max_gap_s earlier: then the clock was set back, which is a gap for everybody; so is, for a person, the change
  // between 2-D and 3-D. Before the next push of the person, fetch the frames that are due with `next` until there is
  // none.
  PushResult push(PersonId person, double t, const float* joints_SD, const float* confidence_S, int layout) {
    check(t, 1, &person, layout);
    int slot = slot_of(person);
    const bool is_new = slot < 0;
    if (is_new) slot = add(person);
    Person& p = people_[slot];
    ++counters_.frames;
    const bool is_early = !is_new && p.last_s - t > config_.max_gap_s + kSlackS;
    const bool clock_set_back = is_early && t > p.early_s;  // a second one is no straggler
    p.early_s = is_early ? t : kInfinity;
    if (clock_set_back) restart_clock(t);
    if (t <= p.last_s) {
      ++counters_.dropped;
      return {Status::dropped, false, slot};
    }
    const bool is_flat = layouts_[layout].is_flat();
    const bool gap = !is_new && (is_absent(p, t) || is_flat != p.is_flat);
    if (gap) {
      p.restart();
      ++counters_.resets;
    }
    p.last_s = t;
    p.is_flat = is_flat;
    p.decider.set_flat(is_flat);
    layouts_[layout].apply(joints_SD, confidence_S, mapped_.data());
    if (is_flat) p.flat_pose.apply(config_, t, mapped_.data());
    if (!has_extent()) std::fill(mapped_.begin(), mapped_.end(), std::numeric_limits<float>::quiet_NaN());
    if (!is_flat) legs_[layout].apply(config_, mapped_.data());
    const Status status = p.normalizer.push(t, mapped_.data(), is_flat);
    if (status == Status::lost) {
      p.restart();
      ++counters_.lost;
    }
    return {status, is_new || gap || status == Status::lost, slot};
  }

  // Writes the next frame [V, 3] that is due; false if there is none.
  bool next(int slot, float* frame_V3) { return people_[slot].normalizer.next(frame_V3); }

  // Takes the logits of all the network's labels for a frame that `next` wrote.
  void observe(int slot, const float* logits) {
    for (int c = 0; c < config_.outputs(); ++c)
      require(std::isfinite(logits[c]), "logits[", c, "] of person ", people_[slot].id, " is ", logits[c],
              ", expected a finite number");
    people_[slot].decider.observe(logits);
  }

  Decision decide(int slot, float* scores_C) { return people_[slot].decider.decide(scores_C); }
  Decision decide_clip(int slot, float* probs_C) const { return people_[slot].decider.decide_clip(probs_C); }

  // Slot of a person who was not pushed for more than max_gap_s at time t, -1 if there is none. The person's last
  // decision is the offset of the current action. Reset the person before the next call.
  int find_absent(double t) {
    for (std::size_t slot = 0; slot < people_.size(); ++slot)
      if (people_[slot].present && is_absent(people_[slot], t)) {
        people_[slot].restart();
        ++counters_.lost;
        return static_cast<int>(slot);
      }
    return -1;
  }

  // Forgets a person and the pending event. An unknown person is not an error.
  void reset(PersonId person) {
    const int slot = slot_of(person);
    if (slot >= 0) people_[slot].present = false;
  }
  void reset() {
    for (Person& p : people_) p.present = false;
  }

  // Slot of a person; throws if the person is unknown.
  int find(PersonId person) const {
    const int slot = slot_of(person);
    if (slot < 0) throw_invalid_argument("person ", person, " is unknown, ", people().size(), " were pushed");
    return slot;
  }

  PersonId person_at(int slot) const { return people_[slot].id; }

  std::vector<PersonId> people() const {
    std::vector<PersonId> ids;
    for (const Person& p : people_)
      if (p.present) ids.push_back(p.id);
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
    explicit Person(const Config& config) : normalizer(config), decider(config) {}
    void restart() {
      flat_pose = {};
      normalizer.restart();
      decider.restart();
    }
    PersonId id = 0;
    bool present = false;
    double last_s = 0;
    double early_s = 0;    // of the previous frame if it was dropped as more than max_gap_s too early, else infinite
    bool is_flat = false;  // last pose
    FlatPose flat_pose;
    PoseNormalizer normalizer;
    Decider decider;
  };

  int slot_of(PersonId person) const {
    const auto is_person = [&](const Person& p) { return p.present && p.id == person; };
    const auto p = std::find_if(people_.begin(), people_.end(), is_person);
    return p == people_.end() ? -1 : static_cast<int>(p - people_.begin());
  }

  bool is_absent(const Person& p, double t) const { return t - p.last_s > config_.max_gap_s + kSlackS; }

  // Whether the mapped pose is as large as a person: a joint is far enough from the root, or from the first one seen.
  bool has_extent() const {
    const double least_m = kMinReach * config_.reach_m;
    const float* center = mapped_.data() + 3 * config_.root;
    for (int v = 0; v < config_.joints && !is_finite3(center); ++v) center = mapped_.data() + 3 * v;
    for (int v = 0; v < config_.joints; ++v) {
      double squared = 0;
      for (int axis = 0; axis < 3; ++axis) {
        const double difference = static_cast<double>(mapped_[3 * v + axis]) - center[axis];
        squared += difference * difference;
      }
      if (squared >= least_m * least_m) return true;  // never true of NaN
    }
    return false;
  }

  // After the clock was set back to t, everybody with a time in the future was last seen before that.
  void restart_clock(double t) {
    for (Person& p : people_)
      if (p.last_s - t > config_.max_gap_s + kSlackS) p.last_s = -kInfinity;
  }

  // Takes a free slot, else that of the person pushed least recently: some trackers never reuse a number.
  int add(PersonId person) {
    const auto rank = [](const Person& p) { return p.present ? p.last_s : -kInfinity; };
    auto slot = people_.begin();
    for (auto p = people_.begin(); p != people_.end(); ++p)
      if (rank(*p) < rank(*slot)) slot = p;
    slot->id = person;
    slot->present = true;
    slot->last_s = -kInfinity;
    slot->early_s = kInfinity;
    slot->flat_pose = {};
    slot->normalizer.restart();
    slot->decider.clear();
    return static_cast<int>(slot - people_.begin());
  }

  Config all_;     // for all the network's labels
  Config config_;  // for the chosen ones
  std::vector<LayoutMap> layouts_;
  std::vector<HangingLegs> legs_;  // of each layout
  std::vector<Person> people_;     // [max_people]
  Counters counters_;
  std::vector<float> mapped_;  // [V, 3]
};

}  // namespace motionrt
