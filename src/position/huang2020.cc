#include "position/huang2020.h"

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {

constexpr const char* kName = "huang2020";
using Method = Huang2020Method;

bool is_factor(Method method) { return method == Method::m1 || method == Method::m2; }

void check(const Huang2020& huang, std::int64_t heads, std::int64_t D) {
  require(huang.n >= 1 && huang.n <= (std::int64_t{1} << 30), kName,
          "a longest length of {}; n must be 1 to 2^30", huang.n);
  check_table(kName, Huang2020::kTable, huang.table,
              {huang2020_rows(huang.method, huang.n), is_factor(huang.method) ? heads : D});
}

}  // namespace

std::shared_ptr<const GatherMap> huang2020_gather(Method method, std::int64_t n, std::int64_t Nq,
                                                  std::int64_t Nk, std::int64_t past) {
  check_sequence(kName, Nq, Nk, past);
  require(n >= 1 && Nq + past <= n && Nk <= n, kName,
          "{} queries after {} keys on {} keys, but the table is made for lengths up to {}", Nq, past, Nk, n);
  return sequence_gather(kName, Nq, Nk, past,
                         [&](std::int64_t distance) { return huang2020_row(method, n, distance); });
}

void add_huang2020(const Huang2020& huang, std::int64_t D, std::int64_t Nq, std::int64_t Nk,
                   AttentionOptions& options, std::int64_t past) {
  require(huang.method != Method::m3, kName,
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
          kName, "q {}, k {} and v {} do not fit {} heads", qs.str(), ks.str(), vs.str(), heads);
  require(huang.method == Method::m3, kName, "this is the attention of m3 only");
  const std::int64_t B = qs[0], Nq = qs[1], Nk = ks[1], D = qs[2] / heads, Dv = vs[2] / heads;
  check(huang, heads, D);
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

namespace {

Method method_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  if (c.variant.empty() || c.variant == "m4") return Method::m4;
  if (c.variant == "m1") return Method::m1;
  if (c.variant == "m2") return Method::m2;
  if (c.variant == "m3") return Method::m3;
  if (c.variant == "relative_key") return Method::relative_key;
  if (c.variant == "relative_key_query") return Method::relative_key_query;
  fail(kName, "unknown variant \"{}\"; there are m1, m2, m3, m4, relative_key, relative_key_query",
       c.variant);
}

// One more than is needed, so that the table's ends are not the sequence's.
std::int64_t longest_of(const EncodingCase& c) { return std::max(c.Nq(), c.Nk()) + 1; }

EncodingInstance instance(const EncodingCase& c) {
  const Method method = method_of(c);
  const bool factor = is_factor(method);
  const std::int64_t n = longest_of(c), width = factor ? c.H : c.D;
  const Huang2020 huang{
      method, n, random_parameter({huang2020_rows(method, n), width}, c.seed, 0.5f, factor ? 1.0f : 0.0f)};
  EncodingInstance out = score_instance(
      c, {{Huang2020::kTable, huang.table}},
      [c, huang](const Context&, AttentionOptions& options) {
        add_huang2020(huang, c.D, c.Nq(), c.Nk(), options);
      },
      [method, factor, n, width](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        std::int64_t row = j - i + n - 1;
        if (method == Method::m1) row = std::abs(j - i);
        if (method == Method::relative_key || method == Method::relative_key_query) row = i - j + n - 1;
        const auto* a = x[3].data() + row * width + (factor ? h : 0);
        return huang2020_score(method, call.query(b, h, i), call.key(b, h, j), a, call.c.D);
      });
  if (method == Method::m3)
    out.run = [c, huang](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath) {
      return huang2020_m3_attention(ctx, huang, q, k, v, c.H);
    };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = {sequence_case(1, 1),
                                   sequence_case(2, 2),
                                   sequence_case(9, 9),
                                   sequence_case(5, 8),
                                   sequence_case(7, 7, "m1"),
                                   sequence_case(4, 6, "m1"),
                                   sequence_case(7, 5, "m2"),
                                   sequence_case(6, 6, "m3"),
                                   sequence_case(3, 5, "m3"),
                                   sequence_case(9, 9, "relative_key"),
                                   sequence_case(6, 9, "relative_key_query")};
  out.push_back(sequence_case(6, 7));
  out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return huang2020_row(method_of(c), longest_of(c), i - j); });
}

}  // namespace

const Encoding kHuang2020 = {
    .name = "huang2020",
    .header = "position/huang2020.h",
    .title = "numbers per distance that multiply the score, or vectors that query and key meet",
    .place = EncodingPlace::vectors,
    .paper = "Huang, Liang, Xu and Xiang 2020, methods 1 to 4",
    .models = "BERT with relative_key and relative_key_query (Hugging Face)",
    .formula = "s = (q.k + q.a + k.a) / sqrt(D), a = a[j - i + n - 1]; m1, m2: s = a q.k / sqrt(D)",
    .lowering =
        "band terms of query and key with one table; m1, m2: factor; m3: composed only, its sum runs "
        "over three factors",
    .parameters = "(2n - 1) D; m1: n H, m2: (2n - 1) H",
    .multiply_adds = "2 N^2 C; m1, m2: N^2 H",
    .memory = "0; m3: B H D N^2",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
