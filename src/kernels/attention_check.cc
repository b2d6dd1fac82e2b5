#include "kernels/attention_check.h"

#include <algorithm>
#include <array>
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
          "heads of width {} (values {}); both must be 1 to {}: is the number of heads, {}, right?", a.D,
          a.Dv, kMaxWidth, a.H);
  require(a.Nq <= kMostSlots && a.Nk <= kMostSlots, kOp, "at most {} slots a group: Nq {}, Nk {}", kMostSlots,
          a.Nq, a.Nk);
  static_assert(kMaxTerms == 4);  // as the message says
  require(a.terms.size() <= kMaxTerms, kOp, "{} terms; at most four are possible: add some up beforehand",
          a.terms.size());
  require(a.dropout.p >= 0.0f && a.dropout.p < 1.0f, kOp, "dropout of {} is not in [0, 1)", a.dropout.p);
}

/// "term 2 (band)"
std::string term_name(const ScoreTerm& term, std::size_t t) {
  constexpr std::array<const char*, 5> kKinds = {"gather", "bucket", "band", "axis", "dense"};
  static_assert(kKinds.size() == std::variant_size_v<decltype(term.term)>);
  return "term " + std::to_string(t) + " (" + kKinds[term.term.index()] + ")";
}

const OffsetView* offset_of(const ScoreTerm& term) {
  if (const auto* gather = std::get_if<GatherTerm>(&term.term)) return &gather->offset;
  if (const auto* bucket = std::get_if<BucketTerm>(&term.term)) return &bucket->offset;
  if (const auto* band = std::get_if<BandTerm>(&term.term)) return &band->offset;
  return nullptr;
}

void check_tables(const ScoreTerm& term, const std::string& what) {
  const auto present = [&](const float* table) {
    require(table != nullptr, kOp, "{}: table is missing", what);
  };
  if (const auto* axis = std::get_if<AxisTerm>(&term.term)) {
    for (std::size_t x = 0; x < 3; ++x)
      if (axis->extents[x] > 1) present(axis->tables[x]);
  } else if (const auto* gather = std::get_if<GatherTerm>(&term.term)) {
    present(gather->table);
  } else if (const auto* bucket = std::get_if<BucketTerm>(&term.term)) {
    present(bucket->table);
  } else if (const auto* band = std::get_if<BandTerm>(&term.term)) {
    present(band->vectors);
  } else {
    present(std::get<DenseTerm>(term.term).bias);
  }
}

void check_buffers(const AttentionArgs& a) {
  require((a.q.data != nullptr && a.out.data != nullptr) || a.Nq == 0, kOp, "q or out is missing (Nq {})",
          a.Nq);
  require((a.k.data != nullptr && a.v.data != nullptr) || a.Nk == 0, kOp, "k or v is missing (Nk {})", a.Nk);
  require((a.key_pad == nullptr) == (a.value_pad == nullptr), kOp,
          "key_pad and value_pad go together: one is missing");
  require((a.mask.query_region == nullptr) == (a.mask.key_region == nullptr), kOp,
          "query_region and key_region go together: one is missing");
  for (std::size_t t = 0; t < a.terms.size(); ++t) check_tables(a.terms[t], term_name(a.terms[t], t));
  require(a.factor == nullptr || a.factor->table != nullptr, kOp, "the factor: table is missing");
  require(a.value_term == nullptr || a.value_term->vectors != nullptr, kOp,
          "the value term: vectors are missing");
}

void check_mask(const AttentionArgs& a) {
  const AttentionMask& m = a.mask;
  constexpr std::int64_t kFar = std::int64_t{1} << 40;  // sums with slot numbers cannot overflow
  require(m.causal_offset >= -kFar && m.causal_offset <= kFar, kOp,
          "a causal offset of {} keys; it must be within {} either way", m.causal_offset, kFar);
  require(m.causal_span >= 0 && m.causal_span <= kFar, kOp, "a causal span of {} keys; it must be 0 to {}",
          m.causal_span, kFar);
  if (m.query_box == nullptr) return;
  require(m.box_columns >= 1 && m.box_columns <= kMostSlots, kOp,
          "query boxes in a grid of {} columns; set box_columns", m.box_columns);
  require(m.box_first_key >= 0 && m.box_first_key <= a.Nk, kOp, "query boxes that start at key slot {} of {}",
          m.box_first_key, a.Nk);
}

