// A robot's kinematics, and a person's pose on a robot.
#include "retargeter.hpp"

#include <limits>

#include "check.hpp"
#include "layouts.hpp"

using namespace motionrt;

constexpr double kPi = 3.14159265358979323846;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<LinkPose> pose_of(const Robot& robot, const std::vector<double>& angles, const LinkPose& root) {
  std::vector<LinkPose> links(robot.links.size());
  forward_kinematics(robot, root, angles.data(), links.data());
  return links;
}

int joint_of(const Robot& robot, const std::string& name) {
  for (std::size_t j = 0; j < robot.joints.size(); ++j)
    if (robot.joints[j].name == name) return static_cast<int>(j);
  CHECK(!"found");
  return 0;
}

void check_vector(Vec3 actual, Vec3 expected, double tolerance) {
  CHECK_NEAR(actual.x, expected.x, tolerance);
  CHECK_NEAR(actual.y, expected.y, tolerance);
  CHECK_NEAR(actual.z, expected.z, tolerance);
}

void links_are_where_they_should_be() {
  const Robot robot = find_robot("g1");
  CHECK(robot.joints.size() == 29 && robot.joints[0].name == "left_hip_pitch_joint");
  std::vector<double> angles(29);
  const auto at = [&](int keypoint) {
    return point_at(pose_of(robot, angles, {kIdentity, {}}).data(), robot.keypoints[keypoint]);
  };
  // Sums of the offsets by hand: the pitch of the hip's roll joint and that of the knee cancel out.
  const double c = std::cos(-0.1749), s = std::sin(-0.1749);
  const Vec3 thigh = {0.025001 - 0.078273, 0.002149, -0.12412 - 0.17734};
  const Vec3 knee = {c * thigh.x + s * thigh.z, 0.064452 + 0.052 + thigh.y,
                     -0.1027 - 0.030465 - s * thigh.x + c * thigh.z};
  check_vector(at(kKnee), knee, 1e-12);
  check_vector(at(kAnkle), knee + Vec3{0, -9.4e-05, -0.30001 - 0.017558}, 1e-12);
  // The elbow at 90 degrees: the forearm, which points forward at 0, hangs down.
  const Vec3 elbow = at(kElbow), before = at(kWrist) - elbow;
  angles[joint_of(robot, "left_elbow_joint")] = kPi / 2;
  check_vector(at(kWrist) - elbow, {before.z, before.y, -before.x}, 1e-4);
}

void jacobian_is_the_derivative() {
  const Robot robot = find_robot("g1");
  std::vector<double> angles(29);
  for (int j = 0; j < 29; ++j) angles[j] = 0.4 * std::sin(3. * j);
  const LinkPose root = {rotation_about({0.6, 0, 0.8}, 0.7), {1, 2, 3}};
  const double h = 1e-6;
  for (const RobotPoint& keypoint : robot.keypoints) {
    const auto links = pose_of(robot, angles, root);
    for (int j = 0; j < 29; ++j) {
      bool moves = false;
      for (int link = keypoint.link; link >= 0; link = robot.links[link].parent) moves |= robot.links[link].joint == j;
      auto more = angles, less = angles;
      more[j] += h, less[j] -= h;
      const Vec3 difference = (0.5 / h) * (point_at(pose_of(robot, more, root).data(), keypoint) -
                                           point_at(pose_of(robot, less, root).data(), keypoint));
      check_vector(difference,
                   moves ? jacobian_column(robot, links.data(), j, point_at(links.data(), keypoint)) : Vec3{}, 1e-8);
    }
  }
}

void quaternions_are_those_of_the_rotations() {
  for (const double angle : {0.1, 1.5, 3.1, -2.}) {
    const auto q = quaternion_of(rotation_about({0.36, 0.48, 0.8}, angle));
    const double sign = std::cos(angle / 2) < 0 ? -1 : 1;
    CHECK_NEAR(q[0], sign * std::cos(angle / 2), 1e-12);
    CHECK_NEAR(q[1], sign * 0.36 * std::sin(angle / 2), 1e-12);
    CHECK_NEAR(q[3], sign * 0.8 * std::sin(angle / 2), 1e-12);
  }
}

