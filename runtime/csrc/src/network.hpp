// What steps a recogniser's network, frame by frame, for the streams of several people.
#pragma once

#include "config.hpp"

namespace motionrt {

// N streams of one call, V joints, C labels, D features.
class Network {
 public:
  virtual ~Network() = default;
  virtual int joints() const = 0;
  virtual int labels() const = 0;
  virtual int capacity() const = 0;  // streams at once

  // The stream in `slot`, below capacity, starts anew.
  virtual void begin(int slot) = 0;

  // One frame [V, 3] of each of n different slots -> logits [N, C] and, unless null, features [N, D].
  virtual void step(int n, const int* slots, const float* frames_NV3, float* logits_NC,
                    float* features_ND) = 0;

  // Logits are of so many labels from now on; a network whose labels are its own refuses.
  virtual void relabel(int wanted) {
    require(wanted == labels(), "labels is ", wanted, ", the network gives ", labels());
  }
};

}  // namespace motionrt
