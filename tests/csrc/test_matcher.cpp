#include "matcher.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "check.hpp"
#include "matched_streams.hpp"
#include "tiny_bundle.hpp"

using namespace motionrt;

const TinyCompiled tiny;

Bundle bundle_of(const std::string& manifest = tiny.manifest()) {
  return parse_bundle(manifest, tiny.weights(), "tiny");
}

TinyCompiled with_space() {
  TinyCompiled bundle;
  bundle.has_space = true;
  return bundle;
}

std::vector<float> frame_at(int t) {
  std::vector<float> frame(45);
  for (int i = 0; i < 45; ++i)
    frame[i] = std::sin(static_cast<float>(i)) + 0.3f * std::sin(0.4f * static_cast<float>(t + i));
  return frame;
}

// Logits of each of 20 frames of one person.
std::vector<std::vector<float>> play(Network& network, int slot = 0) {
  std::vector<std::vector<float>> logits;
  network.begin(slot);
  for (int t = 0; t < 20; ++t) {
    logits.emplace_back(network.labels());
    network.step(1, &slot, frame_at(t).data(), logits.back().data(), nullptr);
  }
  return logits;
}

// Slow and simple, in double: the definition in training/models/tdsm.py, or of runtime/recognition/alignment.py.
struct Reference {
  Bundle bundle;
  const MatchingConfig& c = *bundle.matching;
  using Row = std::vector<double>;

  const std::vector<float>& tensor(const std::string& name) const {
    return bundle.weights.find("matcher." + name)->values;
  }

  Row linear(const std::string& name, const Row& x) const {
    const auto &weight = tensor(name + ".weight"), &bias = tensor(name + ".bias");
    Row y(bias.begin(), bias.end());
    for (std::size_t o = 0; o < y.size(); ++o)
      for (std::size_t i = 0; i < x.size(); ++i) y[o] += weight[o * x.size() + i] * x[i];
    return y;
  }

  Row modulate(const Row& x, const float* shift) const {
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / c.width;
    for (const double v : x) variance += (v - mean) * (v - mean) / c.width;
    Row y(x.size());
    for (int e = 0; e < c.width; ++e)
      y[e] = shift[e] + (x[e] - mean) / std::sqrt(variance + 1e-6) * (1.0 + shift[c.width + e]);
    return y;
  }

  double angle(const Row& z, int text) const {
    double total = tensor("offset")[text] + 1;
    for (std::size_t p = 0, e = 0; p < c.parts.size(); ++p) {
      double squared = 0, product = 0;
      for (const std::size_t end = e + c.parts[p]; e < end; ++e) {
        double x = tensor("motion.bias")[e];
        for (int f = 0; f < c.feature; ++f) x += z[f] * tensor("motion.weight")[20 * f + e];
        squared += x * x;
        product += x * tensor("texts")[20 * text + e];
      }
      total -= std::sqrt(c.shares[p] / squared) * product;
    }
    return total;
  }

