#include "nn/window_attention_v2.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

WindowAttentionV2::WindowAttentionV2(const Weights& w, const Options& options) : options_(options) {
  const std::int64_t C = options.width, H = options.heads, hidden = options.hidden;
  require_heads("window_attention_v2", H, C);
  require(std::max(options.window.rows, options.window.columns) <= 1024, "window_attention_v2",
          "a window of {}x{}; sides are at most 1024", options.window.rows, options.window.columns);
  require(hidden >= 1, "window_attention_v2", "a bias of {} hidden numbers; it needs one at least", hidden);
  path_ = w.path();
  gather_ = swin_gather(options.window, options.window);
  logit_scale_ = w.get("logit_scale", {H, 1, 1}, Init::constant(std::log(10.0f)), {.decay = false});
  if (options.qkv_bias) {
    query_bias_ = w.get("q_bias", {C}, Init::zeros());
    value_bias_ = w.get("v_bias", {C}, Init::zeros());
  }
  const Init start = Init::trunc_normal(SwinV2Cpb::kInitStd);
  cpb_.window = options.window;
  cpb_.pretrained = options.pretrained;
  cpb_.scale = options.bias_scale;
  cpb_.first_weight = w.get(SwinV2Cpb::kFirstWeight, {hidden, 2}, start, {.decay = false});
  cpb_.first_bias = w.get(SwinV2Cpb::kFirstBias, {hidden}, Init::zeros());
  cpb_.second_weight = w.get(SwinV2Cpb::kSecondWeight, {H, hidden}, start, {.decay = false});
  qkv_ = Linear(w / "qkv", C, 3 * C, {.bias = false});
  proj_ = Linear(w / "proj", C, C);
}

Var WindowAttentionV2::operator()(const Context& ctx, const Var& x,
                                  std::shared_ptr<const RowMaps> rows) const {
  const std::int64_t B = x.dim(0), N = x.dim(1), C = options_.width, H = options_.heads;
  const Var logits = swin_v2_cpb_logits(ctx, cpb_, H);
  ctx.show([&] { return join_path(path_, "cpb_mlp"); }, logits);
  AttentionOptions options;
  options.heads = H;
  options.scale = 1.0f;  // the temperature is in q
  options.terms = {swin_bias_term({cpb_.window, swin_v2_cpb_table(ctx, cpb_, logits)}, gather_)};
  Var qkv = qkv_(ctx, x);  // (B, N, 3 C), q | k | v, head-major
  if (query_bias_.defined()) {
    const Var joint = concat_axis(ctx, {query_bias_, Var(Tensor::zeros({C})), value_bias_}, 0);
    qkv = add(ctx, qkv, joint);
    // The key of a padded token is zero and has no direction; its value is the bias.
    if (rows != nullptr) options.pad_bias = joint;
  } else {
    options.zero_pad = rows != nullptr;
  }
  options.rows = std::move(rows);
  const auto direction = [&](int which) {
    const Var part = slice_axis(ctx, qkv, 2, which * C, (which + 1) * C);
    return l2_normalize(ctx, reshape(ctx, part, {B, N, H, C / H}), options_.l2_eps);
  };
  const Var tau = exp(ctx, clamp_max(ctx, logit_scale_, options_.logit_max));
  const Var q = multiply(ctx, direction(0), reshape(ctx, tau, {H, 1}));
  const Var out = attention(ctx, reshape(ctx, q, {B, N, C}), reshape(ctx, direction(1), {B, N, C}),
                            slice_axis(ctx, qkv, 2, 2 * C, 3 * C), options);
  const Var y = proj_(ctx, out);
  ctx.show([&] { return join_path(path_, "proj"); }, y);
  return y;
}

}  // namespace locant
