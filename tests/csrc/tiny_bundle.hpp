// Tiny bundles for the tests and the fuzz target, and helpers that damage them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "errors.hpp"
#include "sha256.hpp"

// The statement throws motionrt::BundleError with a short one-line message that contains `part`.
#define CHECK_REJECTED(statement, part)                                                             \
  do {                                                                                              \
    std::string message = "no error";                                                               \
    try {                                                                                           \
      statement;                                                                                    \
    } catch (const motionrt::BundleError& error) {                                                  \
      message = error.what();                                                                       \
    }                                                                                               \
    report(message.find(part) != std::string::npos, __FILE__, __LINE__, #statement ": " + message); \
    report(message.size() < 400 && message.find('\n') == std::string::npos, __FILE__, __LINE__,     \
           #statement ": not one short line: " + message);                                          \
  } while (false)

// `text` with the first `from`, which must exist, replaced by `to`.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("no '" + from + "' to replace");
  return text.replace(at, from.size(), to);
}

inline std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
  return text;
}

inline std::string safetensors(const std::string& header, const std::string& data) {
  return little_endian(header.size(), 8) + header + data;
}

// A header padded with spaces, so that the tensors after it are aligned.
inline std::string aligned(const std::string& header) { return header + std::string((8 - header.size() % 8) % 8, ' '); }

inline std::string float_bytes(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

struct TinyModel {
  std::vector<int> parents = {-1, 0, 1};
  std::vector<int> channels = {4};
  int kernel = 2;
  std::vector<int> dilations = {1};
  int classes = 2;
  int body = 0, body_blocks = 0;

  int joints() const { return static_cast<int>(parents.size()); }
  int width(int block_channels) const { return block_channels / (static_cast<int>(dilations.size()) + 1); }
};

inline std::string list(const std::vector<int>& values) {
  std::string text;
  for (const int value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return "[" + text + "]";
}

// sha256, size: of the weights.
inline std::string tiny_manifest(const TinyModel& model = {}, const std::string& sha256 = std::string(64, '0'),
                                 std::size_t size = 0) {
  int state = 1 + 3 * model.joints(), reach = 0;
  for (const int dilation : model.dilations) {
    reach = std::max(reach, dilation * (model.kernel - 1));
    for (const int channels : model.channels)
      state += dilation * (model.kernel - 1) * model.joints() * model.width(channels);
    state += dilation * (model.kernel - 1) * model.body_blocks * model.width(model.body);
  }
  std::string labels;
  for (int i = 1; i < model.classes; ++i) labels += "\"wave " + std::to_string(i) + "\", ";
  const auto number = [](auto value) { return std::to_string(value); };
  return R"({"schema": 1, "name": "tiny", "task": "recognition", "license": "Apache-2.0", "layout": "core15",
 "fps": 20.0, "frontend": {"facing_s": 1.0, "reach_m": 2.0, "max_gap_s": 0.5},
 "decision": {"temperature": 1.0, "smooth_s": 0.1, "on": 0.7, "off": 0.35, "hold_s": 0.2},
 "labels": [)" +
         labels + R"("none"], "none": "none",
 "model": {"parents": )" +
         list(model.parents) + R"(, "classes": )" + number(model.classes) + R"(, "fps": 20.0, "channels": )" +
         list(model.channels) + R"(, "kernel": )" + number(model.kernel) + R"(, "dilations": )" +
         list(model.dilations) + R"(, "dropout": 0.3, "receptive_field": )" +
         number(2 + reach * (static_cast<int>(model.channels.size()) + model.body_blocks)) +
         R"(, "delay": 0, "state": )" + number(state) + R"(, "features": )" +
         number(model.body ? model.body : model.channels.back()) +
         (model.body ? R"(, "body": )" + number(model.body) + R"(, "body_blocks": )" + number(model.body_blocks) : "") +
         R"(},
 "graphs": {}, "metrics": {"caf\u00e9 \ud83d\ude00": [1e-3, null, true]},
 "files": {"weights.safetensors": {"sha256": ")" +
         sha256 + R"(", "size": )" + number(size) + "}}}\n";
}

using TensorShapes = std::vector<std::pair<std::string, std::vector<int>>>;

