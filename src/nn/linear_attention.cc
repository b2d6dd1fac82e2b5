#include "nn/linear_attention.h"

namespace locant {

LinearAttentionLayer::LinearAttentionLayer(const Weights& w, const Options& options)
    : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("linear_attention", H, C);
  const auto made = [&](const std::string& name, bool bias) {
    return Linear(w / name, C, C,
                  {.bias = bias, .weight_init = Init::fan_in(C), .bias_init = Init::fan_in(C)});
  };
  for (std::size_t p = 0; p < 3; ++p) projections_[p] = made(options.projections[p], options.qkv_bias);
  if (!options.out_projection.empty()) out_ = made(options.out_projection, true);
}

Var LinearAttentionLayer::operator()(const Context& ctx, const Var& x, const Var& memory,
                                     const std::vector<std::int64_t>& key_lengths) const {
  std::array<Var, 3> qkv;
  for (std::size_t p = 0; p < 3; ++p) {
    qkv[p] = projections_[p](ctx, p == 0 ? x : memory);
    ctx.show([&] { return join_path(path_, options_.projections[p]); }, qkv[p]);
  }
  LinearAttentionOptions options;
  options.heads = options_.heads;
  options.causal = options_.causal;
  options.key_lengths = key_lengths;
  options.eps = options_.eps;
  const Var out =
      mapped_linear_attention(ctx, options_.map, options_.rotate, qkv[0], qkv[1], qkv[2], options);
  return out_.defined() ? out_(ctx, out) : out;
}

}  // namespace locant
