// A recogniser's bundle: the folder of a manifest and weights, checked before anything is made of it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bundle_error.hpp"
#include "config.hpp"
#include "safetensors.hpp"

namespace motionrt {

constexpr int kMaxBlocks = 64;
constexpr int kMaxChannels = 4096;
constexpr int kMaxKernel = 64;
constexpr int kMaxBranches = 8;
constexpr int kMaxDilation = 256;
constexpr int kMaxState = 4'000'000;

// Architecture of a StreamGCN, as training wrote it into the manifest's `model`.
struct StreamGCNConfig {
  std::vector<int> parents;  // of every joint, -1 for the root
  int classes = 0;           // C
  double fps = 0;
  std::vector<int> channels;  // of every block
  int kernel = 0;             // taps of a temporal convolution
  std::vector<int> dilations;
  int features = 0;         // D, channels of the last block
  int state = 0;            // S, floats that a stream carries from frame to frame
  int receptive_field = 0;  // frames that can influence one output

  int joints() const { return static_cast<int>(parents.size()); }
  // Channels of one temporal branch of a block; what is left over passes by the branches.
  int width(std::size_t block) const { return channels[block] / (static_cast<int>(dilations.size()) + 1); }
};

struct Bundle {
  std::string name, license, layout;
  std::vector<std::string> labels;
  Config session;  // joints is that of the model; root, left and right are the layout's, not set here
  StreamGCNConfig model;
  Tensors weights;
};

// manifest, weights: contents of the two files; the size and hash of the weights are not compared.
// where: names the bundle's folder in errors.
// Throws BundleError that names the field, its value and what was expected.
Bundle parse_bundle(std::string_view manifest, std::string_view weights, const std::string& where);

// Reads a bundle's folder; the weights must be of the size and sha256 that the manifest says.
// Throws BundleError also if a file is missing, not a regular one, or too large.
Bundle read_bundle(const std::string& folder);

}  // namespace motionrt
