#include "check.hpp"
#include "layout_map.hpp"
#include "poses.hpp"

using motionrt::LayoutMap;

int main() {
  // Model joint 0 is source joint 0; 1 is the mean of 0 and 2, 2 weighted three to one.
  const float weights[] = {1, 0, 0, 0.25f, 0, 0.75f};
  const LayoutMap map(weights, 2, 3);
  CHECK(map.source_joints() == 3);
  float out[6];
  const float joints[] = {0, 1, 2, kNaN, 0, 0, 4, 5, 6};
  map.apply(joints, nullptr, out);
  CHECK_NEAR(out[1], 1.f, 0);
  CHECK_NEAR(out[3], 3.f, 1e-6);
  CHECK_NEAR(out[5], 5.f, 1e-6);

  // Weights are renormalized over the joints present; without any: NaN.
  const float confidence[] = {0, 1, 0.1f}, unsure[] = {kNaN, 1, -1};
  map.apply(joints, confidence, out);
  CHECK(std::isnan(out[0]) && std::isnan(out[1]) && std::isnan(out[2]));
  CHECK_NEAR(out[4], 5.f, 1e-6);
  map.apply(joints, unsure, out);
  CHECK(std::isnan(out[3]));

  // A row of zeros is a joint without a source.
  const float no_source[] = {1, 0, 0, 0};
  const LayoutMap partial(no_source, 2, 2);
  CHECK(partial.has_source(0) && !partial.has_source(1));
  partial.apply(joints, nullptr, out);
  CHECK(out[1] == 1 && std::isnan(out[3]));

  // The largest floats do not overflow on the way.
  const float large = std::numeric_limits<float>::max();
  const float far[] = {large, 0, 0, 0, 0, 0, large, 0, 0}, heavy[] = {large, 0, large};
  LayoutMap(heavy, 1, 3).apply(far, nullptr, out);
  CHECK(out[0] == large);

  const float negative[] = {1, -1}, not_finite[] = {1, kNaN};
  CHECK_FAILS(LayoutMap(negative, 1, 2), "weights[0, 1] is -1");
  CHECK_FAILS(LayoutMap(not_finite, 1, 2), "weights[0, 1] is nan");
  CHECK_FAILS(LayoutMap(nullptr, 2, 0), "0 columns");
  CHECK_FAILS(LayoutMap(nullptr, 2, 257), "257 columns, expected 1 to 256");
  return result();
}
