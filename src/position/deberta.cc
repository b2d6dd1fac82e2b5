#include "position/deberta.h"

#include <algorithm>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {
constexpr const char* kName = "deberta";
}

std::shared_ptr<const GatherMap> deberta_gather(const DebertaBuckets& buckets, std::int64_t Nq,
                                                std::int64_t Nk) {
  const std::int64_t S = buckets.S, P = buckets.max_position;
  require(S >= 1 && S < (std::int64_t{1} << 29), kName, "{} rows in each direction; there must be 1 at least",
          S);
  require(
      P == 0 || (S >= 2 && P - 1 > S / 2), kName,
      "{} buckets that reach distance {}; there must be 2 at least, and the last distance, {} - 1, above {}",
      S, P, P, S / 2);
  return sequence_gather(kName, Nq, Nk, 0,
                         [&](std::int64_t distance) { return deberta_row(buckets, distance); });
}

void add_deberta(const Context& ctx, const Deberta& deberta, const Var& q, const Var& k,
                 AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const Shape &qs = q.shape(), &ks = k.shape();
  require(H >= 1 && qs.rank() == 3 && ks.rank() == 3 && qs[2] == ks[2] && qs[2] % H == 0, kName,
          "q {} and k {} do not fit {} heads; they must be (B, N, H D)", qs.str(), ks.str(), H);
  const std::int64_t C = qs[2], D = C / H;
  const int terms = 1 + deberta.keys.defined() + deberta.queries.defined();
  options.scale = 1.0f / std::sqrt(static_cast<float>(terms * D));
  // Only the rows that occur are multiplied: a short sequence reads the middle of the table.
  auto gather = std::make_shared<GatherMap>(*deberta_gather(deberta.buckets, qs[1], ks[1]));
  const auto [low, high] = std::minmax_element(gather->map.begin(), gather->map.end());
  const std::int32_t first = *low, end = *high + 1;
  for (std::int32_t& row : gather->map) row -= first;
  const auto add_term = [&](Side side, const char* name, const Var& table, const Var& tokens) {
    if (!table.defined()) return;
    check_table(kName, name, table, {2 * deberta.buckets.S, C});
    const Var rows = reshape(ctx, slice_axis(ctx, table, 0, first, end), {end - first, H, D});
    const Var numbers = head_products(ctx, tokens, H, permute(ctx, rows, {1, 0, 2}), options.scale);
    options.terms.push_back(bucket_term(side, numbers, gather));
  };
  add_term(Side::query, "Kr, the keys of the positions,", deberta.keys, q);
  add_term(Side::key, "Qr, the queries of the positions,", deberta.queries, k);
}

namespace {

struct Form {
  bool c2p = true, p2c = true;
  DebertaBuckets buckets = {};
};

Form form_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  Form form;
  // v2's numbers where the sequence is long; where it is short, some that still clip.
  form.buckets.S = std::clamp<std::int64_t>(std::max(c.Nq(), c.Nk()) / 2, 2, 256);
  form.buckets.max_position = form.buckets.S == 256 ? 512 : form.buckets.S + 2;
  if (c.variant == "v1") {
    form.buckets.max_position = 0;
  } else if (c.variant == "c2p") {
    form.p2c = false;
  } else if (c.variant == "p2c") {
    form.c2p = false;
  } else if (c.variant == "clip_first") {
    form.buckets.clip_first = true;
  } else {
    require(c.variant.empty(), kName, "unknown variant \"{}\"; there are v1, c2p, p2c, clip_first",
            c.variant);
  }
  return form;
}

// Rel W^T + bias, (2S, C).
Complexes project(std::int64_t C, const Complexes& table, const Complexes& weight, const Complexes* bias) {
  Complexes y(table.size());
  for (std::size_t at = 0; at < y.size(); ++at) {
    const auto r = static_cast<std::int64_t>(at) / C, o = static_cast<std::int64_t>(at) % C;
    if (bias != nullptr) y[at] = (*bias)[static_cast<std::size_t>(o)];
    for (std::int64_t s = 0; s < C; ++s)
      y[at] += table[static_cast<std::size_t>(r * C + s)] * weight[static_cast<std::size_t>(o * C + s)];
  }
  return y;
}

