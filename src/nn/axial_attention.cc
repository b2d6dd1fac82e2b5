#include "nn/axial_attention.h"

#include <cmath>

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"

namespace locant {

namespace {

constexpr const char* kAxialAttentionOp = "axial_attention";

// (X, n, G d) -> (X, G, n, d)
Var split_heads(const Context& ctx, const Var& x, std::int64_t G) {
  return permute(ctx, reshape(ctx, x, {x.dim(0), x.dim(1), G, x.dim(2) / G}), {0, 2, 1, 3});
}

// For each place i of a line: x (L, G, n, d) times vectors (n, n, d) of its own, [l, g, i, j] = x[l, g, i].
// vectors[i, j]. `transpose_b` false: vectors (n, d, e), summed over d.
Var place_products(const Context& ctx, const Var& x, const Var& vectors, bool transpose_b) {
  const std::int64_t L = x.dim(0), G = x.dim(1), n = x.dim(2);
  const Var places = reshape(ctx, permute(ctx, x, {2, 0, 1, 3}), {n, L * G, x.dim(3)});
  const Var y = product(ctx, places, vectors, {.transpose_b = transpose_b});
  return permute(ctx, reshape(ctx, y, {n, L, G, y.dim(2)}), {1, 2, 0, 3});
}

// Rows of a table for every pair (a, b) of places on a line of n: (n, n, width).
Var pair_vectors(const Context& ctx, const Var& table, std::int64_t K, AxialOrder order, std::int64_t n) {
  std::vector<std::int32_t> rows;
  for (std::int64_t a = 0; a < n; ++a)
    for (std::int64_t b = 0; b < n; ++b)
      rows.push_back(static_cast<std::int32_t>(axial_deeplab_row(K, order, a, b)));
  return reshape(ctx, gather_rows(ctx, table, rows), {n, n, table.dim(1)});
}

// Content (X, n, C) and position (X, n, C) -> (X, n, 2 C), interleaved.
Var interleave(const Context& ctx, const Var& content, const Var& position) {
  const Shape one{content.dim(0), content.dim(1), content.dim(2), 1};
  const Var both = concat_axis(ctx, {reshape(ctx, content, one), reshape(ctx, position, one)}, 3);
  return reshape(ctx, both, {one[0], one[1], 2 * one[2]});
}

}  // namespace

struct AxialAttention::Lines {
  std::int64_t B, rows, columns;
  GridAxis axis;
  std::int64_t n() const { return axis == GridAxis::rows ? rows : columns; }
  std::int64_t count() const { return B * (axis == GridAxis::rows ? columns : rows); }

  // Tokens (B, N, C) -> (B lines, n, C), and back.
  Var cut(const Context& ctx, const Var& x) const {
    Var map = reshape(ctx, x, {B, rows, columns, x.dim(2)});
    if (axis == GridAxis::rows) map = permute(ctx, map, {0, 2, 1, 3});
    return reshape(ctx, map, {count(), n(), x.dim(2)});
  }
  Var join(const Context& ctx, const Var& x) const {
    const std::int64_t C = x.dim(2);
    Var map = reshape(ctx, x, {B, count() / B, n(), C});
    if (axis == GridAxis::rows) map = permute(ctx, map, {0, 2, 1, 3});
    return reshape(ctx, map, {B, rows * columns, C});
  }
  // Tokens as the official code holds them: (lines, C, n).
  Var official(const Var& x) const { return permute({}, cut({}, x), {0, 2, 1}); }
};

AxialAttention::AxialAttention(const Weights& w, const Options& o) : options_(o), path_(w.path()) {
  require(o.in >= 1 && o.groups >= 1 && o.out >= 2 * o.groups && o.out % (2 * o.groups) == 0,
          kAxialAttentionOp, "{} groups do not divide {} channels (from {}) into even parts", o.groups, o.out,
          o.in);
  require(o.span >= 1 && o.span <= (1 << 16) && o.stride >= 1 && o.axis != GridAxis::frames,
          kAxialAttentionOp, "a span of {} and a stride of {}", o.span, o.stride);
  const auto deviation = [](std::int64_t width) {
    return Init::normal(1.0f / std::sqrt(static_cast<float>(width)));
  };
  relative_ = w.get(AxialDeeplab::kRelative, {2 * width(), axial_deeplab_rows(o.span)}, deviation(width()),
                    {.decay = false});
  const Weights qkv = w / "qkv_transform";
  const Shape shape{2 * o.out, o.in, 1};
  const BatchNormOptions last{.eps = o.bn_eps, .channels = ChannelAxis::last};
  if (w.mode() == WeightMode::inference) {
    PackedSource source(qkv, shape, deviation(o.in), std::nullopt);
    source.fold(BatchNorm(w / "bn_qkv", 2 * o.out, last));
    folded_qkv_ = source.linear();
  } else {
    qkv_ =
        Linear(qkv, o.in, 2 * o.out, {.bias = false, .weight_init = deviation(o.in), .weight_shape = shape});
    bn_qkv_ = BatchNorm(w / "bn_qkv", 2 * o.out, last);
  }
  bn_similarity_ = BatchNorm(w / "bn_similarity", 3 * o.groups, {.eps = o.bn_eps});
  bn_output_ = BatchNorm(w / "bn_output", 2 * o.out, last);
}

Var AxialAttention::operator()(const Context& ctx, const Var& x) const {
  require_images(kAxialAttentionOp, x, options_.in);
  const Shape& shape = x.shape();
  const Lines lines{shape[0], shape[2], shape[3], options_.axis};
  require(lines.n() <= options_.span, kAxialAttentionOp, "lines of {} places; the table is made for {}",
          lines.n(), options_.span);
  const Var tokens = images_to_tokens(ctx, x);
  const auto show = [&](const char* name, const Var& value) {
    if (ctx.probe != nullptr) ctx.show([&] { return join_path(path_, name); }, lines.official(value));
  };
  Var qkv;
  if (folded_qkv_.defined()) {
    qkv = Var(folded_qkv_.forward(tokens.value(), Activation::none, Tensor()));
  } else {
    qkv = qkv_(ctx, tokens);
    show("qkv_transform", qkv);
    qkv = bn_qkv_(ctx, qkv);
  }
  show("bn_qkv", qkv);
  const Parts parts = parts_of(ctx, qkv);
  if (!ctx.train && ctx.probe != nullptr) {
    show("bn_output", separate_outputs(parts, lines));
    ctx.show_dense([&] { return join_path(path_, "bn_similarity"); },
                   [&] { return similarity({}, parts, lines); });
  }
  const Var y = ctx.train ? composed(ctx, parts, lines) : fused(ctx, parts, lines);
  const Var map = tokens_to_images(ctx, y, lines.rows, lines.columns);
  if (options_.stride == 1) return map;
  Pool2dOptions pool;
  pool.kernel_rows = pool.kernel_columns = pool.stride_rows = pool.stride_columns = options_.stride;
  return average_pool2d(ctx, map, pool);
}

AxialAttention::Parts AxialAttention::parts_of(const Context& ctx, const Var& qkv) const {
  const std::int64_t B = qkv.dim(0), N = qkv.dim(1), G = options_.groups, p = width(), d = p / 2;
  const Var groups = reshape(ctx, qkv, {B, N, G, 2 * p});
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    return reshape(ctx, slice_axis(ctx, groups, 3, begin, end), {B, N, G * (end - begin)});
  };
  return {part(0, d), part(d, p), part(p, 2 * p)};
}

