#include "nn/music_attention.h"

#include <cmath>

#include "core/error.h"

namespace locant {

MusicAttention::MusicAttention(const Weights& w, const Options& options) : options_(options) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("music_attention", H, C);
  require(options.rows >= 1, "music_attention", "a table of {} rows; there must be one at least",
          options.rows);
  // Xavier-uniform over the three matrices as one.
  weight_ = w.get("in_proj_weight", {3 * C, C}, Init::xavier_uniform(C, 3 * C));
  bias_ = w.get("in_proj_bias", {3 * C}, Init::zeros());
  // tensor2tensor's start; the port's numbers are uniform in [0, 1), which is as wide, but not around zero.
  music_.table =
      w.get(MusicTransformer::kTable, {options.rows, C / H},
            Init::normal(static_cast<float>(1.0 / std::sqrt(static_cast<double>(C / H)))), {.decay = false});
  out_ = Linear(w / "out_proj", C, C, {.weight_init = Init::fan_in(C)});
}

Var MusicAttention::operator()(const Context& ctx, const Var& x) const {
  const std::int64_t N = x.dim(1);
  require(N <= options_.rows, "music_attention", "{} positions, but Er has {} rows", N, options_.rows);
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  add_music_transformer(music_, options_.width / options_.heads, N, N, options, options_.causal);
  return out_(ctx, attention(ctx, linear(ctx, x, weight_, bias_), options));
}

}  // namespace locant
