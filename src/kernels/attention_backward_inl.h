// Compiled once per instruction set: the backward of fused attention over a share of the work.
#if defined(LOCANT_KERNELS_ATTENTION_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_ATTENTION_BACKWARD_INL_H_
#undef LOCANT_KERNELS_ATTENTION_BACKWARD_INL_H_
#else
#define LOCANT_KERNELS_ATTENTION_BACKWARD_INL_H_
#endif

#include "kernels/attention_forward_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// A head and where its gradients are.
struct GradHead : Head {
  Rows dout, dq, dk, dv;
  int part = -1;  ///< which of the chunk's two shared heads it is
};

inline GradHead grad_head_of(const BackwardPlan& plan, std::int64_t unit) {
  const AttentionArgs& a = *plan.args;
  GradHead head{head_of(plan, unit), {}, {}, {}, {}, -1};
  head.dout = rows_of(plan.grads->dout, head, a.query_rows, a.Nq);
  head.dq = rows_of(plan.grads->dq, head, a.query_rows, a.Nq);
  head.dk = rows_of(plan.grads->dk, head, a.key_rows, a.Nk);
  head.dv = rows_of(plan.grads->dv, head, a.key_rows, a.Nk);
  return head;
}

struct BackwardScratch : Scratch {
  float *queries, *douts, *lse, *delta, *dq;                         // of the head
  float *key_columns, *value_columns, *lone_value, *keys, *dk, *dv;  // of the key block
  float *probabilities, *dscores, *spare;                            // of the tile
  BandScratch bands;

  explicit BackwardScratch(const Plan& plan) {
    const AttentionArgs& a = *plan.args;
    reserve(&queries, a.Nq * plan.d_pad);
    reserve(&douts, a.Nq * plan.dv_pad);
    reserve(&lse, a.Nq);
    reserve(&delta, a.Nq);
    reserve(&dq, a.Nq * plan.d_pad);
    reserve(&key_columns, plan.key_block * (a.D + 1));
    reserve(&value_columns, plan.key_block * a.Dv);
    reserve(&lone_value, plan.dv_pad);
    reserve(&keys, plan.key_block * plan.d_pad);
    reserve(&dk, plan.key_block * plan.d_pad);
    reserve(&dv, plan.key_block * plan.dv_pad);
    reserve(&probabilities, plan.query_block * score_row(plan.key_block));
    reserve(&dscores, (plan.query_block + 3) * score_row(plan.key_block));  // turned in fours of rows
    reserve(&spare, plan.term_scratch);
    reserve_bands(plan, true, score_row(plan.key_block), *this, bands);
    allocate();
  }
};

/// Query-side rows of a head, and Delta_i = g_i . out_i.
inline void pack_query_side(const BackwardPlan& plan, const GradHead& head, const BackwardScratch& s) {
  const AttentionArgs& a = *plan.args;
  pack_rows(head.q, 0, a.Nq, a.D, plan.d_pad, a.scale * kLog2e, s.queries);
  pack_rows(head.dout, 0, a.Nq, a.Dv, plan.dv_pad, 1.0f, s.douts);
  const float* lse = a.lse + ((head.b * a.G + head.g) * a.H + head.h) * a.Nq;
  const Floats d;
  for (std::int64_t i = 0; i < a.Nq; ++i) {
    s.lse[i] = kLog2e * lse[i];
    const float* out_i = head.out.at(i);
    s.delta[i] = 0.0f;
    if (out_i == nullptr) continue;
    const float* dout_i = s.douts + i * plan.dv_pad;
    Vec sum = hn::Zero(d);
    std::int64_t c = 0;
    for (; c + kLanes <= a.Dv; c += kLanes)
      sum = hn::MulAdd(hn::Load(d, dout_i + c), hn::LoadU(d, out_i + c), sum);
    float delta = hn::GetLane(hn::SumOfLanes(d, sum));
    for (; c < a.Dv; ++c) delta += dout_i[c] * out_i[c];
    s.delta[i] = delta;
  }
}

