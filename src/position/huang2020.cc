#include "position/huang2020.h"

#include <vector>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {

constexpr const char* kHuang2020Name = "huang2020";
using Method = Huang2020Method;

bool is_factor(Method method) { return method == Method::m1 || method == Method::m2; }

void check(const Huang2020& huang, std::int64_t heads, std::int64_t D) {
  require(huang.n >= 1 && huang.n <= (std::int64_t{1} << 30), kHuang2020Name,
          "a longest length of {}; n must be 1 to 2^30", huang.n);
  check_table(kHuang2020Name, Huang2020::kTable, huang.table,
              {huang2020_rows(huang.method, huang.n), is_factor(huang.method) ? heads : D});
}

}  // namespace

std::shared_ptr<const OffsetMap> huang2020_gather(Method method, std::int64_t n, std::int64_t Nq,
                                                  std::int64_t Nk, std::int64_t past) {
  check_sequence(kHuang2020Name, Nq, Nk, past);
  require(n >= 1 && Nq + past <= n && Nk <= n, kHuang2020Name,
          "{} queries after {} keys on {} keys, but the table is made for lengths up to {}", Nq, past, Nk, n);
  return sequence_gather(kHuang2020Name, Nq, Nk, past,
                         [&](std::int64_t distance) { return huang2020_row(method, n, distance); });
}

void add_huang2020(const Huang2020& huang, std::int64_t D, std::int64_t Nq, std::int64_t Nk,
                   AttentionOptions& options, std::int64_t past) {
  require(huang.method != Method::m3, kHuang2020Name,
          "m3 has no tile form: a sum over three factors; use huang2020_m3_attention");
  check(huang, options.heads, D);
  const auto gather = huang2020_gather(huang.method, huang.n, Nq, Nk, past);
  if (is_factor(huang.method)) {
    options.factor = gather_term(huang.table, gather);
    return;
  }
  options.terms.push_back(band_term(Side::query, huang.table, gather));
  if (huang.method != Method::relative_key)
    options.terms.push_back(band_term(Side::key, huang.table, gather));
}

Var huang2020_m3_attention(const Context& ctx, const Huang2020& huang, const Var& q, const Var& k,
                           const Var& v, std::int64_t heads) {
  const Shape &qs = q.shape(), &ks = k.shape(), &vs = v.shape();
  require(heads >= 1 && qs.rank() == 3 && ks.rank() == 3 && vs.rank() == 3 && qs[0] == ks[0] &&
              ks[0] == vs[0] && qs[2] == ks[2] && ks[1] == vs[1] && qs[2] % heads == 0 && vs[2] % heads == 0,
          kHuang2020Name, "q {}, k {} and v {} do not fit {} heads", qs.str(), ks.str(), vs.str(), heads);
  require(huang.method == Method::m3, kHuang2020Name, "this is the attention of m3 only");
  const std::int64_t B = qs[0], Nq = qs[1], Nk = ks[1], D = qs[2] / heads, Dv = vs[2] / heads;
  check(huang, heads, D);
  check_finite(kHuang2020Name, Huang2020::kTable, huang.table);
  const auto gather = huang2020_gather(huang.method, huang.n, Nq, Nk);
  std::vector<std::int32_t> rows;  // of every pair
  for (std::int64_t i = 0; i < Nq; ++i)
    for (std::int64_t j = 0; j < Nk; ++j)
      rows.push_back(gather->map[static_cast<std::size_t>(i - j + gather->origin)]);
  // Channels apart: (B, H, D, Nq, Nk) = (q_d k_d^T) a_d, then their sum.
  const Var a = reshape(ctx, permute(ctx, gather_rows(ctx, huang.table, rows), {1, 0}), {D, Nq, Nk});
  const Var q_columns = permute(ctx, reshape(ctx, q, {B, Nq, heads, D, 1}), {0, 2, 3, 1, 4});
  const Var k_columns = permute(ctx, reshape(ctx, k, {B, Nk, heads, D, 1}), {0, 2, 3, 1, 4});
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  const Var products = product(ctx, q_columns, k_columns, {.transpose_b = true, .alpha = scale});
  const Var scores = sum_axis(ctx, multiply(ctx, products, a), 2);
  const Var probabilities = softmax(ctx, reshape(ctx, scores, {B, heads, Nq, Nk}));
  const Var values = permute(ctx, reshape(ctx, v, {B, Nk, heads, Dv}), {0, 2, 1, 3});
  const Var out = permute(ctx, product(ctx, probabilities, values), {0, 2, 1, 3});
  return reshape(ctx, out, {B, Nq, heads * Dv});
}

}  // namespace locant
