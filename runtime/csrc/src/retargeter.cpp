#include "retargeter.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "layouts.hpp"

namespace motionrt {

namespace {

constexpr int kBodyJoints = 22;
constexpr int kIterations = 3, kFirstIterations = 60;
constexpr int kMaxIterations = 12;                         // while a resting foot slides or the robot hits itself
constexpr double kSettled_m = 0.002, kLost_m = 0.005;      // a resting foot farther away from its place is let go
constexpr double kClearance_m = 0.01, kGapWeight = 200;    // wanted between parts of the body
constexpr int kNeighbors = 2;                              // parts with fewer joints between them may touch
constexpr double kMaxSpeed = 10, kMaxRootSpeed = 10;       // rad/s
constexpr double kMaxRootVelocity = 8, kMaxShiftRate = 1;  // m/s
constexpr double kMaxGap_s = 0.1;                          // after a longer one, moves as slowly as after this one
constexpr double kMaxTurn = 0.4, kMaxMove_m = 0.3;         // of one iteration: rad of a joint
constexpr double kRestWeight = 3e-4, kDamping = 1e-3, kRootDamping = 1e-6;
constexpr double kContactWeight = 200, kAnkleWeight = 2, kToeWeight = 1, kLevelWeight = 0.1;
constexpr double kLevel_m = 0.05;                                          // from the ankle to the point beside it
constexpr double kSlow = 0.3, kFast = 0.5, kLow_m = 0.04, kHigh_m = 0.07;  // a foot starts and ends to rest (m/s)
constexpr double kFlat = 0.1;          // a resting foot pitched less than this, in rad, is flat
constexpr double kMaxStretch_m = 0.1;  // a resting foot that should be farther away is let go
constexpr double kFloorRise_s = 20, kShiftDecay_s = 5;
constexpr double kHumanLeg_m = 0.8;                                                      // until a leg is seen
constexpr double kRadius_m[kRobotKeypoints / 2] = {0.08, 0.05, 0, 0.06, 0.04, 0.04, 0};  // of the body at keypoints
constexpr double kWeights[kRobotKeypoints / 2] = {2, 1, kAnkleWeight, 1, 1, 1.5, kToeWeight};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool unit(Vec3 v, Vec3& out) {
  const double norm = length(v);
  if (!(norm > 0.01)) return false;
  out = (1 / norm) * v;
  return true;
}

// Rotation of a foot whose toes point to a heading (rad, about z) and down by a pitch.
Mat3 foot_rotation(double heading, double pitch) {
  return rotation_about({0, 0, 1}, heading) * rotation_about({0, 1, 0}, pitch);
}

// The closest points of two line segments (Ericson, Real-Time Collision Detection, 2005, section 5.1.9).
void closest_points(const std::array<Vec3, 2>& a, const std::array<Vec3, 2>& b, Vec3& on_a, Vec3& on_b) {
  const Vec3 u = a[1] - a[0], v = b[1] - b[0], apart = a[0] - b[0];
  const double uu = dot(u, u), vv = dot(v, v), uv = dot(u, v), ur = dot(u, apart), vr = dot(v, apart);
  const auto part = [](double x, double of) { return of > 1e-12 ? std::clamp(x / of, 0., 1.) : 0.; };
  double s = part(uv * vr - ur * vv, uu * vv - uv * uv), t = part(uv * s + vr, vv);
  s = part(uv * t - ur, uu);
  on_a = a[0] + s * u;
  on_b = b[0] + t * v;
}

double heading_of(Vec3 v) { return std::atan2(v.y, v.x); }

}  // namespace

Retargeter::Retargeter(Robot robot, const float* weights_VS, int source_joints)
    : robot_(std::move(robot)),
      map_(weights_VS, kBodyJoints, source_joints),
      root_variable_(static_cast<int>(robot_.joints.size())),
      variables_(root_variable_ + 6) {
  const auto n = static_cast<std::size_t>(variables_);
  frame_V3_.resize(3 * kBodyJoints);
  body_.resize(kBodyJoints);
  body_seen_.resize(kBodyJoints);
  links_.resize(robot_.links.size());
  angles_.resize(robot_.joints.size());
  last_angles_.resize(robot_.joints.size());
  before_.resize(robot_.joints.size());
  for (auto* buffer : {&gradient_, &step_, &lower_, &upper_, &right_}) buffer->resize(n);
  hessian_.resize(n * n);
  factor_.resize(n * n);
  variable_.resize(robot_.joints.size());
  free_.resize(n);
  fixed_.resize(n);
  order_variables();
  measure_robot();
  find_pairs();
  reset();
}

// Variables are eliminated from the ends of the limbs to the root, one limb after the other: then most of the factor is
// zero (Featherstone, Rigid Body Dynamics Algorithms, 2008, section 6.5).
void Retargeter::order_variables() {
  std::vector<int> pending = {0};
  for (int next = root_variable_; !pending.empty();) {
    const int link = pending.back(), joint = robot_.links[link].joint;
    pending.pop_back();
    if (joint >= 0) variable_[joint] = --next;
    for (std::size_t i = 0; i < robot_.links.size(); ++i)
      if (robot_.links[i].parent == link) pending.push_back(static_cast<int>(i));
  }
}

// Pairs of parts that are apart at rest and have joints enough between them.
void Retargeter::find_pairs() {
  const auto joints_of = [&](int link) {
    std::vector<int> joints;
    for (; link >= 0; link = robot_.links[link].parent)
      if (robot_.links[link].joint >= 0) joints.push_back(robot_.links[link].joint);
    std::sort(joints.begin(), joints.end());
    return joints;
  };
  const int count = static_cast<int>(robot_.capsules.size());
  axes_.resize(robot_.capsules.size());
  for (int a = 0; a < count; ++a)
    for (int b = a + 1; b < count; ++b) {
      const auto of_a = joints_of(robot_.capsules[a].link), of_b = joints_of(robot_.capsules[b].link);
      const RobotCapsule &one = robot_.capsules[a], &other = robot_.capsules[b];
      const double radii = one.radius + other.radius;
      const double reach = 0.5 * (length(one.to - one.from) + length(other.to - other.from)) + radii;
      Pair pair{a, b, radii, reach, {}, {}};
      std::set_difference(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(), std::back_inserter(pair.of_a));
      std::set_difference(of_b.begin(), of_b.end(), of_a.begin(), of_a.end(), std::back_inserter(pair.of_b));
      if (pair.of_a.size() + pair.of_b.size() > kNeighbors) pairs_.push_back(std::move(pair));
    }
  for (std::size_t j = 0; j < angles_.size(); ++j) angles_[j] = robot_.joints[j].rest;
  update_links();
  gaps_.resize(pairs_.size());
  find_gaps(kInfinity);
  std::vector<Pair> apart;
  for (std::size_t i = 0; i < pairs_.size(); ++i)
    if (gaps_[i].distance > kClearance_m) apart.push_back(std::move(pairs_[i]));
  pairs_ = std::move(apart);
  gaps_.resize(pairs_.size());
}

void Retargeter::measure_robot() {
  update_links();  // at angles of 0
  const auto at = [&](int keypoint) { return point_at(links_.data(), robot_.keypoints[keypoint]); };
  const auto middle = [&](int keypoint) { return 0.5 * (at(keypoint) + at(keypoint + 1)); };
  lengths_[kHips] = length(at(kHip) - at(kHip + 1));
  lengths_[kShoulders] = length(at(kShoulder) - at(kShoulder + 1));
  lengths_[kTrunk] = length(middle(kShoulder) - middle(kHip));
  for (const int side : {0, 1}) {
    lengths_[kThigh + side] = length(at(kKnee + side) - at(kHip + side));
    lengths_[kShin + side] = length(at(kAnkle + side) - at(kKnee + side));
    lengths_[kUpperArm + side] = length(at(kElbow + side) - at(kShoulder + side));
    lengths_[kForearm + side] = length(at(kWrist + side) - at(kElbow + side));
    toe_offset_[side] = at(kFoot + side) - at(kAnkle + side);
    double lowest = 0;
    for (const RobotPoint& corner : robot_.soles[side]) {
      sole_offsets_[side].push_back(point_at(links_.data(), corner) - at(kAnkle + side));
      lowest = std::min(lowest, sole_offsets_[side].back().z);
    }
    ankle_height_[side] = -lowest;
    tasks_[kRobotKeypoints + side].point = robot_.keypoints[kAnkle + side];
    // The world's y in the frame of the ankle's link: a row of its rotation.
    const Mat3& r = links_[robot_.keypoints[kAnkle + side].link].rotation;
    Vec3& beside = tasks_[kRobotKeypoints + side].point.offset;
    beside = beside + kLevel_m * Vec3{r[3], r[4], r[5]};
  }
  for (const Bone bone : {kHips, kTrunk, kShoulders, kThigh, kShin, kUpperArm, kForearm})
    require(lengths_[bone] > 0.01, robot_.name, ": keypoints of the ", bone < kThigh ? "trunk" : "limbs",
            " are less than 1 cm apart at angles of 0");
  for (int k = 0; k < kRobotKeypoints; ++k) tasks_[k].point = robot_.keypoints[k];
  for (Task& task : tasks_)
    for (int link = task.point.link; link >= 0; link = robot_.links[link].parent)
      if (robot_.links[link].joint >= 0) task.joints.push_back(robot_.links[link].joint);
}

void Retargeter::reset() {
  started_ = has_floor_ = has_slope_ = hips_known_ = false;
  leg_m_ = 0;
  contacts_ = {};
  feet_ = {};
  directions_ = {};
  directions_[kHips] = directions_[kShoulders] = {0, 1, 0};
  directions_[kTrunk] = {0, 0, 1};
  for (const int side : {0, 1}) {
    for (const int bone : {kThigh, kShin, kUpperArm, kForearm}) directions_[bone + side] = {0, 0, -1};
    directions_[kSole + side] = {1, 0, 0};
  }
  for (std::size_t j = 0; j < angles_.size(); ++j) angles_[j] = robot_.joints[j].rest;
  root_ = {kIdentity, {}};
  update_links();
  for (const int side : {0, 1})
    root_.position.z =
        std::max(root_.position.z, ankle_height_[side] - point_at(links_.data(), robot_.keypoints[kAnkle + side]).z);
  update_links();
  for (int k = 0; k < kRobotKeypoints; ++k)
    targets_[k] = positions_[k] = point_at(links_.data(), robot_.keypoints[k]), errors_[k] = 0;
  find_gaps(kInfinity);
  clearance_ = smallest_gap();
}

Retargeted Retargeter::step(double t, const float* joints_S3, const float* confidence_S) {
  require(std::isfinite(t), "t is ", t, ", expected seconds");
  if (started_ && t <= last_s_) return Retargeted::dropped;
  map_.apply(joints_S3, confidence_S, frame_V3_.data());
  for (int v = 0; v < kBodyJoints; ++v) {
    const float* p = frame_V3_.data() + 3 * v;
    body_seen_[v] = is_finite3(p) && std::abs(p[0]) < 1e6f && std::abs(p[1]) < 1e6f && std::abs(p[2]) < 1e6f;
    body_[v] = {p[2], p[0], p[1]};  // y up and facing z -> z up and facing x
  }
  constexpr int kNeeded[] = {1, 2, 16, 17};  // hips and shoulders
  for (const int v : kNeeded)
    if (!body_seen_[v]) {
      hips_known_ = false;  // where the person reappears is not a movement of the robot
      for (Foot& foot : feet_) foot.seen = false;
      return Retargeted::missing;
    }
  const bool first = !started_;
  const double dt = first ? 0 : std::min(t - last_s_, kMaxGap_s);
  started_ = true;
  last_s_ = t;
  find_directions();
  find_contacts(dt, first);
  set_targets(dt, first);
  if (first) start_pose();
  std::copy(angles_.begin(), angles_.end(), last_angles_.begin());
  solve(first ? kFirstIterations : kIterations, dt, first);
  for (const int side : {0, 1}) {
    const Task& toe = tasks_[kFoot + side];
    const Vec3 apart = toe.target - point_at(links_.data(), toe.point);
    contacts_[side] = contacts_[side] && std::hypot(apart.x, apart.y) < kLost_m;
  }
  lift_from_floor();
  find_gaps(kInfinity);
  clearance_ = smallest_gap();
  for (int k = 0; k < kRobotKeypoints; ++k) {
    positions_[k] = point_at(links_.data(), robot_.keypoints[k]);
    targets_[k] = tasks_[k].target;
    errors_[k] = length(positions_[k] - targets_[k]);
  }
  return Retargeted::tracked;
}

// Bone directions, of which those not seen stay, and the length of the legs.
void Retargeter::find_directions() {
  const auto set = [&](int bone, int from, int to) {
    return body_seen_[from] && body_seen_[to] && unit(body_[to] - body_[from], directions_[bone]);
  };
  hips_ = 0.5 * (body_[1] + body_[2]);
  const Vec3 shoulders = 0.5 * (body_[16] + body_[17]);
  unit(body_[1] - body_[2], directions_[kHips]);
  unit(body_[16] - body_[17], directions_[kShoulders]);
  unit(shoulders - hips_, directions_[kTrunk]);
  for (const int side : {0, 1}) {
    const bool thigh = set(kThigh + side, 1 + side, 4 + side), shin = set(kShin + side, 4 + side, 7 + side);
    set(kUpperArm + side, 16 + side, 18 + side);
    set(kForearm + side, 18 + side, 20 + side);
    feet_[side].has_toe = set(kSole + side, 7 + side, 10 + side);
    if (!thigh || !shin) continue;
    const double leg = length(body_[4 + side] - body_[1 + side]) + length(body_[7 + side] - body_[4 + side]);
    leg_m_ = leg_m_ > 0 ? leg_m_ + 0.02 * (leg - leg_m_) : leg;
  }
}

// A foot rests while it is slow and low. The floor is where the lower foot is: it follows quickly down and slowly up.
void Retargeter::find_contacts(double dt, bool first) {
  std::array<double, 2> slope{}, speed{};
  double lowest = 1e9;
  for (const int side : {0, 1}) {
    Foot& foot = feet_[side];
    const bool seen = body_seen_[7 + side];
    const Vec3 ankle = body_[7 + side], toe = foot.has_toe ? body_[10 + side] : ankle;
    const Vec3 along = toe - ankle;
    slope[side] = std::atan2(-along.z, std::hypot(along.x, along.y));
    if (foot.has_toe && !has_slope_) toe_slope_ = std::clamp(slope[side], 0.1, 1.0), has_slope_ = true;
    const double drop = foot.has_toe ? length(along) * std::sin(toe_slope_) : 0;
    foot.height = std::min(toe.z, ankle.z - drop);
    if (!first && foot.seen && seen) speed[side] = length(toe - foot.toe) / dt;
    if (seen) lowest = std::min(lowest, foot.height);
    if (seen && !foot.seen && !first) speed[side] = kFast;  // unknown
    foot.toe = toe;
    foot.seen = seen;
    foot.pitch = foot.has_toe ? slope[side] - toe_slope_ : 0;
  }
  if (lowest < 1e9) {
    if (!has_floor_) floor_m_ = lowest;
    has_floor_ = true;
    floor_m_ += (lowest < floor_m_ ? 0.3 : std::min(1.0, dt / kFloorRise_s)) * (lowest - floor_m_);
  }
  for (const int side : {0, 1}) {
    Foot& foot = feet_[side];
    foot.height = foot.seen ? std::max(0.0, foot.height - floor_m_) : 0;
    const bool rested = contacts_[side];
    const bool rests = foot.seen && speed[side] < (rested ? kFast : kSlow) && foot.height < (rested ? kHigh_m : kLow_m);
    contacts_[side] = rests;
    if (rests && foot.has_toe) toe_slope_ += 0.05 * (std::clamp(slope[side], 0.1, 1.0) - toe_slope_);
    if (rests && !rested && !first) {  // it stays where it is
      foot.lock = point_at(links_.data(), robot_.keypoints[kFoot + side]);
      foot.lock_heading = heading_of(foot.lock - point_at(links_.data(), robot_.keypoints[kAnkle + side]));
    }
  }
}

void Retargeter::set_targets(double dt, bool first) {
  const double legs = 0.5 * (lengths_[kThigh] + lengths_[kThigh + 1] + lengths_[kShin] + lengths_[kShin + 1]);
  const double scale = legs / (leg_m_ > 0 ? leg_m_ : kHumanLeg_m);
  if (first) path_ = scale * hips_, shift_ = {};
  if (hips_known_) path_ = path_ + scale * (hips_ - last_hips_);
  last_hips_ = hips_;
  hips_known_ = true;

  // The body around the middle of the hips.
  const Vec3 trunk = lengths_[kTrunk] * directions_[kTrunk];
  const auto target = [&](int k) -> Vec3& { return tasks_[k].target; };
  for (const int side : {0, 1}) {
    const double half = side ? -0.5 : 0.5;
    const auto next = [&](int k, int from, int bone) {
      target(k + side) = target(from + side) + lengths_[bone + side] * directions_[bone + side];
    };
    target(kHip + side) = half * lengths_[kHips] * directions_[kHips];
    target(kShoulder + side) = trunk + half * lengths_[kShoulders] * directions_[kShoulders];
    next(kKnee, kHip, kThigh);
    next(kAnkle, kKnee, kShin);
    next(kElbow, kShoulder, kUpperArm);
    next(kWrist, kElbow, kForearm);
  }

  // Its height: the lower foot as far over the floor as the person's, scaled.
  double lowest = 1e9, height = 1e9;
  const Vec3 left = directions_[kHips];
  for (const int side : {0, 1}) {
    Foot& foot = feet_[side];
    const Vec3 along = directions_[kSole + side];
    const bool flat_enough = foot.has_toe && std::hypot(along.x, along.y) > 0.2;
    if (flat_enough) foot.heading = heading_of(along);
    if (!foot.has_toe) foot.heading = std::atan2(-left.x, left.y), foot.pitch = 0;
    if (contacts_[side]) foot.pitch = std::max(0.0, foot.pitch - kFlat);  // on the toes, or flat
    const Mat3 rotation = foot_rotation(foot.heading, foot.pitch);
    for (const Vec3& corner : sole_offsets_[side])
      lowest = std::min(lowest, (target(kAnkle + side) + rotation * corner).z);
    height = std::min(height, scale * foot.height);
  }

  // Over the floor, resting feet decide where it is.
  Vec3 wanted;
  int resting = 0;
  for (const int side : {0, 1}) {
    Foot& foot = feet_[side];
    if (!contacts_[side]) continue;
    if (first) foot.lock_heading = foot.heading;
    const Vec3 now = path_ + target(kAnkle + side) + foot_rotation(foot.lock_heading, foot.pitch) * toe_offset_[side];
    if (first) foot.lock = now;
    const Vec3 apart = foot.lock - now - shift_;
    if (std::hypot(apart.x, apart.y) > kMaxStretch_m) {
      contacts_[side] = false;
      continue;
    }
    wanted = wanted + (foot.lock - now);
    ++resting;
  }
  Vec3 change = resting ? (1.0 / resting) * wanted - shift_ : -std::min(1.0, dt / kShiftDecay_s) * shift_;
  change.z = 0;
  const double far = length(change), most = kMaxShiftRate * dt;
  shift_ = shift_ + (far > most ? most / far : 1) * change;
  const Vec3 origin = {path_.x + shift_.x, path_.y + shift_.y, height - lowest};
  for (int k = 0; k < kRobotKeypoints; ++k) {
    target(k) = target(k) + origin;
    target(k).z = std::max(target(k).z, kRadius_m[k / 2]);
    tasks_[k].weight = kWeights[k / 2];
  }
  set_foot_targets();
}

void Retargeter::set_foot_targets() {
  for (const int side : {0, 1}) {
    const Foot& foot = feet_[side];
    Task &ankle = tasks_[kAnkle + side], &toe = tasks_[kFoot + side], &beside = tasks_[kRobotKeypoints + side];
    const bool rests = contacts_[side];
    const Mat3 rotation = foot_rotation(rests ? foot.lock_heading : foot.heading, foot.pitch);
    const Vec3 toe_offset = rotation * toe_offset_[side];
    if (rests) {  // at its place, with the lowest corner of the sole on the floor
      double lowest = 0;
      for (const Vec3& corner : sole_offsets_[side]) lowest = std::min(lowest, (rotation * corner).z);
      ankle.target = foot.lock - toe_offset;
      ankle.target.z = -lowest;
    }
    toe.target = ankle.target + toe_offset;
    beside.target = ankle.target + rotation * Vec3{0, kLevel_m, 0};
    const bool known = rests || foot.has_toe;
    ankle.weight = rests ? kContactWeight : kAnkleWeight;
    toe.weight = rests ? kContactWeight : known ? kToeWeight : 0.05;
    beside.weight = rests ? 0.1 * kContactWeight : known ? kLevelWeight : 0.05;
  }
}

// The root where the hips should be, turned as they and the trunk are; the joints at rest.
void Retargeter::start_pose() {
  const Vec3 left = directions_[kHips];
  Vec3 forward;
  if (unit(cross(left, directions_[kTrunk]), forward)) {
    const Vec3 up = cross(forward, left);
    root_.rotation = {forward.x, left.x, up.x, forward.y, left.y, up.y, forward.z, left.z, up.z};
  } else {
    root_.rotation = rotation_about({0, 0, 1}, std::atan2(-left.x, left.y));
  }
  root_.position = {};
  for (std::size_t j = 0; j < angles_.size(); ++j) angles_[j] = robot_.joints[j].rest;
  update_links();
  const auto at = [&](int k) { return point_at(links_.data(), robot_.keypoints[k]); };
  root_.position = 0.5 * (tasks_[kHip].target + tasks_[kHip + 1].target - at(kHip) - at(kHip + 1));
  update_links();
}

void Retargeter::solve(int iterations, double dt, bool first) {
  std::array<double, 6> moved{};  // the root
  damping_ = 0;
  double best = cost();
  for (int i = 0; i < std::max(iterations, kMaxIterations) && !(i >= iterations && is_settled()); ++i) {
    for (int k = 0; k < 6; ++k) {
      const double most = first ? 1e9 : (k < 3 ? kMaxRootVelocity : kMaxRootSpeed) * dt;
      const double once = k < 3 ? kMaxMove_m : kMaxTurn;
      lower_[root_variable_ + k] = std::max(-once, -most - moved[k]);
      upper_[root_variable_ + k] = std::min(once, most - moved[k]);
    }
    for (std::size_t j = 0; j < angles_.size(); ++j) {
      const RobotJoint& joint = robot_.joints[j];
      const int v = variable_[j];
      const double now = angles_[j], last = last_angles_[j];
      const double most = first ? 1e9 : std::min(joint.max_velocity, kMaxSpeed) * dt;
      lower_[v] = std::max(-kMaxTurn, std::max(joint.lower, last - most) - now);
      upper_[v] = std::min(kMaxTurn, std::min(joint.upper, last + most) - now);
    }
    add_tasks();
    add_gaps();
    solve_bounded();
    const LinkPose root = root_;
    std::copy(angles_.begin(), angles_.end(), before_.begin());
    const double* root_step = step_.data() + root_variable_;
    bool better = false;
    for (double part = 1; !better && part > 0.2; part /= 2) {
      root_.position = root.position + part * Vec3{root_step[0], root_step[1], root_step[2]};
      const Vec3 turn = part * Vec3{root_step[3], root_step[4], root_step[5]};
      const double angle = length(turn);
      if (angle > 1e-12) root_.rotation = rotation_about((1 / angle) * turn, angle) * root.rotation;
      for (std::size_t j = 0; j < angles_.size(); ++j) {
        const RobotJoint& joint = robot_.joints[j];  // sums are rounded
        angles_[j] = std::clamp(before_[j] + part * step_[variable_[j]], joint.lower, joint.upper);
      }
      update_links();
      const double now = cost();
      better = now <= best;
      if (better) best = now;
      for (int k = 0; better && k < 6; ++k) moved[k] += part * root_step[k];
    }
    damping_ = better ? damping_ / 10 : std::max(0.01, 10 * damping_);  // as Levenberg and Marquardt
    if (!better) {
      root_ = root;
      std::copy(before_.begin(), before_.end(), angles_.begin());
      update_links();
      find_gaps(kClearance_m);
    }
  }
  // Rotations drift from orthogonality by rounding: Gram-Schmidt.
  Mat3& r = root_.rotation;
  Vec3 x = {r[0], r[3], r[6]}, y = {r[1], r[4], r[7]};
  x = (1 / length(x)) * x;
  y = y - dot(x, y) * x;
  y = (1 / length(y)) * y;
  const Vec3 z = cross(x, y);
  r = {x.x, y.x, z.x, x.y, y.y, z.y, x.z, y.z, z.z};
}

// Whether resting feet are where they should be, and no two parts of the body in one place.
bool Retargeter::is_settled() const {
  for (const int side : {0, 1}) {
    const Task& toe = tasks_[kFoot + side];
    if (contacts_[side] && length(toe.target - point_at(links_.data(), toe.point)) > kSettled_m) return false;
  }
  return !(smallest_gap() < 0);
}

double Retargeter::smallest_gap() const {
  double smallest = std::numeric_limits<double>::quiet_NaN();
  for (const Gap& gap : gaps_) smallest = std::fmin(smallest, gap.distance);
  return smallest;
}

double Retargeter::cost() {
  double sum = 0;
  for (const Task& task : tasks_) {
    const Vec3 error = task.target - point_at(links_.data(), task.point);
    sum += task.weight * dot(error, error);
  }
  for (std::size_t j = 0; j < angles_.size(); ++j) {
    const double away = angles_[j] - robot_.joints[j].rest;
    sum += kRestWeight * away * away;
  }
  find_gaps(kClearance_m);
  for (const Gap& gap : gaps_) {
    const double missing = std::max(0., kClearance_m - gap.distance);
    sum += kGapWeight * missing * missing;
  }
  return sum;
}

// Pairs whose middles alone show that they are farther apart than that have a distance of infinity.
void Retargeter::find_gaps(double farthest) {
  for (std::size_t c = 0; c < axes_.size(); ++c) {
    const RobotCapsule& capsule = robot_.capsules[c];
    axes_[c] = {point_at(links_.data(), {capsule.link, capsule.from}),
                point_at(links_.data(), {capsule.link, capsule.to})};
  }
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const auto &a = axes_[pairs_[i].a], &b = axes_[pairs_[i].b];
    const Vec3 middles = 0.5 * (a[0] + a[1] - b[0] - b[1]);
    const double reach = pairs_[i].reach + farthest;
    Gap& gap = gaps_[i];
    gap.distance = kInfinity;
    if (dot(middles, middles) > reach * reach) continue;
    closest_points(a, b, gap.a, gap.b);
    gap.distance = length(gap.a - gap.b) - pairs_[i].radii;
  }
}

