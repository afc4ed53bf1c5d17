#include "labels.hpp"

#include <algorithm>
#include <numeric>

#include "errors.hpp"

namespace motionrt {

namespace {

constexpr std::size_t kNearest = 3;         // named in a message
constexpr std::size_t kMaxCompared = 1000;  // bytes of a text

// Levenshtein distance in bytes.
std::size_t distance(std::string_view a, std::string_view b) {
  a = a.substr(0, kMaxCompared), b = b.substr(0, kMaxCompared);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string nearest(const std::vector<std::string>& labels, int none, const std::string& text) {
  std::vector<std::pair<std::size_t, std::string>> ranked;
  for (int i = 0; i < static_cast<int>(labels.size()); ++i) {
    // A label that contains the text, such as "wave left hand" for "left hand", is near.
    const bool contains = !text.empty() && labels[i].find(text) != std::string::npos;
    if (i != none) ranked.emplace_back(contains ? 0 : distance(labels[i], text), single_quoted(labels[i]));
  }
  std::sort(ranked.begin(), ranked.end());
  std::string names;
  for (std::size_t i = 0; i < std::min(kNearest, ranked.size()); ++i) names += (i ? ", " : "") + ranked[i].second;
  return names;
}

}  // namespace

std::vector<int> choose_labels(const std::string& model, const std::vector<std::string>& labels, int none,
                               const std::vector<std::string>& chosen) {
  std::vector<int> result;
  for (const std::string& text : chosen) {
    const auto found = std::find(labels.begin(), labels.end(), text);
    require(found != labels.end(), "label ", single_quoted(text), " is not one of model ", single_quoted(model),
            ", the nearest are ", nearest(labels, none, text));
    const int index = static_cast<int>(found - labels.begin());
    if (index == none) continue;
    require(std::find(result.begin(), result.end(), index) == result.end(), "label ", single_quoted(text),
            " is repeated");
    result.push_back(index);
  }
  require(!result.empty(), "no labels, expected some of model ", single_quoted(model));
  require(none >= 0 || result.size() > 1, "one label, expected at least two: model ", single_quoted(model),
          " has no label for other motion");
  return result;
}

}  // namespace motionrt
