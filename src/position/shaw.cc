#include "position/shaw.h"

#include "core/error.h"
#include "ops/product.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {
constexpr const char* kName = "shaw";
}

std::shared_ptr<const GatherMap> shaw_gather(std::int64_t K, ShawOrder order, std::int64_t Nq,
                                             std::int64_t Nk) {
  require(K >= 0 && K < (std::int64_t{1} << 29), kName, "distances clipped at {}; K must be 0 or more", K);
  return sequence_gather(kName, Nq, Nk, 0,
                         [&](std::int64_t distance) { return shaw_row(K, order, distance, 0); });
}

void add_shaw(const Context& ctx, const Shaw& shaw, const Var& q, std::int64_t Nk, std::int64_t Dv,
              AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const std::int64_t D = head_width(kName, q, H);
  const auto gather = shaw_gather(shaw.K, shaw.order, q.dim(1), Nk);
  if (shaw.keys.defined()) {
    check_vectors(kName, Shaw::kKeys, shaw.keys, H, shaw_rows(shaw.K), D);
    const float scale = attention_scale(options.scale, D);
    options.terms.push_back(bucket_term(Side::query, head_products(ctx, q, H, shaw.keys, scale), gather));
  }
  if (shaw.values.defined()) {
    check_vectors(kName, Shaw::kValues, shaw.values, H, shaw_rows(shaw.K), Dv);
    options.value_term = {shaw.values, gather};
  }
}

namespace {

struct Form {
  bool keys = true, values = true, per_head = false;
  ShawOrder order = ShawOrder::key_minus_query;
};

Form form_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  if (c.variant.empty()) return {};
  if (c.variant == "keys") return {.values = false};
  if (c.variant == "values") return {.keys = false};
  if (c.variant == "per_head") return {.per_head = true};
  if (c.variant == "query_minus_key") return {.values = false, .order = ShawOrder::query_minus_key};
  fail(kName, "unknown variant \"{}\"; there are keys, values, per_head, query_minus_key", c.variant);
}

// The paper's K where the sequence is long, and one that clips where it is short.
std::int64_t clip_of(const EncodingCase& c) { return std::clamp<std::int64_t>(c.Nk() / 3, 1, 16); }

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t K = clip_of(c), R = shaw_rows(K);
  Shaw shaw{.K = K, .order = form.order};
  EncodingInstance out;
  const auto make = [&](const char* name, std::int64_t width, std::uint64_t seed) {
    const Var table = random_parameter(form.per_head ? Shape{c.H, R, width} : Shape{R, width}, seed);
    out.parameters.emplace_back(name, table);
    return table;
  };
  if (form.keys) shaw.keys = make(Shaw::kKeys, c.D, c.seed);
  if (form.values) shaw.values = make(Shaw::kValues, c.Dv, c.seed + 1);
  out.run = [c, shaw](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    add_shaw(ctx, shaw, q, c.Nk(), c.Dv, options);
    return run_attention(ctx, q, k, v, options, path);
  };
  out.reference = [c, form, K, R](const std::vector<Complexes>& x) {
    using T = std::complex<double>;
    const PlainCall<T> call{c, x[0], x[1], x[2]};
    const Complexes none(static_cast<std::size_t>(std::max(c.D, c.Dv)));
    const auto row = [&](const Complexes& table, auto h, auto i, auto j, std::int64_t width) {
      auto clipped = std::min(std::max(j - i, -K), K);
      if (form.order == ShawOrder::query_minus_key) clipped = -clipped;
      return table.data() + ((form.per_head ? h * R : 0) + clipped + K) * width;
    };
    return plain_attention<T>(
        c,
        [&](auto b, auto h, auto i, auto j) {
          const T* a = form.keys ? row(x[3], h, i, j, c.D) : none.data();
          return shaw_score(call.query(b, h, i), call.key(b, h, j), a, c.D);
        },
        [](auto, auto, auto, auto) { return true; },
        [&](auto b, auto h, auto i, auto j, auto d) {
          const T* a = form.values ? row(x[form.keys ? 4 : 3], h, i, j, c.Dv) : none.data();
          return call.value(b, h, j)[d] + a[d];
        });
  };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = {sequence_case(1, 1),
                                   sequence_case(2, 2),
                                   sequence_case(9, 9),
                                   sequence_case(5, 8),
                                   sequence_case(11, 4),
                                   sequence_case(7, 7, "keys"),
                                   sequence_case(7, 7, "values"),
                                   sequence_case(8, 6, "per_head"),
                                   sequence_case(9, 9, "query_minus_key")};
  out.push_back(sequence_case(7, 9));
  out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return shaw_row(clip_of(c), form_of(c).order, i, j); });
}

}  // namespace

const Encoding kShaw = {
    .name = "shaw",
    .header = "position/shaw.h",
    .title = "a learned vector per clipped distance, added to keys and to values",
    .place = EncodingPlace::vectors,
    .paper = "Shaw et al. 2018, equations 3 to 5",
    .models = "Transformer with relative positions, Conformer (lucidrains)",
    .formula = "s = q.(k + wK[I]) / sqrt(D), out = sum P (v + wV[I]), I = clip(j - i, K) + K",
    .lowering = "bucket term of q wK^T; value term",
    .parameters = "2 (2K + 1) D",
    .multiply_adds = "2 H N (2K + 1) D",
    .memory = "H N (2K + 1)",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