// A person of 22 joints who stands at a height and swings the arms, faster and farther than a robot can.
std::vector<float> person(double t, double rate = 1) {
  std::vector<float> joints = {0,     .95f, 0,   .1f,  .9f,  0,     -.1f, .9f,  0,    0,     1.05f, 0,    .1f,  .5f,
                               .02f,  -.1f, .5f, .02f, 0,    1.15f, 0,    .1f,  .09f, 0,     -.1f,  .09f, 0,    0,
                               1.25f, 0,    .1f, .02f, .13f, -.1f,  .02f, .13f, 0,    1.45f, 0,     .05f, 1.4f, 0,
                               -.05f, 1.4f, 0,   0,    1.6f, 0,     .2f,  1.4f, 0,    -.2f,  1.4f,  0,    0,    0,
                               0,     0,    0,   0,    0,    0,     0,    0,    0,    0};
  for (const int side : {0, 1})
    for (const int bone : {1, 2})
      for (int axis = 0; axis < 3; ++axis) {
        const double swing = 3 * std::sin(rate * t + side);
        const double direction[] = {0.2 * (side ? -1 : 1), -std::cos(swing), std::sin(swing)};
        joints[3 * (16 + 2 * bone + side) + axis] =
            joints[3 * (14 + 2 * bone + side) + axis] + static_cast<float>(0.26 * direction[axis]);
      }
  return joints;
}

Retargeter retargeter() {
  const Layout& layout = find_layout("smpl22");
  return Retargeter(find_robot("g1"), map_weights(layout, layout).data(), 22);
}

void a_standing_person_is_followed() {
  Retargeter r = retargeter();
  for (int i = 0; i < 50; ++i) CHECK(r.step(0.02 * i, person(0).data(), nullptr) == Retargeted::tracked);
  for (const double error : r.errors()) CHECK(error < 0.03);
  CHECK(r.contacts()[0] && r.contacts()[1]);
  CHECK(r.root().position.z > 0.7 && r.root().position.z < 0.82);
}

void limits_are_kept() {
  Retargeter r = retargeter();
  std::vector<double> last;
  double fastest = 0;
  for (int i = 0; i < 400; ++i) {
    const double dt = 0.02;
    r.step(dt * i, person(dt * i, 30).data(), nullptr);
    for (std::size_t j = 0; j < r.angles().size(); ++j) {
      const RobotJoint& joint = r.robot().joints[j];
      CHECK(r.angles()[j] >= joint.lower && r.angles()[j] <= joint.upper);
      if (!last.empty()) fastest = std::max(fastest, std::abs(r.angles()[j] - last[j]) / dt);
    }
    last = r.angles();
    for (const auto& sole : r.robot().soles)
      for (const RobotPoint& corner : sole) {
        std::vector<LinkPose> links(r.robot().links.size());
        forward_kinematics(r.robot(), r.root(), r.angles().data(), links.data());
        CHECK(point_at(links.data(), corner).z > -1e-9);
      }
  }
  CHECK(fastest > 9 && fastest < 10 + 1e-6);
}

void parts_of_the_body_stay_apart() {
  const Layout& layout = find_layout("smpl22");
  Robot soft = find_robot("g1");
  CHECK(soft.capsules.size() == 18);
  soft.capsules.clear();
  Retargeter r = retargeter(), other(std::move(soft), map_weights(layout, layout).data(), 22);
  CHECK(r.clearance() > 0 && std::isnan(other.clearance()));
  double nearest = 1, farthest_in = 0;
  for (int i = 0; i < 150; ++i) {
    auto pose = person(0);
    for (const int side : {0, 1}) {  // the elbows move in, and the hands into the chest
      const float out = std::max(-0.2f, 0.25f - 0.005f * static_cast<float>(i)) * (side ? -1 : 1);
      const float elbow[] = {out, 1.2f, 0.05f}, wrist[] = {0.1f * (side ? 1 : -1), 1.2f, -0.1f};
      std::copy(elbow, elbow + 3, pose.begin() + 3 * (18 + side));
      std::copy(wrist, wrist + 3, pose.begin() + 3 * (20 + side));
    }
    r.step(0.02 * i, pose.data(), nullptr);
    other.step(0.02 * i, pose.data(), nullptr);
    nearest = std::min(nearest, r.clearance());
    // The wrists of the other robot are where those of this one cannot be: in the torso.
    farthest_in = std::max(farthest_in, length(r.keypoints()[kWrist] - other.keypoints()[kWrist]));
  }
  CHECK(nearest > 0 && nearest < 0.01);
  CHECK(farthest_in > 0.05);
}

