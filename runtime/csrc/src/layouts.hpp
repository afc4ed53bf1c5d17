// Skeleton layouts: built-in ones, from runtime/skeletons, and registered ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace motionrt {

struct Layout {
  std::string name;
  std::vector<std::string> joints;  // [V]
  std::vector<int> parents;         // [V], -1: no parent
  int root = 0;                     // joint that poses are centered on
  int dims = 3;                     // 2: pixels, 3: meters
  // [V] groups of joints whose mean replaces a joint that the source lacks; the first complete group is used
  std::vector<std::vector<std::vector<std::string>>> neighbors;
  std::vector<int> left, right;  // hips, if it has any, and shoulders, which give the facing direction

  int index(const std::string& joint) const;  // -1 if there is none
  bool is_leg(int joint) const;               // a hip or a joint below it
};

// Throws std::invalid_argument, which lists the known layouts.
const Layout& find_layout(const std::string& name);

// Adds the layout in the text of a layout file; the same may be added again. Thread-safe, as find_layout is.
// Throws std::invalid_argument: the name is not a plain one or is taken, or what is wrong in the text.
void register_layout(const std::string& name, std::string_view json);

// Weights [V, S] that map the source's S joints to the target's V; every row sums to 1, or to 0 for a hip or a joint
// below it that the source lacks, unless legs are needed.
// Throws std::invalid_argument if any other joint is neither in the source nor a mean of neighbors that are.
std::vector<float> map_weights(const Layout& target, const Layout& source, bool needs_legs = true);

}  // namespace motionrt
