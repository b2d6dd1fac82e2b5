#include "nn/layers.h"

#include <cstring>

#include "core/error.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/norm.h"

namespace locant {

void require_heads(const char* op, std::int64_t heads, std::int64_t width) {
  require(heads >= 1 && width >= heads && width % heads == 0, op, "{} heads do not divide a width of {}",
          heads, width);
}

void require_images(std::string_view op, const Var& images, std::int64_t channels) {
  const Shape& shape = images.shape();
  require(shape.rank() == 4 && shape.numel() > 0 && shape[1] == channels, op,
          "images of shape {}; (B, {}, H, W) was expected", shape.str(), channels);
}

Linear::Linear(const Weights& w, std::int64_t in, std::int64_t out, const Options& options)
    : in_(in), out_(out) {
  const Shape matrix{out, in};
  const Shape shape = options.weight_shape.numel() == 0 ? matrix : options.weight_shape;
  if (shape.numel() != matrix.numel())
    fail("linear", "{} of shape {} is no ({}, {}) matrix", w.path("weight"), shape.str(), out, in);
  if (w.mode() == WeightMode::train) {
    weight_ = w.get("weight", shape, options.weight_init);
    if (options.bias) bias_ = w.get("bias", {out}, options.bias_init);
    return;
  }
  const Tensor weight = w.take("weight", shape, options.weight_init);
  if (options.bias) bias_ = w.get("bias", {out}, options.bias_init);
  if (w.mode() == WeightMode::inference)
    packed_ = PackedLinear(weight.reshaped(matrix), options.bias ? bias_.value() : Tensor());
  w.release("weight");
}

Var Linear::operator()(const Context& ctx, const Var& x, Activation act, const Var& residual) const {
  if (packed_.defined())
    return Var(packed_.forward(x.value(), act, residual.defined() ? residual.value() : Tensor()));
  const Var matrix = weight_.shape().rank() == 2 ? weight_ : reshape(ctx, weight_, {out_, in_});
  Var y = linear(ctx, x, matrix, bias_);
  if (act == Activation::gelu) y = gelu(ctx, y);
  return residual.defined() ? add(ctx, residual, y) : y;
}

LayerNorm::LayerNorm(const Weights& w, std::int64_t width, float eps, const Init& weight_init)
    : weight_(w.get("weight", {width}, weight_init)),
      bias_(w.get("bias", {width}, Init::zeros())),
      eps_(eps) {}

Var LayerNorm::operator()(const Context& ctx, const Var& x) const {
  return layer_norm(ctx, x, weight_, bias_, eps_);
}

Var pad_to_patches(const Context& ctx, const Var& images, std::int64_t patch_rows,
                   std::int64_t patch_columns) {
  const std::int64_t planes = images.dim(0) * images.dim(1), rows = images.dim(2), columns = images.dim(3);
  const std::int64_t padded_rows = (rows + patch_rows - 1) / patch_rows * patch_rows;
  const std::int64_t padded_columns = (columns + patch_columns - 1) / patch_columns * patch_columns;
  if (padded_rows == rows && padded_columns == columns) return images;
  const auto copy_rows = [=](const float* from, std::int64_t from_rows, std::int64_t from_columns, float* to,
                             std::int64_t to_rows, std::int64_t to_columns) {
    for (std::int64_t p = 0; p < planes; ++p)
      for (std::int64_t y = 0; y < rows; ++y)
        std::memcpy(to + (p * to_rows + y) * to_columns, from + (p * from_rows + y) * from_columns,
                    static_cast<std::size_t>(columns) * sizeof(float));
  };
  Tensor out = Tensor::zeros({images.dim(0), images.dim(1), padded_rows, padded_columns});
  copy_rows(images.value().data(), rows, columns, out.data(), padded_rows, padded_columns);
  return ctx.record({images}, std::move(out), [=](const Tensor& dy) {
    Tensor dx(images.shape());
    copy_rows(dy.data(), padded_rows, padded_columns, dx.data(), rows, columns);
    images.accumulate(std::move(dx));
  });
}

PatchEmbed::PatchEmbed(const Weights& w, std::int64_t channels, std::int64_t patch_rows,
                       std::int64_t patch_columns, std::int64_t width)
    : channels_(channels), patch_rows_(patch_rows), patch_columns_(patch_columns) {
  const std::int64_t in = channels * patch_rows * patch_columns;
  require(in > 0 && width > 0, "patch_embed",
          "{} channels in patches of {}x{} to width {}: all must be at least 1", channels, patch_rows,
          patch_columns, width);
  projection_ = Linear(w, in, width,
                       {.weight_init = Init::fan_in(in),
                        .bias_init = Init::fan_in(in),
                        .weight_shape = {width, channels, patch_rows, patch_columns}});
}

Var PatchEmbed::operator()(const Context& ctx, const Var& images) const {
  const Shape& shape = images.shape();
  require_images("patch_embed", images, channels_);
  if (shape[2] < patch_rows_ || shape[3] < patch_columns_)
    fail("patch_embed", "images of {}x{} are smaller than a patch of {}x{}", shape[2], shape[3], patch_rows_,
         patch_columns_);
  return projection_(ctx, patchify(ctx, images, patch_rows_, patch_columns_, PatchOrder::channel_row_column));
}

Mlp::Mlp(const Weights& w, std::int64_t width, std::int64_t hidden)
    : fc1_(w / "fc1", width, hidden), fc2_(w / "fc2", hidden, width) {}

Var Mlp::operator()(const Context& ctx, const Var& x, const Var& residual) const {
  return fc2_(ctx, fc1_(ctx, x, Activation::gelu), Activation::none, residual);
}

}  // namespace locant
