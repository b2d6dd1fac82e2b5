// Compiled once per instruction set: fused attention, forward and backward, over the shares that the plan
// cuts. Scores are base 2: scale and log2 e are in the packed queries and in the terms.
#if defined(LOCANT_KERNELS_ATTENTION_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_ATTENTION_FORWARD_INL_H_
#undef LOCANT_KERNELS_ATTENTION_FORWARD_INL_H_
#else
#define LOCANT_KERNELS_ATTENTION_FORWARD_INL_H_
#endif

#include <cmath>
#include <limits>

#include "kernels/attention_band_inl.h"
#include "kernels/attention_dropout_inl.h"
#include "kernels/attention_mask_inl.h"
#include "kernels/attention_tile_inl.h"
#include "kernels/score_terms_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// Keys whose value rows stay in the first cache while the query rows pass by.
inline constexpr std::int64_t kValueKeys = 64;

/// Rows of scores start on a line, and not all in the same few sets of the first cache.
constexpr std::int64_t score_row(std::int64_t keys) { return line_up(keys) + 16; }

/// True when the last of so many keys is alone in its vector.
constexpr bool is_lone(std::int64_t keys) { return keys % kLanes == 1; }

/// One head of one group: where its rows are, how many of its keys count, whose regions to compare.
struct Head {
  std::int64_t b = 0, g = 0, h = 0;
  std::int64_t keys = 0;  ///< slots below the key length
  Rows q, k, v, out;
  const std::int32_t *query_region = nullptr, *key_region = nullptr;  ///< null: no comparison needed
};

template <class View>
Rows rows_of(const View& view, const Head& head, const std::int32_t* map, std::int64_t slots) {
  return {view.data + head.b * view.batch_stride + head.h * view.head_stride, view.row_stride,
          map != nullptr ? map + head.g * slots : nullptr, head.g * slots, nullptr};
}

inline Head head_of(const Plan& plan, std::int64_t unit) {
  const AttentionArgs& a = *plan.args;
  Head head;
  head.b = unit / (a.G * a.H);
  head.g = unit / a.H % a.G;
  head.h = unit % a.H;
  head.keys = a.Nk;
  if (a.mask.key_lengths != nullptr)
    head.keys = std::clamp<std::int64_t>(a.mask.key_lengths[head.b], 0, a.Nk);
  head.q = rows_of(a.q, head, a.query_rows, a.Nq);
  head.k = rows_of(a.k, head, a.key_rows, a.Nk);
  head.v = rows_of(a.v, head, a.key_rows, a.Nk);
  head.out = rows_of(a.out, head, a.query_rows, a.Nq);
  if (a.key_pad != nullptr) {
    head.k.pad = a.key_pad + head.h * a.D;
    head.v.pad = a.value_pad + head.h * a.Dv;
  }
  if (!plan.mixed_regions.empty() && plan.mixed_regions[static_cast<std::size_t>(head.g)] != 0) {
    head.query_region = a.mask.query_region + head.g * a.Nq;
    head.key_region = a.mask.key_region + head.g * a.Nk;
  }
  return head;
}

/// Scores of a block, base 2, masked slots -inf. `queries` are its packed rows, `columns` its first packed
/// key panel, `holes` tells whether slots below the key length are masked; `keys` are its packed rows for
/// bands.
inline void score_block(const Plan& plan, const Head& head, const float* queries, const float* columns,
                        const float* lone, bool holes, const Block& block, const float* keys,
                        const BandScratch& bands) {
  const AttentionArgs& a = *plan.args;
  Product p{.rows = block.rows, .vectors = ceil_div(block.keys, kLanes), .depth = a.D};
  p.a = queries;
  p.a_row = plan.d_pad;
  p.a_step = 1;
  p.b = columns + kPanel;
  p.b_step = kPanel;
  p.b_panel = (a.D + 1) * kPanel;
  p.init = columns;
  p.init_panel = p.b_panel;
  p.c = block.scores;
  p.c_row = block.row;
  const float* tile =
      plan.tile == nullptr ? nullptr : plan.tile.get() + (head.h * a.Nq + block.i0) * plan.nk_pad + block.j0;
  // Where nothing but the end of the keys is masked, the sums start from the bias: it costs nothing.
  const bool factor = !plan.bands.factor.empty();
  const bool from_band = starts_from_band(plan, holes);
  const bool start_from_tile = tile != nullptr && !holes && head.keys == a.Nk && !factor && !from_band;
  if (start_from_tile) {
    p.init = tile;
    p.init_row = plan.nk_pad;
    p.init_panel = kPanel;
  }
  const bool start_from_term = tile == nullptr && !holes && !factor && !from_band && !plan.loose.empty();
  if (start_from_term) {
    put_term(plan, plan.loose[0], block);
    p.init = block.scores;
    p.init_row = block.row;
    p.init_panel = kPanel;
  }
  if (factor) p.init = kZeros, p.init_panel = 0;
  if (from_band) {
    start_from_band(plan, queries, block, bands);
    p.init = block.scores;
    p.init_row = block.row;
    p.init_panel = kPanel;
  }
  if (is_lone(block.keys)) {
    multiply_lone_column(p, block.keys, lone);
  } else {
    multiply(p);
  }
  if (from_band) hide_padding(block);
  if (factor) apply_factor(plan, columns, block, bands.raw);
  if (tile != nullptr && !start_from_tile)
    for (std::int64_t r = 0; r < block.rows; ++r)
      add_scaled(tile + r * plan.nk_pad, 1.0f, block.keys, block.scores + r * block.row);
  for (std::size_t t = start_from_term ? 1 : 0; t < plan.loose.size(); ++t)
    write_term<true>(plan, plan.loose[t], block);
  add_bands(plan, from_band ? 1 : 0, queries, keys, block, bands);
  if (head.query_region != nullptr) mask_regions(head.query_region, head.key_region, block);
  if (plan.masks_pairs) mask_pairs(a, block);
}

