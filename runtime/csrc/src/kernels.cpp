#include "kernels.hpp"

namespace motionrt {

#if defined(__x86_64__)
extern const Kernels kernels_avx512, kernels_avx2;
#elif defined(__aarch64__)
extern const Kernels kernels_neon;
#endif
extern const Kernels kernels_portable;

const std::vector<const Kernels*>& supported_kernels() {
  static const std::vector<const Kernels*> supported = [] {
    std::vector<const Kernels*> list;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
      list.push_back(&kernels_avx512);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back(&kernels_avx2);
#elif defined(__aarch64__)
    list.push_back(&kernels_neon);  // every 64-bit Arm has it
#endif
    list.push_back(&kernels_portable);
    return list;
  }();
  return supported;
}

}  // namespace motionrt
