#include "stream_gcn.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace motionrt {
namespace {

constexpr int kInputs = 9;   // joint, bone and motion, three coordinates each
constexpr int kSubsets = 3;  // K adjacency subsets: a joint itself, toward the root, away from it

// Reads a network's tensors, checking each against the shape that the architecture requires.
class Reader {
 public:
  Reader(const Bundle& bundle) : tensors_(bundle.weights), where_(bundle.name) {}
  const float* operator()(const std::string& name, const Shape& shape) const {
    return require_tensor(tensors_, name, shape, where_).values.data();
  }

  // A convolution over so many joints at a time. Output channel `out[o]`; `in` are the joints of the first input
  // channel, then those of the second, ...
  Matrix convolution(const std::string& name, const std::vector<int>& in, int depth, const std::vector<int>& out,
                     int columns, int joints = 1) const {
    const std::int64_t inputs = static_cast<std::int64_t>(in.size()) / joints,
                       outputs = static_cast<std::int64_t>(out.size());
    return matrix(name, (*this)(name + ".weight", {outputs, inputs, 1, joints}), in, depth, out, columns);
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

int round_up(int n) { return (n + kLineFloats - 1) / kLineFloats * kLineFloats; }

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

  const auto read_time = [&](const std::string& name, int joints, const Channels& channels) {
    const int all = static_cast<int>(channels.offset.size()), width = config_.width(all), padded = round_up(width);
    TemporalConv time{joints, channels, {}, {}};
    time.stem = read.convolution(name + ".stem", channels.offset, channels.padded, channels.offset, channels.padded);
    time.stem.round(precision);
    for (int b = 0; b < branches; ++b) {
      const std::string branch = name + ".branches." + std::to_string(b);
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
      time.branches.push_back({std::move(taps), config_.dilations[b], padded, stream_, slots, channels.begin[b]});
      stream_ += slots * joints * padded;
    }
    if (stream_ > kMaxState)
      throw BundleError(bundle.name + ": a stream's state takes more than " + std::to_string(kMaxState) + " floats");
    return time;
  };

  Channels before = input;
  widest_ = input.padded;
  for (std::size_t i = 0; i < config_.channels.size(); ++i) {
    const std::string name = "blocks." + std::to_string(i);
    const Channels after(config_.channels[i], branches);
    std::vector<int> stacked;  // the K subsets of the input channels, stacked
    for (int k = 0; k < kSubsets; ++k)
      for (const int c : before.offset) stacked.push_back(k * before.padded + c);
    const float* A = read(name + ".graph.A", {V * kSubsets, V});

    Block block;
    block.in = before;
    block.A.assign(A, A + V * kSubsets * V);
    block.has_shortcut = before.offset.size() != after.offset.size();
    block.graph = read.convolution(name + ".graph.conv", stacked, kSubsets * before.padded, after.offset, after.padded);
    block.graph.round(precision);
    if (block.has_shortcut) {
      block.shortcut = read.convolution(name + ".shortcut", before.offset, before.padded, after.offset, after.padded);
      block.shortcut.round(precision);
    }
    block.time = read_time(name + ".time", V, after);
    widest_ = std::max(widest_, after.padded);
    blocks_.push_back(std::move(block));
    before = after;
  }

  const int D = config_.features;
  if (config_.body) {
    const Channels body(D, branches);
    std::vector<int> joined;
    for (const int c : before.offset)
      for (int v = 0; v < V; ++v) joined.push_back(v * before.padded + c);
    join_ = read.convolution("join", joined, V * before.padded, body.offset, body.padded, V);
    join_.round(precision);
    for (int i = 0; i < config_.body_blocks; ++i) body_.push_back(read_time("body." + std::to_string(i), 1, body));
    before = body;
  } else {
    pool_ = AlignedFloats(static_cast<std::size_t>(V) * before.padded);
    const float* pool = read("pool", {D, V});
    for (const int c : before.offset)
      for (int v = 0; v < V; ++v) pool_.data()[v * before.padded + c] = *pool++;
  }
  features_ = before;
  if (config_.classes == 0) return;
  head_ = read.linear("head", before.offset, before.padded, config_.classes);
  head_.round(precision);
}

std::size_t StreamGCN::weight_bytes() const {
  const auto of_time = [](const TemporalConv& time) {
    std::size_t bytes = time.stem.bytes();
    for (const Branch& branch : time.branches) bytes += branch.taps.bytes();
    return bytes;
  };
  std::size_t bytes = embed_.bytes() + position_.bytes() + pool_.bytes() + join_.bytes() + head_.bytes();
  for (const Block& block : blocks_)
    bytes += 4 * block.A.size() + block.graph.bytes() + block.shortcut.bytes() + of_time(block.time);
  for (const TemporalConv& time : body_) bytes += of_time(time);
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
  shortcut_ = hidden_ = stem_ = AlignedFloats(std::max<std::size_t>(activation, net.features_.padded));
  features_ = AlignedFloats(people * net.features_.padded);
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

  const Channels& out = net.features_;
  for (int i = 0; i < n; ++i) {
    float* features = features_.data() + out.padded * i;
    if (net.config_.body)
      join(x_.data() + activation * i, features);
    else
      pool(x_.data() + activation * i, features);
  }
  for (const StreamGCN::TemporalConv& time : net.body_)
    for (int i = 0; i < n; ++i) {
      float* x = features_.data() + out.padded * i;
      convolve(time, streams_[slots[i]], x, x, x);
    }
  for (int i = 0; i < n; ++i) {
    for (int d = 0; features_ND && d < D; ++d)
      features_ND[D * i + d] = features_.data()[out.padded * i + out.offset[d]];
    ++streams_[slots[i]].age;
  }
  if (C == 0) return;
  Gemm head;
  const float* features = features_.data();
  head.rows = n;
  head.depth = head.a_stride = out.padded;
  head.a = &features;
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
  const int V = joints(), in = block.in.padded, out = block.time.channels.padded;

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

  convolve(block.time, stream, hidden_.data(), shortcut, x);
}

// in [joints, C] -> x, which may be the shortcut.
void Streams::convolve(const StreamGCN::TemporalConv& time, Stream& stream, const float* in, const float* shortcut,
                       float* x) {
  const StreamGCN& net = *network_;
  const int V = time.joints, out = time.channels.padded;
  Gemm gemm;
  gemm.rows = V;
  gemm.a = &in;
  gemm.depth = gemm.a_stride = gemm.out_stride = gemm.add_stride = out;
  gemm.out = stem_.data();
  gemm.relu = true;
  time.stem.multiply(net.kernels_, gemm);

  gemm.a = taps_.data();
  for (const StreamGCN::Branch& branch : time.branches) {
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
  const int rest = time.channels.begin.back();
  for (int v = 0; v < V; ++v)
    for (int c = rest; c < out; ++c) x[v * out + c] = std::max(0.f, stem_.data()[v * out + c] + shortcut[v * out + c]);
}

// x [V, C] -> features [D], all joints side by side in one product.
void Streams::join(const float* x, float* features) {
  const StreamGCN& net = *network_;
  Gemm gemm;
  gemm.rows = 1;
  gemm.depth = gemm.a_stride = joints() * net.blocks_.back().time.channels.padded;
  gemm.a = &x;
  gemm.out = features;
  gemm.out_stride = net.features_.padded;
  gemm.relu = true;
  net.join_.multiply(net.kernels_, gemm);
}

// x [V, D] -> features [D], the weighted mean over the joints.
void Streams::pool(const float* x, float* features) {
  const StreamGCN& net = *network_;
  const int width = net.features_.padded;
  std::fill_n(features, width, 0.f);
  const float* pool = net.pool_.data();
  for (int v = 0; v < joints(); ++v, x += width, pool += width)
    for (int c = 0; c < width; ++c) features[c] += x[c] * pool[c];
}

}  // namespace motionrt
