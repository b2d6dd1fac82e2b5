#include "models/sam_mask_decoder.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/conv_transpose2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

constexpr const char* kOp = "sam_mask_decoder";

Linear linear_at(const Weights& w, std::int64_t in, std::int64_t out) {
  return Linear(w, in, out, {.weight_init = Init::fan_in(in), .bias_init = Init::fan_in(in)});
}

std::vector<Linear> chain_at(const Weights& w, std::int64_t in, std::int64_t hidden, std::int64_t out,
                             std::int64_t depth) {
  std::vector<Linear> chain;
  for (std::int64_t n = 0; n < depth; ++n)
    chain.push_back(linear_at(w / "layers" / n, n == 0 ? in : hidden, n + 1 == depth ? out : hidden));
  return chain;
}

}  // namespace

SamMaskDecoder::Attention SamMaskDecoder::attention_at(const Weights& w, std::int64_t inner) const {
  const std::int64_t C = options_.width;
  return {linear_at(w / "q_proj", C, inner), linear_at(w / "k_proj", C, inner),
          linear_at(w / "v_proj", C, inner), linear_at(w / "out_proj", inner, C), options_.heads};
}

SamMaskDecoder::SamMaskDecoder(const Weights& w, const Options& o) : path_(w.path()), options_(o) {
  require(
      o.width >= 8 && o.width % 8 == 0 && o.heads > 0 && o.downsample > 0 &&
          o.width % (o.downsample * o.heads) == 0 && o.depth > 0 && o.depth <= 64 && o.mask_tokens >= 2 &&
          o.mask_tokens <= 64 && o.iou_depth > 0 && o.iou_depth <= 64,
      kOp,
      "width {} must be a multiple of 8 that {} heads and a downsampling by {} divide; depth {}, iou_depth "
      "{} and mask_tokens {} (2 at least) be from 1 to 64",
      o.width, o.heads, o.downsample, o.depth, o.iou_depth, o.mask_tokens);
  const std::int64_t C = o.width, inner = C / o.downsample;
  const Weights transformer = w / "transformer";
  for (std::int64_t n = 0; n < o.depth; ++n) {
    const Weights at = transformer / "layers" / n;
    Layer& layer = layers_.emplace_back();
    layer.self = attention_at(at / "self_attn", C);
    layer.norm1 = LayerNorm(at / "norm1", C, o.norm_eps);
    layer.to_image = attention_at(at / "cross_attn_token_to_image", inner);
    layer.norm2 = LayerNorm(at / "norm2", C, o.norm_eps);
    layer.lin1 = linear_at(at / "mlp" / "lin1", C, o.mlp_width);
    layer.lin2 = linear_at(at / "mlp" / "lin2", o.mlp_width, C);
    layer.norm3 = LayerNorm(at / "norm3", C, o.norm_eps);
    layer.norm4 = LayerNorm(at / "norm4", C, o.norm_eps);
    layer.to_tokens = attention_at(at / "cross_attn_image_to_token", inner);
  }
  final_attention_ = attention_at(transformer / "final_attn_token_to_image", inner);
  final_norm_ = LayerNorm(transformer / "norm_final_attn", C, o.norm_eps);
  iou_token_ = (w / "iou_token").get("weight", {1, C}, Init::normal(1.0f));
  mask_tokens_ = (w / "mask_tokens").get("weight", {o.mask_tokens, C}, Init::normal(1.0f));
  const Weights up = w / "output_upscaling";
  up1_weight_ = (up / 0).get("weight", {C, C / 4, 2, 2}, Init::fan_in(C));
  up1_bias_ = (up / 0).get("bias", {C / 4}, Init::fan_in(C));
  upscale_norm_ = LayerNorm(up / 1, C / 4, o.upscale_norm_eps);
  up2_weight_ = (up / 3).get("weight", {C / 4, C / 8, 2, 2}, Init::fan_in(C / 4 * 4));
  up2_bias_ = (up / 3).get("bias", {C / 8}, Init::fan_in(C / 4 * 4));
  for (std::int64_t m = 0; m < o.mask_tokens; ++m)
    hyper_.push_back(chain_at(w / "output_hypernetworks_mlps" / m, C, C, C / 8, 3));
  iou_head_ = chain_at(w / "iou_prediction_head", C, o.iou_width, o.mask_tokens, o.iou_depth);
}

Var SamMaskDecoder::Attention::operator()(const Context& ctx, const Var& queries, const Var& keys,
                                          const Var& values, const Var& residual) const {
  AttentionOptions options;
  options.heads = heads;
  const Var x = attention(ctx, q(ctx, queries), k(ctx, keys), v(ctx, values), options);
  return out(ctx, x, Activation::none, residual);
}

Var SamMaskDecoder::run(const Context& ctx, const Chain& chain, Var x) {
  for (std::size_t n = 0; n < chain.size(); ++n) x = n == 0 ? chain[n](ctx, x) : chain[n](ctx, relu(ctx, x));
  return x;
}

