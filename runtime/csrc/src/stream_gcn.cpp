#include "stream_gcn.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace motionrt {
namespace {

constexpr int kInputs = 9;   // joint, bone and motion, three coordinates each
constexpr int kSubsets = 3;  // K adjacency subsets: a joint itself, toward the root, away from it

int round_up(int n) { return (n + kLineFloats - 1) / kLineFloats * kLineFloats; }

// Reads a network's tensors, checking each against the shape that the architecture requires.
class Reader {
 public:
  Reader(const Bundle& bundle) : tensors_(bundle.weights), where_(bundle.name) {}
  const float* operator()(const std::string& name, const Shape& shape) const {
    return require_tensor(tensors_, name, shape, where_).values.data();
  }

  // A 1x1 convolution; input channel `in[i]` of a and output channel `out[o]`.
  Matrix convolution(const std::string& name, const std::vector<int>& in, int depth, const std::vector<int>& out,
                     int columns) const {
    const std::int64_t inputs = static_cast<std::int64_t>(in.size()), outputs = static_cast<std::int64_t>(out.size());
    return matrix(name, (*this)(name + ".weight", {outputs, inputs, 1, 1}), in, depth, out, columns);
  }

  Matrix linear(const std::string& name, const std::vector<int>& in, int depth, int outputs) const {
    std::vector<int> out(outputs);
    for (int o = 0; o < outputs; ++o) out[o] = o;
    const float* weight = (*this)(name + ".weight", {outputs, static_cast<std::int64_t>(in.size())});
    return matrix(name, weight, in, depth, out, round_up(outputs));
  }

 private:
  Matrix matrix(const std::string& name, const float* weight, const std::vector<int>& in, int depth,
                const std::vector<int>& out, int columns) const {
    Matrix result(depth, columns);
    const float* bias = (*this)(name + ".bias", {static_cast<std::int64_t>(out.size())});
    for (std::size_t o = 0; o < out.size(); ++o) {
      result.bias(out[o]) = bias[o];
      for (const int k : in) result.at(k, out[o]) = *weight++;
    }
    return result;
  }

  const Tensors& tensors_;
  const std::string where_;
};

}  // namespace

Channels::Channels(int count, int branches) : offset(count), begin(branches + 1) {
  const int width = count / (branches + 1);
  for (int part = 0, c = 0; part <= branches; ++part) {
    begin[part] = padded;
    const int end = part < branches ? c + width : count;
    for (int p = padded; c < end; ++c) offset[c] = p++;
    padded = c > 0 ? round_up(offset[c - 1] + 1) : padded;
  }
}

Matrix::Matrix(int depth, int columns)
    : depth_(depth),
      columns_(columns),
      stride_(std::min(columns, kPanel)),
      weights_(static_cast<std::size_t>(depth) * stride_ * ((columns + kPanel - 1) / kPanel)),
      bias_(columns) {}

float& Matrix::at(int k, int column) {
  const std::size_t panel = column / kPanel;
  return weights_.data()[(panel * depth_ + k) * stride_ + column % kPanel];
}

void Matrix::round(Precision precision) {
  precision_ = precision;
  if (precision == Precision::fp32) return;
  const std::size_t count = weights_.bytes() / sizeof(float);
  AlignedFloats halves((count + 1) / 2);
  auto* half = reinterpret_cast<std::uint16_t*>(halves.data());
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, weights_.data() + i, sizeof bits);
    half[i] = static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest, ties to even
  }
  weights_ = std::move(halves);
}

void Matrix::multiply(const Kernels& kernels, Gemm gemm, int from) const {
  gemm.columns = columns_;
  gemm.b_stride = stride_;
  gemm.panel_stride = depth_ * stride_;
  gemm.bias = bias_.data();
  const std::size_t offset = static_cast<std::size_t>(from) * stride_;
  if (precision_ == Precision::bf16) {
    gemm.b = reinterpret_cast<const std::uint16_t*>(weights_.data()) + offset;
    kernels.gemm_bf16(gemm);
  } else {
    gemm.b = weights_.data() + offset;
    kernels.gemm(gemm);
  }
}