inline std::string tiny_weights(const TinyModel& model = {}, const TensorShapes& others = {}) {
  const int V = model.joints(), K = 3, D = model.body ? model.body : model.channels.back();
  TensorShapes tensors = others;
  const auto convolution = [&](const std::string& name, int out, int in, int taps) {
    tensors.push_back({name + ".weight", {out, in, taps, 1}});
    tensors.push_back({name + ".bias", {out}});
  };
  convolution("embed", model.channels[0], 9, 1);
  tensors.push_back({"position", {model.channels[0], 1, V}});
  const auto temporal_conv = [&](const std::string& name, int channels) {
    const int width = model.width(channels);
    convolution(name + ".stem", channels, channels, 1);
    for (std::size_t k = 0; k < model.dilations.size(); ++k)
      convolution(name + ".branches." + std::to_string(k), width, width, model.kernel);
  };
  int in = model.channels[0];
  for (std::size_t i = 0; i < model.channels.size(); ++i) {
    const std::string block = "blocks." + std::to_string(i);
    const int out = model.channels[i];
    tensors.push_back({block + ".graph.A", {K * V, V}});
    convolution(block + ".graph.conv", out, K * in, 1);
    temporal_conv(block + ".time", out);
    if (in != out) convolution(block + ".shortcut", out, in, 1);
    in = out;
  }
  if (model.body) {
    tensors.push_back({"join.weight", {D, in, 1, V}});
    tensors.push_back({"join.bias", {D}});
    for (int i = 0; i < model.body_blocks; ++i) temporal_conv("body." + std::to_string(i), D);
  } else {
    tensors.push_back({"pool", {D, V}});
  }
  tensors.push_back({"head.weight", {model.classes, D}});
  tensors.push_back({"head.bias", {model.classes}});

  std::string header;
  std::vector<float> values;
  for (const auto& [name, shape] : tensors) {
    const std::size_t begin = values.size() * sizeof(float);
    int count = 1;
    for (const int size : shape) count *= size;
    for (int i = 0; i < count; ++i) values.push_back(0.01f * static_cast<float>(i % 17 - 8));
    header += (header.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":"F32","shape":)" + list(shape) +
              R"(,"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(values.size() * sizeof(float)) +
              "]}";
  }
  return safetensors(aligned(header + "}"), float_bytes(values));
}

// Compiled labels on a tiny encoder: texts for the first labels, examples for the rest.
struct TinyCompiled {
  TinyModel encoder{{-1, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 10, 0, 12, 13}, {4}, 2, {1}, 12};  // core15; 11 labels and none
  int texts = 9, backgrounds = 1, noises = 3;
  bool has_space = false;    // of features and texts, instead of a network
  bool has_examples = true;  // else texts for all labels, and gestures can be enrolled

  std::string manifest(const std::string& sha256 = std::string(64, '0'), std::size_t size = 0) const {
    std::string text = replaced(tiny_manifest(encoder, sha256, size), "\"recognition\"", "\"compiled\"");
    text = replaced(text, R"("hold_s": 0.2)", R"("hold_s": 0.2, "others": 0)");
    text = replaced(text, R"("dropout")",
                    has_space
                        ? R"("matcher": {"feature": 5, "parts": [18, 2], "shares": [0.7, 0.3]}, "dropout")"
                        : R"("matcher": {"feature": 5, "width": 16, "depth": 1, "heads": 2, "tokens": 2}, "dropout")");
    if (!has_examples) {
      text = replaced(text, R"("graphs")", R"("matching": {"signal": 0.9, "noises": 3, "texts": 11, "backgrounds": 1,
 "scale": 6.0, "none": -0.25, "prototype_scale": 100.0, "prototype_offset": 0.03, "window_s": 0.4, "every_s": 0.25,
 "encoder_sha256": ")" + std::string(64, 'a') + R"("}, "graphs")");
      return text;
    }
    return replaced(text, R"("graphs")",
                    std::string(has_space ? R"("matching": {)" : R"("matching": {"signal": 0.9, "noises": 3, )") +
                        R"("texts": 9, "backgrounds": 1, "examples": [9, 10, 11],
 "prototypes": 4, "scale": 6.0, "none": -0.25, "prototype_scale": 100.0, "prototype_offset": 0.03, "window_s": 0.4,
 "every_s": 0.25}, "graphs")");
  }

  std::string weights() const {
    const int F = 5, E = 16, D = encoder.channels.back(), T = (has_examples ? texts : 11) + backgrounds;
    TensorShapes tensors = {{"matcher.mean", {D}},
                            {"matcher.projection", {D, F}},
                            {"matcher.noises", {noises, F}},
                            {"matcher.token_modulation", {T, 2, 2 * E}},
                            {"matcher.modulation", {T, 8 * E}}};
    if (has_examples)
      tensors.insert(tensors.end(),
                     {{"matcher.prototypes", {4, F}}, {"matcher.head.weight", {3, D}}, {"matcher.head.bias", {3}}});
    if (has_space) {
      tensors.insert(tensors.end(), {{"matcher.motion.weight", {F, 20}},
                                     {"matcher.motion.bias", {20}},
                                     {"matcher.texts", {T, 20}},
                                     {"matcher.offset", {T}}});
      return tiny_weights(encoder, tensors);
    }
    const auto linear = [&](const std::string& name, int inputs, int outputs) {
      tensors.push_back({"matcher." + name + ".weight", {outputs, inputs}});
      tensors.push_back({"matcher." + name + ".bias", {outputs}});
    };
    linear("x_embedder", F, E);
    linear("blocks.0.attn.qkv", E, 3 * E);
    linear("blocks.0.attn.proj", E, E);
    linear("blocks.0.mlp.fc1", E, 4 * E);
    linear("blocks.0.mlp.fc2", 4 * E, E);
    linear("final_layer.linear", E, F);
    return tiny_weights(encoder, tensors);
  }

  // Writes the bundle to a new folder, with `from` in its manifest replaced.
  void write(const std::filesystem::path& folder, const std::string& from, const std::string& to) const {
    const std::string data = weights();
    std::filesystem::create_directory(folder);
    std::ofstream(folder / "weights.safetensors", std::ios::binary) << data;
    std::ofstream(folder / "manifest.json", std::ios::binary)
        << replaced(manifest(motionrt::sha256_hex(data.data(), data.size()), data.size()), from, to);
  }
};
