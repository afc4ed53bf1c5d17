// Minimum-cost assignment of rows to columns.
#pragma once

#include <vector>

namespace motionrt {

// Exact, in O(min(R, C)^2 max(R, C)) time. Source: the Hungarian method with potentials and shortest augmenting
// paths (Jonker and Volgenant 1987).
class Assignment {
 public:
  // Room for this many rows and columns without allocation.
  void reserve(int rows, int columns);

  // cost [R, C], all finite. Returns the column of each row [R], -1 for a row without one: min(R, C) pairs whose
  // costs have the lowest sum. The result is valid until the next call.
  const std::vector<int>& solve(int rows, int columns, const double* cost_RC);

 private:
  std::vector<int> column_of_, row_at_, previous_;  // [R]; [C + 1], 0 is a virtual column
  std::vector<double> row_potential_, column_potential_, shortest_;
  std::vector<char> visited_;
};

}  // namespace motionrt