void SamMaskDecoder::run_layer(const Context& ctx, std::size_t index, State& s) const {
  const Layer& layer = layers_[index];
  if (index == 0) {  // the tokens are their own positions here: nothing is added, and no residual
    s.tokens = layer.self(ctx, s.tokens, s.tokens, s.tokens, {});
  } else {
    const Var q = add(ctx, s.tokens, s.token_positions);
    s.tokens = layer.self(ctx, q, q, s.tokens, s.tokens);
  }
  s.tokens = layer.norm1(ctx, s.tokens);
  const Var keys = add_broadcast(ctx, s.image, s.image_positions);
  s.tokens =
      layer.norm2(ctx, layer.to_image(ctx, add(ctx, s.tokens, s.token_positions), keys, s.image, s.tokens));
  s.tokens =
      layer.norm3(ctx, layer.lin2(ctx, relu(ctx, layer.lin1(ctx, s.tokens)), Activation::none, s.tokens));
  s.image =
      layer.norm4(ctx, layer.to_tokens(ctx, keys, add(ctx, s.tokens, s.token_positions), s.tokens, s.image));
  ctx.show([&] { return join_path(path_, fmt::format("transformer.layers.{}", index)); }, s.tokens);
}

/// Image (B, N, C) -> (B, C / 8, 4 rows, 4 columns).
Var SamMaskDecoder::upscaled(const Context& ctx, const Var& image, std::int64_t rows,
                             std::int64_t columns) const {
  const ConvTranspose2dOptions twice{.stride_rows = 2, .stride_columns = 2};
  Var x = conv_transpose2d(ctx, tokens_to_images(ctx, image, rows, columns), up1_weight_, up1_bias_, twice);
  x = upscale_norm_(ctx, images_to_tokens(ctx, x));
  x = tokens_to_images(ctx, gelu(ctx, x), 2 * rows, 2 * columns);
  x = gelu(ctx, conv_transpose2d(ctx, x, up2_weight_, up2_bias_, twice));
  ctx.show([&] { return join_path(path_, "output_upscaling"); }, x);
  return x;
}

SamMasks SamMaskDecoder::operator()(const Context& ctx, const Var& image, const Var& positions,
                                    const SamPromptEmbedding& prompts, std::int64_t rows,
                                    std::int64_t columns, bool several) const {
  const Shape &is = image.shape(), &ss = prompts.sparse.shape(), &ds = prompts.dense.shape();
  const std::int64_t C = options_.width, N = rows * columns;
  require(is.rank() == 3 && is[1] == N && is[2] == C && positions.shape() == Shape({1, N, C}) &&
              ss.rank() == 3 && ss[2] == C && (is[0] == 1 || is[0] == ss[0]),
          kOp, "image {}, positions {} and prompts {} do not fit a grid of {}x{} and width {}", is.str(),
          positions.shape().str(), ss.str(), rows, columns, C);
  const std::int64_t B = ss[0], M = options_.mask_tokens;
  require(ds.rank() == 3 && ds[2] == C && (ds[0] == 1 || ds[0] == B) && (ds[1] == 1 || ds[1] == N), kOp,
          "dense prompts {} beside sparse ones {}", ds.str(), ss.str());

  const Var own = reshape(ctx, concat_axis(ctx, {iou_token_, mask_tokens_}, 0), {1, 1 + M, C});
  State s;
  s.tokens = B == 1 ? own : add_broadcast(ctx, own, Var(Tensor::zeros({B, 1, 1})));
  if (ss[1] > 0) s.tokens = concat_axis(ctx, {s.tokens, prompts.sparse}, 1);
  s.token_positions = s.tokens;
  s.image = add_broadcast(ctx, image, prompts.dense);
  if (s.image.dim(0) != B) s.image = add_broadcast(ctx, s.image, Var(Tensor::zeros({B, 1, 1})));
  s.image_positions = positions;
  for (std::size_t n = 0; n < layers_.size(); ++n) run_layer(ctx, n, s);
  const Var keys = add_broadcast(ctx, s.image, s.image_positions);
  s.tokens =
      final_norm_(ctx, final_attention_(ctx, add(ctx, s.tokens, s.token_positions), keys, s.image, s.tokens));
  ctx.show([&] { return join_path(path_, "transformer"); }, s.tokens);

  const Var up = upscaled(ctx, s.image, rows, columns);
  const auto token = [&](std::int64_t n) {
    return reshape(ctx, slice_axis(ctx, s.tokens, 1, n, n + 1), {B, C});
  };
  const std::int64_t first = several ? 1 : 0, end = several ? M : 1;
  std::vector<Var> vectors;
  for (std::int64_t m = first; m < end; ++m)
    vectors.push_back(
        reshape(ctx, run(ctx, hyper_[static_cast<std::size_t>(m)], token(1 + m)), {B, 1, C / 8}));
  const Var weights = vectors.size() == 1 ? vectors[0] : concat_axis(ctx, vectors, 1);
  const Var masks = product(ctx, weights, reshape(ctx, up, {B, C / 8, 16 * N}));
  SamMasks out;
  out.masks = reshape(ctx, masks, {B, end - first, 4 * rows, 4 * columns});
  out.iou = slice_axis(ctx, run(ctx, iou_head_, token(0)), 1, first, end);
  return out;
}

}  // namespace locant
