// A recognizer's bundle: a folder with a manifest and weights, validated before use.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "alarms.hpp"
#include "config.hpp"
#include "errors.hpp"
#include "safetensors.hpp"

namespace motionrt {

constexpr int kMaxState = 4'000'000;

// Architecture of a StreamGCN, from the manifest's `model`.
struct StreamGCNConfig {
  std::vector<int> parents;  // of each joint, -1 for the root
  int classes = 0;           // C
  double fps = 0;
  std::vector<int> channels;  // of each block
  int kernel = 0;             // taps of a temporal convolution
  std::vector<int> dilations;
  int body = 0;             // channels of the body, in which the joints are joined; 0: they are averaged
  int body_blocks = 0;      // temporal convolutions of the body
  int features = 0;         // D, channels of the body or of the last block
  int state = 0;            // S, floats of state per stream
  int receptive_field = 0;  // frames that can influence one output

  int joints() const { return static_cast<int>(parents.size()); }
  // Channels of each temporal branch of a layer with this many; the remaining ones bypass the branches.
  int width(int all) const { return all / (static_cast<int>(dilations.size()) + 1); }
};

// Matching of features with texts and examples that were compiled into a bundle, from the manifest's `matching` and
// `model.matcher`.
struct MatchingConfig {
  int feature = 0;
  std::vector<int> parts;      // widths of the space of features and texts; empty: there is a network
  std::vector<double> shares;  // of the parts, in the cosine
  int width = 0, depth = 0, heads = 0, tokens = 0, noises = 0;  // of the network
  double signal = 0;                                            // share of the feature that is not noise
  int texts = 0, backgrounds = 0;  // texts of the first labels, and of motion that is no action
  int prototypes = 0;              // features of examples
  std::vector<int> examples;       // labels that have examples, in the order of the head
  double scale = 0, none = 0;      // a text's logit: scale * (least error of a background - its own) - none
  double prototype_scale = 0, prototype_offset = 0;  // that of any example: scale * (offset - d)
  int window = 0, interval = 0;  // model frames whose mean feature is matched, and between two matches
  std::string encoder;           // sha256 of the encoder, for files of gestures; "": compiled by an earlier version
};

struct Bundle {
  std::string name, license, layout;
  std::vector<std::string> labels;
  Config
      session;  // joints is set from the model; root, left, right and parents, which come from the layout, are not set
  Alarms alarms;                           // empty: the manifest has none
  std::string flat_model;                  // name of the bundle beside this one that takes 2-D poses; "": none
  StreamGCNConfig model;                   // compiled labels: the encoder, which has no classes
  std::optional<MatchingConfig> matching;  // of compiled labels
  Tensors weights;
};

// Parses the contents of the two files, without checking the size and hash of the weights.
// where: the bundle's folder, for messages.
// Throws BundleError that names the field, its value and the expected one.
Bundle parse_bundle(std::string_view manifest, std::string_view weights, const std::string& where);

// The same; the weights must have the size and sha256 of the manifest.
Bundle parse_checked_bundle(std::string_view manifest, std::string_view weights, const std::string& where);

// Throws BundleError unless `flat`, which comes from `where`, takes the same frames as a bundle, in 2-D, and has its
// labels.
void check_flat_bundle(const Bundle& bundle, const Bundle& flat, const std::string& where);

// Reads the bundle for 2-D poses beside a bundle's folder; none if the manifest names none, or it is not there.
// Throws BundleError also if check_flat_bundle does.
std::optional<Bundle> read_flat_bundle(const Bundle& bundle, const std::string& folder);

// Reads a bundle's folder; the weights must have the size and sha256 of the manifest.
// Throws BundleError also if a file is missing, not a regular file, or too large.
Bundle read_bundle(const std::string& folder);

}  // namespace motionrt