void a_foot_that_rests_is_where_it_came_down() {
  Retargeter r = retargeter();
  Vec3 place[2];
  bool rested[2] = {};
  int frames = 0;
  for (int i = 0; i < 300; ++i) {  // sits down and gets up, turning, faster than the legs can
    const double t = 0.02 * i, down = 0.5 * (1 - std::cos(9 * t)), turn = 0.8 * std::sin(5 * t);
    auto pose = person(t);
    for (std::size_t v = 0; v < 22; ++v) {
      if (v == 7 || v == 8 || v == 10 || v == 11) continue;
      const float x = pose[3 * v], z = pose[3 * v + 2];
      pose[3 * v] = static_cast<float>(std::cos(turn) * x + std::sin(turn) * z);
      pose[3 * v + 2] = static_cast<float>(std::cos(turn) * z - std::sin(turn) * x);
      pose[3 * v + 1] -= static_cast<float>(down * (v == 4 || v == 5 ? 0.1 : 0.6));
    }
    r.step(t, pose.data(), nullptr);
    for (const int side : {0, 1}) {
      const Vec3 toe = r.keypoints()[kFoot + side];
      if (r.contacts()[side] && !rested[side]) place[side] = toe;
      if (r.contacts()[side]) CHECK(std::hypot(toe.x - place[side].x, toe.y - place[side].y) < 0.01), ++frames;
      rested[side] = r.contacts()[side];
    }
  }
  CHECK(frames > 100);
}

void center_of_mass_is_the_mean_of_the_links() {
  Retargeter r = retargeter();
  const Vec3 at_rest = r.center_of_mass();
  CHECK(at_rest.z > 0.55 && at_rest.z < 0.75 && std::abs(at_rest.x) < 0.05);
  CHECK_NEAR(at_rest.y, 0, 2e-3);
}

void missing_joints_keep_the_pose() {
  Retargeter r = retargeter();
  auto hidden = person(0);
  for (int i = 0; i < 6; ++i) hidden[3 + i] = kNaN;  // both hips
  CHECK(r.step(0, hidden.data(), nullptr) == Retargeted::missing);
  CHECK(r.step(1, person(0).data(), nullptr) == Retargeted::tracked);
  const auto angles = r.angles();
  CHECK(r.step(1, person(0.5).data(), nullptr) == Retargeted::dropped);
  CHECK(r.step(1.1, hidden.data(), nullptr) == Retargeted::missing);
  CHECK(r.angles() == angles);
  auto away = person(0.5);
  for (std::size_t i = 0; i < away.size(); i += 3) away[i] += 5;
  CHECK(r.step(9, away.data(), nullptr) == Retargeted::tracked);  // 8 s later, elsewhere
  CHECK(std::abs(r.root().position.y) < 0.2);
  for (std::size_t j = 0; j < angles.size(); ++j) CHECK(std::abs(r.angles()[j] - angles[j]) < 1 + 1e-9);
  CHECK_FAILS(r.step(kNaN, away.data(), nullptr), "t is nan, expected seconds");
}

void repeats_exactly_after_reset() {
  Retargeter r = retargeter();
  std::vector<double> first;
  for (int run = 0; run < 2; ++run) {
    for (int i = 0; i < 20; ++i) r.step(0.02 * i, person(0.02 * i).data(), nullptr);
    if (run == 0) first = r.angles();
    CHECK(r.angles() == first);
    r.reset();
  }
}