// Pushes parts of the body apart that are closer than they should be, along the line between them.
void Retargeter::add_gaps() {
  std::array<double, 2 * kMaxRobotJoints> row;
  std::array<int, 2 * kMaxRobotJoints> variables;
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const Gap& gap = gaps_[i];
    const double missing = kClearance_m - gap.distance;
    Vec3 normal;
    if (missing <= 0 || !unit(gap.a - gap.b, normal)) continue;
    int count = 0;
    for (const int joint : pairs_[i].of_a) {
      variables[count] = variable_[joint];
      row[count++] = dot(normal, jacobian_column(robot_, links_.data(), joint, gap.a));
    }
    for (const int joint : pairs_[i].of_b) {
      variables[count] = variable_[joint];
      row[count++] = -dot(normal, jacobian_column(robot_, links_.data(), joint, gap.b));
    }
    for (int a = 0; a < count; ++a) {
      gradient_[variables[a]] += kGapWeight * missing * row[a];
      for (int b = 0; b <= a; ++b) {
        const auto [first, second] = std::minmax(variables[a], variables[b]);
        hessian_[first * variables_ + second] += kGapWeight * row[a] * row[b];
      }
    }
  }
}

Vec3 Retargeter::center_of_mass() const {
  Vec3 sum;
  double mass = 0;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    const RobotLink& link = robot_.links[i];
    sum = sum + link.mass * point_at(links_.data(), {static_cast<int>(i), link.center});
    mass += link.mass;
  }
  return (1 / mass) * sum;
}

