// A robot's kinematics: a tree of links with revolute joints, and the points on it that follow a person's joints.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "vec3.hpp"

namespace motionrt {

constexpr int kMaxRobotLinks = 256;
constexpr int kMaxRobotJoints = 64;

struct RobotJoint {
  std::string name;
  int link;             // that it moves
  double lower, upper;  // rad
  double max_velocity;  // rad/s
  double rest;          // angle that is preferred where the person's joints say nothing, rad
};

struct RobotLink {
  std::string name;
  int parent;     // -1 for the root
  int joint;      // revolute joint to the parent; -1 if fixed, or for the root
  Mat3 rotation;  // of the joint's frame in the parent's, at angle 0
  Vec3 offset;    // m
  Vec3 axis;      // of the joint, unit length
  double mass;    // kg
  Vec3 center;    // of the mass, m, in the frame of the link
};

struct RobotPoint {
  int link;
  Vec3 offset;  // m, in the frame of the link
};

// A part of a robot's body: the points within a radius of a line.
struct RobotCapsule {
  int link;
  Vec3 from, to;  // m, in the frame of the link
  double radius;
};

// The points of a robot that follow a person's joints, left before right.
enum RobotKeypoint { kHip = 0, kKnee = 2, kAnkle = 4, kShoulder = 6, kElbow = 8, kWrist = 10, kFoot = 12 };
constexpr int kRobotKeypoints = 14;
extern const std::array<const char*, kRobotKeypoints> kRobotKeypointNames;

// At angles of 0 the robot stands upright, with flat feet, faces +x and has +z up.
struct Robot {
  std::string name;
  std::vector<RobotLink> links;    // parents first; the root is the first
  std::vector<RobotJoint> joints;  // in the order of the file
  std::array<RobotPoint, kRobotKeypoints> keypoints;
  std::array<std::vector<RobotPoint>, 2> soles;  // corners of the left and of the right sole
  std::vector<RobotCapsule> capsules;            // none: collisions with itself are not looked for
};

// The pose of every link in the world.
struct LinkPose {
  Mat3 rotation;
  Vec3 position;
};

// Poses of the links [links] for a pose of the root and angles [joints]:
//   R_i = R_parent R_i0 exp([a_i] q_i), p_i = p_parent + R_parent o_i
// with Rodrigues' formula for exp (Lynch and Park, Modern Robotics, 2017, sections 3.2 and 4.1).
void forward_kinematics(const Robot& robot, const LinkPose& root, const double* angles, LinkPose* links);

inline Vec3 point_at(const LinkPose* links, const RobotPoint& point) {
  return links[point.link].position + links[point.link].rotation * point.offset;
}

// A robot file (JSON, see docs/robots.md). Throws std::invalid_argument, prefixed with the name.
Robot parse_robot(std::string_view json, const std::string& name);

// A built-in robot. Throws std::invalid_argument, which lists those known.
Robot find_robot(const std::string& name);

}  // namespace motionrt
