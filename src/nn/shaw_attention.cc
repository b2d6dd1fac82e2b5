#include "nn/shaw_attention.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

ShawAttention::ShawAttention(const Weights& w, const Options& options) : options_(options) {
  const std::int64_t C = options.width, H = options.heads, K = options.K;
  require_heads("shaw_attention", H, C);
  require(K >= 0 && K < (std::int64_t{1} << 29), "shaw_attention",
          "distances clipped at {}; K must be 0 or more", K);
  path_ = w.path();
  const Linear::Options plain{.weight_init = Init::fan_in(C), .bias_init = Init::fan_in(C)};
  query_ = Linear(w / "fc_q", C, C, plain);
  key_ = Linear(w / "fc_k", C, C, plain);
  value_ = Linear(w / "fc_v", C, C, plain);
  out_ = Linear(w / "fc_o", C, C, plain);
  shaw_.K = K;
  const Shape table{shaw_rows(K), C / H};
  const Init start{Init::Kind::uniform, static_cast<float>(shaw_init_bound(K, C / H))};
  shaw_.keys = w.get(Shaw::kKeys, table, start, {.decay = false});
  shaw_.values = w.get(Shaw::kValues, table, start, {.decay = false});
}

Var ShawAttention::operator()(const Context& ctx, const Var& x, const Var& memory) const {
  const Var q = query_(ctx, x);
  ctx.show([&] { return join_path(path_, "fc_q"); }, q);
  const std::int64_t Nq = q.dim(1), Nk = memory.dim(1), D = options_.width / options_.heads;
  const auto pairs = [&](const Var& table) {
    std::vector<std::int32_t> rows;
    for (std::int64_t i = 0; i < Nq; ++i)
      for (std::int64_t j = 0; j < Nk; ++j)
        rows.push_back(static_cast<std::int32_t>(shaw_row(shaw_.K, shaw_.order, i, j)));
    return reshape({}, gather_rows({}, table, rows), {Nq, Nk, D});
  };
  ctx.show_dense([&] { return join_path(path_, "relative_position_k"); }, [&] { return pairs(shaw_.keys); });
  ctx.show_dense([&] { return join_path(path_, "relative_position_v"); },
                 [&] { return pairs(shaw_.values); });
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  add_shaw(ctx, shaw_, q, Nk, D, options);
  return out_(ctx, attention(ctx, q, key_(ctx, memory), value_(ctx, memory), options));
}

}  // namespace locant