// Normal equations of the step: (sum w J'J + D) step = sum w J'e - (pull to the rest pose).
void Retargeter::add_tasks() {
  const int n = variables_;
  std::fill(hessian_.begin(), hessian_.end(), 0.0);
  std::fill(gradient_.begin(), gradient_.end(), 0.0);
  for (std::size_t j = 0; j < angles_.size(); ++j) {
    const int v = variable_[j];
    hessian_[v * n + v] = kDamping + kRestWeight + damping_;
    gradient_[v] = kRestWeight * (robot_.joints[j].rest - angles_[j]);
  }
  for (int v = root_variable_; v < n; ++v) hessian_[v * n + v] = kRootDamping + damping_;
  std::array<Vec3, kMaxRobotJoints + 6> columns;
  std::array<int, kMaxRobotJoints + 6> variables;
  for (const Task& task : tasks_) {
    const Vec3 point = point_at(links_.data(), task.point), arm = point - root_.position;
    const Vec3 error = task.target - point;
    int count = 0;
    for (const int joint : task.joints) {
      variables[count] = variable_[joint];
      columns[count++] = jacobian_column(robot_, links_.data(), joint, point);
    }
    constexpr Vec3 kAxes[] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    for (int k = 0; k < 6; ++k) {
      variables[count] = root_variable_ + k;
      columns[count++] = k < 3 ? kAxes[k] : cross(kAxes[k - 3], arm);
    }
    for (int a = 0; a < count; ++a) {
      const Vec3 weighted = task.weight * columns[a];
      gradient_[variables[a]] += dot(weighted, error);
      double* row = hessian_.data() + variables[a] * n;  // the upper triangle
      for (int b = a; b < count; ++b) row[variables[b]] += dot(weighted, columns[b]);
    }
  }
}

