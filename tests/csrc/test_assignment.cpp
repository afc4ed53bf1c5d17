#include "assignment.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "check.hpp"

using motionrt::Assignment;

double total(int rows, int columns, const std::vector<double>& cost, const std::vector<int>& column_of) {
  double sum = 0;
  std::vector<int> used;
  for (int r = 0; r < rows; ++r) {
    if (column_of[r] < 0) continue;
    sum += cost[r * columns + column_of[r]];
    used.push_back(column_of[r]);
  }
  std::sort(used.begin(), used.end());
  CHECK(std::adjacent_find(used.begin(), used.end()) == used.end());
  CHECK(static_cast<int>(used.size()) == std::min(rows, columns));
  return sum;
}

// Lowest cost of all permutations.
double least(int rows, int columns, const std::vector<double>& cost) {
  const bool tall = rows > columns;
  const int n = std::min(rows, columns), m = std::max(rows, columns);
  std::vector<int> order(m);
  std::iota(order.begin(), order.end(), 0);
  double best = 1e300;
  do {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += tall ? cost[order[i] * columns + i] : cost[i * columns + order[i]];
    best = std::min(best, sum);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

void the_cost_is_the_lowest_of_all_permutations() {
  std::mt19937 random(0);
  std::uniform_real_distribution<double> uniform(-2, 1);
  Assignment assignment;
  for (int round = 0; round < 200; ++round) {
    const int rows = 1 + static_cast<int>(random() % 6), columns = 1 + static_cast<int>(random() % 6);
    std::vector<double> cost(rows * columns);
    for (double& c : cost) c = random() % 3 == 0 ? 0 : round % 2 ? std::floor(uniform(random)) : uniform(random);
    const auto& column_of = assignment.solve(rows, columns, cost.data());
    CHECK_NEAR(total(rows, columns, cost, column_of), least(rows, columns, cost), 1e-9);
  }
}

void a_greedy_choice_is_not_optimal() {
  const std::vector<double> cost = {0, 1, 1, 9};
  CHECK((Assignment().solve(2, 2, cost.data()) == std::vector<int>{1, 0}));
}

void an_empty_side_leaves_the_other_unassigned() {
  CHECK(Assignment().solve(0, 3, nullptr).empty());
  CHECK((Assignment().solve(2, 0, nullptr) == std::vector<int>{-1, -1}));
}

int main() {
  the_cost_is_the_lowest_of_all_permutations();
  a_greedy_choice_is_not_optimal();
  an_empty_side_leaves_the_other_unassigned();
  return result();
}
