#include "layouts.hpp"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>

#include "config.hpp"
#include "json.hpp"

namespace motionrt {

namespace {

struct Embedded {
  const char* name;
  const char* json;
};

constexpr Embedded kEmbedded[] = {
#include "embedded_layouts.inc"
};

constexpr std::size_t kMaxLayouts = 1000, kMaxName = 128;
constexpr int kMaxSteps = 10'000;  // to replace one joint

using Groups = std::vector<std::vector<std::string>>;

// The text of a joint's name; where: for messages.
std::string read_name(const std::optional<JsonValue>& value, const std::string& where) {
  const auto name = value ? value->text() : std::nullopt;
  require(name && !name->empty(), where, " is ", value ? value->excerpt() : "missing", ", expected a joint's name");
  return *name;
}

Groups read_groups(const std::optional<JsonValue>& list, const std::string& where) {
  Groups groups;
  if (!list) return groups;
  require(list->is_list(), where, " is ", list->excerpt(), ", expected a list of lists of joints");
  for (const JsonValue& group : list->items()) {
    groups.emplace_back();
    for (const JsonValue& joint : group.items()) groups.back().push_back(read_name(joint, where));
    require(!groups.back().empty(), where, " has ", group.excerpt(), ", expected a list of joints");
  }
  return groups;
}

Layout read_layout(const JsonValue& top, const std::string& name) {
  Layout layout;
  layout.name = name;
  const auto dims = top.find("dims");
  const std::int64_t number = dims ? dims->integer().value_or(0) : 0;
  require(number == 2 || number == 3, name, ": dims is ", dims ? dims->excerpt() : "missing",
          ", expected 3 (meters) or 2 (pixels)");
  layout.dims = static_cast<int>(number);
  const auto list = top.find("joints");
  const std::vector<JsonValue> joints = list ? list->items() : std::vector<JsonValue>();
  require(!joints.empty() && joints.size() <= kMaxJoints, name, ": ", joints.size(), " joints, expected 1 to ",
          kMaxJoints);
  for (const JsonValue& joint : joints) {
    layout.joints.push_back(read_name(joint.find("name"), name + ": the name of a joint"));
    layout.neighbors.push_back(
        read_groups(joint.find("neighbours"), name + ": neighbours of " + single_quoted(layout.joints.back())));
  }
  const auto index_of = [&](const std::optional<JsonValue>& value, const std::string& where) {
    const int index = layout.index(read_name(value, where));
    require(index >= 0, where, " is ", value->excerpt(), ", which is not a joint of the layout");
    return index;
  };
  for (std::size_t v = 0; v < joints.size(); ++v) {
    const std::string joint = single_quoted(layout.joints[v]);
    require(layout.index(layout.joints[v]) == static_cast<int>(v), name, ": joint ", joint, " occurs twice");
    const auto parent = joints[v].find("parent");
    layout.parents.push_back(parent && parent->is_null() ? -1 : index_of(parent, name + ": the parent of " + joint));
  }
  for (std::size_t v = 0; v < joints.size(); ++v) {
    int above = layout.parents[v];
    for (std::size_t i = 0; i < joints.size() && above >= 0; ++i) above = layout.parents[above];
    require(above < 0, name, ": joint ", single_quoted(layout.joints[v]), " is its own ancestor");
  }
  layout.root = index_of(top.find("root"), name + ": root");
  for (const std::string part : {"hip", "shoulder"}) {
    if (layout.index("left_" + part) < 0 || layout.index("right_" + part) < 0) continue;
    layout.left.push_back(layout.index("left_" + part));
    layout.right.push_back(layout.index("right_" + part));
  }
  return layout;
}

Layout parse_layout(const std::string& name, std::string_view json) {
  try {
    const JsonDocument document(json, name);
    return read_layout(document.root(), name);
  } catch (const BundleError& error) {  // the JSON is not valid
    throw std::invalid_argument(error.what());
  }
}

// Layouts in one place in memory: built-in ones and, after them, registered ones.
struct KnownLayouts {
  KnownLayouts() {
    for (const Embedded& file : kEmbedded) layouts.push_back(parse_layout(file.name, file.json));
  }
  const Layout* find(const std::string& name) const {
    const auto named = [&](const Layout& layout) { return layout.name == name; };
    const auto found = std::find_if(layouts.begin(), layouts.end(), named);
    return found == layouts.end() ? nullptr : &*found;
  }

