// Labels of a model by name.
#pragma once

#include <string>
#include <vector>

namespace motionrt {

// Indices of the labels that the texts `chosen` name; "none", the label at index `none` (-1: there is none), may be
// named but has no index in the result. model: its name, for messages. Throws std::invalid_argument for an unknown
// label, with the nearest ones, and for one that is repeated; if no other label than none is left, or only one of a
// model without none, which would always be the answer.
std::vector<int> choose_labels(const std::string& model, const std::vector<std::string>& labels, int none,
                               const std::vector<std::string>& chosen);

}  // namespace motionrt
