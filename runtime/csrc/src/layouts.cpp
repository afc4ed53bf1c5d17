#include "layouts.hpp"

#include <algorithm>
#include <string_view>

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

using Groups = std::vector<std::vector<std::string>>;

Groups read_groups(const std::optional<JsonValue>& list) {
  Groups groups;
  if (!list) return groups;
  for (const JsonValue& group : list->items()) {
    groups.emplace_back();
    for (const JsonValue& joint : group.items()) groups.back().push_back(joint.text().value());
  }
  return groups;
}

Layout parse_layout(const Embedded& file) {
  const JsonDocument document(file.json, file.name);
  const JsonValue top = document.root();
  Layout layout;
  layout.name = file.name;
  layout.dims = static_cast<int>(top.find("dims").value().integer().value());
  const std::vector<JsonValue> joints = top.find("joints").value().items();
  for (const JsonValue& joint : joints) {
    layout.joints.push_back(joint.find("name").value().text().value());
    layout.neighbors.push_back(read_groups(joint.find("neighbours")));
  }
  for (const JsonValue& joint : joints) {
    const JsonValue parent = joint.find("parent").value();
    layout.parents.push_back(parent.is_null() ? -1 : layout.index(parent.text().value()));
  }
  layout.root = layout.index(top.find("root").value().text().value());
  for (const std::string part : {"hip", "shoulder"}) {
    if (layout.index("left_" + part) < 0) continue;
    layout.left.push_back(layout.index("left_" + part));
    layout.right.push_back(layout.index("right_" + part));
  }
  return layout;
}

const std::vector<Layout>& built_in_layouts() {
  static const std::vector<Layout> layouts = [] {
    std::vector<Layout> parsed;
    for (const Embedded& file : kEmbedded) parsed.push_back(parse_layout(file));
    return parsed;
  }();
  return layouts;
}

// Weights [S] of one joint; empty if it cannot be derived. visiting: joints whose substitutes are being derived.
std::vector<float> joint_weights(const std::string& joint, const Layout& target, const Layout& source,
                                 std::vector<std::string>& visiting) {
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
      const std::vector<float> term = joint_weights(neighbor, target, source, visiting);
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
  std::string known;
  for (const Layout& layout : built_in_layouts()) {
    if (layout.name == name) return layout;
    known += (known.empty() ? "" : ", ") + layout.name;
  }
  throw_invalid_argument("unknown skeleton layout ", single_quoted(name), "; known are ", known);
}

std::vector<float> map_weights(const Layout& target, const Layout& source, bool needs_legs) {
  std::vector<float> weights;
  std::string missing;
  for (const std::string& joint : target.joints) {
    std::vector<std::string> visiting;
    std::vector<float> found = joint_weights(joint, target, source, visiting);
    if (found.empty() && !needs_legs && target.is_leg(target.index(joint))) found.resize(source.joints.size());
    if (found.empty()) missing += (missing.empty() ? "" : ", ") + joint;
    weights.insert(weights.end(), found.begin(), found.end());
  }
  require(missing.empty(), target.name, " cannot be made from ", source.name, ", which lacks ", missing);
  return weights;
}

}  // namespace motionrt
