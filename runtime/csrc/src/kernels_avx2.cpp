#define MOTIONRT_ISA kernels_avx2
#define MOTIONRT_ISA_NAME "avx2"
#define LANES 8
#define WIDE 2  // 16 registers: 10 sums, 2 weights
#define ROWS(v) 5
#include "kernels.inl"
