#include "robot.hpp"

#include <algorithm>

#include "json.hpp"

namespace motionrt {

const std::array<const char*, kRobotKeypoints> kRobotKeypointNames = {
    "left_hip",       "right_hip",  "left_knee",   "right_knee", "left_ankle",  "right_ankle", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_foot",   "right_foot"};

namespace {

struct Embedded {
  const char* name;
  const char* json;
};

constexpr Embedded kEmbedded[] = {
#include "embedded_robots.inc"
};

constexpr double kMaxLength_m = 10, kMaxAngle = 100, kMaxVelocity = 1000, kMaxMass_kg = 1000;

std::string text_of(const JsonValue& object, const char* key, const std::string& where) {
  const auto value = object.find(key);
  const auto text = value ? value->text() : std::nullopt;
  require(text && !text->empty(), where, ": ", key, " is ", value ? value->excerpt() : "missing", ", expected a name");
  return *text;
}

double number_of(const JsonValue& object, const char* key, double largest, const std::string& where) {
  const auto value = object.find(key);
  const auto number = value ? value->number() : std::nullopt;
  require(number && std::abs(*number) <= largest, where, ": ", key, " is ", value ? value->excerpt() : "missing",
          ", expected a number of at most ", largest);
  return *number;
}

Vec3 vector_in(const JsonValue& list, double largest, const std::string& where) {
  const std::vector<JsonValue> items = list.items();
  double xyz[3] = {};
  bool ok = items.size() == 3;
  for (std::size_t i = 0; ok && i < 3; ++i) {
    const auto number = items[i].number();
    ok = number && std::abs(*number) <= largest;
    if (ok) xyz[i] = *number;
  }
  require(ok, where, " is ", list.excerpt(), ", expected three numbers of at most ", largest);
  return {xyz[0], xyz[1], xyz[2]};
}

Vec3 vector_of(const JsonValue& object, const char* key, double largest, const std::string& where) {
  const auto value = object.find(key);
  return value ? vector_in(*value, largest, where + ": " + key) : Vec3{};
}

// Roll about x, then pitch about y, then yaw about z, all of the parent: URDF's rpy.
Mat3 rotation_of(Vec3 rpy) {
  return rotation_about({0, 0, 1}, rpy.z) * rotation_about({0, 1, 0}, rpy.y) * rotation_about({1, 0, 0}, rpy.x);
}

struct Entry {  // one joint of the file
  std::string name, parent;
  RobotLink link;
};

class Parser {
 public:
  Parser(const JsonValue& top, const std::string& name) : top_(top), where_(name) { robot_.name = name; }

  Robot parse() {
    require(top_.is_object(), where_, ": expected an object");
    read_joints();
    read_links();
    read_rest();
    const JsonValue keypoints = member("keypoints");
    for (int k = 0; k < kRobotKeypoints; ++k) {
      const std::string name = kRobotKeypointNames[k];
      const auto point = keypoints.find(name);
      require(point.has_value(), where_, ": keypoints lacks ", name);
      const std::string where = where_ + ": keypoint " + name;
      robot_.keypoints[k] = {link_index(text_of(*point, "link", where), where),
                             vector_of(*point, "xyz", kMaxLength_m, where)};
    }
    const JsonValue soles = member("soles");
    for (const int side : {0, 1}) {
      const std::string name = side ? "right" : "left", where = where_ + ": soles: " + name;
      const auto corners = soles.find(name);
      require(corners && corners->items().size() >= 3 && corners->items().size() <= 16, where, " is ",
              corners ? corners->excerpt() : "missing", ", expected 3 to 16 points");
      for (const JsonValue& corner : corners->items())
        robot_.soles[side].push_back({robot_.keypoints[kAnkle + side].link, vector_in(corner, kMaxLength_m, where)});
    }
    read_capsules();
    read_masses();
    return std::move(robot_);
  }

 private:
  JsonValue member(const char* key) const {
    const auto value = top_.find(key);
    require(value && value->is_object(), where_, ": ", key, " is ", value ? value->excerpt() : "missing",
            ", expected an object");
    return *value;
  }

  int link_index(const std::string& name, const std::string& where) const {
    for (std::size_t i = 0; i < robot_.links.size(); ++i)
      if (robot_.links[i].name == name) return static_cast<int>(i);
    throw_invalid_argument(where, ": there is no link ", single_quoted(name));
  }

  void read_joints() {
    const auto list = top_.find("joints");
    require(list && list->is_list() && !list->items().empty() && list->items().size() < kMaxRobotLinks, where_,
            ": joints is ", list ? list->excerpt() : "missing", ", expected a list of 1 to ", kMaxRobotLinks - 1);
    for (const JsonValue& value : list->items()) {
      const std::string name = text_of(value, "name", where_ + ": joint"), where = where_ + ": joint " + excerpt(name);
      for (const Entry& other : entries_) require(other.name != name, where, " is there twice");
      const std::string type = text_of(value, "type", where);
      require(type == "revolute" || type == "fixed", where, ": type is ", single_quoted(type),
              ", expected revolute (with limits) or fixed");
      Entry entry{name, text_of(value, "parent", where), {}};
      entry.link = {text_of(value, "child", where),
                    -1,
                    -1,
                    rotation_of(vector_of(value, "rpy", kMaxAngle, where)),
                    vector_of(value, "xyz", kMaxLength_m, where),
                    {1, 0, 0},
                    0,
                    {}};
      if (type == "revolute") {
        if (value.find("axis")) entry.link.axis = vector_of(value, "axis", 1e6, where);
        const double norm = length(entry.link.axis);
        require(norm > 1e-6, where, ": axis is zero");
        entry.link.axis = (1 / norm) * entry.link.axis;
        const double lower = number_of(value, "lower", kMaxAngle, where);
        const double upper = number_of(value, "upper", kMaxAngle, where);
        const double speed = number_of(value, "max_velocity", kMaxVelocity, where);
        require(lower < upper, where, ": lower is ", lower, ", expected less than upper, which is ", upper);
        require(speed > 0, where, ": max_velocity is ", speed, ", expected more than 0");
        entry.link.joint = static_cast<int>(robot_.joints.size());
        require(entry.link.joint < kMaxRobotJoints, where_, ": more than ", kMaxRobotJoints, " revolute joints");
        robot_.joints.push_back({name, -1, lower, upper, speed, std::clamp(0., lower, upper)});
      }
      entries_.push_back(std::move(entry));
    }
    require(!robot_.joints.empty(), where_, ": no joint is revolute");
  }

  // Links with their parents first.
  void read_links() {
    robot_.links.push_back({text_of(top_, "root", where_), -1, -1, kIdentity, {}, {1, 0, 0}, 0, {}});
    for (std::size_t i = 0; i < robot_.links.size(); ++i)
      for (const Entry& entry : entries_) {
        if (entry.parent != robot_.links[i].name) continue;
        for (const RobotLink& other : robot_.links)
          require(other.name != entry.link.name, where_, ": link ", single_quoted(other.name),
                  " has two parents, or is its own ancestor");
        RobotLink link = entry.link;
        link.parent = static_cast<int>(i);
        if (link.joint >= 0) robot_.joints[link.joint].link = static_cast<int>(robot_.links.size());
        robot_.links.push_back(std::move(link));
      }
    for (const Entry& entry : entries_) {
      const auto is_child = [&](const RobotLink& link) { return link.name == entry.link.name; };
      require(std::any_of(robot_.links.begin(), robot_.links.end(), is_child), where_, ": joint ", excerpt(entry.name),
              " is not connected to the root, ", single_quoted(robot_.links[0].name));
    }
  }

  std::vector<JsonValue> list_of(const char* key) const {
    const auto list = top_.find(key);
    if (!list) return {};
    require(list->is_list() && list->items().size() <= kMaxRobotLinks, where_, ": ", key, " is ", list->excerpt(),
            ", expected a list of at most ", kMaxRobotLinks);
    return list->items();
  }

  void read_capsules() {
    for (const JsonValue& value : list_of("capsules")) {
      const std::string link = text_of(value, "link", where_ + ": capsule"), where = where_ + ": capsule of " + link;
      const double radius = number_of(value, "radius", kMaxLength_m, where);
      require(radius > 0, where, ": radius is ", radius, ", expected more than 0");
      robot_.capsules.push_back({link_index(link, where), vector_of(value, "from", kMaxLength_m, where),
                                 vector_of(value, "to", kMaxLength_m, where), radius});
    }
  }

  void read_masses() {
    for (const JsonValue& value : list_of("masses")) {
      const std::string link = text_of(value, "link", where_ + ": mass"), where = where_ + ": mass of " + link;
      RobotLink& heavy = robot_.links[link_index(link, where)];
      heavy.mass = number_of(value, "kg", kMaxMass_kg, where);
      require(heavy.mass >= 0, where, ": kg is ", heavy.mass, ", expected at least 0");
      heavy.center = vector_of(value, "xyz", kMaxLength_m, where);
    }
  }

  void read_rest() {
    const auto rest = top_.find("rest");
    if (!rest) return;
    require(rest->is_object(), where_, ": rest is ", rest->excerpt(), ", expected an object of angles");
    for (const auto& [name, value] : rest->members()) {
      const auto is_it = [&name = name](const RobotJoint& joint) { return joint.name == name; };
      const auto found = std::find_if(robot_.joints.begin(), robot_.joints.end(), is_it);
      require(found != robot_.joints.end(), where_, ": rest: there is no joint ", single_quoted(name));
      const auto angle = value.number();
      require(angle && *angle >= found->lower && *angle <= found->upper, where_, ": rest of ", excerpt(name), " is ",
              value.excerpt(), ", expected an angle within the joint's limits");
      found->rest = *angle;
    }
  }

  const JsonValue top_;
  const std::string where_;
  std::vector<Entry> entries_;
  Robot robot_;
};

}  // namespace

void forward_kinematics(const Robot& robot, const LinkPose& root, const double* angles, LinkPose* links) {
  links[0] = root;
  for (std::size_t i = 1; i < robot.links.size(); ++i) {
    const RobotLink& link = robot.links[i];
    const LinkPose& parent = links[link.parent];
    links[i].position = parent.position + parent.rotation * link.offset;
    links[i].rotation = parent.rotation * link.rotation;
    if (link.joint >= 0) links[i].rotation = links[i].rotation * rotation_about(link.axis, angles[link.joint]);
  }
}

Robot parse_robot(std::string_view json, const std::string& name) {
  try {
    const JsonDocument document(json, name);
    return Parser(document.root(), name).parse();
  } catch (const BundleError& error) {
    throw std::invalid_argument(error.what());
  }
}

Robot find_robot(const std::string& name) {
  std::string known;
  for (const Embedded& file : kEmbedded) {
    if (file.name == name) return parse_robot(file.json, name);
    known += (known.empty() ? "" : ", ") + std::string(file.name);
  }
  throw_invalid_argument("unknown robot ", single_quoted(name), "; known are ", known);
}

}  // namespace motionrt
