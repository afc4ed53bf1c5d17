// A recognizer's network, stepped frame by frame for the streams of several people.
#pragma once

#include "config.hpp"

namespace motionrt {

// Shapes: N streams of one call, V joints, C labels, D features.
class Network {
 public:
  virtual ~Network() = default;
  virtual int joints() const = 0;
  virtual int labels() const = 0;
  virtual int features() const { return 0; }
  virtual int capacity() const = 0;  // number of streams

  // Starts the stream in `slot`, below capacity, from zero.
  virtual void begin(int slot) = 0;

  // One frame [V, 3] of each of n different slots -> logits [N, C] and, unless null, features [N, D].
  virtual void step(int n, const int* slots, const float* frames_NV3, float* logits_NC, float* features_ND) = 0;

  // Changes the number of logits; an error if the network has fixed labels.
  virtual void relabel(int count) { require(count == labels(), "labels is ", count, ", expected ", labels()); }
};

}  // namespace motionrt
