// Settings of a Session, and their limits.
#pragma once

#include <cmath>
#include <vector>

#include "alarms.hpp"
#include "errors.hpp"

namespace motionrt {

constexpr int kMaxJoints = 256;  // of a model's or a sensor's skeleton
constexpr int kMaxPeople = 1024;
constexpr double kMaxRateHz = 1000;
constexpr double kMaxReachM = 1000;
constexpr double kMinReach = 0.1;  // of reach_m: people with all joints nearer to the root are too small to be any
constexpr double kMaxGapS = 60;
constexpr double kMaxBoneM = 10;
constexpr double kTrunkM = 0.5;       // from the root to the neck, without bones
constexpr double kHipsOfWidth = 0.5;  // of the shoulders, for hips that are not seen
constexpr double kMaxTimeS = 1e11;    // beyond it a double cannot resolve a frame; timestamps in ms or ns are there
constexpr double kSlackS = 1e-4;      // rounding tolerance of time comparisons

struct Config {
  int joints = 0;                // V
  int root = 0;                  // joint that poses are centered on
  std::vector<int> left, right;  // hips and shoulders, which give the facing direction
  std::vector<int> parents;      // [V] -1: no parent; needed with bones, with `flat`, and for sensors without legs
  std::vector<double> bones;     // [V] lengths of the bones to the parents, m, that poses get; empty: they keep theirs
  bool flat = false;             // whether 2-D layouts are taken, too
  double rate_hz = 20;           // of the model's input frames
  double facing_s = 1;           // time constant of the facing direction; <= 0: poses are not rotated
  double reach_m = 2;            // a joint farther than this from the root is an outlier
  double max_gap_s = 0.5;        // longest gap that is filled
  int max_people = 16;

  // With `flat` only: the joint with both shoulders, and its distance from the root.
  int neck() const { return parents[left[1]]; }
  double trunk_m() const {
    double length_m = 0;
    for (int v = neck(); v >= 0 && v != root && !bones.empty(); v = parents[v]) length_m += bones[v];
    return length_m > 0 ? length_m : kTrunkM;
  }

  // Bones between a joint and the hip above it, 0 for a hip; -1 for any other joint, or without parents.
  int below_hip(int joint) const {
    if (parents.empty() || left.size() < 2) return -1;
    int below = 0;
    for (; joint >= 0 && joint != left[0] && joint != right[0]; ++below) joint = parents[joint];
    return joint >= 0 ? below : -1;
  }

  int labels = 0;          // C
  int none = -1;           // label that means "no action"; -1 if there is none
  double temperature = 1;  // logits are divided by it
  double smooth_s = 0.2;   // time constant of the scores; <= 0: not smoothed
  double on = 0.6;         // score at which an action starts
  double off = 0.3;        // score below which it ends
  double hold_s = 0.1;     // how long the score must stay at `on`
  double others = 1;       // share of the probability of labels that were not chosen that counts as none

  Thresholds by_label;       // by the network's label, instead of `on` and `off`; empty: the same for all
  Thresholds flat_by_label;  // of 2-D poses; empty: as of 3-D ones

