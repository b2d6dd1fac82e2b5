#include "nn/gpsa.h"

#include <algorithm>

#include "core/error.h"
#include "ops/rearrange.h"

namespace locant {

GpsaAttention::GpsaAttention(const Weights& w, const Options& options) : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("gpsa", H, C);
  require(options.rows >= 1 && options.columns >= 1, "gpsa", "a grid of {} x {} is empty", options.rows,
          options.columns);
  gpsa_.gate = w.get(Gpsa::kGate, {H}, Init::ones());
  qk_ = Linear(w / "qk", C, 2 * C, {.bias = options.qkv_bias});
  v_ = Linear(w / "v", C, C, {.bias = options.qkv_bias});
  proj_ = Linear(w / "proj", C, C);
  gpsa_.weight = w.get(Gpsa::kWeight, {H, 3}, Init::trunc_normal(0.02f));
  gpsa_.bias = w.get(Gpsa::kBias, {H}, Init::zeros());
}

Var GpsaAttention::operator()(const Context& ctx, const Var& x) const {
  require(x.shape().rank() == 3 && x.dim(1) == grid().tokens(), "gpsa",
          "x of shape {} does not hold the {} x {} tokens of the layer", x.shape().str(), options_.rows,
          options_.columns);
  const Var qk = qk_(ctx, x), v = v_(ctx, x);
  ctx.show([&] { return join_path(path_, "qk"); }, qk);
  ctx.show([&] { return join_path(path_, "v"); }, v);
  const Var q = slice_axis(ctx, qk, 2, 0, options_.width);
  const Var k = slice_axis(ctx, qk, 2, options_.width, 2 * options_.width);
  AttentionOptions content;
  content.heads = options_.heads;
  content.dropout = options_.dropout;
  show_pairs(ctx, q, k);
  return proj_(ctx, gpsa_attention(ctx, gpsa_, grid(), grid(), q, k, v, content));
}

void GpsaAttention::show_pairs(const Context& ctx, const Var& q, const Var& k) const {
  const std::int64_t B = q.dim(0), N = grid().tokens(), H = options_.heads, columns = options_.columns;
  ctx.show_dense([&] { return join_path(path_, "pos_proj"); },
                 [&] {
                   Tensor out({B, N, N, H});
                   for (std::int64_t x = 0; x < out.numel(); ++x) {
                     const std::int64_t h = x % H, j = x / H % N, i = x / H / N % N;
                     out[x] = gpsa_score(gpsa_.weight.value().data() + h * 3, gpsa_.bias.value()[h],
                                         j % columns - i % columns, j / columns - i / columns);
                   }
                   return Var(out);
                 });
  ctx.show_dense([&] { return join_path(path_, "attention"); },
                 [&] {
                   Tensor out({B, H, N, N});
                   for (std::int64_t x = 0; x < B * H * N; ++x)
                     gpsa_row(gpsa_, grid(), grid(), q.value(), k.value(), 0.0f, x / (H * N), x / N % H,
                              x % N, out.data() + x * N);
                   return Var(out);
                 });
}

Tensor GpsaAttention::attention_distance(const Var& x) const {
  const Var qk = qk_({}, x);
  return gpsa_attention_distance(gpsa_, grid(), grid(), slice_axis({}, qk, 2, 0, options_.width).value(),
                                 slice_axis({}, qk, 2, options_.width, 2 * options_.width).value());
}

void GpsaAttention::start_locally(const Weights& w, double strength) {
  const auto find = [&](const char* name) {
    const auto& all = w.parameters();
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Parameter& p) { return p.name == w.path(name); });
    require(found != all.end() && found->value.defined() && found->value.value().defined(), "gpsa",
            "no {} to start locally; make the layer first, for training", w.path(name));
    return found->value;
  };
  Var value = find("v.weight"), position = find(Gpsa::kWeight), gate = find(Gpsa::kGate);
  Tensor identity = Tensor::zeros(value.shape());
  for (std::int64_t c = 0; c < value.dim(0); ++c) identity[c * value.dim(1) + c] = 1.0f;
  value.assign(std::move(identity));
  position.assign(gpsa_local_weight(position.value(), strength));
  gate.assign(Tensor::full(gate.shape(), 1.0f));
}

}  // namespace locant
