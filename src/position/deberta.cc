#include "position/deberta.h"

#include <algorithm>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {
constexpr const char* kDebertaName = "deberta";
}

std::shared_ptr<const OffsetMap> deberta_gather(const DebertaBuckets& buckets, std::int64_t Nq,
                                                std::int64_t Nk) {
  const std::int64_t S = buckets.S, P = buckets.max_position;
  require(S >= 1 && S < (std::int64_t{1} << 29), kDebertaName,
          "{} rows in each direction; there must be 1 at least", S);
  require(
      P == 0 || (S >= 2 && P - 1 > S / 2), kDebertaName,
      "{} buckets that reach distance {}; there must be 2 at least, and the last distance, {} - 1, above {}",
      S, P, P, S / 2);
  return sequence_gather(kDebertaName, Nq, Nk, 0,
                         [&](std::int64_t distance) { return deberta_row(buckets, distance); });
}

void add_deberta(const Context& ctx, const Deberta& deberta, const Var& q, const Var& k,
                 AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const Shape &qs = q.shape(), &ks = k.shape();
  require(H >= 1 && qs.rank() == 3 && ks.rank() == 3 && qs[2] == ks[2] && qs[2] % H == 0, kDebertaName,
          "q {} and k {} do not fit {} heads; they must be (B, N, H D)", qs.str(), ks.str(), H);
  const std::int64_t C = qs[2], D = C / H;
  const int terms = 1 + deberta.keys.defined() + deberta.queries.defined();
  options.scale = 1.0f / std::sqrt(static_cast<float>(terms * D));
  // Only the rows that occur are multiplied: a short sequence reads the middle of the table.
  auto gather = std::make_shared<OffsetMap>(*deberta_gather(deberta.buckets, qs[1], ks[1]));
  const auto [low, high] = std::minmax_element(gather->map.begin(), gather->map.end());
  const std::int32_t first = *low, end = *high + 1;
  for (std::int32_t& row : gather->map) row -= first;
  const auto add_term = [&](Side side, const char* name, const Var& table, const Var& tokens) {
    if (!table.defined()) return;
    check_table(kDebertaName, name, table, {2 * deberta.buckets.S, C});
    const Var rows = reshape(ctx, slice_axis(ctx, table, 0, first, end), {end - first, H, D});
    const Var numbers = head_products(ctx, tokens, H, permute(ctx, rows, {1, 0, 2}), *options.scale);
    options.terms.push_back(bucket_term(side, numbers, gather));
  };
  add_term(Side::query, "Kr, the keys of the positions,", deberta.keys, q);
  add_term(Side::key, "Qr, the queries of the positions,", deberta.queries, k);
}

}  // namespace locant
