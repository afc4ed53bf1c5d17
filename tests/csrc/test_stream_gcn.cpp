#include "stream_gcn.hpp"

#include <cstring>
#include <map>
#include <numeric>

#include "bundle.hpp"
#include "check.hpp"
#include "tiny_bundle.hpp"

using motionrt::Bundle;
using motionrt::BundleError;
using motionrt::Kernels;
using motionrt::Precision;
using motionrt::StreamGCN;
using motionrt::Streams;

using Values = std::vector<float>;

const char* const kBundles[] = {MODELS "/live", MODELS "/nwucla-stream"};

// Numbers from -1 to 1, the same on every machine.
class Random {
 public:
  explicit Random(unsigned seed) : state_(seed) {}
  float operator()() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(state_ >> 8) / (1 << 23) - 1;
  }

 private:
  unsigned state_;
};

Values random_frame(Random& random, int joints) {
  Values frame(3 * joints);
  for (float& value : frame) value = random();
  return frame;
}

float to_bf16(float value) {  // to nearest, ties to even
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t rest = bits & 0xFFFF, odd = bits >> 16 & 1;
  bits = (bits & 0xFFFF0000) + (rest > 0x8000 || (rest == 0x8000 && odd) ? 0x10000 : 0);
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

// The network as training/models/stream_gcn.py defines it: all frames are kept, and convolutions look back at them.
class Reference {
 public:
  Reference(const Bundle& bundle, Precision precision) : bundle_(bundle), precision_(precision) {}

  // Logits [C] of the next frame [V, 3].
  std::vector<double> step(const Values& frame) {
    const auto& model = bundle_.model;
    const int V = model.joints();
    frames_.push_back(frame);
    Grid x(V);
    for (int v = 0; v < V; ++v) {
      const int parent = model.parents[v] < 0 ? v : model.parents[v];
      const Values& before = frames_.size() > 1 ? frames_[frames_.size() - 2] : frame;
      for (int axis = 0; axis < 3; ++axis) x[v].push_back(frame[3 * v + axis]);
      for (int axis = 0; axis < 3; ++axis) x[v].push_back(double(frame[3 * v + axis]) - frame[3 * parent + axis]);
      for (int axis = 0; axis < 3; ++axis)
        x[v].push_back((double(frame[3 * v + axis]) - before[3 * v + axis]) * model.fps / 4);
    }
    x = convolution("embed", x, model.channels[0]);
    const Values position = tensor("position");
    for (int v = 0; v < V; ++v)
      for (int c = 0; c < model.channels[0]; ++c) x[v][c] = relu(x[v][c] + position[c * V + v]);
    for (std::size_t i = 0; i < model.channels.size(); ++i) x = block(static_cast<int>(i), x);

    Grid features(1, std::vector<double>(model.features));
    if (model.body) {
      const Values weight = tensor("join.weight"), bias = tensor("join.bias");
      std::vector<double> joined;  // channel by channel, the joints of each next to each other
      for (int c = 0; c < model.channels.back(); ++c)
        for (int v = 0; v < V; ++v) joined.push_back(x[v][c]);
      for (int d = 0; d < model.body; ++d)
        features[0][d] =
            relu(std::inner_product(joined.begin(), joined.end(), weight.begin() + d * joined.size(), double(bias[d])));
      for (int i = 0; i < model.body_blocks; ++i)
        features = temporal_conv("body." + std::to_string(i), features, features);
    } else {
      const Values pool = tensor("pool");
      for (int d = 0; d < model.features; ++d)
        for (int v = 0; v < V; ++v) features[0][d] += pool[d * V + v] * x[v][d];
    }
    return convolution("head", features, model.classes)[0];
  }

 private:
  using Grid = std::vector<std::vector<double>>;  // [V, C]

  static double relu(double value) { return std::max(value, 0.); }

  // Tensors named weight are rounded to the precision.
  Values tensor(const std::string& name) const {
    Values values = bundle_.weights.find(name)->values;
    const std::string suffix = ".weight";
    const bool is_weight = name.size() > suffix.size() && name.substr(name.size() - suffix.size()) == suffix;
    if (is_weight && precision_ == Precision::bf16)
      for (float& value : values) value = to_bf16(value);
    return values;
  }

  Grid convolution(const std::string& name, const Grid& x, int outputs) const {
    const Values weight = tensor(name + ".weight"), bias = tensor(name + ".bias");
    Grid y;
    for (const auto& row : x) {
      y.emplace_back();
      for (int o = 0; o < outputs; ++o)
        y.back().push_back(
            std::inner_product(row.begin(), row.end(), weight.begin() + o * row.size(), double(bias[o])));
    }
    return y;
  }

  Grid block(int i, const Grid& x) {
    const auto& model = bundle_.model;
    const std::string name = "blocks." + std::to_string(i);
    const int V = model.joints(), K = 3, in = static_cast<int>(x[0].size()), out = model.channels[i];
    const Values A = tensor(name + ".graph.A");
    Grid stacked(V, std::vector<double>(K * in));
    for (int v = 0; v < V; ++v)
      for (int k = 0; k < K; ++k)
        for (int w = 0; w < V; ++w)
          for (int c = 0; c < in; ++c) stacked[v][k * in + c] += A[(v * K + k) * V + w] * x[w][c];
    const Grid shortcut = in == out ? x : convolution(name + ".shortcut", x, out);
    Grid h = convolution(name + ".graph.conv", stacked, out);
    for (int v = 0; v < V; ++v)
      for (int c = 0; c < out; ++c) h[v][c] = relu(h[v][c] + shortcut[v][c]);
    return temporal_conv(name + ".time", h, shortcut);
  }

  Grid temporal_conv(const std::string& name, const Grid& x, const Grid& shortcut) {
    const auto& model = bundle_.model;
    const int V = static_cast<int>(x.size()), out = static_cast<int>(x[0].size());
    Grid y = convolution(name + ".stem", x, out);
    for (auto& row : y)
      for (double& value : row) value = relu(value);
    auto& past = stems_[name];
    past.push_back(y);

    const int width = model.width(out), kernel = model.kernel, now = static_cast<int>(past.size()) - 1;
    for (std::size_t b = 0; b < model.dilations.size(); ++b) {
      const std::string branch = name + ".branches." + std::to_string(b);
      const Values weight = tensor(branch + ".weight"), bias = tensor(branch + ".bias");
      for (int v = 0; v < V; ++v)
        for (int o = 0; o < width; ++o) {
          double sum = bias[o];
          for (int tap = 0; tap < kernel; ++tap) {
            const int t = now - (kernel - 1 - tap) * model.dilations[b];
            for (int c = 0; t >= 0 && c < width; ++c)
              sum += weight[(o * width + c) * kernel + tap] * past[t][v][b * width + c];
          }
          y[v][b * width + o] = sum;
        }
    }
    for (int v = 0; v < V; ++v)
      for (int c = 0; c < out; ++c) y[v][c] = relu(y[v][c] + shortcut[v][c]);
    return y;
  }

  const Bundle& bundle_;
  const Precision precision_;
  std::vector<Values> frames_;
  std::map<std::string, std::vector<Grid>> stems_;  // by temporal convolution; [T]
};

// Random weights in the shapes of the model.
std::string random_weights(const TinyModel& model) {
  std::string file = tiny_weights(model);
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  Random random(7);
  for (std::size_t at = sizeof header + header; at < file.size(); at += sizeof(float)) {
    const float value = 0.4f * random();
    std::memcpy(file.data() + at, &value, sizeof value);
  }
  return file;
}

Bundle random_bundle(const TinyModel& model) {
  return motionrt::parse_bundle(tiny_manifest(model), random_weights(model), "tiny");
}

Streams streams_of(const Bundle& bundle, int capacity = 1,
                   const Kernels& kernels = *motionrt::supported_kernels().front(),
                   Precision precision = Precision::fp32) {
  return Streams(std::make_shared<StreamGCN>(bundle, precision, kernels), capacity);
}

// Logits [N, C] of one frame [V, 3] of each slot.
Values step(Streams& streams, const std::vector<int>& slots, const Values& frames) {
  Values logits(slots.size() * streams.labels());
  streams.step(static_cast<int>(slots.size()), slots.data(), frames.data(), logits.data(), nullptr);
  return logits;
}

// Architectures with widths that are not multiples of a cache line, and one with several lines.
std::vector<TinyModel> models() {
  std::vector<TinyModel> list(6);
  list[0].parents = {-1, 0, 1, 1, 0};
  list[0].channels = {6, 10};
  list[0].kernel = 3;
  list[0].dilations = {1, 3};
  list[0].classes = 7;
  list[1].parents = {2, 2, -1};  // a parent may come after its child
  list[1].channels = {17, 17, 5};
  list[1].kernel = 4;
  list[1].dilations = {2};
  list[2].channels = {7};
  list[2].kernel = 1;
  list[2].dilations = {1, 2, 4};
  list[3].parents.assign(21, 0);
  list[3].parents[0] = -1;
  list[3].channels = {40, 90};
  list[3].kernel = 5;
  list[3].dilations = {1, 2};
  list[3].classes = 33;
  list[4].channels = {6};
  list[4].body = 9;
  list[5].parents = {-1, 0, 1, 1, 0};
  list[5].channels = {6, 40};
  list[5].kernel = 3;
  list[5].dilations = {1, 2};
  list[5].body = 70;
  list[5].body_blocks = 2;
  return list;
}

void logits_match_the_definition(const Kernels& kernels) {
  for (const TinyModel& model : models())
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      const Bundle bundle = random_bundle(model);
      Reference reference(bundle, precision);
      Streams streams = streams_of(bundle, 1, kernels, precision);
      Random random(1);
      double worst = 0, largest = 0;
      for (int t = 0; t < 30; ++t) {  // longer than the receptive field
        const Values frame = random_frame(random, model.joints());
        const Values logits = step(streams, {0}, frame);
        const std::vector<double> wanted = reference.step(frame);
        for (int c = 0; c < model.classes; ++c) {
          worst = std::max(worst, std::abs(logits[c] - wanted[c]));
          largest = std::max(largest, std::abs(wanted[c]));
        }
      }
      CHECK(largest > 0.1);
      CHECK_NEAR(worst / largest, 0, 1e-5);
    }
}

