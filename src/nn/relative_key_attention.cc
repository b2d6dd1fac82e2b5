#include "nn/relative_key_attention.h"

#include "core/error.h"

namespace locant {

RelativeKeyAttention::RelativeKeyAttention(const Weights& w, const Options& options) : options_(options) {
  const std::int64_t C = options.width, H = options.heads;
  const char* name = "relative_key_attention";
  require_heads(name, H, C);
  require(options.method == Huang2020Method::relative_key ||
              options.method == Huang2020Method::relative_key_query,
          name, "the method must be relative_key or relative_key_query");
  require(options.longest >= 1, name, "a longest length of {}; it must be 1 or more", options.longest);
  path_ = w.path();
  const Linear::Options normal{.weight_init = Init::normal(0.02f)};
  query_ = Linear(w / "query", C, C, normal);
  key_ = Linear(w / "key", C, C, normal);
  value_ = Linear(w / "value", C, C, normal);
  huang_.method = options.method;
  huang_.n = options.longest;
  huang_.table = w.get(Huang2020::kTable, {huang2020_rows(options.method, options.longest), C / H},
                       Init::normal(0.02f), {.decay = false});
}

Var RelativeKeyAttention::operator()(const Context& ctx, const Var& x,
                                     const std::vector<std::int64_t>& key_lengths) const {
  const Var q = query_(ctx, x), k = key_(ctx, x), v = value_(ctx, x);
  ctx.show([&] { return join_path(path_, "query"); }, q);
  ctx.show([&] { return join_path(path_, "key"); }, k);
  ctx.show([&] { return join_path(path_, "value"); }, v);
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  options.key_lengths = key_lengths;
  add_huang2020(huang_, options_.width / options_.heads, q.dim(1), k.dim(1), options);
  return attention(ctx, q, k, v, options);
}

}  // namespace locant
