#include "position/deberta.h"

#include <algorithm>

#include "ops/linear.h"
#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace deberta_encoding {
namespace {

struct Form {
  bool c2p = true, p2c = true;
  DebertaBuckets buckets = {};
};

Form form_of(const EncodingCase& c) {
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

Complexes reference(const PlainCall& call, const Form& form) {
  const EncodingCase& c = call.c;
  const std::vector<Complexes>& x = call.x;
  const std::int64_t C = c.H * c.D;
  Complexes keys, queries;
  if (form.c2p) keys = project(C, x[3], x[4], nullptr);
  if (form.p2c) queries = project(C, x[3], x[form.c2p ? 5 : 4], &x[form.c2p ? 6 : 5]);
  return plain_attention(call, [&](auto b, auto h, auto i, auto j) {
    const std::int64_t at = reference_row(form.buckets, i - j) * C + h * c.D;
    return deberta_score<Complex>(call.query(b, h, i), call.key(b, h, j),
                                  form.c2p ? keys.data() + at : nullptr,
                                  form.p2c ? queries.data() + at : nullptr, c.D);
  });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t C = c.H * c.D;
  const Var table = random_parameter({2 * form.buckets.S, C}, c.seed);
  Parameters parameters = {{Deberta::kTable, table}};
  Var key_weight, query_weight, query_bias;
  if (form.c2p)
    parameters.emplace_back(Deberta::kKeyProjection, key_weight = random_parameter({C, C}, c.seed + 1));
  if (form.p2c) {
    parameters.emplace_back(Deberta::kQueryProjection, query_weight = random_parameter({C, C}, c.seed + 2));
    parameters.emplace_back(Deberta::kQueryBias, query_bias = random_parameter({C}, c.seed + 3));
  }
  return attention_instance(
      c, std::move(parameters),
      [=](const Context& ctx, AttentionCall& call) {
        Deberta deberta{.buckets = form.buckets};
        if (form.c2p) deberta.keys = linear(ctx, table, key_weight, {});
        if (form.p2c) deberta.queries = linear(ctx, table, query_weight, query_bias);
        add_deberta(ctx, deberta, call.q, call.k, call.options);
      },
      [form](const PlainCall& call) { return reference(call, form); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {9, 9},
                                                  {5, 8},
                                                  {7, 7, "v1"},
                                                  {4, 9, "v1"},
                                                  {6, 6, "c2p"},
                                                  {6, 6, "p2c"},
                                                  {9, 9, "clip_first"},
                                                  {7, 7}});
  for (EncodingCase& c : out) c.D = c.Dv = 3;
  out.back().D = 1, out.back().Dv = 2, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return deberta_row(form_of(c).buckets, i - j); });
}

}  // namespace
}  // namespace deberta_encoding

const Encoding kDeberta = {
    .name = "deberta",
    .title = "content against position and position against content, in buckets of the distance",
    .place = EncodingPlace::vectors,
    .paper = "He et al. 2020, DeBERTa, equations 2 to 4",
    .models = "DeBERTa v1, v2, v3",
    .formula = "s = (q.k + q.Kr[I] + k.Qr[I]) / sqrt(3 D), I = clip(f(i - j) + S, 0, 2S - 1)",
    .lowering = "bucket terms of q Kr^T and k Qr^T over one map",
    .parameters = "2 S C, shared by the layers, + 2 C^2",
    .multiply_adds = "2 N R C + 2 S 2 C^2, R = min(2S, 2N - 1)",
    .memory = "2 H N R + 4 S C",
    .variants = {"v1", "c2p", "p2c", "clip_first"},
    .cases = deberta_encoding::cases,
    .instance = deberta_encoding::instance,
    .index = deberta_encoding::index,
};

}  // namespace locant
