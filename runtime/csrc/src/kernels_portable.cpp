#define MOTIONRT_ISA kernels_portable
#define MOTIONRT_ISA_NAME "portable"
#define LANES 4
#define WIDE 4  // 16 registers on x86-64: 12 sums
#define ROWS(v) 3
#include "kernels.inl"
