#include "kernels/attention_check.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/error.h"

namespace locant {
namespace {

constexpr const char* kOp = "attention";
constexpr std::int64_t kMostSlots = std::numeric_limits<std::int32_t>::max();

void check_sizes(const AttentionArgs& a) {
  require(a.B >= 0 && a.G >= 0 && a.H >= 0 && a.Nq >= 0 && a.Nk >= 0, kOp,
          "sizes must not be negative: B {}, G {}, H {}, Nq {}, Nk {}", a.B, a.G, a.H, a.Nq, a.Nk);
  require(a.D >= 1 && a.D <= kMaxWidth && a.Dv >= 1 && a.Dv <= kMaxWidth, kOp,
          "head widths must be 1 to {}: D {}, Dv {}", kMaxWidth, a.D, a.Dv);
  require(a.Nq <= kMostSlots && a.Nk <= kMostSlots, kOp, "at most {} slots a group: Nq {}, Nk {}", kMostSlots,
          a.Nq, a.Nk);
  require(a.terms.size() <= kMaxTerms, kOp, "at most {} score terms, got {}; add some up beforehand",
          kMaxTerms, a.terms.size());
  require(a.dropout.p >= 0.0f && a.dropout.p < 1.0f, kOp, "dropout of {} is not in [0, 1)", a.dropout.p);
}

void check_buffers(const AttentionArgs& a) {
  require((a.q.data != nullptr && a.out.data != nullptr) || a.Nq == 0, kOp, "q or out is missing (Nq {})",
          a.Nq);
  require((a.k.data != nullptr && a.v.data != nullptr) || a.Nk == 0, kOp, "k or v is missing (Nk {})", a.Nk);
  require((a.key_pad == nullptr) == (a.value_pad == nullptr), kOp,
          "key_pad and value_pad go together: one is missing");
  require((a.mask.query_region == nullptr) == (a.mask.key_region == nullptr), kOp,
          "query_region and key_region go together: one is missing");
}

void check_mask(const AttentionArgs& a) {
  const AttentionMask& m = a.mask;
  constexpr std::int64_t kFar = std::int64_t{1} << 40;  // sums with slot numbers cannot overflow
  require(m.causal_offset >= -kFar && m.causal_offset <= kFar, kOp,
          "a causal offset of {} keys; it must be within {} either way", m.causal_offset, kFar);
  require(m.causal_span >= 0 && m.causal_span <= kFar, kOp, "a causal span of {} keys; it must be 0 to {}",
          m.causal_span, kFar);
  if (m.query_box == nullptr) return;
  require(m.box_columns >= 1 && m.box_columns <= kMostSlots, kOp, "boxes in a grid of {} columns",
          m.box_columns);
  require(m.box_first_key >= 0 && m.box_first_key <= kMostSlots, kOp, "boxes that start at key {}",
          m.box_first_key);
}

/// `what`: "term 2", "the factor", "the value term".
void check_offsets(const AttentionArgs& a, const OffsetMap& m, const std::string& what) {
  require((m.query_code != nullptr || a.Nq == 0) && (m.key_code != nullptr || a.Nk == 0), kOp,
          "{}: codes are missing", what);
  require(m.offsets >= 1 && m.table_rows >= 1, kOp, "{}: {} offsets and {} table rows", what, m.offsets,
          m.table_rows);
  if (a.Nq > 0 && a.Nk > 0) {
    const auto [query_low, query_high] = std::minmax_element(m.query_code, m.query_code + a.Nq);
    const auto [key_low, key_high] = std::minmax_element(m.key_code, m.key_code + a.Nk);
    const std::int64_t low = std::int64_t{*query_low} - *key_high + m.origin;
    const std::int64_t high = std::int64_t{*query_high} - *key_low + m.origin;
    require(low >= 0 && high < m.offsets, kOp, "{}: codes give offsets {} to {}, outside [0, {})", what, low,
            high, m.offsets);
  }
  const std::int64_t most = m.map != nullptr ? *std::max_element(m.map, m.map + m.offsets) : m.offsets - 1;
  require(most < m.table_rows, kOp, "{}: table row {} is wanted, the table has {}", what, most, m.table_rows);
}

void check_axis(const AttentionArgs& a, const AxisTerm& axis, const std::string& what) {
  std::int64_t keys = 1;
  for (std::size_t x = 0; x < 3; ++x) {
    require(axis.extents[x] >= 1, kOp, "{}: an axis of {} keys", what, axis.extents[x]);
    require(axis.tables[x] != nullptr || axis.extents[x] == 1, kOp, "{}: axis {} has no table", what, x);
    keys = keys > a.Nk ? keys : keys * std::min(axis.extents[x], a.Nk + 1);  // too many are too many
  }
  require(axis.first_key >= 0 && axis.first_key == a.Nk - keys, kOp,
          "{}: {} x {} x {} keys from slot {} on are not the {} of the call", what, axis.extents[0],
          axis.extents[1], axis.extents[2], axis.first_key, a.Nk);
}

void check_term(const AttentionArgs& a, const ScoreTerm& term, const std::string& what) {
  const auto present = [&](const float* table) {
    require(table != nullptr, kOp, "{}: table is missing", what);
  };
  if (const auto* gather = std::get_if<GatherTerm>(&term.term)) {
    present(gather->table);
    check_offsets(a, gather->offset, what);
  } else if (const auto* bucket = std::get_if<BucketTerm>(&term.term)) {
    present(bucket->table);
    check_offsets(a, bucket->offset, what);
  } else if (const auto* band = std::get_if<BandTerm>(&term.term)) {
    present(band->vectors);
    check_offsets(a, band->offset, what);
  } else if (const auto* axis = std::get_if<AxisTerm>(&term.term)) {
    check_axis(a, *axis, what);
  } else {
    present(std::get<DenseTerm>(term.term).bias);
  }
  require(term.dhead_scale == nullptr || term.head_scale != nullptr, kOp,
          "{}: the gradient of a head scale is wanted that is not there", what);
}

}  // namespace

bool check_attention(const AttentionArgs& a) {
  check_sizes(a);
  if (a.B == 0 || a.G == 0 || a.H == 0 || (a.Nq == 0 && a.Nk == 0)) return false;
  check_buffers(a);
  check_mask(a);
  for (std::size_t t = 0; t < a.terms.size(); ++t) check_term(a, a.terms[t], "term " + std::to_string(t));
  if (a.factor != nullptr) {
    require(a.factor->table != nullptr, kOp, "the factor: table is missing");
    check_offsets(a, a.factor->offset, "the factor");
  }
  if (a.value_term != nullptr) {
    require(a.value_term->vectors != nullptr, kOp, "the value term: vectors are missing");
    check_offsets(a, a.value_term->offset, "the value term");
  }
  return true;
}

}  // namespace locant
