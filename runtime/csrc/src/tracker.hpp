// Multi-person tracking: ids that stay with people from frame to frame.
//
// Everybody tracked is predicted at constant velocity and matched to the poses of a frame by the assignment of lowest
// total cost. The cost of a pair is
//
//   1 - IoU(predicted box, box) + |predicted center - center| / size + min(1, shape distance / kShapeSpan),
//
// where size is the larger box's diagonal; pairs more than kReach sizes apart are not matched. The shape of a body is
// the logarithm of its bone lengths (2-D: relative to the body's size), averaged over time; the shape distance of a
// pose is the root mean square of the differences, weighted by how constant each bone has been.
//
// Ids out of sight for forget_s are released, but well-known shapes are remembered for another kRememberS: a newcomer
// gets the old id back if the shape is close to a remembered one and to no other.
#pragma once

#include <cstdint>
#include <vector>

#include "assignment.hpp"

namespace motionrt {

struct TrackerConfig {
  double forget_s = 0.5;     // an id is kept this long out of sight
  int max_people = 16;       // ids are below it
  std::vector<int> parents;  // of every joint, -1 for a root; empty: shapes are not compared
};

// A pose to be tracked, of D dimensions: 2 are pixels, 3 meters.
struct TrackedPose {
  const float* joints_VD = nullptr;   // not finite: missing
  int joints = 0;                     // V; if the parents are of another number, shapes are not compared
  const float* confidence = nullptr;  // of every joint (0, less or NaN: missing), or of the pose
  int confidences = 0;                // V or 1; 0: not known. Their mean ranks newcomers when there are too many
};

// Not thread-safe. Allocates nothing after the constructor for up to kReservedPoses poses a frame. Throws
// std::invalid_argument before anything is changed.
class Tracker {
 public:
  static constexpr int kReservedPoses = 64;

  explicit Tracker(TrackerConfig config);

  // Writes the ids [n] of the poses at time t (s): that of the person, the smallest free one for a newcomer, -1 for a
  // pose without joints or with several joints in one point, and for newcomers beyond max_people, the least confident
  // ones. A clock that is set back by more than forget_s starts over.
  void assign(double t, int n, const TrackedPose* poses, int dims, int* ids);

  // Forgets everybody.
  void reset();

  const TrackerConfig& config() const { return config_; }

 private:
  struct Body {
    double low[2], high[2];  // box in x and y
    double center[3];
    double confidence;
    bool visible;
  };
  enum class State : char { free, tracked, remembered };
  struct Person {
    State state = State::free;
    double t = 0;  // last seen
    Body body = {};
    double velocity[3] = {};     // per second
    double observed_s = 0;       // how long the velocity has been observed
    double shape_s = 0;          // how long the shape has been observed
    std::int64_t frames = 0;     // of the shape
    double self_distance = 0;    // mean shape distance of the person's own poses
    std::vector<double> mean;    // [B] of log bone lengths; not finite: not seen yet
    std::vector<double> spread;  // [B] variance
  };

  void measure(const TrackedPose& pose, Body& body, double* shape_B) const;
  void forget(double t);
  void match(double t, int n, int* ids);
  void reidentify(int n, int* ids);
  void enter(Person& person, double t, int pose);
  void update(Person& person, double t, int pose);
  void update_shape(Person& person, double passed_s, const double* shape_B);
  double cost(const Person& person, double t, int pose) const;
  double shape_distance(const Person& person, const double* shape_B) const;
  const double* shape(int pose) const { return shapes_.data() + bones_.size() * pose; }

  struct Bone {
    int joint, parent;
  };
  TrackerConfig config_;
  std::vector<Bone> bones_;     // B
  std::vector<Person> people_;  // [max_people], by id
  double latest_s_ = 0;         // of the frame before
  bool started_ = false;
  // Of one call:
  int dims_ = 3;
  std::vector<Body> bodies_;    // [n]
  std::vector<double> shapes_;  // [n, B]
  std::vector<double> costs_;   // [P, M], or of newcomers
  std::vector<int> rows_, columns_;
  Assignment assignment_;
};

}  // namespace motionrt
