#include "nn/sasa.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"

namespace locant {

namespace {

constexpr const char* kSasaOp = "sasa";
constexpr Grid kBlock{1, 8, 8};

void check(const SasaOptions& o) {
  require(o.in >= 1 && o.out >= 2 && o.out % 2 == 0 && o.groups >= 1 && o.out % o.groups == 0, kSasaOp,
          "{} groups of {} channels, made from {}", o.groups, o.out, o.in);
  require(o.kernel >= 1 && o.pad >= 0 && o.pad < o.kernel && o.kernel <= 2 * o.pad + 1, kSasaOp,
          "a window of {} with a padding of {}; it must reach every place", o.kernel, o.pad);
}

Conv2d pointwise_conv(const Weights& w, std::int64_t in, std::int64_t out, bool bias) {
  Conv2d::Options options = Conv2d::square(1, 1, 0, 1, bias);
  options.weight_init = fan_out_init(out);
  return Conv2d(w, in, out, options);
}

// The map with `pad` places around it that hold the bias, or zeros. For looking at a model; no gradient.
Var padded(const Var& map, const Var& bias, std::int64_t pad) {
  const std::int64_t B = map.dim(0), C = map.dim(1), H = map.dim(2), W = map.dim(3);
  Tensor out({B, C, H + 2 * pad, W + 2 * pad});
  for (std::int64_t bc = 0; bc < B * C; ++bc) {
    float* to = out.data() + bc * (H + 2 * pad) * (W + 2 * pad);
    std::fill_n(to, (H + 2 * pad) * (W + 2 * pad), bias.defined() ? bias.value()[bc % C] : 0.0f);
    for (std::int64_t y = 0; y < H; ++y)
      std::copy_n(map.value().data() + (bc * H + y) * W, W, to + (y + pad) * (W + 2 * pad) + pad);
  }
  return Var(std::move(out));
}

void show(const Context& ctx, const std::string& path, const Var& q, const Var& k, const Var& key_bias,
          std::int64_t pad) {
  ctx.show([&] { return join_path(path, "query_conv"); }, q);
  if (ctx.probe != nullptr) ctx.show([&] { return join_path(path, "key_conv"); }, padded(k, key_bias, pad));
}

// x - log sum exp(x) over the first axis: x (M, P). dx = dy - exp(y) sum of dy.
Var log_softmax_of_places(const Context& ctx, const Var& x) {
  const std::int64_t M = x.dim(0), P = x.dim(1);
  Tensor y(x.shape());
  for (std::int64_t p = 0; p < P; ++p) {
    float most = x.value()[p], sum = 0.0f;
    for (std::int64_t m = 1; m < M; ++m) most = std::max(most, x.value()[m * P + p]);
    for (std::int64_t m = 0; m < M; ++m) sum += std::exp(x.value()[m * P + p] - most);
    for (std::int64_t m = 0; m < M; ++m) y[m * P + p] = x.value()[m * P + p] - most - std::log(sum);
  }
  return ctx.record({x}, y, [x, y, M, P](const Tensor& dy) {
    Tensor dx(x.shape());
    for (std::int64_t p = 0; p < P; ++p) {
      float sum = 0.0f;
      for (std::int64_t m = 0; m < M; ++m) sum += dy[m * P + p];
      for (std::int64_t m = 0; m < M; ++m) dx[m * P + p] = dy[m * P + p] - std::exp(y[m * P + p]) * sum;
    }
    x.accumulate(std::move(dx));
  });
}

}  // namespace

std::shared_ptr<const RowMaps> SasaMaps::rows(std::int64_t rows, std::int64_t columns) const {
  const std::lock_guard lock(mutex_);
  if (kept_ != nullptr && grid_.rows == rows && grid_.columns == columns) return kept_;
  grid_ = {1, rows, columns};
  const auto one = local_rows(grid_, window_, kBlock);
  if (mixtures_ == 1) return kept_ = one;
  auto maps = std::make_shared<RowMaps>(*one);
  maps->keys = mixtures_ * one->keys;
  maps->key_rows.clear();
  maps->query_box.clear();  // one box does not hold the copies: the dense mask does
  maps->box_columns = 0;
  for (std::int64_t g = 0; g < one->groups; ++g)
    for (std::int64_t m = 0; m < mixtures_; ++m)
      for (std::int64_t s = 0; s < one->keys; ++s) {
        const std::int32_t row = one->key_rows[static_cast<std::size_t>(g * one->keys + s)];
        maps->key_rows.push_back(row < 0 ? -1 : row + static_cast<std::int32_t>(m * grid_.tokens()));
      }
  return kept_ = maps;
}

SasaConv::SasaConv(const Weights& w, const SasaOptions& o)
    : options_(o), path_(w.path()), window_{o.kernel, o.kernel, o.pad, o.pad} {
  check(o);
  require(o.kernel == 2 * o.pad + 1, kSasaOp, "a kernel of {} with a padding of {}; it must be 2 pad + 1",
          o.kernel, o.pad);
  const std::int64_t half = o.out / 2;
  tables_.rows = w.get(Sasa::kRows, {half, 1, 1, o.kernel, 1}, Init::normal(1.0f), {.decay = false});
  tables_.columns = w.get(Sasa::kColumns, {half, 1, 1, 1, o.kernel}, Init::normal(1.0f), {.decay = false});
  key_ = pointwise_conv(w / "key_conv", o.in, o.out, o.bias);
  query_ = pointwise_conv(w / "query_conv", o.in, o.out, o.bias);
  value_ = pointwise_conv(w / "value_conv", o.in, o.out, o.bias);
  gather_ = local_gather(window_, kBlock);
  maps_ = std::make_shared<SasaMaps>(window_);
}

Var SasaConv::operator()(const Context& ctx, const Var& x) const {
  const Var q = query_(ctx, x), k = key_(ctx, x), v = value_(ctx, x);
  show(ctx, path_, q, k, key_.bias(), options_.pad);
  const std::int64_t C = options_.out;
  AttentionOptions options;
  options.heads = C;
  options.scale = 1.0f;
  options.rows = maps_->rows(x.dim(2), x.dim(3));
  options.terms = {sasa_channel_term(ctx, tables_, C, window_, gather_)};
  if (options_.bias)
    options.pad_bias = concat_axis(ctx, {Var(Tensor::zeros({C})), key_.bias(), value_.bias()}, 0);
  else
    options.zero_pad = true;
  const Var y =
      attention(ctx, images_to_tokens(ctx, q), images_to_tokens(ctx, k), images_to_tokens(ctx, v), options);
  return tokens_to_images(ctx, y, x.dim(2), x.dim(3));
}

SasaStem::SasaStem(const Weights& w, const SasaOptions& o, std::int64_t mixtures)
    : options_(o), mixtures_(mixtures), path_(w.path()), window_{o.kernel, o.kernel, o.pad, o.pad} {
  check(o);
  require(mixtures >= 1 && mixtures <= 64, kSasaOp, "a mixture of {} values", mixtures);
  require(!o.bias, kSasaOp, "the stem has no bias: padded keys and values are zeros");
  const std::int64_t width = o.out / o.groups, M = mixtures;
  const Init normal = Init::normal(1.0f);
  emb_a_ = w.get("emb_a", {width, o.kernel}, normal, {.decay = false});
  emb_b_ = w.get("emb_b", {width, o.kernel}, normal, {.decay = false});
  emb_mix_ = w.get("emb_mix", {M, width}, normal, {.decay = false});
  key_ = pointwise_conv(w / "key_conv", o.in, o.out, false);
  query_ = pointwise_conv(w / "query_conv", o.in, o.out, false);
  for (std::int64_t m = 0; m < M; ++m)
    values_.push_back(pointwise_conv(w / "value_conv" / m, o.in, o.out, false));
  // Copy m of the keys has codes of its own, and is seen where the window is.
  const auto one = local_gather(window_, kBlock);
  const std::int64_t places = o.kernel * o.kernel, Nk = static_cast<std::int64_t>(one->key_code.size());
  auto gather = std::make_shared<OffsetMap>(*one);
  gather->key_code.clear();
  gather->map.clear();
  gather->offsets = M * one->offsets;
  for (std::int64_t m = 0; m < M; ++m) {
    for (const std::int32_t code : one->key_code)
      gather->key_code.push_back(code - static_cast<std::int32_t>(m * one->offsets));
    for (const std::int32_t row : one->map)
      gather->map.push_back(row < 0 ? -1 : row + static_cast<std::int32_t>(m * places));
  }
  gather_ = gather;
  auto mask = std::make_shared<std::vector<std::uint8_t>>();
  for (const std::int32_t query : gather->query_code)
    for (const std::int32_t key : gather->key_code)
      mask->push_back(gather->map[static_cast<std::size_t>(query - key + gather->origin)] >= 0);
  visibility_.dense = mask;
  visibility_.dense_shape = {kBlock.tokens(), M * Nk};
  maps_ = std::make_shared<SasaMaps>(window_, M);
}

// log p(m; a, b) for every channel.
AttentionTerm SasaStem::mixture_term(const Context& ctx) const {
  const std::int64_t M = mixtures_, K = options_.kernel;
  const Var a = reshape(ctx, product(ctx, emb_mix_, emb_a_), {M, K, 1});
  const Var b = reshape(ctx, product(ctx, emb_mix_, emb_b_), {M, 1, K});
  const Var logs = log_softmax_of_places(ctx, reshape(ctx, add_broadcast(ctx, a, b), {M, K * K}));
  const Var channels(Tensor::zeros({1, options_.out}));
  return gather_term(add_broadcast(ctx, reshape(ctx, logs, {M * K * K, 1}), channels), gather_);
}

Var SasaStem::operator()(const Context& ctx, const Var& x) const {
  const Var q = query_(ctx, x), k = key_(ctx, x);
  show(ctx, path_, q, k, {}, options_.pad);
  std::vector<Var> values;
  for (const Conv2d& value : values_) values.push_back(images_to_tokens(ctx, value(ctx, x)));
  const std::vector<Var> keys(values.size(), images_to_tokens(ctx, k));
  AttentionOptions options;
  options.heads = options_.out;
  options.scale = 1.0f;
  options.rows = maps_->rows(x.dim(2), x.dim(3));
  options.terms = {mixture_term(ctx)};
  options.zero_pad = true;
  if (mixtures_ > 1) options.visibility = visibility_;
  const Var y = attention(ctx, images_to_tokens(ctx, q), concat_axis(ctx, keys, 1),
                          concat_axis(ctx, values, 1), options);
  return tokens_to_images(ctx, y, x.dim(2), x.dim(3));
}

}  // namespace locant
