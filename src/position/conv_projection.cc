#include "position/conv_projection.h"

#include "ops/arithmetic.h"

namespace locant {

namespace {

// Sums by a convolution with ones, then each divided by the places it counts. Zeros behind the end make room
// for kernels that hang over it.
Var mean_of_places(const Context& ctx, const ConvProjection& p, const Var& images) {
  const std::int64_t C = images.dim(1), h = images.dim(2), w = images.dim(3), k = p.kernel;
  const Grid after = projected_grid({1, h, w}, p.stride, true);
  const auto missing = [&](std::int64_t n, std::int64_t left) {
    return std::max<std::int64_t>(0, (left - 1) * p.stride + k - 2 * (k / 2) - n);
  };
  Var padded = images;
  if (const std::int64_t rows = missing(h, after.rows); rows > 0)
    padded = concat_axis(ctx, {padded, Var(Tensor::zeros({images.dim(0), C, rows, w}))}, 2);
  if (const std::int64_t columns = missing(w, after.columns); columns > 0)
    padded = concat_axis(ctx, {padded, Var(Tensor::zeros({images.dim(0), C, padded.dim(2), columns}))}, 3);
  const Var sums =
      conv2d(ctx, padded, Var(Tensor::full({C, 1, k, k}, 1.0f)), {}, square_conv(p.stride, k / 2, C));
  Tensor shares({after.rows, after.columns});
  for (std::int64_t n = 0; n < shares.numel(); ++n)
    shares[n] = 1.0f / static_cast<float>(counted_places(h, k, p.stride, n / after.columns) *
                                          counted_places(w, k, p.stride, n % after.columns));
  return multiply(ctx, sums, Var(std::move(shares)));
}

}  // namespace

Var conv_projection(const Context& ctx, const ConvProjection& p, const Var& tokens, Grid grid,
                    std::int64_t prefix) {
  require(p.stride >= 1 && p.kernel >= 1 && p.kernel % 2 == 1, "conv_projection",
          "a kernel of {} with a stride of {}; the kernel must be odd, the stride 1 or more", p.kernel,
          p.stride);
  if (p.packed.defined()) return packed_on_grid("conv_projection", p.packed, tokens, grid, prefix);
  return on_grid(ctx, "conv_projection", tokens, grid, prefix, [&](const Var& images) {
    if (!p.weight.defined()) return mean_of_places(ctx, p, images);
    check_kernel("conv_projection", ConvProjection::kWeight, p.weight, images.dim(1), 1, true);
    require(p.weight.dim(2) == p.kernel, "conv_projection", "{} of shape {} for a kernel of {}",
            ConvProjection::kWeight, p.weight.shape().str(), p.kernel);
    const Var y = conv2d(ctx, images, p.weight, {}, square_conv(p.stride, p.kernel / 2, images.dim(1)));
    return p.norm.defined() ? p.norm(ctx, y) : y;
  });
}

}  // namespace locant
