#include "nn/leff.h"

#include "core/error.h"
#include "nn/conv_layers.h"

namespace locant {

LeffLayer::LeffLayer(const Weights& w, const Options& options) {
  const std::int64_t C = options.width, hidden = options.hidden, k = options.kernel;
  require(C >= 1 && hidden >= 1 && k >= 1 && k % 2 == 1, "leff",
          "{} channels, {} hidden ones and a kernel of {}; all must be at least 1, the kernel odd", C, hidden,
          k);
  const Conv2d::Options depthwise = Conv2d::square(k, 1, k / 2, hidden);
  const BatchNormOptions norm{.eps = options.bn_eps};
  if (w.mode() == WeightMode::inference) {
    PackedSource conv1 = Conv2d::source(w / "conv1", C, hidden, Conv2d::square(1)),
                 conv2 = Conv2d::source(w / "conv2", hidden, hidden, depthwise),
                 conv3 = Conv2d::source(w / "conv3", hidden, C, Conv2d::square(1));
    if (options.batch_norm) {
      conv1.fold(BatchNorm(w / "bn1", hidden, norm));
      conv2.fold(BatchNorm(w / "bn2", hidden, norm));
      conv3.fold(BatchNorm(w / "bn3", C, norm));
    }
    packed_ = {conv1.linear(), conv3.linear(), conv2.depthwise(depthwise.conv)};
    return;
  }
  leff_.path = w.path();
  leff_.conv1 = Conv2d::numbers(w / "conv1", C, hidden, Conv2d::square(1));
  leff_.conv2 = Conv2d::numbers(w / "conv2", hidden, hidden, depthwise);
  leff_.conv3 = Conv2d::numbers(w / "conv3", hidden, C, Conv2d::square(1));
  if (!options.batch_norm) return;
  leff_.bn1 = BatchNorm(w / "bn1", hidden, norm).numbers();
  leff_.bn2 = BatchNorm(w / "bn2", hidden, norm).numbers();
  leff_.bn3 = BatchNorm(w / "bn3", C, norm).numbers();
}

Var LeffLayer::operator()(const Context& ctx, const Var& x, Grid grid, std::int64_t prefix) const {
  if (packed_.depthwise.defined()) return leff(packed_, x, grid, prefix);
  return leff(ctx, leff_, x, grid, prefix);
}

}  // namespace locant
