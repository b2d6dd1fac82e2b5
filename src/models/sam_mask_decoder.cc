#include "models/sam_mask_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

// Prompts answered at once: what a layer holds of them should stay near the caches.
constexpr std::int64_t kTogether = 8;

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

/// One sample B times.
Var repeated(const Context& ctx, const Var& x, std::int64_t B) {
  return x.dim(0) == B ? x : add_broadcast(ctx, x, Var(Tensor::zeros({B, 1, 1})));
}

template <class Archive, class Config>
void list_fields(Archive& a, Config& c) {
  a.field("grid", c.grid, at_least(1));
  a.field("dim", c.dim);
  sam_decoder_fields(a, c);
  a.only("act", "relu");
  a.only("upscale_act", "gelu");
}

}  // namespace

void fields(ConfigReader& reader, SamMaskDecoderConfig& config) { list_fields(reader, config); }
void fields(ConfigWriter& writer, const SamMaskDecoderConfig& config) { list_fields(writer, config); }
void fields(ConfigPrint& print, const SamMaskDecoderConfig& config) { list_fields(print, config); }

void check(const std::string& op, const SamMaskDecoderConfig& c) {
  require(c.dim >= 8 && c.dim % 8 == 0 && c.dim % (c.downsample_rate * c.heads) == 0, op,
          "dim {} must be a multiple of 8 that {} heads and a downsample_rate of {} divide", c.dim, c.heads,
          c.downsample_rate);
}

Port SamMultimask::port() {
  return {.name = kName,
          .axes = "",
          .note = "1: three masks, 0: one",
          .kind = Port::Kind::option,
          .optional = true};
}

bool SamMultimask::of(const Values& in) {
  const Var value = in.get(kName);
  if (!value.defined()) return false;
  if (value.value().numel() != 1)
    fail("sam", "{} of shape {}; one number was expected", kName, value.shape().str());
  return value.value()[0] != 0.0f;
}

SamMaskDecoder::Attention SamMaskDecoder::attention_at(const Weights& w, std::int64_t inner) const {
  const std::int64_t C = c().dim;
  return {linear_at(w / "q_proj", C, inner), linear_at(w / "k_proj", C, inner),
          linear_at(w / "v_proj", C, inner), linear_at(w / "out_proj", inner, C), c().heads};
}

SamMaskDecoder::SamMaskDecoder(const Family& family, SamMaskDecoderConfig config, const Weights& w)
    : ModelOf(family, std::move(config)), path_(w.path()) {
  const SamMaskDecoderConfig& o = c();
  const std::int64_t C = o.dim, inner = C / o.downsample_rate;
  const Weights transformer = w / "transformer";
  for (std::int64_t n = 0; n < o.depth; ++n) {
    const Weights at = transformer / "layers" / n;
    Layer& layer = layers_.emplace_back();
    layer.self = attention_at(at / "self_attn", C);
    layer.norm1 = LayerNorm(at / "norm1", C, o.norm_eps);
    layer.to_image = attention_at(at / "cross_attn_token_to_image", inner);
    layer.norm2 = LayerNorm(at / "norm2", C, o.norm_eps);
    layer.lin1 = linear_at(at / "mlp" / "lin1", C, o.mlp_dim);
    layer.lin2 = linear_at(at / "mlp" / "lin2", o.mlp_dim, C);
    layer.norm3 = LayerNorm(at / "norm3", C, o.norm_eps);
    layer.norm4 = LayerNorm(at / "norm4", C, o.norm_eps);
    layer.to_tokens = attention_at(at / "cross_attn_image_to_token", inner);
  }
  final_attention_ = attention_at(transformer / "final_attn_token_to_image", inner);
  final_norm_ = LayerNorm(transformer / "norm_final_attn", C, o.norm_eps);
  iou_token_ = (w / "iou_token").get("weight", {1, C}, Init::normal(1.0f), {.decay = false});
  mask_tokens_ = (w / "mask_tokens").get("weight", {o.mask_tokens, C}, Init::normal(1.0f), {.decay = false});
  upscaling_ = SamUpscaling(w / "output_upscaling", C, o.upscale_norm_eps);
  for (std::int64_t m = 0; m < o.mask_tokens; ++m)
    hyper_.push_back(chain_at(w / "output_hypernetworks_mlps" / m, C, C, C / 8, 3));
  iou_head_ = chain_at(w / "iou_prediction_head", C, o.iou_hidden, o.mask_tokens, o.iou_depth);
}

Var SamMaskDecoder::Attention::operator()(const Context& ctx, const Var& queries, const Var& keys,
                                          const Var& values, const Var& residual) const {
  AttentionOptions options;
  options.heads = heads;
  const std::int64_t B = std::max(queries.dim(0), keys.dim(0)), Nq = queries.dim(1);
  Var projected = q(ctx, queries);
  // Keys that all share: the queries of all samples are those of one.
  projected =
      keys.dim(0) == B ? repeated(ctx, projected, B) : reshape(ctx, projected, {1, B * Nq, projected.dim(2)});
  Var x = attention(ctx, projected, k(ctx, keys), v(ctx, values), options);
  x = reshape(ctx, x, {B, Nq, x.dim(2)});
  if (residual.defined() && residual.dim(0) != B) return add_broadcast(ctx, out(ctx, x), residual);
  return out(ctx, x, Activation::none, residual);
}

