#include "models/sam_upscaling.h"

#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

SamUpscaling::Doubling::Doubling(const Weights& w, std::int64_t in, std::int64_t out) : in_(in), out_(out) {
  // PyTorch counts a transposed convolution's fan-in over its outputs.
  const Init init = Init::fan_in(4 * out);
  const Shape shape{in, out, 2, 2};
  if (w.mode() == WeightMode::train) weight_ = w.get("weight", shape, init);
  const Tensor weight = w.mode() == WeightMode::train ? Tensor() : w.take("weight", shape, init);
  bias_ = w.get("bias", {out}, init);
  if (w.mode() == WeightMode::inference)
    packed_ = PackedLinear(matrix({}, Var(weight)).value(), four_times({}, bias_).value());
  if (w.mode() != WeightMode::train) w.release("weight");
}

/// (in, out, 2, 2) -> (4 out, in): the outputs of each of the four places behind each other.
Var SamUpscaling::Doubling::matrix(const Context& ctx, const Var& weight) const {
  return reshape(ctx, permute(ctx, weight, {2, 3, 1, 0}), {4 * out_, in_});
}

Var SamUpscaling::Doubling::four_times(const Context& ctx, const Var& bias) {
  return concat_axis(ctx, {bias, bias, bias, bias}, 0);
}

Var SamUpscaling::Doubling::operator()(const Context& ctx, const Var& x, Activation act) const {
  Var y;
  if (packed_.defined()) {
    y = Var(packed_.forward(x.value(), act, Tensor()));
  } else {
    y = linear(ctx, x, matrix(ctx, weight_), four_times(ctx, bias_));
    if (act == Activation::gelu) y = gelu(ctx, y);
  }
  return reshape(ctx, y, {x.dim(0), 4 * x.dim(1), out_});
}

SamUpscaling::SamUpscaling(const Weights& w, std::int64_t width, float norm_eps)
    : path_(w.path()),
      first_(w / 0, width, width / 4),
      second_(w / 3, width / 4, width / 8),
      norm_(w / 1, width / 4, norm_eps) {}

Var SamUpscaling::operator()(const Context& ctx, const Var& tokens, std::int64_t rows,
                             std::int64_t columns) const {
  const Var x = second_(ctx, gelu(ctx, norm_(ctx, first_(ctx, tokens, Activation::none))), Activation::gelu);
  if (ctx.probe != nullptr)
    ctx.show([&] { return path_; }, to_images({}, permute({}, x, {0, 2, 1}), rows, columns));
  return x;
}

Var SamUpscaling::to_images(const Context& ctx, const Var& places, std::int64_t rows, std::int64_t columns) {
  const std::int64_t B = places.dim(0), M = places.dim(1);
  const Var split = reshape(ctx, places, {B * M * rows, columns, 2, 2, 2, 2});
  return reshape(ctx, permute(ctx, split, {0, 2, 4, 1, 3, 5}), {B, M, 4 * rows, 4 * columns});
}

}  // namespace locant