StreamGCN::StreamGCN(const Bundle& bundle, Precision precision, const Kernels& kernels)
    : config_(bundle.model), kernels_(kernels) {
  const Reader read(bundle);
  const int V = config_.joints(), branches = static_cast<int>(config_.dilations.size());
  const int first = config_.channels.front();
  const Channels input(first, branches);
  std::vector<int> inputs(kInputs);
  for (int i = 0; i < kInputs; ++i) inputs[i] = i;
  embed_ = read.convolution("embed", inputs, kInputs, input.offset, input.padded);
  embed_.round(precision);
  position_ = AlignedFloats(static_cast<std::size_t>(V) * input.padded);
  const float* position = read("position", {first, 1, V});
  for (const int c : input.offset)
    for (int v = 0; v < V; ++v) position_.data()[v * input.padded + c] = *position++;

  Channels before = input;
  widest_ = input.padded;
  for (std::size_t i = 0; i < config_.channels.size(); ++i) {
    const std::string name = "blocks." + std::to_string(i);
    const Channels after(config_.channels[i], branches);
    std::vector<int> stacked;  // the K subsets of the input channels, stacked
    for (int k = 0; k < kSubsets; ++k)
      for (const int c : before.offset) stacked.push_back(k * before.padded + c);
    const float* A = read(name + ".graph.A", {V * kSubsets, V});

    Block block{before, after, {A, A + V * kSubsets * V}, {}, {}, {}, before.offset.size() != after.offset.size(), {}};
    block.graph = read.convolution(name + ".graph.conv", stacked, kSubsets * before.padded, after.offset, after.padded);
    block.stem = read.convolution(name + ".time.stem", after.offset, after.padded, after.offset, after.padded);
    block.graph.round(precision);
    block.stem.round(precision);
    if (block.has_shortcut) {
      block.shortcut = read.convolution(name + ".shortcut", before.offset, before.padded, after.offset, after.padded);
      block.shortcut.round(precision);
    }
    const int width = config_.width(i), padded = round_up(width);
    for (int b = 0; b < branches; ++b) {
      const std::string branch = name + ".time.branches." + std::to_string(b);
      const float* weight = read(branch + ".weight", {width, width, config_.kernel, 1});
      const float* bias = read(branch + ".bias", {width});
      Matrix taps(config_.kernel * padded, padded);
      for (int o = 0; o < width; ++o) {
        taps.bias(o) = bias[o];
        for (int in = 0; in < width; ++in)
          for (int tap = 0; tap < config_.kernel; ++tap) taps.at(tap * padded + in, o) = *weight++;
      }
      taps.round(precision);
      const int slots = config_.dilations[b] * (config_.kernel - 1) + 1;
      block.branches.push_back({std::move(taps), config_.dilations[b], padded, stream_, slots, after.begin[b]});
      stream_ += slots * V * padded;
    }
    if (stream_ > kMaxState)
      throw BundleError(bundle.name + ": a stream's state takes more than " + std::to_string(kMaxState) + " floats");
    widest_ = std::max(widest_, after.padded);
    blocks_.push_back(std::move(block));
    before = after;
  }

  const int D = config_.features;
  pool_ = AlignedFloats(static_cast<std::size_t>(V) * before.padded);
  const float* pool = read("pool", {D, V});
  for (const int c : before.offset)
    for (int v = 0; v < V; ++v) pool_.data()[v * before.padded + c] = *pool++;
  head_ = read.linear("head", before.offset, before.padded, config_.classes);
  head_.round(precision);
}

std::size_t StreamGCN::weight_bytes() const {
  std::size_t bytes = embed_.bytes() + position_.bytes() + pool_.bytes() + head_.bytes();
  for (const Block& block : blocks_) {
    bytes += 4 * block.A.size() + block.graph.bytes() + block.shortcut.bytes() + block.stem.bytes();
    for (const Branch& branch : block.branches) bytes += branch.taps.bytes();
  }
  return bytes;
}

Streams::Streams(std::shared_ptr<const StreamGCN> network, int capacity)
    : network_(std::move(network)), streams_(capacity) {
  const StreamGCN& net = *network_;
  const std::size_t V = joints(), activation = V * net.widest_, people = capacity;
  for (Stream& stream : streams_) {
    stream.last_V3.resize(3 * V);
    stream.rings = AlignedFloats(net.stream_);
  }
  x_ = AlignedFloats(people * activation);
  input_ = AlignedFloats(V * kLineFloats);
  subsets_ = AlignedFloats(kSubsets * activation);
  shortcut_ = hidden_ = stem_ = AlignedFloats(activation);
  pooled_ = AlignedFloats(people * net.blocks_.back().out.padded);
  logits_ = AlignedFloats(people * round_up(labels()));
  taps_.resize(net.config_.kernel);
}

void Streams::step(int n, const int* slots, const float* frames_NV3, float* logits_NC, float* features_ND) {
  const StreamGCN& net = *network_;
  const int V = joints(), C = labels(), D = features();
  const std::size_t activation = static_cast<std::size_t>(V) * net.widest_;
  for (int i = 0; i < n; ++i) embed(streams_[slots[i]], frames_NV3 + 3 * V * i, x_.data() + activation * i);
  for (const StreamGCN::Block& block : net.blocks_)  // all people use a block's weights while they are in cache
    for (int i = 0; i < n; ++i) this->block(block, streams_[slots[i]], x_.data() + activation * i);

  const Channels& out = net.blocks_.back().out;
  for (int i = 0; i < n; ++i) {
    float* pooled = pooled_.data() + out.padded * i;
    std::fill_n(pooled, out.padded, 0.f);
    const float* x = x_.data() + activation * i;
    const float* pool = net.pool_.data();
    for (int v = 0; v < V; ++v, x += out.padded, pool += out.padded)
      for (int c = 0; c < out.padded; ++c) pooled[c] += x[c] * pool[c];
    for (int d = 0; features_ND && d < D; ++d) features_ND[D * i + d] = pooled[out.offset[d]];
    ++streams_[slots[i]].age;
  }
  Gemm head;
  const float* pooled = pooled_.data();
  head.rows = n;
  head.depth = head.a_stride = out.padded;
  head.a = &pooled;
  head.out = logits_.data();
  head.out_stride = round_up(C);
  net.head_.multiply(net.kernels_, head);
  for (int i = 0; i < n; ++i) std::copy_n(logits_.data() + head.out_stride * i, C, logits_NC + C * i);
}

