// Labels that are learned from examples while the program runs, and their files: safetensors with a tensor [n, D] of
// features for each label, and the encoder that computed them. As in runtime/recognition/gestures.py and
// gesture_head.py.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "errors.hpp"

namespace motionrt {

struct Gesture {
  std::string label;
  std::vector<float> features_ND;
};

using Gestures = std::vector<Gesture>;

// Adds an example of a label. Throws std::invalid_argument for a label that is no text of 1 to 200 bytes without
// control characters, or that has 200 examples.
void add_example(Gestures& gestures, const std::string& label, const std::vector<float>& feature_D);

std::string write_gestures(const Gestures& gestures, int features, const std::string& encoder);

// Throws std::invalid_argument unless it is a file of `write_gestures` with this encoder.
Gestures read_gestures(std::string_view file, int features, const std::string& encoder);

// A linear head that tells gestures apart: multinomial logistic regression on the features minus their mean.
struct GestureHead {
  std::vector<float> weights_HD, bias_H;
};
GestureHead fit_head(const Gestures& gestures, const std::vector<float>& mean_D);

}  // namespace motionrt
