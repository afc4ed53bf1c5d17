// Thresholds of each label by the false alarms that they lead to.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "errors.hpp"

namespace motionrt {

struct Thresholds {
  std::vector<double> on, off;  // [C]
};

// What `decision.alarms` of a manifest holds.
struct Alarms {
  std::vector<double> per_minute;        // [B] rising
  std::vector<std::vector<double>> on;   // [B][C], `on` of a label never rises
  std::vector<std::vector<double>> off;  // [B][C]
  double normal = 0;                     // of per_minute, unless the user chooses one; 0: the same threshold for all
};

// Thresholds for a number of false alarms per minute, interpolated over its logarithm.
// model: its name, for the message of the std::invalid_argument if it has none for that number.
inline Thresholds thresholds_at(const Alarms& alarms, double per_minute, const std::string& model) {
  const std::vector<double>& rates = alarms.per_minute;
  require(!rates.empty(), "alarms_per_minute is ", per_minute, ", but model ", single_quoted(model),
          " has no thresholds by false alarms");
  require(per_minute >= rates.front() && per_minute <= rates.back(), "alarms_per_minute is ", per_minute, ", model ",
          single_quoted(model), " has thresholds for ", rates.front(), " to ", rates.back());
  const std::size_t above = std::lower_bound(rates.begin(), rates.end(), per_minute) - rates.begin();
  const std::size_t below = per_minute == rates[above] ? above : above - 1;
  const double part = above == below ? 0 : std::log(per_minute / rates[below]) / std::log(rates[above] / rates[below]);
  Thresholds result{alarms.on[below], alarms.off[below]};
  for (std::size_t c = 0; c < result.on.size(); ++c) {
    result.on[c] += part * (alarms.on[above][c] - result.on[c]);
    result.off[c] += part * (alarms.off[above][c] - result.off[c]);
  }
  return result;
}

}  // namespace motionrt
