#include "position/t5_bucket.h"

#include "core/error.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {
constexpr const char* kName = "t5_bucket";
}

void add_t5_bucket(const T5Bucket& t5, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
                   AttentionOptions& options) {
  const T5Buckets& b = t5.buckets;
  const std::int64_t side = b.bidirectional ? b.count / 2 : b.count;
  require(
      b.count >= 1 && b.count <= (1 << 20) && side >= 2 && (!b.bidirectional || b.count % 2 == 0) &&
          b.max_distance > side / 2,
      kName,
      "{} buckets up to a distance of {}; there must be an even number of at least 4 for both directions, "
      "at least 2 for one, and the distance beyond the {} exact ones",
      b.count, b.max_distance, side / 2);
  check_table(kName, T5Bucket::kTable, t5.table, {b.count, options.heads});
  options.terms.push_back(gather_term(t5.table, sequence_gather(kName, Nq, Nk, past, [&](auto distance) {
                                        return t5_bucket(b, -distance);
                                      })));
  options.scale = 1.0f;
  if (b.bidirectional) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = past;
}

namespace {

T5Buckets buckets_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  if (c.variant.empty()) return {};
  if (c.variant == "causal") return {.bidirectional = false};
  if (c.variant == "few") return {.count = 8, .max_distance = 16};
  if (c.variant == "few_causal") return {.bidirectional = false, .count = 6, .max_distance = 12};
  fail(kName, "unknown variant \"{}\"; there are causal, few, few_causal", c.variant);
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
      [b, past](const auto& call, const auto& x, auto bb, auto h, auto i, auto j) {
        return t5_bucket_score(call.dot(bb, h, i, j), x[3].data(), call.c.H, h, b, j - i - past);
      },
      [b, past](auto i, auto j) { return b.bidirectional || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  const auto add = [&](std::int64_t Nq, std::int64_t Nk, const char* variant) {
    out.push_back(sequence_case(Nq, Nk, variant));
  };
  add(1, 1, ""), add(2, 2, ""), add(9, 9, ""), add(7, 11, ""), add(8, 8, "causal"), add(3, 8, "causal");
  add(13, 12, "few"), add(14, 14, "few_causal");
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

const Encoding kT5Bucket = {
    .name = kName,
    .header = "position/t5_bucket.h",
    .title = "a learned number per head and bucket of distances, far ones logarithmically wide",
    .place = EncodingPlace::score,
    .paper = "Raffel et al. 2020, T5, section 2.1",
    .models = "T5, mT5, FLAN-T5",
    .formula = "s = q.k + T[bucket(j - i), h]",
    .lowering = "gather term",
    .parameters = "32 H",
    .multiply_adds = "0",
    .memory = "32 H + 3 N",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
