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

struct alignas(4 * kLineFloats) CacheLine {
  float values[kLineFloats] = {};
};

// AlignedFloats, initially zero, that start on a cache line.
class AlignedFloats {
 public:
  explicit AlignedFloats(std::size_t size = 0) : lines_((size + kLineFloats - 1) / kLineFloats) {}
  float* data() { return reinterpret_cast<float*>(lines_.data()); }
  const float* data() const { return reinterpret_cast<const float*>(lines_.data()); }
  std::size_t bytes() const { return lines_.size() * sizeof(CacheLine); }

 private:
  std::vector<CacheLine> lines_;
};

// Memory layout of the channels of an activation: every part (a branch, or the channels that bypass the branches)
// starts on a cache line.
struct Channels {
  Channels() = default;
  Channels(int count, int branches);
  std::vector<int> offset;  // [count] of each channel
  std::vector<int> begin;   // [branches + 1] of each part
  int padded = 0;
};

enum class Precision { fp32, bf16 };  // of the weights; sums are in fp32

int round_up(int n);  // to whole cache lines of floats

// Weights [depth, columns] and bias in the memory layout of Gemm.
class Matrix {
 public:
  Matrix() = default;
  Matrix(int depth, int columns);
  float& at(int k, int column);
  float& bias(int column) { return bias_.data()[column]; }
  void round(Precision precision);  // makes the weights constant
  // Skips the rows of weights before `from`, and as many columns of a.
  void multiply(const Kernels& kernels, Gemm gemm, int from = 0) const;
  std::size_t bytes() const { return weights_.bytes() + bias_.bytes(); }

 private:
  int depth_ = 0, columns_ = 0, stride_ = 0;
  Precision precision_ = Precision::fp32;
  AlignedFloats weights_, bias_;
};

// The immutable weights, shared by streams.
class StreamGCN {
 public:
  // Throws BundleError if the weights do not fit the architecture.
  explicit StreamGCN(const Bundle& bundle, Precision precision = Precision::fp32,
                     const Kernels& kernels = *supported_kernels().front());

  const StreamGCNConfig& config() const { return config_; }
  const Kernels& kernels() const { return kernels_; }
  const char* instruction_set() const { return kernels_.name; }
  std::size_t weight_bytes() const;

 private:
  friend class Streams;
  struct Branch {
    Matrix taps;          // [kernel * width, width], the oldest tap first
    int dilation, width;  // padded
    int ring, slots;      // offset of its ring of past frames [slots, joints, width] in a stream
    int column;           // first column of its part in the activation
  };
  struct TemporalConv {
    int joints = 1;
    Channels channels;
    Matrix stem;
    std::vector<Branch> branches;
  };
  struct Block {
    Channels in;
    std::vector<float> A;  // [V * K, V]
    Matrix graph, shortcut;
    bool has_shortcut = false;
    TemporalConv time;
  };

  const StreamGCNConfig config_;
  const Kernels& kernels_;
  Matrix embed_, join_, head_;     // no head without classes
  AlignedFloats position_, pool_;  // [V, C], [V, D], padded
  std::vector<Block> blocks_;
  std::vector<TemporalConv> body_;
  Channels features_;
  int widest_ = 0;  // padded channels of the widest activation
  int stream_ = 0;  // floats in a stream's rings
};

// Streams of several people. Only the constructor allocates. A step writes no logits of a network without classes.
class Streams final : public Network {
 public:
  Streams(std::shared_ptr<const StreamGCN> network, int capacity);

  int joints() const override { return network_->config().joints(); }
  int labels() const override { return network_->config().classes; }
  int features() const override { return network_->config().features; }
  int capacity() const override { return static_cast<int>(streams_.size()); }
  void begin(int slot) override { streams_[slot].age = 0; }
  void step(int n, const int* slots, const float* frames_NV3, float* logits_NC, float* features_ND) override;

 private:
  struct Stream {
    std::int64_t age = 0;  // frames since the start; older content of last and rings counts as zero
    std::vector<float> last_V3;
    AlignedFloats rings;
  };
  void embed(Stream& stream, const float* frame_V3, float* x);
  void block(const StreamGCN::Block& block, Stream& stream, float* x);
  void convolve(const StreamGCN::TemporalConv& time, Stream& stream, const float* in, const float* shortcut, float* x);
  void join(const float* x, float* features);
  void pool(const float* x, float* features);

  const std::shared_ptr<const StreamGCN> network_;
  std::vector<Stream> streams_;
  AlignedFloats x_, input_, subsets_, shortcut_, hidden_, stem_, features_, logits_;
  std::vector<const float*> taps_;
};

}  // namespace motionrt
