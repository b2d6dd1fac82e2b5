#include "position/spatial_reduction.h"

#include <algorithm>

#include "core/parallel.h"
#include "ops/norm.h"
#include "ops/reduce_inl.h"

namespace locant {

namespace {

void check_ratio(Grid grid, std::int64_t ratio) {
  require(
      grid.rows >= ratio && grid.columns >= ratio, "spatial_reduction",
      "a grid of {} x {} reduced by {} leaves no keys; it must be {} x {} at least, from a larger picture",
      grid.rows, grid.columns, ratio, ratio, ratio);
}

}  // namespace

Var reduced_images(const Context& ctx, const SpatialReduction& sr, const Var& tokens, Grid grid) {
  check_tokens_of_grid("spatial_reduction", tokens, grid, 0);
  const std::int64_t C = tokens.dim(2);
  check_kernel("spatial_reduction", SpatialReduction::kWeight, sr.weight, C, C, false);
  const std::int64_t ratio = sr.weight.dim(2);
  check_ratio(grid, ratio);
  return conv2d(ctx, tokens_to_images(ctx, tokens, grid.rows, grid.columns), sr.weight, sr.bias,
                square_conv(ratio, 0));
}

Var reduced_by_product(const SpatialReduction& sr, const Var& tokens, Grid grid) {
  const std::int64_t R = sr.ratio;
  check_tokens_of_grid("spatial_reduction", tokens, grid, 0);
  check_ratio(grid, R);
  Tensor cells = tokens.value();
  if (R > 1) {  // a cell's rows are runs of R C numbers
    const Grid after = reduced_grid(grid, R);
    const std::int64_t B = tokens.dim(0), C = tokens.dim(2), run = R * C;
    cells = Tensor({B, after.tokens(), R * run});
    parallel_for(B * after.rows, row_grain(grid.columns * run), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t b = i / after.rows, r = i % after.rows;
        float* to = cells.data() + i * after.columns * R * run;
        for (std::int64_t u = 0; u < R; ++u) {
          const float* from = tokens.value().data() + (b * grid.tokens() + (r * R + u) * grid.columns) * C;
          for (std::int64_t q = 0; q < after.columns; ++q)
            std::copy_n(from + q * run, run, to + (q * R + u) * run);
        }
      }
    });
  }
  return Var(sr.packed.forward(cells, Activation::none, Tensor()));
}

Var reduced_tokens(const Context& ctx, const SpatialReduction& sr, const Var& conv) {
  return layer_norm(ctx, conv.shape().rank() == 3 ? conv : images_to_tokens(ctx, conv), sr.norm_weight,
                    sr.norm_bias, sr.eps);
}

}  // namespace locant