void features_are_the_input_of_the_head() {
  const TinyModel model = models()[0];
  const Bundle bundle = random_bundle(model);
  Streams streams = streams_of(bundle);
  Random random(1);
  const Values frame = random_frame(random, model.joints());
  Values logits(model.classes), features(streams.features());
  const int slot = 0;
  streams.step(1, &slot, frame.data(), logits.data(), features.data());
  const Values &weight = bundle.weights.find("head.weight")->values, &bias = bundle.weights.find("head.bias")->values;
  for (int c = 0; c < model.classes; ++c)
    CHECK_NEAR(logits[c],
               std::inner_product(features.begin(), features.end(), weight.begin() + c * features.size(), bias[c]),
               1e-4);
}

// A moving person of realistic size, centered, in meters.
Values pose_at(int t, int person, int joints) {
  Values frame(3 * joints);
  for (int i = 3; i < 3 * joints; ++i)
    frame[i] = 0.6f * std::sin(static_cast<float>(i + person)) +
               0.2f * std::sin(0.3f * static_cast<float>(t * (person + 1) + i));
  return frame;
}

void all_kernels_agree_on_the_bundled_models() {
  for (const char* folder : kBundles) {
    const Bundle bundle = motionrt::read_bundle(folder);
    Streams fastest = streams_of(bundle);
    for (const Kernels* kernels : motionrt::supported_kernels()) {
      fastest.begin(0);
      Streams others = streams_of(bundle, 1, *kernels);
      for (int t = 0; t < 40; ++t) {
        const Values frame = pose_at(t, 0, bundle.model.joints());
        const Values a = step(fastest, {0}, frame), b = step(others, {0}, frame);
        for (std::size_t c = 0; c < a.size(); ++c) CHECK_NEAR(b[c], a[c], 1e-4);
      }
    }
  }
}