// Row of a pair, as the paper's delta (v1) or the ranges between its code's thresholds.
std::int64_t reference_row(const DebertaBuckets& buckets, std::int64_t x) {
  const std::int64_t S = buckets.S, P = buckets.max_position, mid = S / 2;
  if (P > 0 && std::abs(x) > mid) {
    const std::int64_t far = buckets.clip_first ? std::min(std::abs(x), P - 1) : std::abs(x);
    // The first bucket b whose upper end mid (P-1 / mid)^((b - mid) / (mid - 1)) reaches the distance.
    std::int64_t bucket = mid;
    while (mid > 1 && static_cast<double>(far) >
                          static_cast<double>(mid) *
                                  std::pow(static_cast<double>(P - 1) / static_cast<double>(mid),
                                           static_cast<double>(bucket - mid) / static_cast<double>(mid - 1)) +
                              1e-9)
      ++bucket;
    x = x < 0 ? -bucket : bucket;
  }
  return std::min(std::max(x + S, std::int64_t{0}), 2 * S - 1);
}

Complexes reference(const EncodingCase& c, const Form& form, const std::vector<Complexes>& x) {
  using T = std::complex<double>;
  const PlainCall<T> call{c, x[0], x[1], x[2]};
  const std::int64_t C = c.H * c.D;
  Complexes keys, queries;
  if (form.c2p) keys = project(C, x[3], x[4], nullptr);
  if (form.p2c) queries = project(C, x[3], x[form.c2p ? 5 : 4], &x[form.c2p ? 6 : 5]);
  return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
    const std::int64_t at = reference_row(form.buckets, i - j) * C + h * c.D;
    return deberta_score<T>(call.query(b, h, i), call.key(b, h, j), form.c2p ? keys.data() + at : nullptr,
                            form.p2c ? queries.data() + at : nullptr, c.D);
  });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t C = c.H * c.D;
  const Var table = random_parameter({2 * form.buckets.S, C}, c.seed);
  EncodingInstance out;
  out.parameters = {{Deberta::kTable, table}};
  Var key_weight, query_weight, query_bias;
  if (form.c2p)
    out.parameters.emplace_back(Deberta::kKeyProjection, key_weight = random_parameter({C, C}, c.seed + 1));
  if (form.p2c) {
    out.parameters.emplace_back(Deberta::kQueryProjection,
                                query_weight = random_parameter({C, C}, c.seed + 2));
    out.parameters.emplace_back(Deberta::kQueryBias, query_bias = random_parameter({C}, c.seed + 3));
  }
  out.run = [c, form, table, key_weight, query_weight, query_bias](
                const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    Deberta deberta{.buckets = form.buckets};
    if (form.c2p) deberta.keys = linear(ctx, table, key_weight, {});
    if (form.p2c) deberta.queries = linear(ctx, table, query_weight, query_bias);
    AttentionOptions options;
    options.heads = c.H;
    add_deberta(ctx, deberta, q, k, options);
    return run_attention(ctx, q, k, v, options, path);
  };
  out.reference = [c, form](const std::vector<Complexes>& x) { return reference(c, form, x); };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = {
      sequence_case(1, 1),        sequence_case(2, 2),        sequence_case(9, 9),
      sequence_case(5, 8),        sequence_case(7, 7, "v1"),  sequence_case(4, 9, "v1"),
      sequence_case(6, 6, "c2p"), sequence_case(6, 6, "p2c"), sequence_case(9, 9, "clip_first")};
  for (EncodingCase& c : out) c.D = c.Dv = 3;
  out.push_back(sequence_case(7, 7));
  out.back().D = 1, out.back().Dv = 2, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return deberta_row(form_of(c).buckets, i - j); });
}

}  // namespace

const Encoding kDeberta = {
    .name = "deberta",
    .header = "position/deberta.h",
    .title = "content against position and position against content, in buckets of the distance",
    .place = EncodingPlace::vectors,
    .paper = "He et al. 2020, DeBERTa, equations 2 to 4",
    .models = "DeBERTa v1, v2, v3",
    .formula = "s = (q.k + q.Kr[I] + k.Qr[I]) / sqrt(3 D), I = clip(f(i - j) + S, 0, 2S - 1)",
    .lowering = "bucket terms of q Kr^T and k Qr^T over one map",
    .parameters = "2 S C, shared by the layers, + 2 C^2",
    .multiply_adds = "2 N R C + 2 S 2 C^2, R = min(2S, 2N - 1)",
    .memory = "2 H N R + 4 S C",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
