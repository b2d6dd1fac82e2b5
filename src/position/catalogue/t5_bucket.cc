#include "position/t5_bucket.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace t5_bucket_encoding {
namespace {

T5Buckets buckets_of(const EncodingCase& c) {
  if (c.variant == "causal") return {.bidirectional = false};
  if (c.variant == "few") return {.count = 8, .max_distance = 16};
  if (c.variant == "few_causal") return {.bidirectional = false, .count = 6, .max_distance = 12};
  return {};
}

// Causal queries are the last ones of the keys.
std::int64_t past_of(const EncodingCase& c) {
  return buckets_of(c).bidirectional ? 0 : std::max<std::int64_t>(c.Nk() - c.Nq(), 0);
}

EncodingInstance instance(const EncodingCase& c) {
  const T5Buckets b = buckets_of(c);
  const std::int64_t past = past_of(c);
  const T5Bucket t5{b, random_parameter({b.count, c.H}, c.seed)};
  return score_instance(
      c, {{T5Bucket::kTable, t5.table}},
      [c, t5, past](const Context&, AttentionOptions& options) {
        add_t5_bucket(t5, c.Nq(), c.Nk(), past, options);
      },
      [b, past](const PlainCall& call, auto bb, auto h, auto i, auto j) {
        return t5_bucket_score(call.dot(bb, h, i, j), call.x[3].data(), call.c.H, h, b, j - i - past);
      },
      [b, past](auto i, auto j) { return b.bidirectional || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {9, 9},
                                                  {7, 11},
                                                  {8, 8, "causal"},
                                                  {3, 8, "causal"},
                                                  {13, 12, "few"},
                                                  {14, 14, "few_causal"}});
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = {1, 1, 6}, .key = {1, 1, 5}, .variant = "few"});
  for (EncodingCase& c : out) c.largest_score = 8;  // no 1/sqrt(D)
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const T5Buckets b = buckets_of(c);
  return index_matrix(c, [&](auto i, auto j) -> std::int64_t {
    const std::int64_t relative = j - i - past_of(c);
    return b.bidirectional || relative <= 0 ? t5_bucket(b, relative) : -1;
  });
}

}  // namespace
}  // namespace t5_bucket_encoding

const Encoding kT5Bucket = {
    .name = "t5_bucket",
    .title = "a learned number per head and bucket of distances, far ones logarithmically wide",
    .place = EncodingPlace::score,
    .paper = "Raffel et al. 2020, T5, section 2.1",
    .models = "T5, mT5, FLAN-T5",
    .formula = "s = q.k + T[bucket(j - i), h]",
    .lowering = "gather term",
    .parameters = "32 H",
    .multiply_adds = "0",
    .memory = "32 H + 3 N",
    .variants = {"causal", "few", "few_causal"},
    .cases = t5_bucket_encoding::cases,
    .instance = t5_bucket_encoding::instance,
    .index = t5_bucket_encoding::index,
};

}  // namespace locant