struct ForwardScratch : Scratch {
  float *columns, *lone, *values, *queries, *scores, *sums, *top, *total, *spare;
  BandScratch bands;

  explicit ForwardScratch(const Plan& plan) {
    const AttentionArgs& a = *plan.args;
    reserve(&columns, ceil_div(a.Nk, kPanel) * (a.D + 1) * kPanel);
    reserve(&lone, plan.d_pad);
    reserve(&values, a.Nk * plan.dv_pad);
    reserve(&queries, plan.query_block * plan.d_pad);
    reserve(&scores, plan.query_block * score_row(plan.key_block));
    reserve(&sums, plan.query_block * plan.dv_pad);
    reserve(&top, plan.query_block);
    reserve(&total, plan.query_block);
    reserve(&spare, plan.term_scratch);
    reserve_bands(plan, false, score_row(plan.key_block), *this, bands);
    allocate();
  }
};

/// Row `slot` of what the head after this one touches. Small heads are over before their rows have come from
/// the third cache: asking for them one by one during the softmax of the head before hides that.
HWY_INLINE void prefetch_slot(const AttentionArgs& a, const Head& next, std::int64_t slot) {
  if (const std::int64_t row = slot < a.Nq ? next.q.row(slot) : -1; row >= 0) {
    prefetch_row<false>(next.q, row, a.D);
    prefetch_row<true>(next.out, row, a.Dv);
  }
  if (const std::int64_t row = slot < a.Nk ? next.k.row(slot) : -1; row >= 0) {
    prefetch_row<false>(next.k, row, a.D);
    prefetch_row<false>(next.v, row, a.Dv);
  }
}

HWY_INLINE float row_top(const float* row, std::int64_t end) {
  const Floats d;
  Vec most = hn::Load(d, row);
  for (std::int64_t c = kLanes; c < end; c += kLanes) most = hn::Max(most, hn::Load(d, row + c));
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

/// row becomes exp2(row - top); returns its sum. While all is -inf, subtracting that would make NaN.
HWY_INLINE float exponentiate_row(float* row, std::int64_t end, float top) {
  const Floats d;
  const Vec shift = hn::Set(d, top == -kInfinity ? 0.0f : top);
  Vec total = hn::Zero(d);
  for (std::int64_t c = 0; c < end; c += kLanes) {
    const Vec p = exp2(hn::Sub(hn::Load(d, row + c), shift));
    total = hn::Add(total, p);
    hn::Store(p, d, row + c);
  }
  return hn::GetLane(hn::SumOfLanes(d, total));
}

/// The top of row r has grown: what it has summed so far shrinks.
HWY_INLINE void shrink_row(const Plan& plan, std::int64_t r, float top, const ForwardScratch& s) {
  const Floats d;
  const float shrink = std::exp2(s.top[r] - top);
  float* sums = s.sums + r * plan.dv_pad;
  for (std::int64_t c = 0; c < plan.dv_pad; c += kLanes)
    hn::Store(hn::Mul(hn::Set(d, shrink), hn::Load(d, sums + c)), d, sums + c);
  s.total[r] *= shrink;
  shrink_buckets(plan, r, shrink, s.bands);
}

/// Scores become exp2(score - top); `top` and `total` of each row and, when a row's top has grown, its sums
/// of values move along. A row that has seen nothing keeps top = -inf, total = 0.
inline void softmax_block(const Block& block, bool first, const Plan& plan, const Head* next,
                          const ForwardScratch& s) {
  const std::int64_t end = ceil_div(block.keys, kLanes) * kLanes;
  // Tops of a few rows first: across lanes they take long, and short rows would wait for them one by one.
  constexpr std::int64_t kTogether = 8;
  for (std::int64_t r0 = 0; r0 < block.rows; r0 += kTogether) {
    const std::int64_t r1 = std::min(r0 + kTogether, block.rows);
    std::array<float, kTogether> tops;
    for (std::int64_t r = r0; r < r1; ++r) {
      if (next != nullptr) prefetch_slot(*plan.args, *next, block.i0 + r);
      const float top = row_top(block.scores + r * block.row, end);
      tops[static_cast<std::size_t>(r - r0)] = first ? top : std::max(top, s.top[r]);
    }
    for (std::int64_t r = r0; r < r1; ++r) {
      const float top = tops[static_cast<std::size_t>(r - r0)];
      const float sum = exponentiate_row(block.scores + r * block.row, end, top);
      if (!first && top != s.top[r]) shrink_row(plan, r, top, s);
      s.total[r] = first ? sum : s.total[r] + sum;
      s.top[r] = top;
    }
  }
}

/// sums (rows, Dv) = or += P V over the block's keys.
inline void add_values(const Plan& plan, const Block& block, bool first, const ForwardScratch& s) {
  for (std::int64_t k = 0; k < block.keys; k += kValueKeys) {
    Product p{
        .rows = block.rows, .vectors = plan.dv_pad / kLanes, .depth = std::min(kValueKeys, block.keys - k)};
    p.a = block.scores + k;
    p.a_row = block.row;
    p.a_step = 1;
    p.b = s.values + (block.j0 + k) * plan.dv_pad;
    p.b_step = plan.dv_pad;
    p.b_panel = kPanel;
    p.c = s.sums;
    p.c_row = plan.dv_pad;
    if (!first || k > 0) {
      p.init = s.sums;
      p.init_row = plan.dv_pad;
      p.init_panel = kPanel;
    }
    multiply(p);
  }
}

/// out_i = sums_i / total_i and L_i = ln 2 (top_i + log2 total_i); zeros and +inf where nothing was seen.
inline void store_outputs(const Plan& plan, const Head& head, const Block& block, const ForwardScratch& s) {
  const AttentionArgs& a = *plan.args;
  const Floats d;
  float* lse = a.lse == nullptr ? nullptr : a.lse + ((head.b * a.G + head.g) * a.H + head.h) * a.Nq;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const std::int64_t i = block.i0 + r;
    auto* to = const_cast<float*>(head.out.at(i));
    const bool empty = s.total[r] == 0.0f;
    if (lse != nullptr)
      lse[i] = to == nullptr || empty ? kInfinity : kLn2 * (s.top[r] + std::log2(s.total[r]));
    if (to == nullptr) continue;
    const float* from = s.sums + r * plan.dv_pad;
    const float factor = empty ? 0.0f : 1.0f / s.total[r];
    std::int64_t c = 0;
    for (; c + kLanes <= a.Dv; c += kLanes)
      hn::StoreU(hn::Mul(hn::Set(d, factor), hn::Load(d, from + c)), d, to + c);
    for (; c < a.Dv; ++c) to[c] = factor * from[c];
  }
}

