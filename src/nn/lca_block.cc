#include "nn/lca_block.h"

#include "core/error.h"
#include "ops/attention/attention.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

LcaBlock::LcaBlock(const Weights& w, const Options& options) : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("lca_block", H, C);
  require(options.mlp_ratio >= 1, "lca_block", "a feed-forward {} times as wide; 1 or more is needed",
          options.mlp_ratio);
  norm1_ = LayerNorm(w / "norm1", C, options.norm_eps);
  qkv_ = Linear(w / "attn" / "qkv", C, 3 * C, {.bias = options.qkv_bias});
  proj_ = Linear(w / "attn" / "proj", C, C);
  norm2_ = LayerNorm(w / "norm2", C, options.norm_eps);
  feedforward_ = Mlp(w / "feedforward", C, options.mlp_ratio * C);
}

Var LcaBlock::operator()(const Context& ctx, const Var& tokens) const {
  const Shape& shape = tokens.shape();
  const std::int64_t C = options_.width;
  if (shape.rank() != 3 || shape[2] != C || shape[1] < 1)
    fail("lca_block", "tokens of shape {}; (B, L, {}) was expected", shape.str(), C);
  const std::int64_t L = shape[1];
  const Var qkv = qkv_(ctx, norm1_(ctx, tokens));
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  const Var q = slice_axis(ctx, select_rows(ctx, qkv, L - 1, L), 2, 0, C);
  const Var attended = proj_(ctx, attention(ctx, q, slice_axis(ctx, qkv, 2, C, 2 * C),
                                            slice_axis(ctx, qkv, 2, 2 * C, 3 * C), options));
  ctx.show([&] { return join_path(path_, "attn"); }, attended);
  const Var last = add(ctx, select_rows(ctx, tokens, L - 1, L), attended);
  const Var normed = norm2_(ctx, last);
  ctx.show([&] { return join_path(path_, "norm2"); }, normed);
  return feedforward_(ctx, normed, last);
}

}  // namespace locant