// The step that minimizes the quadratic within its bounds: variables that leave them are set to the bound, and the
// others are solved for again.
void Retargeter::solve_bounded() {
  const int n = variables_;
  int free = n;
  for (int v = 0; v < n; ++v) free_[v] = v;
  for (int round = 0; round < 5 && free > 0; ++round) {
    if (!factorize_and_solve(free)) break;
    int kept = 0, fixed = 0;
    for (int i = 0; i < free; ++i) {
      const int v = free_[i];
      const bool is_inside = step_[v] >= lower_[v] && step_[v] <= upper_[v];
      (is_inside ? free_[kept++] : fixed_[fixed++]) = v;
    }
    if (fixed == 0) return;
    for (int i = 0; i < fixed; ++i) {
      const int v = fixed_[i];
      step_[v] = std::clamp(step_[v], lower_[v], std::max(lower_[v], upper_[v]));
      free_[kept + i] = v;
    }
    free = kept;
  }
  for (int v = 0; v < n; ++v) step_[v] = std::clamp(step_[v], lower_[v], std::max(lower_[v], upper_[v]));
}

// Solves for the free variables, the first of free_, the others being fixed, by elimination (L D L') that skips zeros.
bool Retargeter::factorize_and_solve(int free) {
  const int n = variables_;
  for (int i = 0; i < free; ++i) {
    const double* row = hessian_.data() + free_[i] * n;
    right_[i] = gradient_[free_[i]];
    for (int j = i; j < free; ++j) factor_[i * n + j] = row[free_[j]];  // ascending
    for (int f = free; f < n; ++f) {
      const auto [a, b] = std::minmax(free_[i], free_[f]);
      right_[i] -= hessian_[a * n + b] * step_[free_[f]];
    }
  }
  for (int k = 0; k < free; ++k) {
    const double* pivot = factor_.data() + k * n;
    if (!(pivot[k] > 0)) return false;
    const double inverse = 1 / pivot[k];
    for (int i = k + 1; i < free; ++i) {
      double* row = factor_.data() + i * n;
      const double times = row[k] = inverse * pivot[i];  // L, below the diagonal
      if (times == 0) continue;
      right_[i] -= times * right_[k];
      for (int j = i; j < free; ++j) row[j] -= times * pivot[j];
    }
  }
  for (int i = 0; i < free; ++i) right_[i] /= factor_[i * n + i];
  for (int i = free - 1; i >= 0; --i) {
    const double* row = factor_.data() + i * n;
    step_[free_[i]] = right_[i];
    for (int k = 0; k < i; ++k) right_[k] -= row[k] * right_[i];
  }
  return true;
}

void Retargeter::lift_from_floor() {
  double lowest = 0;
  for (const auto& sole : robot_.soles)
    for (const RobotPoint& corner : sole) lowest = std::min(lowest, point_at(links_.data(), corner).z);
  for (int k = 0; k < kRobotKeypoints; ++k)
    lowest = std::min(lowest, point_at(links_.data(), robot_.keypoints[k]).z - kRadius_m[k / 2]);
  root_.position.z -= lowest;
  for (LinkPose& link : links_) link.position.z -= lowest;
}

}  // namespace motionrt