  // Of with_chosen: the network's labels that are left, none last, and the remaining ones; both empty: all are left.
  std::vector<int> chosen, rest;
  int outputs() const { return chosen.empty() ? labels : static_cast<int>(chosen.size() + rest.size()); }
};

inline void require_thresholds(double on, double off) {
  require(off >= 0 && off <= on && on <= 1, "off and on are ", off, " and ", on, ", expected 0 <= off <= on <= 1");
}

// Throws std::invalid_argument that names the setting, its value and its range.
inline void validate(const Config& c) {
  require(c.joints >= 1 && c.joints <= kMaxJoints, "joints is ", c.joints, ", expected 1 to ", kMaxJoints);
  require(c.root >= 0 && c.root < c.joints, "root is ", c.root, ", expected a joint index below ", c.joints);
  require(c.left.size() == c.right.size(), "left has ", c.left.size(), " joints and right ", c.right.size(),
          ", expected as many");
  require(c.facing_s <= 0 || !c.left.empty(), "left and right are empty, expected hip and shoulder indices");
  for (const auto* side : {&c.left, &c.right})
    for (const int joint : *side)
      require(joint >= 0 && joint < c.joints, side == &c.left ? "left" : "right", " holds joint ", joint,
              ", expected a joint index below ", c.joints);
  if (!c.bones.empty() || !c.parents.empty() || c.flat) {
    require(c.bones.empty() || static_cast<int>(c.bones.size()) == c.joints, "bones has ", c.bones.size(),
            " lengths, expected ", c.joints);
    for (const double length : c.bones)
      require(length >= 0 && length <= kMaxBoneM, "bones holds ", length, ", expected 0 to ", kMaxBoneM);
    require(static_cast<int>(c.parents.size()) == c.joints, "parents has ", c.parents.size(), " joints, expected ",
            c.joints);
    for (const int parent : c.parents)
      require(parent >= -1 && parent < c.joints, "parents holds joint ", parent,
              ", expected -1 or a joint index below ", c.joints);
    for (int v = 0; v < c.joints; ++v) {
      int above = v;
      for (int i = 0; i < c.joints && above >= 0; ++i) above = c.parents[above];
      require(above < 0, "parents makes joint ", v, " its own ancestor");
    }
  }
  if (c.flat)
    require(c.left.size() >= 2 && c.neck() >= 0 && c.neck() != c.root && c.neck() == c.parents[c.right[1]],
            "flat is set, expected hips, and shoulders with one parent, the neck");
  require(c.rate_hz > 0 && c.rate_hz <= kMaxRateHz, "rate_hz is ", c.rate_hz, ", expected above 0, at most ",
          kMaxRateHz);
  require(std::isfinite(c.facing_s), "facing_s is ", c.facing_s, ", expected a finite number of seconds");
  require(c.reach_m > 0 && c.reach_m <= kMaxReachM, "reach_m is ", c.reach_m, ", expected above 0, at most ",
          kMaxReachM);
  require(c.max_gap_s > 0 && c.max_gap_s <= kMaxGapS, "max_gap_s is ", c.max_gap_s, ", expected above 0, at most ",
          kMaxGapS);
  require(c.max_people >= 1 && c.max_people <= kMaxPeople, "max_people is ", c.max_people, ", expected 1 to ",
          kMaxPeople);

  require(c.labels >= 1, "labels is ", c.labels, ", expected at least 1");
  require(c.none >= -1 && c.none < c.labels, "none is ", c.none, ", expected -1 or a label index below ", c.labels);
  require(c.temperature > 0 && std::isfinite(c.temperature), "temperature is ", c.temperature, ", expected above 0");
  require(std::isfinite(c.smooth_s), "smooth_s is ", c.smooth_s, ", expected a finite number of seconds");
  require_thresholds(c.on, c.off);
  require(c.hold_s >= 0 && c.hold_s <= kMaxGapS, "hold_s is ", c.hold_s, ", expected 0 to ", kMaxGapS);
  require(c.others >= 0 && c.others <= 1, "others is ", c.others, ", expected 0 to 1");
  const auto count = static_cast<std::size_t>(c.outputs());
  for (const auto* t : {&c.by_label, &c.flat_by_label}) {
    require(t->on.size() == t->off.size() && (t->on.empty() || t->on.size() == count), "on_C and off_C have ",
            t->on.size(), " and ", t->off.size(), " values, expected none or ", count, ", one per label");
    for (std::size_t i = 0; i < t->on.size(); ++i) require_thresholds(t->on[i], t->off[i]);
  }
}

// The same settings for a network with other labels.
inline Config with_labels(Config c, int labels, int none) {
  c.labels = labels;
  c.none = none;
  validate(c);
  return c;
}

// The same settings for some of the network's labels, in this order, and none; for all labels if there are none given.
inline Config with_chosen(const Config& all, const std::vector<int>& labels) {
  Config c = all;
  if (labels.empty()) return c;
  std::vector<bool> is_chosen(all.labels, false);
  for (const int label : labels) {
    require(label >= 0 && label < all.labels && label != all.none && !is_chosen[label], "chosen holds ", label,
            ", expected different labels below ", all.labels, " other than none");
    is_chosen[label] = true;
  }
  c.chosen = labels;
  if (all.none >= 0) {
    c.chosen.push_back(all.none);
    is_chosen[all.none] = true;
    c.none = static_cast<int>(labels.size());
  }
  for (int label = 0; label < all.labels; ++label)
    if (!is_chosen[label]) c.rest.push_back(label);
  c.labels = static_cast<int>(c.chosen.size());
  return c;
}

}  // namespace motionrt
