#pragma once

#include <cstdint>

#include "nn/weights.h"
#include "position/peg.h"

namespace locant {

struct PegOptions {
  std::int64_t width = 192;
  std::int64_t kernel = 3, stride = 1;
  bool residual = true;  ///< at a stride of 1 only
};
/// `weight` and `bias`, packed for inference.
Peg make_peg(const Weights& w, const PegOptions& options, const Init& weight, const Init& bias,
             const ParameterOptions& weight_options = {});

/// PEG between layers (position/peg.h) as Twins' PosCNN: `proj.0.weight`, `proj.0.bias`.
class PegLayer {
 public:
  using Options = PegOptions;
  PegLayer() = default;
  /// Throws Error on an even kernel, or a residual with a stride.
  PegLayer(const Weights& w, const Options& options);
  /// x (B, prefix + h w, C) -> (B, prefix + h' w', C), (h', w') = peg_grid.
  Var operator()(const Context& ctx, const Var& x, Grid grid, std::int64_t prefix = 0) const;

 private:
  Peg peg_;
};

}  // namespace locant
