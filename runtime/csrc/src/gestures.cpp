#include "gestures.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "json.hpp"
#include "safetensors.hpp"

namespace motionrt {
namespace {

constexpr std::size_t kMaxExamples = 200, kMaxLabelBytes = 200;
constexpr int kMaxGestures = 1000;
constexpr double kPenalty = 0.003;
constexpr int kSteps = 300, kPowerSteps = 200;

// A label as JSON.
std::string quoted(const std::string& label) {
  std::string text = "\"";
  for (const char c : label) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  text += '"';
  bool is_text = !label.empty() && label.size() <= kMaxLabelBytes;
  try {
    JsonDocument(text, "");
  } catch (const BundleError&) {
    is_text = false;  // control characters, or no UTF-8
  }
  require(is_text, "label ", single_quoted(label), ", expected a text of 1 to ", kMaxLabelBytes, " bytes in one line");
  return text;
}

}  // namespace

void add_example(Gestures& gestures, const std::string& label, const std::vector<float>& feature_D) {
  quoted(label);
  auto found =
      std::find_if(gestures.begin(), gestures.end(), [&](const Gesture& gesture) { return gesture.label == label; });
  if (found == gestures.end()) {
    require(gestures.size() < kMaxGestures, "more than ", kMaxGestures, " gestures");
    found = gestures.insert(found, {label, {}});
  }
  require(found->features_ND.size() < kMaxExamples * feature_D.size(), single_quoted(label), " has ", kMaxExamples,
          " examples, expected at most as many");
  found->features_ND.insert(found->features_ND.end(), feature_D.begin(), feature_D.end());
}

std::string write_gestures(const Gestures& gestures, int features, const std::string& encoder) {
  std::string header = "{\"__metadata__\":{\"encoder\":" + quoted(encoder) + "}", data;
  for (const Gesture& gesture : gestures) {
    const std::size_t begin = data.size(), bytes = gesture.features_ND.size() * sizeof(float);
    data.resize(begin + bytes);
    std::memcpy(data.data() + begin, gesture.features_ND.data(), bytes);
    header +=
        join_text(',', quoted(gesture.label), ":{\"dtype\":\"F32\",\"shape\":[", gesture.features_ND.size() / features,
                  ',', features, "],\"data_offsets\":[", begin, ',', data.size(), "]}");
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string length;
  for (int shift = 0; shift < 64; shift += 8)
    length += static_cast<char>(static_cast<std::uint64_t>(header.size()) >> shift & 0xFF);
  return length + header + data;
}

Gestures read_gestures(std::string_view file, int features, const std::string& encoder) {
  const std::string where = "gestures";
  try {
    const Tensors tensors = parse_safetensors(file, where);
    const auto found = tensors.metadata().find("encoder");
    if (found == tensors.metadata().end() || found->second != encoder)
      throw_bundle_error(where, ": made with the encoder of another model, expected ", encoder);
    Gestures gestures;
    for (const auto& [label, tensor] : tensors) {
      quoted(label);
      const std::int64_t count = tensor.shape.empty() ? 0 : tensor.shape[0];
      if (count < 1 || count > static_cast<std::int64_t>(kMaxExamples) || gestures.size() == kMaxGestures)
        throw_bundle_error(where, ": ", count, " examples of ", single_quoted(label), ", expected 1 to ", kMaxExamples,
                           " of at most ", kMaxGestures, " labels");
      gestures.push_back({label, require_tensor(tensors, label, {count, features}, where).values});
    }
    return gestures;
  } catch (const BundleError& error) {
    throw std::invalid_argument(error.what());
  }
}

GestureHead fit_head(const Gestures& gestures, const std::vector<float>& mean_D) {
  const int D = static_cast<int>(mean_D.size()), H = static_cast<int>(gestures.size()), E = D + 1;
  std::vector<double> x_NE, weight_N, center_D(D);
  std::vector<int> class_N;
  for (int h = 0; h < H; ++h) {
    const std::size_t count = gestures[h].features_ND.size() / D;
    for (std::size_t n = 0; n < count; ++n) {
      for (int d = 0; d < D; ++d) x_NE.push_back(static_cast<double>(gestures[h].features_ND[n * D + d]) - mean_D[d]);
      x_NE.push_back(1);
      weight_N.push_back(1.0 / (static_cast<double>(H) * static_cast<double>(count)));
      class_N.push_back(h);
    }
  }
  const std::size_t N = class_N.size();
  for (std::size_t n = 0; n < N; ++n)
    for (int d = 0; d < D; ++d) center_D[d] += x_NE[n * E + d] / static_cast<double>(N);
  for (std::size_t n = 0; n < N; ++n)
    for (int d = 0; d < D; ++d) x_NE[n * E + d] -= center_D[d];

  double norm = 0;  // the largest eigenvalue of x' diag(weight) x
  std::vector<double> v_E(E, 1), next_E(E);
  for (int step = 0; step < kPowerSteps; ++step) {
    std::fill(next_E.begin(), next_E.end(), 0.0);
    for (std::size_t n = 0; n < N; ++n) {
      const double* x = x_NE.data() + n * E;
      double product = 0;
      for (int e = 0; e < E; ++e) product += x[e] * v_E[e];
      for (int e = 0; e < E; ++e) next_E[e] += weight_N[n] * product * x[e];
    }
    double squared = 0;
    for (const double value : next_E) squared += value * value;
    norm = std::sqrt(squared);
    for (int e = 0; e < E; ++e) v_E[e] = next_E[e] / norm;
  }
  const double smoothness = 0.5 * norm + kPenalty;

  const std::size_t size = static_cast<std::size_t>(H) * E;
  std::vector<double> w_HE(size), ahead_HE(size), gradient_HE(size), scores_H(H);
  double t = 1;
  for (int step = 0; step < kSteps; ++step) {  // Nesterov's accelerated gradient
    for (std::size_t i = 0; i < size; ++i) gradient_HE[i] = kPenalty * ahead_HE[i];
    for (std::size_t n = 0; n < N; ++n) {
      const double* x = x_NE.data() + n * E;
      for (int h = 0; h < H; ++h) {
        const double* row = ahead_HE.data() + static_cast<std::size_t>(h) * E;
        scores_H[h] = 0;
        for (int e = 0; e < E; ++e) scores_H[h] += row[e] * x[e];
      }
      const double top = *std::max_element(scores_H.begin(), scores_H.end());
      double total = 0;
      for (double& score : scores_H) total += score = std::exp(score - top);
      for (int h = 0; h < H; ++h) {
        const double error = weight_N[n] * (scores_H[h] / total - (h == class_N[n]));
        double* row = gradient_HE.data() + static_cast<std::size_t>(h) * E;
        for (int e = 0; e < E; ++e) row[e] += error * x[e];
      }
    }
    const double before = t;
    t = (1 + std::sqrt(1 + 4 * t * t)) / 2;
    for (std::size_t i = 0; i < size; ++i) {
      const double w = ahead_HE[i] - gradient_HE[i] / smoothness;
      ahead_HE[i] = w + (before - 1) / t * (w - w_HE[i]);
      w_HE[i] = w;
    }
  }
  GestureHead head;
  for (int h = 0; h < H; ++h) {
    const double* row = w_HE.data() + static_cast<std::size_t>(h) * E;
    double bias = row[D];
    for (int d = 0; d < D; ++d) {
      bias -= row[d] * center_D[d];
      head.weights_HD.push_back(static_cast<float>(row[d]));
    }
    head.bias_H.push_back(static_cast<float>(bias));
  }
  return head;
}

}  // namespace motionrt