/// As in the forward.
HWY_INLINE void prefetch_slot(const AttentionArgs& a, const GradHead& next, std::int64_t slot) {
  if (const std::int64_t row = slot < a.Nq ? next.q.row(slot) : -1; row >= 0) {
    prefetch_row<false>(next.q, row, a.D);
    prefetch_row<false>(next.out, row, a.Dv);
    prefetch_row<false>(next.dout, row, a.Dv);
    prefetch_row<true>(next.dq, row, a.D);
  }
  if (const std::int64_t row = slot < a.Nk ? next.k.row(slot) : -1; row >= 0) {
    prefetch_row<false>(next.k, row, a.D);
    prefetch_row<false>(next.v, row, a.Dv);
    prefetch_row<true>(next.dk, row, a.D);
    prefetch_row<true>(next.dv, row, a.Dv);
  }
}

/// P = exp2(score - L) in place of the scores, dS = P (dP - Delta) in place of dP; dS is added to `dtile`
/// when there is one.
inline void score_grads(const BackwardPlan& plan, const Block& p, const Block& dp, const GradHead* next,
                        float* dtile, const BackwardScratch& s) {
  const Floats d;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    if (next != nullptr) prefetch_slot(*plan.args, *next, p.i0 + r);
    float* scores = p.scores + r * p.row;
    float* dscores = dp.scores + r * dp.row;
    const Vec lse = hn::Set(d, s.lse[p.i0 + r]);
    const Vec delta = hn::Set(d, s.delta[p.i0 + r]);
    float* sum = dtile == nullptr ? nullptr : dtile + (p.i0 + r) * plan.nk_pad + p.j0;
    for (std::int64_t c = 0; c < p.keys; c += kLanes) {
      const Vec probability = exp2(hn::Sub(hn::Load(d, scores + c), lse));
      const Vec ds = hn::Mul(probability, hn::Sub(hn::Load(d, dscores + c), delta));
      hn::Store(probability, d, scores + c);
      hn::Store(ds, d, dscores + c);
      if (sum != nullptr) hn::Store(hn::Add(hn::Load(d, sum + c), ds), d, sum + c);
    }
  }
}

/// c (block.keys, width) = or += scores^T rows, `rows` (block.rows, width).
inline void add_transposed(const Block& block, const float* rows, std::int64_t width, bool first, float* c) {
  Product p{.rows = block.keys, .vectors = width / kLanes, .depth = block.rows};
  p.a = block.scores;
  p.a_row = 1;
  p.a_step = block.row;
  p.b = rows;
  p.b_step = width;
  p.b_panel = kPanel;
  p.c = c;
  p.c_row = width;
  if (!first) {
    p.init = c;
    p.init_row = width;
    p.init_panel = kPanel;
  }
  multiply(p);
}

/// One tile: adds to dv, dk of the key block, to dq of the head, and to the terms' gradients.
inline void backward_tile(const BackwardPlan& plan, const GradHead& head, const GradHead* next,
                          const ChunkGrads& grads, bool holes, const BackwardScratch& s, float* dq,
                          bool first_dq, bool first, const Block& block) {
  const AttentionArgs& a = *plan.args;
  const float* queries = s.queries + block.i0 * plan.d_pad;
  const float* douts = s.douts + block.i0 * plan.dv_pad;
  score_block(plan, head, queries, s.key_columns, s.keys + (block.keys - 1) * plan.d_pad, holes, block,
              s.bands.key_rows, s.bands);
  Block dblock = block;
  dblock.scores = s.dscores;
  Product dp{.rows = block.rows, .vectors = ceil_div(block.keys, kLanes), .depth = a.Dv};
  dp.a = douts;
  dp.a_row = plan.dv_pad;
  dp.a_step = 1;
  dp.b = s.value_columns;
  dp.b_step = kPanel;
  dp.b_panel = a.Dv * kPanel;
  dp.c = dblock.scores;
  dp.c_row = dblock.row;
  if (is_lone(block.keys)) {
    multiply_lone_column(dp, block.keys, s.lone_value);
  } else {
    multiply(dp);
  }
  add_value_products(plan, douts, dblock, s.bands);
  // dS = P (K dP - Delta) from the whole P; dv from K P.
  if (a.dropout.p > 0.0f) drop_block(a, dblock);
  float* dtile = grads.dtile == nullptr ? nullptr : grads.dtile + head.h * a.Nq * plan.nk_pad;
  score_grads(plan, block, dblock, next, dtile, s);
  if (a.dropout.p > 0.0f) drop_block(a, block);
  add_transposed(block, douts, plan.dv_pad, first, s.dv);
  add_value_grads(plan, grads.bands, douts, block, s.bands);
  for (std::size_t t = 0; t < plan.loose.size(); ++t) add_term_grad(plan, grads, t, dblock);
  const Block products = factor_scores(plan, grads.bands, dblock, s.bands);
  add_transposed(products, queries, plan.d_pad, first, s.dk);

  Product q{.rows = block.rows, .vectors = plan.d_pad / kLanes, .depth = block.keys};
  q.a = products.scores;
  q.a_row = dblock.row;
  q.a_step = 1;
  q.b = s.keys;
  q.b_step = plan.d_pad;
  q.b_panel = kPanel;
  q.c = dq + block.i0 * plan.d_pad;
  q.c_row = plan.d_pad;
  if (!first_dq) {
    q.init = q.c;
    q.init_row = plan.d_pad;
    q.init_panel = kPanel;
  }
  multiply(q);
  add_band_grads(plan, grads.bands, head.k, queries, dblock, q.c, s.dk, s.bands);
}