/// Work items [begin, end): (head, query block), a head's one after the other.
inline void forward(const Plan& plan, std::int64_t begin, std::int64_t end) {
  if (begin == end) return;
  const AttentionArgs& a = *plan.args;
  ForwardScratch s(plan);
  Head head, next = head_of(plan, begin / plan.query_blocks);
  bool holes = false;
  for (std::int64_t item = begin; item < end; ++item) {
    const std::int64_t tile = item % plan.query_blocks;
    if (item == begin || tile == 0) {
      head = next;
      if (item - tile + plan.query_blocks < end) next = head_of(plan, item / plan.query_blocks + 1);
      holes = pack_columns(head.k, 0, head.keys, a.D, 1, s.columns);
      if (is_lone(head.keys)) pack_rows(head.k, head.keys - 1, 1, a.D, plan.d_pad, 1.0f, s.lone);
      pack_rows(head.v, 0, head.keys, a.Dv, plan.dv_pad, 1.0f, s.values);
      start_bands(plan, head.h, s.bands);
      pack_band_keys(plan, head.k, 0, head.keys, s.bands);
    }
    const bool prefetch = plan.prefetch && item - tile + plan.query_blocks < end;
    Block block{head.b, head.g, head.h, tile * plan.query_block};
    block.rows = std::min(plan.query_block, a.Nq - block.i0);
    block.scores = s.scores;
    block.row = score_row(plan.key_block);
    block.spare = s.spare;
    pack_rows(head.q, block.i0, block.rows, a.D, plan.d_pad, a.scale * kLog2e, s.queries);
    bool first = true;
    for (std::int64_t j0 = 0; j0 < head.keys; j0 += plan.key_block) {
      KeySpan keys{j0, std::min(j0 + plan.key_block, head.keys)};
      if (plan.masks_pairs) keys = seen_keys(a, block, keys);
      if (keys.begin == keys.end) continue;
      block.j0 = keys.begin;
      block.keys = keys.end - keys.begin;
      block.first = first;
      score_block(plan, head, s.queries, s.columns + block.j0 * (a.D + 1), s.lone, holes, block,
                  band_keys(plan, block.j0, s.bands), s.bands);
      softmax_block(block, first, plan, prefetch && first ? &next : nullptr, s);
      if (a.dropout.p > 0.0f) drop_block(a, block);
      add_values(plan, block, first, s);
      add_value_term(plan, block, first, s.sums, s.bands);
      first = false;
    }
    if (first) {  // nobody sees anything
      std::fill_n(s.sums, block.rows * plan.dv_pad, 0.0f);
      std::fill_n(s.total, block.rows, 0.0f);
    } else {
      add_bucket_vectors(plan, block.rows, s.sums, s.bands);
    }
    store_outputs(plan, head, block, s);
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
