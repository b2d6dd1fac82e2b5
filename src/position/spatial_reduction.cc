#include "position/spatial_reduction.h"

#include "ops/norm.h"

namespace locant {

Var reduced_images(const Context& ctx, const SpatialReduction& sr, const Var& tokens, Grid grid) {
  const Shape& shape = tokens.shape();
  if (shape.rank() != 3 || grid.frames != 1 || grid.rows < 1 || grid.columns < 1 || shape[1] != grid.tokens())
    fail("spatial_reduction", "tokens of shape {} are no grid of {} x {}", shape.str(), grid.rows,
         grid.columns);
  check_kernel("spatial_reduction", SpatialReduction::kWeight, sr.weight, shape[2], shape[2], false);
  const std::int64_t ratio = sr.weight.dim(2);
  require(grid.rows >= ratio && grid.columns >= ratio, "spatial_reduction",
          "a grid of {} x {} reduced by {} leaves no keys", grid.rows, grid.columns, ratio);
  return conv2d(ctx, tokens_to_images(ctx, tokens, grid.rows, grid.columns), sr.weight, sr.bias,
                square_conv(ratio, 0));
}

Var reduced_tokens(const Context& ctx, const SpatialReduction& sr, const Var& images) {
  return layer_norm(ctx, images_to_tokens(ctx, images), sr.norm_weight, sr.norm_bias, sr.eps);
}

}  // namespace locant