void bad_robots_are_refused() {
  const auto with = [](const std::string& joints, const std::string& root = "a") {
    return "{\"root\": \"" + root + "\", \"joints\": [" + joints + "], \"keypoints\": {}, \"soles\": {}}";
  };
  const auto joint = [](const std::string& more, const std::string& parent = "a", const std::string& child = "b") {
    return "{\"name\": \"j" + child + "\", \"parent\": \"" + parent + "\", \"child\": \"" + child + "\", " + more + "}";
  };
  const std::string good = "\"type\": \"revolute\", \"lower\": -1, \"upper\": 1, \"max_velocity\": 3";
  CHECK_FAILS(find_robot("x1"), "unknown robot 'x1'; known are g1");
  CHECK_FAILS(parse_robot("{", "r"), "r: ");
  CHECK_FAILS(parse_robot("[]", "r"), "r: expected an object");
  CHECK_FAILS(parse_robot(with(joint("\"type\": \"prismatic\"")), "r"), "r: joint jb: type is 'prismatic', expected");
  CHECK_FAILS(parse_robot(with(joint("\"type\": \"revolute\"")), "r"), "joint jb: lower is missing");
  CHECK_FAILS(parse_robot(with(joint(good + ", \"axis\": [0, 0, 0]")), "r"), "joint jb: axis is zero");
  CHECK_FAILS(parse_robot(with(joint(good + ", \"xyz\": [0, 0]")), "r"), "joint jb: xyz is [0, 0], expected three");
  CHECK_FAILS(parse_robot(with(joint(good) + "," + joint(good, "b", "a")), "r"), "'a' has two parents, or is its own");
  CHECK_FAILS(parse_robot(with(joint(good) + "," + joint(good, "c", "d") + "," + joint(good, "d", "c")), "r"),
              "joint jd is not connected to the root, 'a'");
  CHECK_FAILS(parse_robot(with(joint(good)), "r"), "r: keypoints lacks left_hip");
  const auto g1 = [](const std::string& more) {
    std::string points, corners = "[[0, 0, 0], [0, 1, 0], [1, 0, 0]]";
    for (const char* name : kRobotKeypointNames)
      points += (points.empty() ? "\"" : ", \"") + std::string(name) + "\": {\"link\": \"a\"}";
    return "{\"root\": \"a\", \"joints\": [{\"name\": \"j\", \"parent\": \"a\", \"child\": \"b\", \"type\": "
           "\"revolute\", "
           "\"lower\": -1, \"upper\": 1, \"max_velocity\": 3}], \"keypoints\": {" +
           points + "}, \"soles\": {\"left\": " + corners + ", \"right\": " + corners + "}, " + more + "}";
  };
  parse_robot(g1("\"capsules\": [{\"link\": \"b\", \"radius\": 0.1}]"), "r");
  CHECK_FAILS(parse_robot(g1("\"capsules\": {}"), "r"), "r: capsules is {}, expected a list");
  CHECK_FAILS(parse_robot(g1("\"capsules\": [{\"link\": \"c\", \"radius\": 1}]"), "r"), "there is no link 'c'");
  CHECK_FAILS(parse_robot(g1("\"capsules\": [{\"link\": \"b\", \"radius\": 0}]"), "r"), "radius is 0, expected more");
  CHECK_FAILS(parse_robot(g1("\"masses\": [{\"link\": \"b\", \"kg\": -1}]"), "r"), "mass of b: kg is -1, expected");
}

int main() {
  links_are_where_they_should_be();
  jacobian_is_the_derivative();
  quaternions_are_those_of_the_rotations();
  a_standing_person_is_followed();
  limits_are_kept();
  parts_of_the_body_stay_apart();
  a_foot_that_rests_is_where_it_came_down();
  center_of_mass_is_the_mean_of_the_links();
  missing_joints_keep_the_pose();
  repeats_exactly_after_reset();
  bad_robots_are_refused();
  return result();
}
