#include "position/huang2020.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace huang2020_encoding {
namespace {

using Method = Huang2020Method;

Method method_of(const EncodingCase& c) {
  if (c.variant == "m1") return Method::m1;
  if (c.variant == "m2") return Method::m2;
  if (c.variant == "m3") return Method::m3;
  if (c.variant == "relative_key") return Method::relative_key;
  if (c.variant == "relative_key_query") return Method::relative_key_query;
  return Method::m4;
}

// One more than is needed, so that the table's ends are not the sequence's.
std::int64_t longest_of(const EncodingCase& c) { return std::max(c.Nq(), c.Nk()) + 1; }

EncodingInstance instance(const EncodingCase& c) {
  const Method method = method_of(c);
  const bool factor = method == Method::m1 || method == Method::m2;
  const std::int64_t n = longest_of(c), width = factor ? c.H : c.D;
  const Huang2020 huang{
      method, n, random_parameter({huang2020_rows(method, n), width}, c.seed, 0.5f, factor ? 1.0f : 0.0f)};
  EncodingInstance out = score_instance(
      c, {{Huang2020::kTable, huang.table}},
      [c, huang](const Context&, AttentionOptions& options) {
        add_huang2020(huang, c.D, c.Nq(), c.Nk(), options);
      },
      [method, factor, n, width](const PlainCall& call, auto b, auto h, auto i, auto j) {
        std::int64_t row = j - i + n - 1;
        if (method == Method::m1) row = std::abs(j - i);
        if (method == Method::relative_key || method == Method::relative_key_query) row = i - j + n - 1;
        const auto* a = call.x[3].data() + row * width + (factor ? h : 0);
        return huang2020_score(method, call.query(b, h, i), call.key(b, h, j), a, call.c.D);
      });
  if (method == Method::m3)
    out.run = [c, huang](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath) {
      return huang2020_m3_attention(ctx, huang, q, k, v, c.H);
    };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {9, 9},
                                                  {5, 8},
                                                  {7, 7, "m1"},
                                                  {4, 6, "m1"},
                                                  {7, 5, "m2"},
                                                  {6, 6, "m3"},
                                                  {3, 5, "m3"},
                                                  {9, 9, "relative_key"},
                                                  {6, 9, "relative_key_query"},
                                                  {6, 7}});
  out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return huang2020_row(method_of(c), longest_of(c), i - j); });
}

}  // namespace
}  // namespace huang2020_encoding

const Encoding kHuang2020 = {
    .name = "huang2020",
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
    .variants = {"m1", "m2", "m3", "m4", "relative_key", "relative_key_query"},
    .cases = huang2020_encoding::cases,
    .instance = huang2020_encoding::instance,
    .index = huang2020_encoding::index,
};

}  // namespace locant
