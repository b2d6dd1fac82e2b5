// Compiled once per instruction set: masks of a block of scores, and which blocks nobody sees into.
#if defined(LOCANT_KERNELS_ATTENTION_MASK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_ATTENTION_MASK_INL_H_
#undef LOCANT_KERNELS_ATTENTION_MASK_INL_H_
#else
#define LOCANT_KERNELS_ATTENTION_MASK_INL_H_
#endif

#include "kernels/score_block_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// Key slots [begin, end).
struct KeySpan {
  std::int64_t begin = 0, end = 0;
};

/// Keys that query i sees by the causal mask.
HWY_INLINE KeySpan causal_span(const AttentionMask& mask, std::int64_t i) {
  const std::int64_t end = i + mask.causal_offset + 1;
  return {mask.causal_span > 0 ? end - mask.causal_span : 0, end};
}

/// A query's box, cut to `wide` columns and to rows from 0 on.
struct Box {
  std::int64_t top, bottom, left, right;

  Box(const std::int32_t* box, std::int64_t wide)
      : top(std::max(box[0], 0)),
        bottom(box[1]),
        left(std::max(box[2], 0)),
        right(std::min<std::int64_t>(box[3], wide)) {}
  bool empty() const { return bottom <= top || right <= left; }
};

/// The part of `keys` that the rows' boxes reach, from the first to the last; keys before the grid are seen.
inline KeySpan box_span(const AttentionArgs& a, const Block& rows, KeySpan keys) {
  const AttentionMask& m = a.mask;
  if (keys.begin < m.box_first_key) return keys;
  KeySpan seen{keys.end, keys.begin};
  const std::int32_t* boxes = m.query_box + (rows.g * a.Nq + rows.i0) * 4;
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    const Box box(boxes + r * 4, m.box_columns);
    if (box.empty()) continue;
    seen.begin = std::min(seen.begin, m.box_first_key + box.top * m.box_columns + box.left);
    seen.end = std::max(seen.end, m.box_first_key + (box.bottom - 1) * m.box_columns + box.right);
  }
  return {std::max(seen.begin, keys.begin), std::min(seen.end, keys.end)};
}

/// What the rows of the block may see of `keys`, in whole panels from keys.begin on unless they end there;
/// empty when nobody sees anything. Dense masks and regions are not looked at.
inline KeySpan seen_keys(const AttentionArgs& a, const Block& rows, KeySpan keys) {
  const AttentionMask& m = a.mask;
  KeySpan seen = keys;
  if (m.causal) {
    seen.begin = std::max(seen.begin, causal_span(m, rows.i0).begin);
    seen.end = std::min(seen.end, causal_span(m, rows.i0 + rows.rows - 1).end);
  }
  if (m.query_box != nullptr && seen.begin < seen.end) seen = box_span(a, rows, seen);
  if (seen.begin >= seen.end) return {keys.begin, keys.begin};
  return {keys.begin + (seen.begin - keys.begin) / kPanel * kPanel,
          std::min(keys.begin + ceil_div(seen.end - keys.begin, kPanel) * kPanel, keys.end)};
}

/// row[from, to) = -inf; nothing when from >= to.
HWY_INLINE void hide(float* row, std::int64_t from, std::int64_t to) {
  const Floats d;
  for (; from + kLanes <= to; from += kLanes) hn::StoreU(hn::Set(d, -HUGE_VALF), d, row + from);
  for (; from < to; ++from) row[from] = -HUGE_VALF;
}

inline void mask_causal(const AttentionMask& mask, const Block& block) {
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const KeySpan seen = causal_span(mask, block.i0 + r);
    float* row = block.scores + r * block.row;
    hide(row, 0, std::min(seen.begin - block.j0, block.keys));
    hide(row, std::max<std::int64_t>(seen.end - block.j0, 0), block.keys);
  }
}

/// Hides what lies between the runs of keys that a box is made of.
inline void mask_boxes(const AttentionArgs& a, const Block& block) {
  const AttentionMask& m = a.mask;
  const std::int64_t wide = m.box_columns;
  const std::int64_t origin = m.box_first_key - block.j0;  // column of the grid's first key
  const std::int32_t* boxes = m.query_box + (block.g * a.Nq + block.i0) * 4;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    float* row = block.scores + r * block.row;
    const Box box(boxes + r * 4, wide);
    std::int64_t hidden =
        std::max<std::int64_t>(origin, 0);  // hidden from here on unless a run says otherwise
    const std::int64_t last = std::min(box.bottom, (block.keys - origin + wide - 1) / wide);
    for (std::int64_t y = std::max(box.top, -origin / wide); y < last && !box.empty(); ++y) {
      hide(row, hidden, std::min(origin + y * wide + box.left, block.keys));
      hidden = std::max(hidden, origin + y * wide + box.right);
    }
    hide(row, hidden, block.keys);
  }
}

inline void mask_dense(const AttentionMask& mask, const Block& block) {
  const Floats d;
  const Ints di;
  const hn::Rebind<std::uint8_t, Ints> bytes;
  const Vec hidden = hn::Set(d, -HUGE_VALF);
  const std::uint8_t* seen = mask.dense + block.b * mask.dense_batch_stride +
                             block.g * mask.dense_group_stride + block.h * mask.dense_head_stride +
                             block.i0 * mask.dense_row_stride + block.j0;
  for (std::int64_t r = 0; r < block.rows; ++r, seen += mask.dense_row_stride) {
    float* to = block.scores + r * block.row;
    std::int64_t c = 0;
    for (; c + kLanes <= block.keys; c += kLanes) {
      const auto none = hn::Eq(hn::PromoteTo(di, hn::LoadU(bytes, seen + c)), hn::Zero(di));
      hn::Store(hn::IfThenElse(hn::RebindMask(d, none), hidden, hn::Load(d, to + c)), d, to + c);
    }
    for (; c < block.keys; ++c)
      if (seen[c] == 0) to[c] = -HUGE_VALF;
  }
}

/// -inf where the regions differ; `query` and `key` are the group's regions.
inline void mask_regions(const std::int32_t* query, const std::int32_t* key, const Block& block) {
  const Floats d;
  const Ints di;
  const Vec hidden = hn::Set(d, -HUGE_VALF);
  key += block.j0;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const std::int32_t region = query[block.i0 + r];
    const auto wanted = hn::Set(di, region);
    float* to = block.scores + r * block.row;
    std::int64_t c = 0;
    for (; c + kLanes <= block.keys; c += kLanes) {
      const auto same = hn::RebindMask(d, hn::Eq(wanted, hn::LoadU(di, key + c)));
      hn::Store(hn::IfThenElse(same, hn::Load(d, to + c), hidden), d, to + c);
    }
    for (; c < block.keys; ++c)
      if (key[c] != region) to[c] = -HUGE_VALF;
  }
}

/// Every mask but regions, key lengths and padding slots, which are the head's.
inline void mask_pairs(const AttentionArgs& a, const Block& block) {
  const AttentionMask& m = a.mask;
  if (m.causal) mask_causal(m, block);
  if (m.query_box != nullptr) mask_boxes(a, block);
  if (m.dense != nullptr) mask_dense(m, block);
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
