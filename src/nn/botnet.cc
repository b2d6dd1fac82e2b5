#include "nn/botnet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"

namespace locant {

namespace {

constexpr const char* kBotnetOp = "botnet";
constexpr std::int64_t kBotnetLargestSide = 4096;  // an index per pair of places on a side

}  // namespace

BotnetAttention::BotnetAttention(const Weights& w, const Options& o) : options_(o), path_(w.path()) {
  require(o.in >= 1 && o.heads >= 1 && o.head_width >= 1, kBotnetOp, "{} heads of width {} from {} channels",
          o.heads, o.head_width, o.in);
  require(std::max(o.rows, o.columns) <= kBotnetLargestSide, kBotnetOp,
          "a map of {}x{}; sides are at most {}", o.rows, o.columns, kBotnetLargestSide);
  const Grid grid{1, o.rows, o.columns};
  indices_ = o.relative ? relative_logits_indices(grid) : absolute_logits_indices(grid);
  to_qkv_ = Conv2d(w / "to_qkv", o.in, 3 * o.heads * o.head_width, Conv2d::square(1, 1, 0, 1, false));
  const Init init = Init::normal(1.0f / std::sqrt(static_cast<float>(o.head_width)));
  const Weights tables = w / "pos_emb";
  tables_.absolute = !o.relative;
  const auto table = [&](const char* relative, const char* absolute, std::int64_t K) {
    return o.relative ? tables.get(relative, {2 * K - 1, o.head_width}, init, {.decay = false})
                      : tables.get(absolute, {K, o.head_width}, init, {.decay = false});
  };
  tables_.rows = table(RelativeLogits::kRows, RelativeLogits::kAbsoluteRows, o.rows);
  tables_.columns = table(RelativeLogits::kColumns, RelativeLogits::kAbsoluteColumns, o.columns);
}

Var BotnetAttention::operator()(const Context& ctx, const Var& x) const {
  const std::int64_t H = options_.heads, D = options_.head_width;
  require(x.shape().rank() == 4 && x.dim(2) == options_.rows && x.dim(3) == options_.columns, kBotnetOp,
          "images of shape {} for an attention made for {}x{}", x.shape().str(), options_.rows,
          options_.columns);
  const Var map = to_qkv_(ctx, x);
  ctx.show([&] { return join_path(path_, "to_qkv"); }, map);
  const Var tokens = images_to_tokens(ctx, map);  // (B, N, 3 H D)
  const auto third = [&](std::int64_t p) { return slice_axis(ctx, tokens, 2, p * H * D, (p + 1) * H * D); };
  const Var q = third(0), k = third(1), v = third(2);
  AttentionOptions options;
  options.heads = H;
  options.scale = 1.0f / std::sqrt(static_cast<float>(D));
  options.terms = {relative_logits_term(ctx, tables_, q, H, *options.scale, indices_)};
  ctx.show_dense([&] { return join_path(path_, "pos_emb"); },
                 [&] {
                   const Tensor scores = attention_term_scores(q, k, v, options, 0);  // (B, 1, H, N, N)
                   return Var(scores.reshaped({x.dim(0), H, tokens.dim(1), tokens.dim(1)}));
                 });
  return tokens_to_images(ctx, attention(ctx, q, k, v, options), options_.rows, options_.columns);
}

BotnetBlock::BotnetBlock(const Weights& w, const Options& o) : options_(o), path_(w.path()) {
  require(o.proj_factor >= 1 && o.out >= o.proj_factor && o.out % o.proj_factor == 0, kBotnetOp,
          "a proj_factor of {} does not divide {} channels", o.proj_factor, o.out);
  const std::int64_t inner = o.out / o.proj_factor, attended = o.heads * o.head_width;
  if (o.in != o.out || o.downsample) {
    const Weights shortcut = w / "shortcut";
    ConvNorm::Options options{.eps = o.bn_eps};
    if (o.downsample) options = {.kernel = 3, .stride = 2, .pad = 1, .eps = o.bn_eps};
    shortcut_ = ConvNorm(shortcut / 0, shortcut / 1, o.in, o.out, options);
  }
  const Weights net = w / "net";
  down_ = ConvNorm(net / 0, net / 1, o.in, inner, {.eps = o.bn_eps});
  attention_ = BotnetAttention(net / 3, {inner, o.heads, o.head_width, o.rows, o.columns, o.relative});
  norm2_ = BatchNorm(net / 5, attended, {.eps = o.bn_eps});
  up_ = ConvNorm(net / 7, net / 8, attended, o.out, {.eps = o.bn_eps, .norm_init = Init::zeros()});
}

Var BotnetBlock::operator()(const Context& ctx, const Var& x) const {
  Var skip = x;
  if (shortcut_.defined()) {
    skip = relu(ctx, shortcut_(ctx, x));
    ctx.show([&] { return join_path(path_, "shortcut"); }, skip);
  }
  Var y = attention_(ctx, relu(ctx, down_(ctx, x, join_path(path_, "net.0"))));
  ctx.show([&] { return join_path(path_, "net.3"); }, y);
  if (options_.downsample) y = average_pool2d(ctx, y, Pool2dOptions{});
  y = up_(ctx, relu(ctx, norm2_(ctx, y)));
  ctx.show([&] { return join_path(path_, "net"); }, y);
  return relu(ctx, add(ctx, y, skip));
}

BotnetStack::BotnetStack(const Weights& w, const BotnetBlock::Options& first, std::int64_t depth)
    : path_(w.path()) {
  require(depth >= 1 && depth <= 1024, kBotnetOp, "a stack of {} blocks", depth);
  BotnetBlock::Options options = first;
  for (std::int64_t i = 0; i < depth; ++i) {
    blocks_.emplace_back(w / "net" / i, options);
    if (i > 0) continue;
    options.in = first.out;
    options.downsample = false;
    if (first.downsample) options.rows /= 2, options.columns /= 2;
  }
}

Var BotnetStack::operator()(const Context& ctx, Var x) const {
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i](ctx, x);
    ctx.show([&] { return join_path(path_, fmt::format("net.{}", i)); }, x);
  }
  return x;
}

}  // namespace locant
