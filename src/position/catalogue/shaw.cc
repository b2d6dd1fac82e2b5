#include "position/shaw.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace shaw_encoding {
namespace {

struct Form {
  bool keys = true, values = true, per_head = false;
  ShawOrder order = ShawOrder::key_minus_query;
};

Form form_of(const EncodingCase& c) {
  if (c.variant == "keys") return {.values = false};
  if (c.variant == "values") return {.keys = false};
  if (c.variant == "per_head") return {.per_head = true};
  if (c.variant == "query_minus_key") return {.values = false, .order = ShawOrder::query_minus_key};
  return {};
}

// The paper's K where the sequence is long, and one that clips where it is short.
std::int64_t clip_of(const EncodingCase& c) { return std::clamp<std::int64_t>(c.Nk() / 3, 1, 16); }

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t K = clip_of(c), R = shaw_rows(K);
  Shaw shaw{.K = K, .order = form.order};
  Parameters parameters;
  const auto make = [&](const char* name, std::int64_t width, std::uint64_t seed) {
    const Var table = random_parameter(form.per_head ? Shape{c.H, R, width} : Shape{R, width}, seed);
    parameters.emplace_back(name, table);
    return table;
  };
  if (form.keys) shaw.keys = make(Shaw::kKeys, c.D, c.seed);
  if (form.values) shaw.values = make(Shaw::kValues, c.Dv, c.seed + 1);
  const auto lower = [c, shaw](const Context& ctx, AttentionCall& call) {
    add_shaw(ctx, shaw, call.q, c.Nk(), c.Dv, call.options);
  };
  const auto reference = [c, form, K, R](const PlainCall& call) {
    const Complexes none(static_cast<std::size_t>(std::max(c.D, c.Dv)));
    const auto row = [&](const Complexes& table, auto h, auto i, auto j, std::int64_t width) {
      auto clipped = std::min(std::max(j - i, -K), K);
      if (form.order == ShawOrder::query_minus_key) clipped = -clipped;
      return table.data() + ((form.per_head ? h * R : 0) + clipped + K) * width;
    };
    return plain_attention(
        call,
        [&](auto b, auto h, auto i, auto j) {
          const Complex* a = form.keys ? row(call.x[3], h, i, j, c.D) : none.data();
          return shaw_score(call.query(b, h, i), call.key(b, h, j), a, c.D);
        },
        SeesAll{},
        [&](auto b, auto h, auto i, auto j, auto d) {
          const Complex* a = form.values ? row(call.x[form.keys ? 4 : 3], h, i, j, c.Dv) : none.data();
          return call.value(b, h, j)[d] + a[d];
        });
  };
  return attention_instance(c, std::move(parameters), lower, reference);
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {9, 9},
                                                  {5, 8},
                                                  {11, 4},
                                                  {7, 7, "keys"},
                                                  {7, 7, "values"},
                                                  {8, 6, "per_head"},
                                                  {9, 9, "query_minus_key"},
                                                  {7, 9}});
  out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return shaw_row(clip_of(c), form_of(c).order, i, j); });
}

}  // namespace
}  // namespace shaw_encoding

const Encoding kShaw = {
    .name = "shaw",
    .title = "a learned vector per clipped distance, added to keys and to values",
    .place = EncodingPlace::vectors,
    .paper = "Shaw et al. 2018, equations 3 to 5",
    .models = "Transformer with relative positions, Conformer (lucidrains)",
    .formula = "s = q.(k + wK[I]) / sqrt(D), out = sum P (v + wV[I]), I = clip(j - i, K) + K",
    .lowering = "bucket term of q wK^T; value term",
    .parameters = "2 (2K + 1) D",
    .multiply_adds = "2 H N (2K + 1) D",
    .memory = "H N (2K + 1)",
    .variants = {"keys", "values", "per_head", "query_minus_key"},
    .cases = shaw_encoding::cases,
    .instance = shaw_encoding::instance,
    .index = shaw_encoding::index,
};

}  // namespace locant