  double error(const Row& z, int text) const {
    if (!c.parts.empty()) return angle(z, text);
    const int E = c.width, width = E / c.heads;
    const float* part = tensor("modulation").data() + 8 * E * text;
    double total = 0;
    for (int j = 0; j < c.noises; ++j) {
      const float* noise = tensor("noises").data() + c.feature * j;
      Row noisy(c.feature);
      for (int f = 0; f < c.feature; ++f) noisy[f] = std::sqrt(c.signal) * z[f] + std::sqrt(1 - c.signal) * noise[f];
      Row x = linear("x_embedder", noisy);
      const Row qkv = linear("blocks.0.attn.qkv", modulate(x, part));
      Row attended(E);
      for (int from = 0; from < E; from += width) {
        const auto key = [&](int s, int e) {
          return s < c.tokens ? tensor("token_modulation")[2 * E * (c.tokens * text + s) + e] : qkv[E + e];
        };
        Row weights(c.tokens + 1);
        double sum = 0;
        for (int s = 0; s <= c.tokens; ++s) {
          double score = 0;
          for (int e = from; e < from + width; ++e) score += qkv[e] * key(s, e) / std::sqrt(width);
          sum += weights[s] = std::exp(score);
        }
        for (int s = 0; s <= c.tokens; ++s)
          for (int e = from; e < from + width; ++e) attended[e] += weights[s] / sum * key(s, E + e);
      }
      const auto add = [&](const Row& change, const float* gate) {
        for (int e = 0; e < E; ++e) x[e] += gate[e] * change[e];
      };
      add(linear("blocks.0.attn.proj", attended), part + 2 * E);
      Row hidden = linear("blocks.0.mlp.fc1", modulate(x, part + 3 * E));
      for (double& h : hidden) h *= 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (h + 0.044715 * h * h * h)));
      add(linear("blocks.0.mlp.fc2", hidden), part + 5 * E);
      const Row found = linear("final_layer.linear", modulate(x, part + 6 * E));
      for (int f = 0; f < c.feature; ++f) total += (found[f] - noise[f]) * (found[f] - noise[f]);
    }
    return total / (c.noises * c.feature);
  }

  Row logits(const std::vector<float>& feature) const {
    const int D = bundle.model.features, F = c.feature, none = bundle.session.none;
    Row centered(D), z(F), logits(bundle.session.labels, -1e30);
    for (int d = 0; d < D; ++d) centered[d] = feature[d] - tensor("mean")[d];
    for (int f = 0; f < F; ++f)
      for (int d = 0; d < D; ++d) z[f] += centered[d] * tensor("projection")[d * F + f];
    for (int k = 0; k < c.texts; ++k) logits[k] = c.scale * (error(z, c.texts) - error(z, k)) - c.none;
    logits[none] = 0;
    double least = 1e30, sum = 0;
    for (int n = 0; n < c.prototypes; ++n) {
      double squared = 0;
      for (int f = 0; f < F; ++f) squared += std::pow(z[f] - tensor("prototypes")[F * n + f], 2);
      least = std::min(least, squared / F);
    }
    const Row scores = linear("head", centered);
    for (const double score : scores) sum += std::exp(score);
    for (std::size_t h = 0; h < scores.size(); ++h)
      logits[c.examples[h]] =
          std::max(logits[c.examples[h]], c.prototype_scale * (c.prototype_offset - least) + scores[h] - std::log(sum));
    return logits;
  }
};

void logits_follow_the_definition(const TinyCompiled& compiled) {
  const Reference reference{parse_bundle(compiled.manifest(), compiled.weights(), "tiny")};
  for (const Kernels* kernels : supported_kernels()) {
    const Matcher matcher(reference.bundle, Precision::fp32, *kernels);
    Matcher::Buffers buffers(matcher);
    for (int i = 0; i < 5; ++i) {
      std::vector<float> feature(reference.bundle.model.features), found(matcher.labels());
      for (std::size_t d = 0; d < feature.size(); ++d) feature[d] = std::sin(static_cast<float>(7 * i + d));
      const auto expected = reference.logits(feature);
      matcher.match(feature.data(), buffers, found.data());
      for (int k = 0; k < matcher.labels(); ++k) CHECK_NEAR(found[k], expected[k], 1e-4);
    }
  }
}

void the_mean_of_the_window_is_matched_at_its_interval() {
  const Bundle bundle = bundle_of();
  const Model model(bundle);
  const auto network = model.streams(2);
  CHECK(network->labels() == 12 && network->joints() == 15 && network->capacity() == 2);
  const auto logits = play(*network);
  for (int t = 0; t < 4; ++t) CHECK(logits[t][0] == -30 && logits[t].back() == 0);
  for (int t = 4; t < 20; ++t) CHECK((logits[t] == logits[t - 1]) == (t % 5 != 4));  // every 0.25 s at 20 Hz

  Streams encoder(std::make_shared<StreamGCN>(bundle), 1);
  const Matcher matcher(bundle, Precision::fp32, *supported_kernels().front());
  Matcher::Buffers buffers(matcher);
  std::vector<std::vector<float>> features;
  encoder.begin(0);
  const int slot = 0;
  for (int t = 0; t < 20; ++t) {
    features.emplace_back(encoder.features());
    encoder.step(1, &slot, frame_at(t).data(), nullptr, features.back().data());
  }
  std::vector<float> mean(encoder.features()), expected(matcher.labels());
  for (int t = 12; t < 20; ++t)  // the last 0.4 s
    for (std::size_t d = 0; d < mean.size(); ++d) mean[d] += features[t][d] / 8;
  matcher.match(mean.data(), buffers, expected.data());
  for (int k = 0; k < matcher.labels(); ++k) CHECK_NEAR(logits[19][k], expected[k], 1e-4);
}

