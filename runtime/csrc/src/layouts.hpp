// Skeleton layouts: those of runtime/skeletons, built in.
#pragma once

#include <string>
#include <vector>

namespace motionrt {

struct Layout {
  std::string name;
  std::vector<std::string> joints;  // [V]
  std::vector<int> parents;         // [V], -1: no parent
  int root = 0;                     // the joint that poses are centred on
  int dims = 3;                     // 2: pixels, 3: metres
  // [V], groups of joints whose mean stands in for one that a source lacks, the first group that can be had
  std::vector<std::vector<std::vector<std::string>>> neighbours;
  std::vector<int> left, right;  // hips and shoulders: they tell where a person faces

  int index(const std::string& joint) const;  // -1: there is none
};

// Throws std::invalid_argument that names the known layouts.
const Layout& find_layout(const std::string& name);

// Weights [V, S] that make the target's V joints out of the source's S; every row sums to 1.
// Throws std::invalid_argument if a joint is neither in the source nor the mean of neighbours that are.
std::vector<float> map_weights(const Layout& target, const Layout& source);

}  // namespace motionrt