/// `what`: "term 2 (band)", "the factor", "the value term".
void check_offsets(const AttentionArgs& a, const OffsetView& view, const std::string& what) {
  if (view.checked) return;
  require(view.table_rows >= 1, kOp, "{}: a table of {} rows", what, view.table_rows);
  const std::int64_t wanted = rows_wanted(view, a.Nq, a.Nk, what);
  require(wanted <= view.table_rows, kOp, "{}: table row {} is wanted, the table has {}", what, wanted - 1,
          view.table_rows);
}

void check_axis(const AttentionArgs& a, const AxisTerm& axis, const std::string& what) {
  std::int64_t keys = 1;
  for (std::size_t x = 0; x < 3; ++x) {
    require(axis.extents[x] >= 1, kOp, "{}: an axis of {} keys", what, axis.extents[x]);
    keys = keys > a.Nk ? keys : keys * std::min(axis.extents[x], a.Nk + 1);  // too many are too many
  }
  require(axis.first_key >= 0 && axis.first_key == a.Nk - keys, kOp,
          "{}: {} x {} x {} keys from slot {} on are not the {} key slots of the call", what, axis.extents[0],
          axis.extents[1], axis.extents[2], axis.first_key, a.Nk);
}

void check_term(const AttentionArgs& a, const ScoreTerm& term, const std::string& what) {
  if (const OffsetView* offset = offset_of(term)) check_offsets(a, *offset, what);
  if (const auto* axis = std::get_if<AxisTerm>(&term.term)) check_axis(a, *axis, what);
  require(term.dhead_scale == nullptr || term.head_scale != nullptr, kOp,
          "{}: the gradient of a head scale is wanted that is not there", what);
}

void check_mask_and_terms(const AttentionArgs& a) {
  check_mask(a);
  for (std::size_t t = 0; t < a.terms.size(); ++t) check_term(a, a.terms[t], term_name(a.terms[t], t));
  if (a.factor != nullptr) check_offsets(a, a.factor->offset, "the factor");
  if (a.value_term != nullptr) check_offsets(a, a.value_term->offset, "the value term");
}

bool has_work(const AttentionArgs& a) { return a.B > 0 && a.G > 0 && a.H > 0 && (a.Nq > 0 || a.Nk > 0); }

}  // namespace

std::int64_t rows_wanted(const OffsetView& view, std::int64_t Nq, std::int64_t Nk, const std::string& what) {
  require((view.query_code != nullptr || Nq == 0) && (view.key_code != nullptr || Nk == 0), kOp,
          "{}: codes are missing", what);
  require(view.offsets >= 1, kOp, "{}: {} offsets; it needs one at least", what, view.offsets);
  if (Nq > 0 && Nk > 0) {
    const auto [query_low, query_high] = std::minmax_element(view.query_code, view.query_code + Nq);
    const auto [key_low, key_high] = std::minmax_element(view.key_code, view.key_code + Nk);
    const std::int64_t low = std::int64_t{*query_low} - *key_high + view.origin;
    const std::int64_t high = std::int64_t{*query_high} - *key_low + view.origin;
    require(low >= 0 && high < view.offsets, kOp, "{}: codes give offsets {} to {}, outside [0, {})", what,
            low, high, view.offsets);
  }
  if (view.map == nullptr) return view.offsets;
  return std::int64_t{*std::max_element(view.map, view.map + view.offsets)} + 1;
}

bool check_attention_numbers(const AttentionArgs& a) {
  check_sizes(a);
  check_mask_and_terms(a);
  return has_work(a);
}

bool check_attention(const AttentionArgs& a) {
  check_sizes(a);
  if (has_work(a)) check_buffers(a);
  check_mask_and_terms(a);
  return has_work(a);
}

}  // namespace locant