  std::mutex mutex;
  std::deque<Layout> layouts;
};

KnownLayouts& known_layouts() {
  static KnownLayouts known;
  return known;
}

// Weights [S] of one joint; empty if it cannot be derived. visiting: joints whose substitutes are being derived; steps:
// how many more may be.
std::vector<float> joint_weights(const std::string& joint, const Layout& target, const Layout& source, int& steps,
                                 std::vector<std::string>& visiting) {
  require(--steps > 0, target.name, ": neighbours of joints refer to each other in too many ways");
  std::vector<float> weights(source.joints.size());
  if (const int index = source.index(joint); index >= 0) {
    weights[index] = 1;
    return weights;
  }
  const int own = target.index(joint);
  if (own < 0 || std::find(visiting.begin(), visiting.end(), joint) != visiting.end()) return {};
  visiting.push_back(joint);
  bool found = false;
  for (const std::vector<std::string>& group : target.neighbors[own]) {
    std::fill(weights.begin(), weights.end(), 0.f);
    found = std::all_of(group.begin(), group.end(), [&](const std::string& neighbor) {
      const std::vector<float> term = joint_weights(neighbor, target, source, steps, visiting);
      for (std::size_t s = 0; s < term.size(); ++s) weights[s] += term[s] / static_cast<float>(group.size());
      return !term.empty();
    });
    if (found) break;
  }
  visiting.pop_back();
  return found ? weights : std::vector<float>();
}

}  // namespace

int Layout::index(const std::string& joint) const {
  const auto found = std::find(joints.begin(), joints.end(), joint);
  return found == joints.end() ? -1 : static_cast<int>(found - joints.begin());
}

bool Layout::is_leg(int joint) const {
  while (joint >= 0 && joint != index("left_hip") && joint != index("right_hip")) joint = parents[joint];
  return joint >= 0;
}

const Layout& find_layout(const std::string& name) {
  KnownLayouts& known = known_layouts();
  const std::lock_guard<std::mutex> lock(known.mutex);
  if (const Layout* found = known.find(name)) return *found;
  std::string names;
  for (const Layout& layout : known.layouts) names += (names.empty() ? "" : ", ") + layout.name;
  throw_invalid_argument("unknown skeleton layout ", single_quoted(name), "; known are ", names);
}

void register_layout(const std::string& name, std::string_view json) {
  const auto is_plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '.'; };
  require(!name.empty() && name.size() <= kMaxName && std::all_of(name.begin(), name.end(), is_plain), "name is ",
          single_quoted(name), ", expected 1 to ", kMaxName, " letters, digits, '.', '_' and '-'");
  Layout layout = parse_layout(name, json);
  KnownLayouts& known = known_layouts();
  const std::lock_guard<std::mutex> lock(known.mutex);
  if (const Layout* other = known.find(name)) {
    require(other->joints == layout.joints && other->parents == layout.parents && other->root == layout.root &&
                other->dims == layout.dims && other->neighbors == layout.neighbors,
            "there is another layout ", single_quoted(name), ", choose a different name");
    return;
  }
  require(known.layouts.size() < kMaxLayouts, "there are already ", kMaxLayouts, " layouts");
  known.layouts.push_back(std::move(layout));
}

std::vector<float> map_weights(const Layout& target, const Layout& source, bool needs_legs) {
  std::vector<float> weights;
  std::string missing;
  for (const std::string& joint : target.joints) {
    int steps = kMaxSteps;
    std::vector<std::string> visiting;
    std::vector<float> found = joint_weights(joint, target, source, steps, visiting);
    if (found.empty() && !needs_legs && target.is_leg(target.index(joint))) found.resize(source.joints.size());
    if (found.empty()) missing += (missing.empty() ? "" : ", ") + joint;
    weights.insert(weights.end(), found.begin(), found.end());
  }
  require(missing.empty(), target.name, " cannot be made from ", source.name, ", which lacks ", missing);
  return weights;
}

}  // namespace motionrt
