#include "position/shaw.h"

#include "core/error.h"
#include "ops/product.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {
constexpr const char* kShawName = "shaw";
}

std::shared_ptr<const OffsetMap> shaw_gather(std::int64_t K, ShawOrder order, std::int64_t Nq,
                                             std::int64_t Nk) {
  require(K >= 0 && K < (std::int64_t{1} << 29), kShawName, "distances clipped at {}; K must be 0 or more",
          K);
  return sequence_gather(kShawName, Nq, Nk, 0,
                         [&](std::int64_t distance) { return shaw_row(K, order, distance, 0); });
}

void add_shaw(const Context& ctx, const Shaw& shaw, const Var& q, std::int64_t Nk, std::int64_t Dv,
              AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const std::int64_t D = head_width(kShawName, q, H);
  const auto gather = shaw_gather(shaw.K, shaw.order, q.dim(1), Nk);
  if (shaw.keys.defined()) {
    check_vectors(kShawName, Shaw::kKeys, shaw.keys, H, shaw_rows(shaw.K), D);
    const float scale = attention_scale(options.scale, D);
    options.terms.push_back(bucket_term(Side::query, head_products(ctx, q, H, shaw.keys, scale), gather));
  }
  if (shaw.values.defined()) {
    check_vectors(kShawName, Shaw::kValues, shaw.values, H, shaw_rows(shaw.K), Dv);
    options.value_term = {shaw.values, gather};
  }
}

}  // namespace locant
