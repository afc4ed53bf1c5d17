#include "assignment.hpp"

#include <algorithm>
#include <limits>

namespace motionrt {

void Assignment::reserve(int rows, int columns) {
  const std::size_t size = std::max(rows, columns) + 1;
  for (auto* values : {&column_of_, &row_at_, &previous_}) values->reserve(size);
  for (auto* values : {&row_potential_, &column_potential_, &shortest_}) values->reserve(size);
  visited_.reserve(size);
}

const std::vector<int>& Assignment::solve(int rows, int columns, const double* cost_RC) {
  // The method needs no more rows than columns; `i` and `j` count from 1 along the short and the long side.
  const bool transposed = rows > columns;
  const int n = transposed ? columns : rows, m = transposed ? rows : columns;
  const auto cost = [&](int i, int j) {
    return transposed ? cost_RC[(j - 1) * columns + i - 1] : cost_RC[(i - 1) * columns + j - 1];
  };
  row_potential_.assign(n + 1, 0);
  column_potential_.assign(m + 1, 0);
  row_at_.assign(m + 1, 0);
  previous_.assign(m + 1, 0);
  for (int i = 1; i <= n; ++i) {
    shortest_.assign(m + 1, std::numeric_limits<double>::infinity());
    visited_.assign(m + 1, 0);
    row_at_[0] = i;
    int j = 0;
    do {
      visited_[j] = 1;
      const int row = row_at_[j];
      double step = std::numeric_limits<double>::infinity();
      int next = 0;
      for (int k = 1; k <= m; ++k) {
        if (visited_[k]) continue;
        const double reduced = cost(row, k) - row_potential_[row] - column_potential_[k];
        if (reduced < shortest_[k]) {
          shortest_[k] = reduced;
          previous_[k] = j;
        }
        if (shortest_[k] < step) {
          step = shortest_[k];
          next = k;
        }
      }
      for (int k = 0; k <= m; ++k) {
        if (visited_[k]) {
          row_potential_[row_at_[k]] += step;
          column_potential_[k] -= step;
        } else {
          shortest_[k] -= step;
        }
      }
      j = next;
    } while (row_at_[j] != 0);
    for (int k = j; k != 0; k = previous_[k]) row_at_[k] = row_at_[previous_[k]];
  }
  column_of_.assign(rows, -1);
  for (int j = 1; j <= m; ++j) {
    if (row_at_[j] == 0) continue;
    if (transposed)
      column_of_[j - 1] = row_at_[j] - 1;
    else
      column_of_[row_at_[j] - 1] = j - 1;
  }
  return column_of_;
}

}  // namespace motionrt
