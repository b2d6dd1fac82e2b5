#pragma once

#include <cstdint>

#include "nn/weights.h"
#include "position/conv_ff.h"

namespace locant {

/// The numbers of a convolution at `w`: `weight` (out, in / groups, k, k), `bias` (out); starts as PyTorch's.
GridConv grid_conv(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t kernel,
                   std::int64_t groups = 1, bool bias = true);
/// Of a batch norm: `weight`, `bias`, `running_mean`, `running_var` (C).
GridNorm grid_norm(const Weights& w, std::int64_t width, float eps = 1e-5f);

}  // namespace locant
