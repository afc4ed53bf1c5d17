#include "matcher.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>

namespace motionrt {
namespace {

constexpr int kTexts = 8;  // matched together
constexpr float kEpsilon = 1e-6f;

// Sums over n floats, in an order that lets the compiler use vectors.
template <class Term>
float sum(int n, Term term) {
  std::array<float, kLineFloats> parts = {};
  int i = 0;
  for (; i + kLineFloats <= n; i += kLineFloats)
    for (int k = 0; k < kLineFloats; ++k) parts[k] += term(i + k);
  float total = 0;
  for (const float part : parts) total += part;
  for (; i < n; ++i) total += term(i);
  return total;
}

// exp(x) for x from -80 to 80, within 3e-7 of it, without a call.
inline float exp_of(float x) {
  constexpr float kShift = 12582912;  // 1.5 * 2^23: the sum's low bits are the rounded number
  const float shifted = x * 1.44269504f + kShift, n = shifted - kShift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691e-4f;
  p = p * r + 1.3981999e-3f;
  p = p * r + 8.3334519e-3f;
  p = p * r + 4.1665796e-2f;
  p = p * r + 1.6666666e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1;
  const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

// GELU in its form with tanh: x * sigmoid(2 u).
void gelu(float* x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const float u = 0.79788456f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
    x[i] /= 1 + exp_of(std::min(80.f, std::max(-80.f, -2 * u)));
  }
}

Matrix linear(const Bundle& bundle, const std::string& name, int inputs, int outputs, Precision precision) {
  const float* weight = require_tensor(bundle.weights, name + ".weight", {outputs, inputs}, bundle.name).values.data();
  const float* bias = require_tensor(bundle.weights, name + ".bias", {outputs}, bundle.name).values.data();
  Matrix matrix(inputs, round_up(outputs));
  for (int o = 0; o < outputs; ++o) {
    matrix.bias(o) = bias[o];
    for (int i = 0; i < inputs; ++i) matrix.at(i, o) = *weight++;
  }
  matrix.round(precision);
  return matrix;
}

}  // namespace

Matcher::Matcher(const Bundle& bundle, Precision precision, const Kernels& kernels)
    : config_(*bundle.matching),
      labels_(bundle.session.labels),
      features_(bundle.model.features),
      T_(config_.texts > 0 ? config_.texts + config_.backgrounds : 0),
      kernels_(kernels) {
  const MatchingConfig& c = config_;
  const int F = c.feature, E = c.width;
  const auto read = [&](const char* name, const Shape& shape) {
    return require_tensor(bundle.weights, std::string("matcher.") + name, shape, bundle.name).values;
  };
  mean_D_ = read("mean", {features_});
  projection_DF_ = read("projection", {features_, F});
  if (const auto enrolled = static_cast<std::int64_t>(c.examples.size()); enrolled > 0) {
    prototypes_NF_ = read("prototypes", {c.prototypes, F});
    head_HD_ = read("head.weight", {enrolled, features_});
    bias_H_ = read("head.bias", {enrolled});
  }
  if (T_ == 0) return;
  offset_T_ = bundle.weights.find("matcher.offset") ? read("offset", {T_}) : std::vector<float>(T_);
  if (!c.parts.empty()) {
    const int width = std::accumulate(c.parts.begin(), c.parts.end(), 0);
    motion_FE_ = read("motion.weight", {F, width});
    motion_E_ = read("motion.bias", {width});
    texts_TE_ = read("texts", {T_, width});
    return;
  }
  tokens_width_ = 2 * c.depth * E;
  modulation_width_ = (6 * c.depth + 2) * E;
  noises_JF_ = read("noises", {c.noises, F});
  tokens_TLR_ = read("token_modulation", {T_, c.tokens, tokens_width_});
  modulation_TM_ = read("modulation", {T_, modulation_width_});
  embed_ = linear(bundle, "matcher.x_embedder", F, E, precision);
  for (int k = 0; k < c.depth; ++k) {
    const std::string name = "matcher.blocks." + std::to_string(k);
    blocks_.push_back({linear(bundle, name + ".attn.qkv", E, 3 * E, precision),
                       linear(bundle, name + ".attn.proj", E, E, precision),
                       linear(bundle, name + ".mlp.fc1", E, 4 * E, precision),
                       linear(bundle, name + ".mlp.fc2", 4 * E, E, precision)});
  }
  last_ = linear(bundle, "matcher.final_layer.linear", E, F, precision);
}

std::shared_ptr<const Matcher> Matcher::with_examples(int labels, std::vector<int> examples,
                                                      const Gestures& gestures) const {
  auto changed = std::make_shared<Matcher>(*this);
  MatchingConfig& c = changed->config_;
  changed->labels_ = labels;
  changed->prototypes_NF_.clear();
  std::vector<float> centered(features_), z(c.feature);
  for (std::size_t h = 0; h < gestures.size(); ++h) {
    if (examples[h] == labels - 1) continue;
    const std::vector<float>& features = gestures[h].features_ND;
    for (std::size_t at = 0; at < features.size(); at += features_) {
      project(features.data() + at, centered.data(), z.data());
      changed->prototypes_NF_.insert(changed->prototypes_NF_.end(), z.begin(), z.end());
    }
  }
  if (changed->prototypes_NF_.empty()) examples.clear();
  c.prototypes = static_cast<int>(changed->prototypes_NF_.size()) / c.feature;
  c.examples = std::move(examples);
  GestureHead head = c.examples.empty() ? GestureHead() : fit_head(gestures, mean_D_);
  changed->head_HD_ = std::move(head.weights_HD);
  changed->bias_H_ = std::move(head.bias_H);
  return changed;
}

std::size_t Matcher::weight_bytes() const {
  std::size_t bytes = embed_.bytes() + last_.bytes();
  for (const Block& block : blocks_)
    bytes += block.qkv.bytes() + block.proj.bytes() + block.fc1.bytes() + block.fc2.bytes();
  for (const auto* values : {&mean_D_, &projection_DF_, &noises_JF_, &tokens_TLR_, &modulation_TM_, &prototypes_NF_,
                             &head_HD_, &motion_FE_, &texts_TE_})
    bytes += values->size() * sizeof(float);
  return bytes;
}

Matcher::Buffers::Buffers(const Matcher& matcher)
    : centered_D(matcher.features_),
      z_F(matcher.config_.feature),
      errors_T(matcher.T_),
      scores_H(matcher.config_.examples.size()) {
  if (matcher.T_ == 0) return;
  const MatchingConfig& c = matcher.config_;
  if (!c.parts.empty()) {
    embedded = AlignedFloats(matcher.motion_E_.size());
    return;
  }
  const std::size_t J = c.noises, E = c.width, rows = J * std::min(kTexts, matcher.T_);
  const std::size_t F = round_up(c.feature);
  weights_S.resize(c.tokens + 1);
  noisy = AlignedFloats(J * F);
  embedded = AlignedFloats(J * E);
  x = modulated = AlignedFloats(rows * E);
  qkv = AlignedFloats(rows * 3 * E);
  hidden = AlignedFloats(rows * 4 * E);
  out = AlignedFloats(rows * std::max(E, F));
}

void Matcher::project(const float* feature_D, float* centered_D, float* z_F) const {
  const int F = config_.feature;
  std::fill_n(z_F, F, 0.f);
  for (int d = 0; d < features_; ++d) {
    centered_D[d] = feature_D[d] - mean_D_[d];
    const float* row = projection_DF_.data() + F * d;
    for (int f = 0; f < F; ++f) z_F[f] += centered_D[d] * row[f];
  }
}

void Matcher::match(const float* feature_D, Buffers& buffers, float* logits_C) const {
  const MatchingConfig& c = config_;
  const int none = labels_ - 1;
  project(feature_D, buffers.centered_D.data(), buffers.z_F.data());
  std::fill_n(logits_C, labels_, std::numeric_limits<float>::lowest());
  logits_C[none] = 0;
  if (T_ > 0) {
    config_.parts.empty() ? errors(buffers) : align(buffers);
    float* error = buffers.errors_T.data();
    for (int t = 0; t < T_; ++t) error[t] += offset_T_[t];
    const float least = *std::min_element(error + c.texts, error + T_);
    for (int k = 0; k < c.texts; ++k) logits_C[k] = static_cast<float>(c.scale * (least - error[k]) - c.none);
  }
  if (!c.examples.empty()) match_examples(buffers, logits_C);
}

// Raises the logits of labels with examples to: that of any example being near, plus the log of the label's share.
void Matcher::match_examples(Buffers& buffers, float* logits_C) const {
  const MatchingConfig& c = config_;
  const int F = c.feature;
  const float *z = buffers.z_F.data(), *centered = buffers.centered_D.data();
  float least = std::numeric_limits<float>::max();
  for (const float* prototype = prototypes_NF_.data(); prototype < prototypes_NF_.data() + prototypes_NF_.size();
       prototype += F)
    least = std::min(least, sum(F, [&](int f) { return (z[f] - prototype[f]) * (z[f] - prototype[f]); }));
  const double near = c.prototype_scale * (c.prototype_offset - least / static_cast<float>(F));

  std::vector<float>& scores = buffers.scores_H;
  for (std::size_t h = 0; h < scores.size(); ++h) {
    const float* row = head_HD_.data() + features_ * h;
    scores[h] = bias_H_[h] + sum(features_, [&](int d) { return row[d] * centered[d]; });
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (const float score : scores) total += std::exp(score - top);
  for (std::size_t h = 0; h < scores.size(); ++h) {
    float& logit = logits_C[c.examples[h]];
    logit = std::max(logit, static_cast<float>(near + scores[h] - top - std::log(total)));
  }
}

// 1 - the weighted mean of the cosines of the feature and each text in the parts of their space.
void Matcher::align(Buffers& b) const {
  const int E = static_cast<int>(motion_E_.size());
  float* x = b.embedded.data();
  std::copy(motion_E_.begin(), motion_E_.end(), x);
  const float* row = motion_FE_.data();
  for (int f = 0; f < config_.feature; ++f, row += E)
    for (int e = 0; e < E; ++e) x[e] += b.z_F[f] * row[e];
  float* part = x;
  for (std::size_t p = 0; p < config_.parts.size(); part += config_.parts[p++]) {
    const int width = config_.parts[p];
    const float length = std::sqrt(sum(width, [&](int e) { return part[e] * part[e]; }));
    const float factor = static_cast<float>(std::sqrt(config_.shares[p])) / std::max(length, kEpsilon);
    for (int e = 0; e < width; ++e) part[e] *= factor;
  }
  for (int t = 0; t < T_; ++t) {
    const float* text = texts_TE_.data() + static_cast<std::size_t>(E) * t;
    b.errors_T[t] = 1 - sum(E, [&](int e) { return x[e] * text[e]; });
  }
}

// Rows of a, `stride` apart, times a matrix, whose padded columns are `columns`.
void Matcher::multiply(const Matrix& matrix, int rows, const float* a, int depth, int stride, float* out,
                       int columns) const {
  Gemm gemm;
  gemm.rows = rows;
  gemm.depth = depth;
  gemm.a = &a;
  gemm.a_stride = stride;
  gemm.out = out;
  gemm.out_stride = columns;
  matrix.multiply(kernels_, gemm);
}

// Mean squared error of the noise that the network predicts under each text, all noises together.
void Matcher::errors(Buffers& b) const {
  const MatchingConfig& c = config_;
  const int F = c.feature, J = c.noises, E = c.width, padded = round_up(F);
  const auto of_feature = static_cast<float>(std::sqrt(c.signal));
  const auto of_noise = static_cast<float>(std::sqrt(1 - c.signal));
  for (int j = 0; j < J; ++j)
    for (int f = 0; f < F; ++f)
      b.noisy.data()[padded * j + f] = of_feature * b.z_F[f] + of_noise * noises_JF_[F * j + f];
  multiply(embed_, J, b.noisy.data(), F, padded, b.embedded.data(), E);

  for (int first = 0; first < T_; first += kTexts) {
    const int texts = std::min(kTexts, T_ - first), rows = texts * J;
    float *x = b.x.data(), *modulated = b.modulated.data(), *out = b.out.data();
    for (int t = 0; t < texts; ++t) std::copy_n(b.embedded.data(), J * E, x + t * J * E);
    const float* part = modulation_TM_.data();  // shift, scale and gate of the attention, and of the MLP
    for (std::size_t k = 0; k < blocks_.size(); ++k, part += 6 * E) {
      modulate(part, first, rows, x, modulated);
      multiply(blocks_[k].qkv, rows, modulated, E, E, b.qkv.data(), 3 * E);
      attend(static_cast<int>(k), first, rows, b.qkv.data(), b.weights_S.data(), modulated);
      multiply(blocks_[k].proj, rows, modulated, E, E, out, E);
      add(part + 2 * E, first, rows, out, x);
      modulate(part + 3 * E, first, rows, x, modulated);
      multiply(blocks_[k].fc1, rows, modulated, E, E, b.hidden.data(), 4 * E);
      gelu(b.hidden.data(), static_cast<std::size_t>(rows) * 4 * E);
      multiply(blocks_[k].fc2, rows, b.hidden.data(), 4 * E, 4 * E, out, E);
      add(part + 5 * E, first, rows, out, x);
    }
    modulate(part, first, rows, x, modulated);
    multiply(last_, rows, modulated, E, E, out, padded);
    for (int t = 0; t < texts; ++t) {
      float total = 0;
      for (int j = 0; j < J; ++j) {
        const float *found = out + padded * (t * J + j), *noise = noises_JF_.data() + F * j;
        total += sum(F, [&](int f) { return (found[f] - noise[f]) * (found[f] - noise[f]); });
      }
      b.errors_T[first + t] = total / static_cast<float>(J * F);
    }
  }
}

// Layer normalization, then the shift and scale of each row's text.
void Matcher::modulate(const float* modulation_2E, int first_text, int rows, const float* x, float* out) const {
  const int E = config_.width;
  const auto size = static_cast<float>(E);
  for (int r = 0; r < rows; ++r, x += E, out += E) {
    const float* shift =
        modulation_2E + static_cast<std::size_t>(modulation_width_) * (first_text + r / config_.noises);
    const float* scale = shift + E;
    const float mean = sum(E, [&](int e) { return x[e]; }) / size;
    const float variance = sum(E, [&](int e) { return (x[e] - mean) * (x[e] - mean); }) / size;
    const float factor = 1 / std::sqrt(variance + kEpsilon);
    for (int e = 0; e < E; ++e) out[e] = shift[e] + (x[e] - mean) * factor * (1 + scale[e]);
  }
}

// Attention of each row to itself and to the tokens of its text.
void Matcher::attend(int block, int first_text, int rows, const float* qkv, float* weights, float* out) const {
  const int E = config_.width, L = config_.tokens, width = E / config_.heads;
  const float factor = 1 / std::sqrt(static_cast<float>(width));
  for (int r = 0; r < rows; ++r, qkv += 3 * E, out += E) {
    const std::size_t text = first_text + r / config_.noises;
    const float* tokens = tokens_TLR_.data() + text * L * tokens_width_ + 2 * E * block;
    for (int from = 0; from < E; from += width) {
      const auto key = [&](int s) { return from + (s < L ? tokens + s * tokens_width_ : qkv + E); };
      for (int s = 0; s <= L; ++s) {
        const float *q = qkv + from, *k = key(s);
        weights[s] = factor * sum(width, [&](int e) { return q[e] * k[e]; });
      }
      const float top = *std::max_element(weights, weights + L + 1);
      float total = 0;
      for (int s = 0; s <= L; ++s) total += weights[s] = exp_of(std::max(-80.f, weights[s] - top));
      std::fill_n(out + from, width, 0.f);
      for (int s = 0; s <= L; ++s) {
        const float weight = weights[s] / total, *value = key(s) + E;
        for (int e = 0; e < width; ++e) out[from + e] += weight * value[e];
      }
    }
  }
}

// x + gate * change.
void Matcher::add(const float* gate_E, int first_text, int rows, const float* change, float* x) const {
  const int E = config_.width;
  for (int r = 0; r < rows; ++r, change += E, x += E) {
    const float* gate = gate_E + static_cast<std::size_t>(modulation_width_) * (first_text + r / config_.noises);
    for (int e = 0; e < E; ++e) x[e] += gate[e] * change[e];
  }
}

}  // namespace motionrt
