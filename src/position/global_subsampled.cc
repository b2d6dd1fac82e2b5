#include "position/global_subsampled.h"

#include "ops/norm.h"
#include "ops/pool2d.h"

namespace locant {

Var subsampled_tokens(const Context& ctx, const GlobalSubsampled& gsa, const Var& tokens, Grid grid) {
  const std::int64_t wh = gsa.window_rows, ww = gsa.window_columns;
  require(wh >= 1 && ww >= 1 && wh <= grid.rows && ww <= grid.columns, "global_subsampled",
          "no window of {} x {} fits a grid of {} x {}", wh, ww, grid.rows, grid.columns);
  const Var out = on_grid(ctx, "global_subsampled", tokens, grid, 0, [&](const Var& images) {
    if (gsa.by == Subsampling::mean) return average_pool2d(ctx, images, {wh, ww, wh, ww});
    const std::int64_t C = images.dim(1), from = gsa.by == Subsampling::depthwise ? 1 : C;
    const Shape want{C, from, wh, ww};
    if (gsa.weight.shape() != want)
      fail("global_subsampled", "sr.weight of shape {} for windows of {} x {}; {} was expected",
           gsa.weight.shape().str(), wh, ww, want.str());
    return conv2d(ctx, images, gsa.weight, gsa.bias, {wh, ww, 0, 0, C / from});
  });
  return layer_norm(ctx, out, gsa.norm_weight, gsa.norm_bias, gsa.eps);
}

}  // namespace locant
