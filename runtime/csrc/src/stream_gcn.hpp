// StreamGCN, the causal graph convolution network of training/models/stream_gcn.py, stepped frame by frame.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "kernels.hpp"
#include "network.hpp"

namespace motionrt {

struct alignas(4 * kLine) Line {
  float values[kLine] = {};
};

// Zeros that begin on a cache line.
class Floats {
 public:
  explicit Floats(std::size_t size = 0) : lines_((size + kLine - 1) / kLine) {}
  float* data() { return reinterpret_cast<float*>(lines_.data()); }
  const float* data() const { return reinterpret_cast<const float*>(lines_.data()); }
  std::size_t bytes() const { return lines_.size() * sizeof(Line); }

 private:
  std::vector<Line> lines_;
};

// Where the channels of an activation lie: every part (branch, or what passes by the branches) begins on a line.
struct Channels {
  Channels(int count, int branches);
  std::vector<int> place;  // [count]
  std::vector<int> begin;  // [branches + 1] of the parts
  int padded = 0;
};

enum class Precision { fp32, bf16 };  // of the weights; sums are fp32

// Weights [depth, columns] and bias, laid out for a Product.
class Matrix {
 public:
  Matrix() = default;
  Matrix(int depth, int columns);
  float& at(int k, int column);
  float& bias(int column) { return bias_.data()[column]; }
  void round(Precision precision);  // after the last change; nothing can be changed then
  // Rows of weights before `from` are left out, together with as many columns of a.
  void multiply(const Kernels& kernels, Product product, int from = 0) const;
  std::size_t bytes() const { return weights_.bytes() + bias_.bytes(); }

 private:
  int depth_ = 0, columns_ = 0, stride_ = 0;
  Precision precision_ = Precision::fp32;
  Floats weights_, bias_;
};

// The weights; shared by streams and never changed.
class StreamGCN {
 public:
  // Throws BundleError if the weights are not those of the architecture.
  explicit StreamGCN(const Bundle& bundle, Precision precision = Precision::fp32,
                     const Kernels& kernels = *supported_kernels().front());

  const StreamGCNConfig& config() const { return config_; }
  const char* instruction_set() const { return kernels_.name; }
  std::size_t weight_bytes() const;

 private:
  friend class Streams;
  struct Branch {
    Matrix taps;             // [kernel * width, width], the oldest tap first
    int dilation, width;     // padded
    int ring, slots;         // where its ring of past frames [slots, V, width] begins in a stream
    int column;              // of its part in the block's activation
  };
  struct Block {
    Channels in, out;
    std::vector<float> A;  // [V * K, V]
    Matrix graph, shortcut, stem;
    bool has_shortcut;
    std::vector<Branch> branches;
  };

  const StreamGCNConfig config_;
  const Kernels& kernels_;
  Matrix embed_, head_;
  Floats position_, pool_;  // [V, C], [V, D], padded
  std::vector<Block> blocks_;
  int widest_ = 0;   // of the activations
  int stream_ = 0;   // floats of a stream's rings
};

// The streams of several people. Everything is allocated by the constructor.
class Streams final : public Network {
 public:
  Streams(std::shared_ptr<const StreamGCN> network, int capacity);

  int joints() const override { return network_->config().joints(); }
  int labels() const override { return network_->config().classes; }
  int features() const { return network_->config().features; }
  int capacity() const override { return static_cast<int>(streams_.size()); }
  void begin(int slot) override { streams_[slot].age = 0; }
  void step(int n, const int* slots, const float* frames_NV3, float* logits_NC, float* features_ND) override;

 private:
  struct Stream {
    std::int64_t age = 0;  // frames since it began; what is older in last and rings counts as zero
    std::vector<float> last_V3;
    Floats rings;
  };
  void embed(Stream& stream, const float* frame_V3, float* x);
  void block(const StreamGCN::Block& block, Stream& stream, float* x);

  const std::shared_ptr<const StreamGCN> network_;
  std::vector<Stream> streams_;
  Floats x_, input_, subsets_, shortcut_, hidden_, stem_, pooled_, logits_;
  std::vector<const float*> taps_;
};

}  // namespace motionrt