void people_are_matched_alone_and_start_over() {
  const Model model(bundle_of());
  const auto network = model.streams(2);
  const auto once = play(*network, 1);
  play(*network, 0);
  CHECK(play(*network, 1) == once);
}

void a_bundle_with_examples_only_needs_no_network() {
  std::string manifest = replaced(tiny.manifest(), R"("texts": 9)", R"("texts": 0)");
  manifest = replaced(manifest, "[9, 10, 11]", "[0, 1, 2]");
  for (int label = 4; label <= 11; ++label)
    manifest = replaced(manifest, "\"wave " + std::to_string(label) + "\", ", "");
  manifest = replaced(manifest, R"("classes": 12)", R"("classes": 4)");
  const Model model(bundle_of(manifest));
  const auto logits = play(*model.streams(1)).back();
  CHECK(logits.size() == 4 &&
        std::all_of(logits.begin(), logits.end(), [](float l) { return std::isfinite(l) && l > -30; }));
}

void settings_and_weights_that_do_not_fit_are_refused() {
  const auto changed = [](const char* from, const char* to) { return replaced(tiny.manifest(), from, to); };
  CHECK_REJECTED(bundle_of(changed(R"("width": 16)", R"("width": 24)")), "a multiple of 16 and of heads, 2");
  CHECK_REJECTED(bundle_of(changed(R"("heads": 2)", R"("heads": 3)")), "a multiple of 16 and of heads, 3");
  CHECK_REJECTED(bundle_of(changed(R"("texts": 9)", R"("texts": 8)")), "that of each of 11 labels, or examples of it");
  CHECK_REJECTED(bundle_of(changed(R"("texts": 9)", R"("texts": 12)")), "that of each of 11 labels");
  CHECK_REJECTED(bundle_of(changed("[9, 10, 11]", "[9, 10, 12]")), "labels below 12, found 12");
  CHECK_REJECTED(bundle_of(changed(R"("none": "none")", R"("none": null)")), "the last label");
  CHECK_REJECTED(bundle_of(changed(R"("prototypes": 4,)", "")), "prototypes is missing");
  CHECK_REJECTED(bundle_of(changed(R"("signal": 0.9)", R"("signal": 2)")), "signal: 2, expected a number from 0 to 1");
  CHECK_REJECTED(bundle_of(changed(R"("matching")", R"("other")")), "matching is missing");
  const auto refuse = [](const char* from, const char* to, const char* what) {
    const TinyCompiled space = with_space();
    CHECK_REJECTED(Model(parse_bundle(replaced(space.manifest(), from, to), space.weights(), "tiny")), what);
  };
  refuse("[0.7, 0.3]", "[1]", "2 numbers, one for each part");
  refuse("[0.7, 0.3]", "[0.7, 1.3]", "from 0 to 1");
  refuse("[18, 2]", "[17, 2]", "matcher.motion.weight");
  CHECK_REJECTED(Model(bundle_of(changed(R"("noises": 3)", R"("noises": 4)"))), "matcher.noises");
  CHECK_REJECTED(Model(bundle_of(changed(R"("prototypes": 4)", R"("prototypes": 3)"))), "matcher.prototypes");
}

int main() {
  logits_follow_the_definition(tiny);
  logits_follow_the_definition(with_space());
  the_mean_of_the_window_is_matched_at_its_interval();
  people_are_matched_alone_and_start_over();
  a_bundle_with_examples_only_needs_no_network();
  settings_and_weights_that_do_not_fit_are_refused();
  return result();
}
