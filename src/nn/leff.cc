#include "nn/leff.h"

#include "core/error.h"
#include "nn/grid_layers.h"

namespace locant {

LeffLayer::LeffLayer(const Weights& w, const Options& options) {
  const std::int64_t C = options.width, hidden = options.hidden, k = options.kernel;
  require(C >= 1 && hidden >= 1 && k >= 1 && k % 2 == 1, "leff",
          "{} channels, {} hidden ones and a kernel of {}; all must be at least 1, the kernel odd", C, hidden,
          k);
  leff_.path = w.path();
  leff_.conv1 = grid_conv(w / "conv1", C, hidden, 1);
  leff_.conv2 = grid_conv(w / "conv2", hidden, hidden, k, hidden);
  leff_.conv3 = grid_conv(w / "conv3", hidden, C, 1);
  if (!options.batch_norm) return;
  leff_.bn1 = grid_norm(w / "bn1", hidden, options.bn_eps);
  leff_.bn2 = grid_norm(w / "bn2", hidden, options.bn_eps);
  leff_.bn3 = grid_norm(w / "bn3", C, options.bn_eps);
}

Var LeffLayer::operator()(const Context& ctx, const Var& x, Grid grid, std::int64_t prefix) const {
  return leff(ctx, leff_, x, grid, prefix);
}

}  // namespace locant