// Joint, bone and motion of the frame -> the first activation.
void Streams::embed(Stream& stream, const float* frame_V3, float* x) {
  const StreamGCN& net = *network_;
  const int V = joints();
  const auto rate = static_cast<float>(net.config_.fps / 4);
  for (int v = 0; v < V; ++v) {
    const int parent = net.config_.parents[v] >= 0 ? net.config_.parents[v] : v;
    float* input = input_.data() + kLineFloats * v;
    for (int axis = 0; axis < 3; ++axis) {
      const float p = frame_V3[3 * v + axis];
      input[axis] = p;
      input[3 + axis] = p - frame_V3[3 * parent + axis];
      input[6 + axis] = stream.age > 0 ? (p - stream.last_V3[3 * v + axis]) * rate : 0;
    }
  }
  std::copy_n(frame_V3, 3 * V, stream.last_V3.begin());
  const int width = net.blocks_.front().in.padded;
  const float* input = input_.data();
  Gemm gemm;
  gemm.rows = V;
  gemm.depth = kInputs;
  gemm.a = &input;
  gemm.a_stride = kLineFloats;
  gemm.add = net.position_.data();
  gemm.out = x;
  gemm.add_stride = gemm.out_stride = width;
  gemm.relu = true;
  net.embed_.multiply(net.kernels_, gemm);
}

// x [V, in] -> x [V, out].
void Streams::block(const StreamGCN::Block& block, Stream& stream, float* x) {
  const StreamGCN& net = *network_;
  const int V = joints(), in = block.in.padded, out = block.out.padded;

  // A x, all subsets of a joint side by side; they stay in the L1 cache for the convolution over them.
  const float* A = block.A.data();
  Gemm aggregate;
  aggregate.rows = kSubsets * V;
  aggregate.columns = aggregate.b_stride = aggregate.out_stride = in;
  aggregate.depth = aggregate.a_stride = V;
  aggregate.panel_stride = kPanel;
  aggregate.a = &A;
  aggregate.b = x;
  aggregate.out = subsets_.data();
  net.kernels_.gemm(aggregate);

  const float* a = x;
  Gemm gemm;
  gemm.rows = V;
  gemm.a = &a;
  gemm.out_stride = gemm.add_stride = out;
  const float* shortcut = x;
  if (block.has_shortcut) {
    gemm.depth = gemm.a_stride = in;
    gemm.out = shortcut_.data();
    block.shortcut.multiply(net.kernels_, gemm);
    shortcut = shortcut_.data();
  }
  gemm.relu = true;
  a = subsets_.data();
  gemm.depth = gemm.a_stride = kSubsets * in;
  gemm.add = shortcut;
  gemm.out = hidden_.data();
  block.graph.multiply(net.kernels_, gemm);

  a = hidden_.data();
  gemm.depth = gemm.a_stride = out;
  gemm.add = nullptr;
  gemm.out = stem_.data();
  block.stem.multiply(net.kernels_, gemm);

  gemm.a = taps_.data();
  for (const StreamGCN::Branch& branch : block.branches) {
    float* ring = stream.rings.data() + branch.ring;
    const std::size_t frame = static_cast<std::size_t>(V) * branch.width;
    float* now = ring + stream.age % branch.slots * frame;
    for (int v = 0; v < V; ++v)
      std::copy_n(stem_.data() + v * out + branch.column, branch.width, now + v * branch.width);
    const int kernel = net.config_.kernel;
    const int past = static_cast<int>(std::min<std::int64_t>(kernel - 1, stream.age / branch.dilation));
    for (int tap = 0; tap <= past; ++tap)
      taps_[tap] = ring + (stream.age - (past - tap) * branch.dilation) % branch.slots * frame;
    gemm.segments = past + 1;
    gemm.depth = gemm.a_stride = branch.width;
    gemm.add = shortcut + branch.column;
    gemm.out = x + branch.column;
    branch.taps.multiply(net.kernels_, gemm, (kernel - 1 - past) * branch.width);
  }
  const int rest = block.out.begin.back();
  for (int v = 0; v < V; ++v)
    for (int c = rest; c < out; ++c) x[v * out + c] = std::max(0.f, stem_.data()[v * out + c] + shortcut[v * out + c]);
}

}  // namespace motionrt