Var SamMaskDecoder::run_chain(const Context& ctx, const Chain& chain, Var x) {
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

SamMasks SamMaskDecoder::operator()(const Context& ctx, const Var& image, const Var& positions,
                                    const SamPromptEmbedding& prompts, bool several) const {
  const Shape &is = image.shape(), &ss = prompts.sparse.shape(), &ds = prompts.dense.shape();
  const std::int64_t C = c().dim, rows = c().grid.rows, columns = c().grid.columns, N = rows * columns;
  require(is.rank() == 3 && is[1] == N && is[2] == C && positions.shape() == Shape({1, N, C}) &&
              ss.rank() == 3 && ss[2] == C && (is[0] == 1 || is[0] == ss[0]),
          op(), "image {}, positions {} and prompts {} do not fit a grid of {}x{} and width {}", is.str(),
          positions.shape().str(), ss.str(), rows, columns, C);
  const std::int64_t B = ss[0];
  require(ds.rank() == 3 && ds[2] == C && (ds[0] == 1 || ds[0] == B) && (ds[1] == 1 || ds[1] == N), op(),
          "dense prompts {} beside sparse ones {}", ds.str(), ss.str());

  if (B <= kTogether || ctx.tape != nullptr || ctx.probe != nullptr)
    return answer(ctx, image, positions, prompts, several);
  std::vector<Var> masks, iou;
  for (std::int64_t first = 0; first < B; first += kTogether) {
    const auto part = [&](const Var& x) {
      return x.dim(0) == 1 ? x : slice_axis(ctx, x, 0, first, std::min(B, first + kTogether));
    };
    const SamMasks some =
        answer(ctx, part(image), positions, {part(prompts.sparse), part(prompts.dense)}, several);
    masks.push_back(some.masks);
    iou.push_back(some.iou);
  }
  return {concat_axis(ctx, masks, 0), concat_axis(ctx, iou, 0)};
}

SamMasks SamMaskDecoder::answer(const Context& ctx, const Var& image, const Var& positions,
                                const SamPromptEmbedding& prompts, bool several) const {
  const std::int64_t C = c().dim, B = prompts.sparse.dim(0), M = c().mask_tokens;
  const Var own = reshape(ctx, concat_axis(ctx, {iou_token_, mask_tokens_}, 0), {1, 1 + M, C});
  State s;
  s.tokens = repeated(ctx, own, B);
  if (prompts.sparse.dim(1) > 0) s.tokens = concat_axis(ctx, {s.tokens, prompts.sparse}, 1);
  s.token_positions = s.tokens;
  s.image = add_broadcast(ctx, image, prompts.dense);
  s.image_positions = positions;
  for (std::size_t n = 0; n < layers_.size(); ++n) run_layer(ctx, n, s);
  {
    const Var keys = add_broadcast(ctx, s.image, s.image_positions);
    s.tokens = final_norm_(
        ctx, final_attention_(ctx, add(ctx, s.tokens, s.token_positions), keys, s.image, s.tokens));
  }
  ctx.show([&] { return join_path(path_, "transformer"); }, s.tokens);

  const auto token = [&](std::int64_t n) {
    return reshape(ctx, slice_axis(ctx, s.tokens, 1, n, n + 1), {B, C});
  };
  const std::int64_t first = several ? 1 : 0, end = several ? M : 1;
  std::vector<Var> vectors;
  for (std::int64_t m = first; m < end; ++m)
    vectors.push_back(
        reshape(ctx, run_chain(ctx, hyper_[static_cast<std::size_t>(m)], token(1 + m)), {B, 1, C / 8}));
  const Var weights = vectors.size() == 1 ? vectors[0] : concat_axis(ctx, vectors, 1);
  const Var places = upscaling_(ctx, s.image, c().grid.rows, c().grid.columns);
  const Var masks = product(ctx, weights, places, {.transpose_b = true});
  return {SamUpscaling::to_images(ctx, masks, c().grid.rows, c().grid.columns),
          slice_axis(ctx, run_chain(ctx, iou_head_, token(0)), 1, first, end)};
}

std::vector<Port> SamMaskDecoder::inputs() const {
  return {{"input", "B C H W", "image embedding, one or as many as prompts"},
          {"image_pe", "1 C H W", "positions of its places"},
          {"sparse", "B S C", "points and boxes"},
          {"dense", "B C H W", "mask prompts"},
          SamMultimask::port()};
}

std::vector<Port> SamMaskDecoder::outputs() const {
  return {{"masks", "B M H W", "low-resolution logits"}, {"iou", "B M", "predicted quality of each"}};
}

Values SamMaskDecoder::compute(const Context& ctx, const Values& in) const {
  const auto tokens = [&](const char* name) {
    const Var& x = in.at(name);
    if (x.dim(2) != c().grid.rows || x.dim(3) != c().grid.columns)
      fail(op(), "{} of shape {}; sides of {}x{} were expected", name, x.shape().str(), c().grid.rows,
           c().grid.columns);
    return images_to_tokens(ctx, x);
  };
  const Var image = tokens("input"), positions = tokens("image_pe");
  const SamMasks out =
      (*this)(ctx, image, positions, {in.at("sparse"), tokens("dense")}, SamMultimask::of(in));
  return {{"masks", out.masks}, {"iou", out.iou}};
}

namespace {

std::vector<Renames> renames() {
  Renames out;
  out.naming = "segment-anything";
  out.prefix = "mask_decoder.";
  out.unused = {"image_encoder.*", "prompt_encoder.*", "pixel_mean", "pixel_std"};
  return {out};
}

}  // namespace

const Family kSamMaskDecoder = family<SamMaskDecoder, nullptr, renames>("sam_mask_decoder");

}  // namespace locant
