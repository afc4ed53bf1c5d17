#include "tracker.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "config.hpp"

namespace motionrt {

namespace {

constexpr double kReach = 0.5;       // body sizes
constexpr double kVelocityS = 0.15;  // time constant of a velocity
constexpr double kShapeSpan = 0.2;   // shape distance that costs as much as no overlap
constexpr double kMaxCost = 1 + kReach + 1;

constexpr double kPoint = 1e-4;  // several joints this close together in all directions are nobody

constexpr double kShapeS = 10;     // time constant of a shape
constexpr double kFloor = 0.02;    // least spread of a bone, relative to its length
constexpr double kPrior = 0.1;     // spread of a bone that has been seen once
constexpr double kOutlier = 0.3;   // larger differences count as this one
constexpr double kNoShape = 0.05;  // distance if shapes cannot be compared

// A shape that was observed for kKnownS in kKnownFrames is remembered for kRememberS. Its id is reused at a shape
// distance of up to kSameNoise times that of the person's own poses, but within kSameFloor to kSame, if everybody
// else is farther away by kMargin.
constexpr double kRememberS = 10;
constexpr double kKnownS = 1;
constexpr int kKnownFrames = 15;
constexpr double kSameNoise = 1.25;
constexpr double kSameFloor = 0.02;
constexpr double kSame = 0.04;
constexpr double kMargin = 0.02;

constexpr double kInfinite = std::numeric_limits<double>::infinity();

double overlap(const double* a_low, const double* a_high, const double* b_low, const double* b_high) {
  double shared = 1, a = 1, b = 1;
  for (int axis = 0; axis < 2; ++axis) {
    shared *= std::max(0.0, std::min(a_high[axis], b_high[axis]) - std::max(a_low[axis], b_low[axis]));
    a *= a_high[axis] - a_low[axis];
    b *= b_high[axis] - b_low[axis];
  }
  const double either = a + b - shared;
  return either > 0 ? shared / either : 0;
}

}  // namespace

Tracker::Tracker(TrackerConfig config) : config_(std::move(config)) {
  require(std::isfinite(config_.forget_s) && config_.forget_s >= 0, "forget_s is ", config_.forget_s,
          ", expected seconds, not negative");
  require(config_.max_people >= 1 && config_.max_people <= kMaxPeople, "max_people is ", config_.max_people,
          ", expected 1 to ", kMaxPeople);
  const int joints = static_cast<int>(config_.parents.size());
  require(joints <= kMaxJoints, "parents has ", joints, " joints, expected at most ", kMaxJoints);
  for (int v = 0; v < joints; ++v) {
    const int parent = config_.parents[v];
    require(parent >= -1 && parent < joints && parent != v, "parents[", v, "] is ", parent,
            ", expected -1 or another joint's index below ", joints);
    if (parent >= 0) bones_.push_back({v, parent});
  }
  people_.resize(config_.max_people);
  for (Person& person : people_) {
    person.mean.resize(bones_.size());
    person.spread.resize(bones_.size());
  }
  bodies_.reserve(kReservedPoses);
  shapes_.reserve(kReservedPoses * bones_.size());
  rows_.reserve(config_.max_people);
  columns_.reserve(kReservedPoses);
  costs_.reserve(config_.max_people * kReservedPoses);
  assignment_.reserve(config_.max_people, kReservedPoses);
}

void Tracker::reset() {
  for (Person& person : people_) person.state = State::free;
  started_ = false;
}

void Tracker::assign(double t, int n, const TrackedPose* poses, int dims, int* ids) {
  require(std::abs(t) <= kMaxTimeS, "t is ", t, ", expected seconds, finite and within ", kMaxTimeS);
  require(dims == 2 || dims == 3, "poses have ", dims, " dimensions, expected 2 or 3");
  dims_ = dims;
  bodies_.resize(n);
  shapes_.resize(n * bones_.size());
  for (int i = 0; i < n; ++i) measure(poses[i], bodies_[i], shapes_.data() + bones_.size() * i);
  std::fill(ids, ids + n, -1);
  forget(t);
  match(t, n, ids);

  columns_.clear();
  for (int i = 0; i < n; ++i)
    if (ids[i] < 0 && bodies_[i].visible) columns_.push_back(i);
  const auto is_tracked = [](const Person& person) { return person.state == State::tracked; };
  std::sort(columns_.begin(), columns_.end(), [&](int a, int b) {
    return bodies_[a].confidence != bodies_[b].confidence ? bodies_[a].confidence > bodies_[b].confidence : a < b;
  });
  const std::size_t room = people_.size() - std::count_if(people_.begin(), people_.end(), is_tracked);
  if (columns_.size() > room) columns_.resize(room);
  reidentify(static_cast<int>(columns_.size()), ids);
  for (const int i : columns_) {
    if (ids[i] < 0) {
      const auto before = [](const Person& a, const Person& b) {  // the first free one, else the one away longest
        if (a.state != b.state) return a.state == State::free || b.state == State::tracked;
        return a.state == State::remembered && a.t < b.t;
      };
      ids[i] = static_cast<int>(std::min_element(people_.begin(), people_.end(), before) - people_.begin());
      people_[ids[i]].shape_s = 0;
      people_[ids[i]].frames = 0;
      people_[ids[i]].self_distance = 0;
    }
    enter(people_[ids[i]], t, i);
  }
  latest_s_ = t;
  started_ = true;
}

void Tracker::measure(const TrackedPose& pose, Body& body, double* shape_B) const {
  const auto joint = [&](int v) { return pose.joints_VD + dims_ * v; };
  const auto is_seen = [&](int v) {
    if (pose.confidences == pose.joints && pose.joints > 1 && !(pose.confidence[v] > 0)) return false;
    return std::all_of(joint(v), joint(v) + dims_, [](float x) { return std::isfinite(x); });
  };
  body = {{kInfinite, kInfinite}, {-kInfinite, -kInfinite}, {0, 0, 0}, 0, false};
  int seen = 0;
  const float* first = nullptr;
  bool has_extent = false;
  for (int v = 0; v < pose.joints; ++v) {
    if (!is_seen(v)) continue;
    if (seen++ == 0) first = joint(v);
    for (int axis = 0; axis < dims_; ++axis) {
      const double x = joint(v)[axis];
      has_extent |= std::abs(x - first[axis]) > kPoint;
      body.center[axis] += x;
      if (axis == 2) continue;
      body.low[axis] = std::min(body.low[axis], x);
      body.high[axis] = std::max(body.high[axis], x);
    }
  }
  body.visible = seen == 1 || has_extent;
  for (double& center : body.center) center /= std::max(seen, 1);
  for (int i = 0; i < pose.confidences; ++i)
    if (!std::isnan(pose.confidence[i])) body.confidence += std::clamp(double(pose.confidence[i]), -1e30, 1e30);
  body.confidence /= std::max(pose.confidences, 1);

  const bool has_shape = pose.joints == static_cast<int>(config_.parents.size());
  for (std::size_t b = 0; b < bones_.size(); ++b) {
    shape_B[b] = std::numeric_limits<double>::quiet_NaN();
    const auto [child, parent] = bones_[b];
    if (!has_shape || !is_seen(child) || !is_seen(parent)) continue;
    double squared = 0;
    for (int axis = 0; axis < dims_; ++axis) {
      const double difference = double(joint(child)[axis]) - joint(parent)[axis];
      squared += difference * difference;
    }
    if (squared > 0) shape_B[b] = std::log(squared) / 2;
  }
}

// Releases the ids of people out of sight for too long, and later forgets their shapes.
void Tracker::forget(double t) {
  if (started_ && latest_s_ - t > config_.forget_s + kSlackS) reset();
  for (Person& person : people_) {
    const double away_s = std::abs(t - person.t) - config_.forget_s - kSlackS;
    if (person.state == State::tracked && away_s > 0)
      person.state = !bones_.empty() && person.shape_s >= kKnownS && person.frames >= kKnownFrames ? State::remembered
                                                                                                   : State::free;
    if (person.state == State::remembered && away_s > kRememberS) person.state = State::free;
  }
}

// Assigns the ids of tracked people.
void Tracker::match(double t, int n, int* ids) {
  rows_.clear();
  columns_.clear();
  for (int id = 0; id < config_.max_people; ++id)
    if (people_[id].state == State::tracked) rows_.push_back(id);
  for (int i = 0; i < n; ++i)
    if (bodies_[i].visible) columns_.push_back(i);
  if (rows_.empty() || columns_.empty()) return;
  // Leaving out a pair costs as much as the worst possible pair.
  costs_.clear();
  for (const int id : rows_)
    for (const int i : columns_) costs_.push_back(std::min(cost(people_[id], t, i) - kMaxCost, 0.0));
  const int M = static_cast<int>(columns_.size());
  const std::vector<int>& column_of = assignment_.solve(static_cast<int>(rows_.size()), M, costs_.data());
  for (std::size_t p = 0; p < rows_.size(); ++p) {
    if (column_of[p] < 0 || costs_[p * M + column_of[p]] >= 0) continue;
    const int i = columns_[column_of[p]];
    ids[i] = rows_[p];
    update(people_[ids[i]], t, i);
  }
}

double Tracker::cost(const Person& person, double t, int pose) const {
  const Body &last = person.body, &found = bodies_[pose];
  const double ahead_s = t - person.t;
  double low[2], high[2], squared = 0;
  for (int axis = 0; axis < 2; ++axis) {
    low[axis] = last.low[axis] + person.velocity[axis] * ahead_s;
    high[axis] = last.high[axis] + person.velocity[axis] * ahead_s;
  }
  for (int axis = 0; axis < dims_; ++axis) {
    const double off = last.center[axis] + person.velocity[axis] * ahead_s - found.center[axis];
    squared += off * off;
  }
  const auto diagonal = [](const double* from, const double* to) {
    return std::hypot(to[0] - from[0], to[1] - from[1]);
  };
  const double size = std::max({diagonal(low, high), diagonal(found.low, found.high), 1e-9});
  const double distance = std::sqrt(squared) / size;
  if (!(distance <= kReach)) return kInfinite;
  const double shape_cost = std::min(1.0, shape_distance(person, shape(pose)) / kShapeSpan);
  return 1 - overlap(low, high, found.low, found.high) + distance + shape_cost;
}

// kNoShape if fewer than half of the bones can be compared.
double Tracker::shape_distance(const Person& person, const double* shape_B) const {
  const std::size_t B = bones_.size();
  const auto weight = [&](std::size_t b) {
    const double difference = shape_B[b] - person.mean[b];
    return std::isfinite(difference) ? 1 / (person.spread[b] + kFloor * kFloor) : 0.0;
  };
  double total = 0, scale = 0;
  std::size_t compared = 0;
  for (std::size_t b = 0; b < B; ++b) {
    const double w = weight(b);
    if (w == 0) continue;
    ++compared;
    total += w;
    scale += w * (shape_B[b] - person.mean[b]);
  }
  if (B == 0 || person.frames == 0 || 2 * compared < B) return kNoShape;
  scale = dims_ == 2 ? scale / total : 0;  // pixels: only proportions count
  double squared = 0;
  for (std::size_t b = 0; b < B; ++b) {
    const double w = weight(b);
    if (w == 0) continue;
    const double difference = std::clamp(shape_B[b] - person.mean[b] - scale, -kOutlier, kOutlier);
    squared += w * difference * difference;
  }
  return std::sqrt(squared / total);
}

// Reuses the ids of remembered people for those of n newcomers, the columns, whose shape clearly matches.
void Tracker::reidentify(int n, int* ids) {
  rows_.clear();
  for (int id = 0; id < config_.max_people; ++id)
    if (people_[id].state == State::remembered) rows_.push_back(id);
  const int P = static_cast<int>(rows_.size());
  costs_.clear();
  for (const int id : rows_)
    for (const int i : columns_) costs_.push_back(shape_distance(people_[id], shape(i)));
  const auto is_clear = [&](int p, int m) {
    const double own = costs_[p * n + m];
    if (own > std::clamp(kSameNoise * people_[rows_[p]].self_distance, kSameFloor, kSame)) return false;
    for (int other = 0; other < P; ++other)
      if (other != p && costs_[other * n + m] < own + kMargin) return false;
    for (int other = 0; other < n; ++other)
      if (other != m && costs_[p * n + other] < own + kMargin) return false;
    return true;
  };
  for (int p = 0; p < P; ++p)
    for (int m = 0; m < n; ++m)
      if (is_clear(p, m)) {
        ids[columns_[m]] = rows_[p];
        people_[rows_[p]].state = State::tracked;  // not free for others
      }
}

void Tracker::enter(Person& person, double t, int pose) {
  person.state = State::tracked;
  person.t = t;
  person.body = bodies_[pose];
  std::fill(person.velocity, person.velocity + 3, 0.0);
  person.observed_s = 0;
  update_shape(person, 0, shape(pose));
}

void Tracker::update(Person& person, double t, int pose) {
  const Body& body = bodies_[pose];
  const double passed_s = t - person.t;
  if (passed_s > 0) {
    person.observed_s += passed_s;
    const double weight =
        std::max(passed_s / person.observed_s, 1 - std::exp(-passed_s / kVelocityS));  // a mean at first
    for (int axis = 0; axis < 3; ++axis)
      person.velocity[axis] +=
          weight * ((body.center[axis] - person.body.center[axis]) / passed_s - person.velocity[axis]);
    update_shape(person, passed_s, shape(pose));
  }
  person.t = t;
  person.body = body;
}

void Tracker::update_shape(Person& person, double passed_s, const double* shape_B) {
  person.shape_s += passed_s;
  const double weight = std::max(1.0 / double(person.frames + 1), 1 - std::exp(-passed_s / kShapeS));
  if (person.frames > 0) person.self_distance += weight * (shape_distance(person, shape_B) - person.self_distance);
  for (std::size_t b = 0; b < bones_.size(); ++b) {
    if (person.frames == 0) {
      person.mean[b] = shape_B[b];
      person.spread[b] = kPrior * kPrior;
      continue;
    }
    if (!std::isfinite(person.mean[b])) person.mean[b] = shape_B[b];
    double difference = shape_B[b] - person.mean[b];
    if (!std::isfinite(difference)) continue;
    difference = std::clamp(difference, -kOutlier, kOutlier);
    person.mean[b] += weight * difference;
    person.spread[b] += weight * (difference * difference - person.spread[b]);
  }
  ++person.frames;
}

}  // namespace motionrt
