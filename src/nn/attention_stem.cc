#include "nn/attention_stem.h"

#include <algorithm>

#include "core/error.h"
#include "nn/conv_layers.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"

namespace locant {

namespace {

constexpr const char* kAttentionStemOp = "attention_stem";

}  // namespace

AttentionStem::AttentionStem(const Weights& w, const Options& o)
    : options_(o), maps_(std::make_shared<WindowMaps>()) {
  require_heads(kAttentionStemOp, o.heads, o.out);
  require(o.in >= 1 && o.mixtures >= 1 && o.mixtures <= 64 && o.block >= 1 && o.block <= 64, kAttentionStemOp,
          "{} mixtures of matrices of {} channels, blocks of {} x {}; 1 to 64 of the first and sides of 1 to "
          "64 were expected",
          o.mixtures, o.in, o.block, o.block);
  const std::int64_t E = o.out / o.heads;
  const Shape matrix{o.out, o.in, 1, 1};
  const Init start = fan_out_init(o.out), normal = Init::normal(1.0f);
  const Linear::Options pointwise = {.bias = false, .weight_init = start, .weight_shape = matrix};
  query_ = Linear(w / "query_conv", o.in, o.out, pointwise);
  key_ = Linear(w / "key_conv", o.in, o.out, pointwise);
  for (std::int64_t m = 0; m < o.mixtures; ++m)
    value_.push_back((w / "value_conv" / m).get("weight", matrix, start));
  rows_ = w.get("emb_a", {E, o.block}, normal, {.decay = false});
  columns_ = w.get("emb_b", {E, o.block}, normal, {.decay = false});
  mixture_ = w.get("emb_mix", {o.mixtures, E}, normal, {.decay = false});
}

Var AttentionStem::values(const Context& ctx, const Var& x, Grid grid) const {
  const std::int64_t M = options_.mixtures, b = options_.block, in = options_.in, out = options_.out;
  const Var along_rows = reshape(ctx, product(ctx, mixture_, rows_), {M, b, 1});
  const Var along_columns = reshape(ctx, product(ctx, mixture_, columns_), {M, 1, b});
  const Var scores = reshape(ctx, add_broadcast(ctx, along_rows, along_columns), {M, b * b});
  const Var p = softmax(ctx, permute(ctx, scores, {1, 0}));  // (b b, M)
  std::vector<Var> matrices;
  for (const Var& v : value_) matrices.push_back(reshape(ctx, v, {1, out * in}));
  const Var of_place = reshape(ctx, product(ctx, p, concat_axis(ctx, matrices, 0)), {b * b, out, in});

  // The pixels of a place in all blocks lie together for one product, and go back.
  const std::int64_t B = x.dim(0), rows = grid.rows / b, columns = grid.columns / b;
  const Var by_place = permute(ctx, reshape(ctx, x, {B * rows, b, columns, b, in}), {1, 3, 0, 2, 4});
  const Var v =
      product(ctx, reshape(ctx, by_place, {b * b, B * rows * columns, in}), of_place, {.transpose_b = true});
  const Var back = permute(ctx, reshape(ctx, v, {b, b, B * rows, columns, out}), {2, 0, 3, 1, 4});
  return reshape(ctx, back, {B, grid.tokens(), out});
}

Var AttentionStem::operator()(const Context& ctx, const Var& images) const {
  require_images(kAttentionStemOp, images, options_.in);
  const Shape& shape = images.shape();
  const std::int64_t b = options_.block;
  const auto nearest = [&](std::int64_t side) { return std::max<std::int64_t>((side + b / 2) / b, 1) * b; };
  require(shape[2] % b == 0 && shape[3] % b == 0, kAttentionStemOp,
          "an image of {} x {} does not divide into blocks of {} x {}; the nearest size is {} x {}", shape[2],
          shape[3], b, b, nearest(shape[2]), nearest(shape[3]));
  const Grid grid{1, shape[2], shape[3]};
  const Var x = images_to_tokens(ctx, images);
  AttentionOptions options;
  options.heads = options_.heads;
  options.scale = 1.0f;
  options.rows = maps_->rows(WindowLayout{.rows = grid.rows, .columns = grid.columns, .window = {b, b}});
  const Var y = attention(ctx, query_(ctx, x), key_(ctx, x), values(ctx, x, grid), options);
  return tokens_to_images(ctx, y, grid.rows, grid.columns);
}

}  // namespace locant