void halved_weights_hardly_change_the_bundled_models() {
  for (const char* folder : kBundles) {
    const Bundle bundle = motionrt::read_bundle(folder);
    const auto full = std::make_shared<StreamGCN>(bundle), half = std::make_shared<StreamGCN>(bundle, Precision::bf16);
    CHECK(static_cast<double>(half->weight_bytes()) < 0.6 * static_cast<double>(full->weight_bytes()));
    Streams a(full, 1), b(half, 1);
    for (int t = 0; t < 40; ++t) {
      const Values frame = pose_at(t, 0, bundle.model.joints());
      const Values exact = step(a, {0}, frame), rounded = step(b, {0}, frame);
      for (std::size_t c = 0; c < exact.size(); ++c) CHECK_NEAR(rounded[c], exact[c], 0.5);
    }
  }
}

void a_restarted_stream_is_a_new_one() {
  for (const char* folder : kBundles) {
    const Bundle bundle = motionrt::read_bundle(folder);
    const int V = bundle.model.joints();
    Streams used = streams_of(bundle), fresh = streams_of(bundle);
    for (int t = 0; t < 25; ++t) step(used, {0}, pose_at(t, 3, V));
    used.begin(0);
    for (int t = 0; t < 25; ++t) CHECK(step(used, {0}, pose_at(t, 0, V)) == step(fresh, {0}, pose_at(t, 0, V)));
  }
}