/// Writes (or adds) `count` packed rows from slot `slot` on, times `factor`; slots without a row go to `pad`.
inline void unpack_rows(const Rows& rows, std::int64_t slot, std::int64_t count, std::int64_t width,
                        std::int64_t padded, float factor, bool add, const float* from, float* pad) {
  const Floats d;
  const Vec scale = hn::Set(d, factor);
  for (std::int64_t x = 0; x < count; ++x, from += padded) {
    auto* to = const_cast<float*>(rows.at(slot + x));
    const bool onto = add || to == nullptr;
    if (to == nullptr) to = pad;
    if (to == nullptr) continue;
    if (onto) {
      add_scaled(from, factor, width, to);
      continue;
    }
    std::int64_t c = 0;
    for (; c + kLanes <= width; c += kLanes) hn::StoreU(hn::Mul(scale, hn::Load(d, from + c)), d, to + c);
    for (; c < width; ++c) to[c] = factor * from[c];
  }
}

inline void clear_rows(const Rows& rows, std::int64_t slot, std::int64_t count, std::int64_t width) {
  for (std::int64_t x = slot; x < slot + count; ++x)
    if (auto* to = const_cast<float*>(rows.at(x))) std::fill_n(to, width, 0.0f);
}

/// One key block of a head against all its queries. dq (Nq, d_pad) is started or added to.
inline void backward_block(const BackwardPlan& plan, const GradHead& head, const GradHead* next,
                           const ChunkGrads& grads, const BackwardScratch& s, std::int64_t j0, float* dq,
                           bool first_dq) {
  const AttentionArgs& a = *plan.args;
  const std::int64_t slots = std::min(plan.key_block, a.Nk - j0);
  const std::int64_t keys = a.Nq == 0 ? 0 : std::clamp<std::int64_t>(head.keys - j0, 0, slots);
  if (keys == 0 && first_dq) std::fill_n(dq, a.Nq * plan.d_pad, 0.0f);
  if (keys > 0) {
    const bool holes = pack_columns(head.k, j0, keys, a.D, 1, s.key_columns);
    pack_columns(head.v, j0, keys, a.Dv, 0, s.value_columns);
    if (is_lone(keys)) pack_rows(head.v, j0 + keys - 1, 1, a.Dv, plan.dv_pad, 1.0f, s.lone_value);
    pack_rows(head.k, j0, keys, a.D, plan.d_pad, 1.0f, s.keys);
    pack_band_keys(plan, head.k, j0, keys, s.bands);
    Block block{head.b, head.g, head.h, 0, 0, j0, keys, s.probabilities, score_row(plan.key_block)};
    bool first = true;
    block.spare = s.spare;
    block.part = head.part;
    for (; block.i0 < a.Nq; block.i0 += plan.query_block) {
      block.rows = std::min(plan.query_block, a.Nq - block.i0);
      if (plan.masks_pairs) {
        const KeySpan seen = seen_keys(a, block, {j0, j0 + keys});
        if (seen.begin == seen.end) {
          if (first_dq) std::fill_n(dq + block.i0 * plan.d_pad, block.rows * plan.d_pad, 0.0f);
          continue;
        }
      }
      backward_tile(plan, head, next, grads, holes, s, dq, first_dq, first, block);
      first = false;
    }
    if (first) {  // nobody sees the block
      std::fill_n(s.dk, keys * plan.d_pad, 0.0f);
      std::fill_n(s.dv, keys * plan.dv_pad, 0.0f);
    }
    // The packed queries hold scale * log2 e: with ln 2 that is dk = scale sum dS q.
    float* key_pad = grads.dkey_pad == nullptr ? nullptr : grads.dkey_pad + head.h * a.D;
    float* value_pad = grads.dvalue_pad == nullptr ? nullptr : grads.dvalue_pad + head.h * a.Dv;
    unpack_rows(head.dk, j0, keys, a.D, plan.d_pad, kLn2, plan.shared_keys, s.dk, key_pad);
    unpack_rows(head.dv, j0, keys, a.Dv, plan.dv_pad, 1.0f, plan.shared_keys, s.dv, value_pad);
  }
  if (plan.shared_keys) return;  // cleared before the first group
  clear_rows(head.dk, j0 + keys, slots - keys, a.D);
  clear_rows(head.dv, j0 + keys, slots - keys, a.Dv);
}

