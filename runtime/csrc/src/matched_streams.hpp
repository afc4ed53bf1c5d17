// The network of a bundle: a StreamGCN or, for compiled labels, one whose features are matched a few times a second.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "matcher.hpp"

namespace motionrt {

// An encoder's streams with the logits of each person's latest match; as runtime/recognition/matched_streams.py without
// a thread. Only the constructor, `relabel` and `feature` allocate.
class MatchedStreams final : public Network {
 public:
  MatchedStreams(std::shared_ptr<const StreamGCN> encoder, std::shared_ptr<const Matcher> matcher, int capacity)
      : matcher_(std::move(matcher)),
        encoder_(std::move(encoder), capacity),
        people_(capacity),
        buffers_(*matcher_),
        features_ND_(static_cast<std::size_t>(capacity) * encoder_.features()),
        mean_D_(encoder_.features()) {
    for (Person& person : people_) {
      person.window_ND.resize(static_cast<std::size_t>(matcher_->config().window) * encoder_.features());
      clear(person);
    }
  }

  const Matcher& matcher() const { return *matcher_; }

  // The matcher to use from the next `relabel` on; everybody is then matched anew.
  void prepare(std::shared_ptr<const Matcher> matcher) { next_ = std::move(matcher); }

  void relabel(int count) override {
    if (next_) {
      matcher_ = std::move(next_);
      buffers_ = Matcher::Buffers(*matcher_);
      for (Person& person : people_) clear(person);
    }
    Network::relabel(count);
  }

  // Mean feature [D] of the last frames of a slot; empty before the first match.
  std::vector<float> feature(int slot) {
    if (people_[slot].frames < matcher_->config().interval) return {};
    average(people_[slot]);
    return mean_D_;
  }

  int joints() const override { return encoder_.joints(); }
  int labels() const override { return matcher_->labels(); }
  int features() const override { return encoder_.features(); }
  int capacity() const override { return encoder_.capacity(); }

  void begin(int slot) override {
    encoder_.begin(slot);
    Person& person = people_[slot];
    person.frames = 0;
    clear(person);
  }

  void step(int n, const int* slots, const float* frames_NV3, float* logits_NC, float* features_ND) override {
    const int D = features(), C = labels(), window = matcher_->config().window;
    if (!features_ND) features_ND = features_ND_.data();
    encoder_.step(n, slots, frames_NV3, nullptr, features_ND);
    for (int i = 0; i < n; ++i) {
      Person& person = people_[slots[i]];
      std::copy_n(features_ND + D * i, D, person.window_ND.begin() + D * (person.frames++ % window));
      if (person.frames >= person.due) {
        person.due = person.frames + matcher_->config().interval;
        average(person);
        matcher_->match(mean_D_.data(), buffers_, person.logits_C.data());
      }
      std::copy_n(person.logits_C.begin(), C, logits_NC + C * i);
    }
  }

 private:
  struct Person {
    std::int64_t frames = 0, due = 0;  // so far, and when the next match is due
    std::vector<float> window_ND, logits_C;
  };

  void clear(Person& person) {
    person.logits_C.assign(labels(), kNoMatch);
    person.logits_C.back() = 0;
    person.due = matcher_->config().interval;
  }

  void average(const Person& person) {
    const int D = features();
    const auto frames = static_cast<int>(std::min<std::int64_t>(person.frames, matcher_->config().window));
    std::fill(mean_D_.begin(), mean_D_.end(), 0.f);
    const float* feature = person.window_ND.data();
    for (int t = 0; t < frames; ++t)
      for (int d = 0; d < D; ++d) mean_D_[d] += *feature++;
    for (float& value : mean_D_) value /= static_cast<float>(frames);
  }

  static constexpr float kNoMatch = -30;  // logit of a label before the first match
  std::shared_ptr<const Matcher> matcher_, next_;
  Streams encoder_;
  std::vector<Person> people_;
  Matcher::Buffers buffers_;
  std::vector<float> features_ND_, mean_D_;
};

// The immutable weights of a bundle.
class Model {
 public:
  // Throws BundleError if the weights do not fit the architecture.
  explicit Model(const Bundle& bundle, Precision precision = Precision::fp32)
      : network_(std::make_shared<StreamGCN>(bundle, precision)),
        matcher_(bundle.matching ? std::make_shared<Matcher>(bundle, precision, network_->kernels()) : nullptr) {}

  std::size_t weight_bytes() const { return network_->weight_bytes() + (matcher_ ? matcher_->weight_bytes() : 0); }

  std::unique_ptr<Network> streams(int capacity) const {
    if (matcher_) return std::make_unique<MatchedStreams>(network_, matcher_, capacity);
    return std::make_unique<Streams>(network_, capacity);
  }

 private:
  const std::shared_ptr<const StreamGCN> network_;
  const std::shared_ptr<const Matcher> matcher_;
};

}  // namespace motionrt
