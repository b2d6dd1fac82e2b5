// Compiled once per instruction set: what this one brings.
#if defined(LOCANT_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_ATTENTION_INL_H_
#undef LOCANT_KERNELS_ATTENTION_INL_H_
#else
#define LOCANT_KERNELS_ATTENTION_INL_H_
#endif

#include "kernels/attention_backward_inl.h"
#include "kernels/attention_forward_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

inline constexpr Kernel kKernel = {{kLanes, kTileVectors}, forward, backward, pack_bands};

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
