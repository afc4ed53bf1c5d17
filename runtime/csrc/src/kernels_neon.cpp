#define MOTIONRT_ISA kernels_neon
#define MOTIONRT_ISA_NAME "neon"
#define LANES 4
#define WIDE 4  // 32 registers: 20 sums, 4 weights
#define ROWS(v) 5
#include "kernels.inl"