AxialDeeplab AxialAttention::tables(const Context& ctx) const {
  const auto [query, key, value] = axial_deeplab_split(ctx, relative_, width() / 2);
  const Var scale = bn_similarity_.scale(ctx);
  const std::int64_t G = options_.groups;
  return {.K = options_.span,
          .order = AxialOrder::query_minus_key,
          .query = query,
          .key = key,
          .value = value,
          .content_scale = slice_axis(ctx, scale, 0, 0, G),
          .query_scale = slice_axis(ctx, scale, 0, G, 2 * G),
          .key_scale = slice_axis(ctx, scale, 0, 2 * G, 3 * G)};
}

// bn_output is a scale for the content and one for the position of each channel: of the values, and of the
// value vectors of each head. What it adds comes at the end.
Var AxialAttention::fused(const Context& ctx, const Parts& parts, const Lines& lines) const {
  const std::int64_t G = options_.groups, p = width(), out = options_.out;
  const Var scale = bn_output_.scale(ctx);
  const Var pairs = reshape(ctx, scale, {out, 2});
  const Var content = reshape(ctx, slice_axis(ctx, pairs, 1, 0, 1), {out});
  const Var position = reshape(ctx, slice_axis(ctx, pairs, 1, 1, 2), {G, 1, p});
  AxialDeeplab all = tables(ctx);
  all.value = multiply(ctx, all.value, position);  // (G, 2 K - 1, p)
  AttentionOptions options;
  options.heads = G;
  options.rows = axial_rows({1, lines.rows, lines.columns}, options_.axis);
  add_axial_deeplab(ctx, all, lines.n(), p / 2, p, options);
  const Var y = attention(ctx, parts.q, parts.k, multiply(ctx, parts.v, content), options);
  const Var shift = reshape(ctx, bn_output_.shift(ctx, scale), {out, 2});
  return add(ctx, y, reshape(ctx, sum_axis(ctx, shift, 1), {out}));
}

// bn_output's own result (B, N, 2 out), for looking at: heads of twice the width keep content and position
// apart.
Var AxialAttention::separate_outputs(const Parts& parts, const Lines& lines) const {
  const std::int64_t B = parts.v.dim(0), N = parts.v.dim(1), G = options_.groups, p = width();
  const Context ctx;
  AxialDeeplab all = tables(ctx);
  all.value = concat_axis(ctx, {Var(Tensor::zeros(all.value.shape())), all.value}, 1);
  const Var v = concat_axis(ctx, {reshape(ctx, parts.v, {B, N, G, p}), Var(Tensor::zeros({B, N, G, p}))}, 3);
  AttentionOptions options;
  options.heads = G;
  options.rows = axial_rows({1, lines.rows, lines.columns}, options_.axis);
  add_axial_deeplab(ctx, all, lines.n(), p / 2, 2 * p, options);
  const Var y = attention(ctx, parts.q, parts.k, reshape(ctx, v, {B, N, 2 * G * p}), options);
  const Var kinds = reshape(ctx, y, {B, N, G, 2, p});
  const Var channels = permute(ctx, kinds, {0, 1, 2, 4, 3});
  return bn_output_(ctx, reshape(ctx, channels, {B, N, 2 * G * p}));
}

