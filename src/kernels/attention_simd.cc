// The fused kernel, compiled once for each instruction set that simd/isa.h knows. What runs is chosen there.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_simd.cc"
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#define HWY_COMPILE_ALL_ATTAINABLE
#endif

// Before the target regions open: what is defined inside them may use their instructions anywhere.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/attention_band.h"
#include "kernels/attention_plan.h"

#if HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
#include "kernels/attention_inl.h"
#endif

#if HWY_ONCE
namespace locant::fused {

const Kernel* kernel_sse4() {
#if HWY_TARGETS & HWY_SSE4
  return &N_SSE4::kKernel;
#else
  return nullptr;
#endif
}

const Kernel* kernel_avx2() {
#if HWY_TARGETS & HWY_AVX2
  return &N_AVX2::kKernel;
#else
  return nullptr;
#endif
}

const Kernel* kernel_avx512() {
#if HWY_TARGETS & HWY_AVX3
  return &N_AVX3::kKernel;
#else
  return nullptr;
#endif
}

}  // namespace locant::fused
#endif
