#define MOTIONRT_ISA kernels_avx512
#define MOTIONRT_ISA_NAME "avx512"
#define LANES 16
#define WIDE 4  // 32 registers: 20 sums, 4 weights
#define ROWS(v) ((v) == 1 ? 15 : (v) == 2 ? 8 : 5)
#include "kernels.inl"