/// Shared key rows are added to by every group: they start from zero.
inline void clear_shared_keys(const BackwardPlan& plan, GradHead head) {
  const AttentionArgs& a = *plan.args;
  for (head.g = 0; head.g < a.G; ++head.g) {
    clear_rows(rows_of(plan.grads->dk, head, a.key_rows, a.Nk), 0, a.Nk, a.D);
    clear_rows(rows_of(plan.grads->dv, head, a.key_rows, a.Nk), 0, a.Nk, a.Dv);
  }
}

/// Which of the chunk's parts head `number` of its order sums to when the chunk does not work on all of it;
/// else -1.
inline int shared_part(const ChunkGrads& grads, std::int64_t number) {
  for (int part = 0; part < 2; ++part) {
    const auto slot = static_cast<std::size_t>(part);
    if (grads.dq_unit[slot] == number && grads.dq[slot] != nullptr) return part;
  }
  return -1;
}

/// The chunk's work items: (head, key block), a head's one after the other.
inline void backward(const BackwardPlan& plan, std::int64_t chunk) {
  const AttentionArgs& a = *plan.args;
  const ChunkGrads& grads = plan.chunk_grads[static_cast<std::size_t>(chunk)];
  const std::int64_t begin = plan.chunk_begin(chunk), end = plan.chunk_begin(chunk + 1);
  if (begin == end) return;
  BackwardScratch s(plan);
  GradHead head, next = grad_head_of(plan, plan.unit_of(begin));
  float* shared = nullptr;
  for (std::int64_t item = begin; item < end; ++item) {
    const std::int64_t block = item % plan.key_blocks;
    const std::int64_t following = item - block + plan.key_blocks;
    const bool starts = item == begin || block == 0;
    if (starts) {
      head = next;
      if (following < end) next = grad_head_of(plan, plan.unit_of(following));
      head.part = shared_part(grads, item / plan.key_blocks);
      shared = head.part < 0 ? nullptr : grads.dq[static_cast<std::size_t>(head.part)];
      pack_query_side(plan, head, s);
      start_bands(plan, head.h, s.bands);
      start_buckets(plan, s.douts, s.bands);
      if (plan.shared_keys && head.g == 0) clear_shared_keys(plan, head);
    }
    float* dq = shared != nullptr ? shared : s.dq;
    backward_block(plan, head, plan.prefetch && item + 1 == following && following < end ? &next : nullptr,
                   grads, s, block * plan.key_block, dq, starts);
    if (item + 1 == following || item + 1 == end) finish_buckets(plan, grads.bands, head.h, s.douts, s.bands);
    if (shared == nullptr && item + 1 == following)
      unpack_rows(head.dq, 0, a.Nq, a.D, plan.d_pad, a.scale, false, dq, nullptr);
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
