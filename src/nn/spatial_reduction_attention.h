#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "nn/layers.h"
#include "position/spatial_reduction.h"

namespace locant {

/// Attention on keys and values of a reduced picture (position/spatial_reduction.h), as PVT and Twins' GSA
/// build it: `q`, `sr`, `norm` (both at a ratio above 1 only), `kv` (rows k, then v), `proj`.
class SpatialReductionAttention {
 public:
  struct Options {
    std::int64_t width = 64, heads = 1;
    std::int64_t ratio = 8;
    bool qkv_bias = true;
    float norm_eps = 1e-5f;
    float dropout = 0.0f;  ///< of probabilities
    /// How sr starts, its bias then at zero; none: as PyTorch's convolution.
    std::optional<Init> sr_init = std::nullopt;
  };
  SpatialReductionAttention() = default;
  /// Throws Error when the heads do not divide the width, or the ratio is below 1.
  SpatialReductionAttention(const Weights& w, const Options& options);
  /// x (B, h w, C) -> the same, plus skip where that is defined; at a ratio of 1 also with tokens before the
  /// grid. Shows q, sr (B, C, h', w'), norm and kv (B, h' w', ..), and its answer.
  Var operator()(const Context& ctx, const Var& x, Grid grid, const Var& skip = {}) const;

 private:
  void show(const Context& ctx, const char* name, const Var& value) const;

  Options options_;
  std::string path_;
  Linear q_, kv_, proj_;
  SpatialReduction sr_;
};

}  // namespace locant
