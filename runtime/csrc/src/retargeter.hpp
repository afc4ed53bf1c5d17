// Maps a person's joints to a robot's joint angles and floating base, one frame at a time.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "layout_map.hpp"
#include "robot.hpp"

namespace motionrt {

enum class Retargeted { tracked, dropped, missing };

// The velocity of a point per unit of a joint's velocity: the joint's column of the geometric Jacobian, a x (p - o)
// (Siciliano et al., Robotics, 2009, section 3.1.3).
inline Vec3 jacobian_column(const Robot& robot, const LinkPose* links, int joint, Vec3 point) {
  const int link = robot.joints[joint].link;
  return cross(links[link].rotation * robot.links[link].axis, point - links[link].position);
}

// Targets: the person's bone directions with the robot's bone lengths, from the hips outwards; the path of the hips,
// scaled by the length of the legs. A foot that rests is kept in place, and flat. Angles: damped least squares
// (Wampler, Manipulator Inverse Kinematic Solutions Based on Vector Formulations and Damped Least-Squares Methods,
// 1986) over the positions of the keypoints, a few Gauss-Newton iterations from the last pose, with bounds on every
// angle from its limits and its velocity, by an active set (Bertsekas, Projected Newton Methods, 1982).
// Not thread-safe. A step does not allocate memory.
class Retargeter {
 public:
  // weights [22, S]: the joints of the layout smpl22 from the person's, as map_weights returns them.
  Retargeter(Robot robot, const float* weights_VS, int source_joints);

  // Takes the joints [S, 3] (meters, y up, NaN: not seen) and their confidence [S] (0: not seen; or null) at time t
  // (seconds). dropped: t is not later than the last one. missing: a hip or shoulder was not seen. Both keep the pose.
  Retargeted step(double t, const float* joints_S3, const float* confidence_S);
  void reset();  // the next frame starts over

  const Robot& robot() const { return robot_; }
  int source_joints() const { return map_.source_joints(); }
  const std::vector<double>& angles() const { return angles_; }  // [joints] rad
  const LinkPose& root() const { return root_; }                 // x forward, y left, z up, the floor at 0
  const std::array<bool, 2>& contacts() const { return contacts_; }
  // Of each keypoint: where it is, where it should be, and the distance of the two, in meters.
  const std::array<Vec3, kRobotKeypoints>& keypoints() const { return positions_; }
  const std::array<Vec3, kRobotKeypoints>& targets() const { return targets_; }
  const std::array<double, kRobotKeypoints>& errors() const { return errors_; }
  // Smallest distance of two parts of the body, m; negative: they are in each other; NaN: not known.
  double clearance() const { return clearance_; }
  Vec3 center_of_mass() const;  // NaN if the robot file has no masses
  const std::vector<LinkPose>& links() const { return links_; }

 private:
  enum Bone { kHips, kTrunk, kShoulders, kThigh, kShin = 5, kUpperArm = 7, kForearm = 9, kSole = 11, kBones = 13 };
  static constexpr int kTasks = kRobotKeypoints + 2;  // and a point beside each ankle, which keeps the foot level
  struct Task {
    RobotPoint point;
    std::vector<int> joints;  // that move it
    Vec3 target;
    double weight = 0;
  };
  struct Pair {  // of capsules that may hit each other
    int a, b;
    double radii, reach;          // sums; reach: most that the ends are from the middles of the axes, with the radii
    std::vector<int> of_a, of_b;  // joints that move only one of the two
  };
  struct Gap {
    Vec3 a, b;  // the closest points of the axes of two capsules
    double distance;
  };
  struct Foot {
    Vec3 lock;                // of the toes while the foot rests
    double lock_heading = 0;  // rad
    double heading = 0, pitch = 0;
    Vec3 toe;           // of the person, last frame
    double height = 0;  // over the person's floor, m
    bool seen = false;  // in the last frame
    bool has_toe = false;
  };

  void order_variables();
  void measure_robot();
  void find_pairs();
  bool read(const float* joints_S3, const float* confidence_S);
  void find_directions();
  void find_contacts(double dt, bool first);
  void set_targets(double dt, bool first);
  void set_foot_targets();
  void start_pose();
  void solve(int iterations, double dt, bool first);
  bool is_settled() const;
  double smallest_gap() const;
  double cost();
  void add_tasks();
  void find_gaps(double farthest);
  void add_gaps();
  void solve_bounded();
  bool factorize_and_solve(int free);
  void lift_from_floor();
  void update_links() { forward_kinematics(robot_, root_, angles_.data(), links_.data()); }

  const Robot robot_;
  const LayoutMap map_;
  const int root_variable_;  // the joints, in the order of elimination, then 3 of position, 3 of rotation
  const int variables_;

  // Of the robot, at rest.
  std::array<double, kBones> lengths_{};
  std::array<Vec3, 2> toe_offset_;  // from the ankle, of a flat foot that points along x
  std::array<std::vector<Vec3>, 2> sole_offsets_;
  std::vector<Pair> pairs_;
  std::vector<int> variable_;  // of each joint
  std::array<double, 2> ankle_height_{};

  // Of the person.
  std::vector<float> frame_V3_;
  std::vector<Vec3> body_;       // [22], x forward, y left, z up
  std::vector<char> body_seen_;  // [22]
  std::array<Vec3, kBones> directions_{};
  Vec3 hips_, last_hips_;
  double leg_m_ = 0, floor_m_ = 0, toe_slope_ = 0;
  bool has_floor_ = false, has_slope_ = false;
  std::array<Foot, 2> feet_;
  bool started_ = false, hips_known_ = false;
  double last_s_ = 0;

  // Of the robot, now.
  std::vector<double> angles_, last_angles_;
  LinkPose root_{kIdentity, {}};
  std::vector<LinkPose> links_;
  Vec3 path_, shift_;  // of the hips over the floor: the person's, scaled, and what keeps resting feet in place
  std::array<bool, 2> contacts_{};
  std::array<Task, kTasks> tasks_;
  std::array<Vec3, kRobotKeypoints> positions_{}, targets_{};
  std::array<double, kRobotKeypoints> errors_{};

  double clearance_ = 0;

  // Work space.
  std::vector<std::array<Vec3, 2>> axes_;  // of the capsules
  std::vector<Gap> gaps_;                  // of the pairs
  double damping_ = 0;
  std::vector<double> before_, hessian_, factor_, gradient_, step_, lower_, upper_, right_;
  std::vector<int> free_, fixed_;
};

}  // namespace motionrt