void a_batch_matches_single_steps() {
  for (const char* folder : kBundles) {
    const Bundle bundle = motionrt::read_bundle(folder);
    const int V = bundle.model.joints(), C = bundle.model.classes, people = 16;
    Streams together = streams_of(bundle, people), apart = streams_of(bundle, people);
    for (int t = 0; t < 12; ++t) {
      std::vector<int> slots;  // in random order, and not all of them
      for (int i = 0; i < people - t; ++i) slots.push_back((i * 5 + t) % people);
      Values frames, wanted;
      for (const int slot : slots) {
        const Values frame = pose_at(t, slot, V), logits = step(apart, {slot}, frame);
        frames.insert(frames.end(), frame.begin(), frame.end());
        wanted.insert(wanted.end(), logits.begin(), logits.end());
      }
      CHECK(wanted.size() == slots.size() * C && step(together, slots, frames) == wanted);
    }
  }
}

void weights_of_another_architecture_are_rejected() {
  const TinyModel model = models()[0];
  const auto network = [&](const std::string& weights) {
    StreamGCN(motionrt::parse_bundle(tiny_manifest(model), weights, "tiny"));
  };
  network(tiny_weights(model));
  TinyModel other = model;
  other.channels = {6, 12};
  CHECK_REJECTED(network(tiny_weights(other)), "blocks.1.graph.conv.weight");
  other = model;
  other.kernel = 2;
  CHECK_REJECTED(network(tiny_weights(other)), "blocks.0.time.branches.0.weight");
  other = model;
  other.channels = {6};
  CHECK_REJECTED(network(tiny_weights(other)), "blocks.1");
  other = model;
  other.classes = 8;
  CHECK_REJECTED(network(tiny_weights(other)), "head.weight");
  other = model;
  other.parents.push_back(0);
  CHECK_REJECTED(network(tiny_weights(other)), "position");
  std::string with_nan = tiny_weights(model);
  std::memset(with_nan.data() + with_nan.size() - 4, 0xFF, 4);
  CHECK_REJECTED(network(with_nan), "head.bias");
}

int main() {
  for (const Kernels* kernels : motionrt::supported_kernels()) logits_match_the_definition(*kernels);
  features_are_the_input_of_the_head();
  all_kernels_agree_on_the_bundled_models();
  halved_weights_hardly_change_the_bundled_models();
  a_restarted_stream_is_a_new_one();
  a_batch_matches_single_steps();
  weights_of_another_architecture_are_rejected();
  return result();
}