// The normalised logits (lines, 3 G, n, n).
Var AxialAttention::similarity(const Context& ctx, const Parts& parts, const Lines& lines) const {
  const std::int64_t G = options_.groups, K = options_.span, n = lines.n();
  const auto [query, key, value] = axial_deeplab_split(ctx, relative_, width() / 2);
  const Var q = split_heads(ctx, lines.cut(ctx, parts.q), G),
            k = split_heads(ctx, lines.cut(ctx, parts.k), G);
  const Var content = product(ctx, q, k, {.transpose_b = true});
  const Var by_query =
      place_products(ctx, q, pair_vectors(ctx, query, K, AxialOrder::query_minus_key, n), true);
  // By the key's place first: there the first place minus the second is key minus query.
  const Var by_key =
      permute(ctx, place_products(ctx, k, pair_vectors(ctx, key, K, AxialOrder::query_minus_key, n), true),
              {0, 1, 3, 2});
  return bn_similarity_(ctx, concat_axis(ctx, {content, by_query, by_key}, 1));
}

Var AxialAttention::composed(const Context& ctx, const Parts& parts, const Lines& lines) const {
  const std::int64_t G = options_.groups, L = lines.count(), n = lines.n(), out = options_.out;
  const Var logits = similarity(ctx, parts, lines);
  const auto kind = [&](std::int64_t x) { return slice_axis(ctx, logits, 1, x * G, (x + 1) * G); };
  const Var p = softmax(ctx, add(ctx, add(ctx, kind(0), kind(1)), kind(2)));
  const auto [query, key, value] = axial_deeplab_split(ctx, relative_, width() / 2);
  const Var v = split_heads(ctx, lines.cut(ctx, parts.v), G);
  const auto merge = [&](const Var& y) { return reshape(ctx, permute(ctx, y, {0, 2, 1, 3}), {L, n, out}); };
  const Var content = merge(product(ctx, p, v));
  const Var position = merge(
      place_products(ctx, p, pair_vectors(ctx, value, options_.span, AxialOrder::query_minus_key, n), false));
  const Var both = bn_output_(ctx, interleave(ctx, content, position));
  const Var sums = sum_axis(ctx, reshape(ctx, both, {L, n, out, 2}), 3);
  return lines.join(ctx, reshape(ctx, sums, {L, n, out}));
}

AxialBlock::AxialBlock(const Weights& w, const Options& o) : path_(w.path()) {
  const std::int64_t inner = o.planes * o.base_width / 64, out = o.planes * o.expansion;
  require(o.in >= 1 && inner >= 1 && out >= 1, kAxialAttentionOp, "a block of {} planes from {} channels",
          o.planes, o.in);
  require(o.downsample || (o.in == out && o.stride == 1), kAxialAttentionOp,
          "{} channels cannot be added to {} at stride {} without a downsample", o.in, out, o.stride);
  const auto pointwise = [&](const Weights& conv, const Weights& bn, std::int64_t from, std::int64_t to,
                             std::int64_t stride, const Init& norm_init) {
    return ConvNorm(
        conv, bn, from, to,
        {.stride = stride, .eps = o.bn_eps, .norm_init = norm_init, .weight_init = fan_out_init(to)});
  };
  down_ = pointwise(w / "conv_down", w / "bn1", o.in, inner, 1, Init::ones());
  height_ = AxialAttention(w / "hight_block", {inner, inner, o.groups, o.span, 1, GridAxis::rows, o.bn_eps});
  width_ = AxialAttention(w / "width_block",
                          {inner, inner, o.groups, o.span, o.stride, GridAxis::columns, o.bn_eps});
  up_ = pointwise(w / "conv_up", w / "bn2", inner, out, 1, Init::zeros());
  if (!o.downsample) return;
  const Weights shortcut = w / "downsample";
  downsample_ = pointwise(shortcut / 0, shortcut / 1, o.in, out, o.stride, Init::ones());
}

Var AxialBlock::operator()(const Context& ctx, const Var& x) const {
  const auto show = [&](const char* name, const Var& value) {
    ctx.show([&] { return join_path(path_, name); }, value);
    return value;
  };
  const Var narrow = down_(ctx, x, join_path(path_, "conv_down"));
  Var y = show("hight_block", height_(ctx, relu(ctx, narrow)));
  y = show("width_block", width_(ctx, y));
  y = up_(ctx, relu(ctx, y), join_path(path_, "conv_up"));
  const Var skip = downsample_.defined() ? downsample_(ctx, x) : x;
  return relu(ctx, add(ctx, y, skip));
}

}  // namespace locant
