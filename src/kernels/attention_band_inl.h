// Compiled once per instruction set: where forward and backward meet bands, value term and factor.
#if defined(LOCANT_KERNELS_ATTENTION_BAND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_ATTENTION_BAND_INL_H_
#undef LOCANT_KERNELS_ATTENTION_BAND_INL_H_
#else
#define LOCANT_KERNELS_ATTENTION_BAND_INL_H_
#endif

#include "kernels/band_term_inl.h"
#include "kernels/score_terms_inl.h"
#include "kernels/value_term_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// Keys whose products with a key-side band are made at once, in whole register tiles, before they are turned
/// onto the scores.
inline constexpr std::int64_t kTurnedKeys = 96;

/// Working memory of bands, value term and factor; of no size in calls without them.
struct BandScratch {
  float* strip = nullptr;     ///< products of a strip
  float* sheared = nullptr;   ///< a tile's numbers by position of a chunk
  float* turned = nullptr;    ///< rows of keys, columns of queries
  float* key_rows = nullptr;  ///< packed keys, zeros for slots without a row
  float *buckets = nullptr, *spread = nullptr;
  float* bucket_products = nullptr;  ///< backward: dout times each vector
  float* raw = nullptr;              ///< backward: products before the factor
  std::int64_t turned_row = 0, scores_row = 0;
  /// Packed vectors of the head, of each score band and (last) of the value term; `own_` is where they are
  /// packed to when it is not done beforehand.
  std::array<const float*, kMaxTerms + 1> columns = {}, rows = {};
  std::array<float*, kMaxTerms + 1> own_columns = {}, own_rows = {};
};

/// Where the value term stands behind the score bands.
inline constexpr std::size_t kValueBand = kMaxTerms;

/// Calls body(number, table) for the plan's bands and (number kValueBand) its value term.
template <class Body>
HWY_INLINE void for_tables(const BandPlan& bands, const Body& body) {
  for (std::size_t t = 0; t < bands.scores.size(); ++t) body(t, bands.scores[t]);
  if (!bands.value.empty()) body(kValueBand, bands.value[0]);
}

inline void reserve_bands(const Plan& plan, bool backward, std::int64_t scores_row, Scratch& memory,
                          BandScratch& s) {
  const AttentionArgs& a = *plan.args;
  const BandPlan& bands = plan.bands;
  s.scores_row = scores_row;
  if (bands.has_key_side()) {
    s.turned_row = line_up(plan.query_block) + 16;
    memory.reserve(&s.turned,
                   (backward ? std::max(plan.key_block, kTurnedKeys) : kTurnedKeys) * s.turned_row);
    memory.reserve(&s.key_rows, (backward ? plan.key_block : a.Nk) * plan.d_pad);
  }
  if (!bands.scores.empty() || !bands.value.empty()) {
    memory.reserve(&s.strip, 2 * kTileRows * kChunkRow);
    memory.reserve(&s.sheared, std::max(plan.query_block, backward ? plan.key_block : 0) * kChunkRow);
  }
  for (const BandTable& table : bands.value) {
    if (table.index.empty()) continue;
    const std::int64_t rows = backward ? a.Nq : plan.query_block, size = bucket_row(table);
    memory.reserve(&s.buckets, rows * size);
    memory.reserve(&s.spread, 4 * size);
    if (backward) memory.reserve(&s.bucket_products, rows * size);
  }
  for_tables(bands, [&](std::size_t t, const BandTable& table) {
    if (!bands.per_head) return;
    if (table.as_columns) memory.reserve(&s.own_columns[t], table.columns_size() + 16);
    if (table.as_rows) memory.reserve(&s.own_rows[t], table.rows_size());
  });
  if (!bands.factor.empty() && backward) memory.reserve(&s.raw, plan.query_block * scores_row);
}

/// The head's packed vectors.
inline void start_bands(const Plan& plan, std::int64_t h, BandScratch& s) {
  for_tables(plan.bands, [&](std::size_t t, const BandTable& table) HWY_ATTR {
    if (!plan.bands.per_head) {
      s.columns[t] = table.as_columns ? table.columns.get() + table.slot(h) * table.columns_size() : nullptr;
      s.rows[t] = table.as_rows ? table.rows.get() + table.slot(h) * table.rows_size() : nullptr;
      return;
    }
    if (table.heads == 1 && (s.columns[t] != nullptr || s.rows[t] != nullptr))
      return;  // as for the last head
    s.columns[t] = s.own_columns[t];
    s.rows[t] = s.own_rows[t];
    for (std::int64_t panel = 0; panel < table.panels; ++panel)
      pack_panel(table, h, panel, s.own_columns[t], s.own_rows[t]);
  });
}

/// The block as a tile of query rows and key columns.
HWY_INLINE BandTile band_tile(const Plan& plan, const BandCodes& codes, const Block& block) {
  BandTile tile{&codes, block.i0, block.rows, block.j0, block.keys, block.scores, block.row};
  const AttentionMask& mask = plan.args->mask;
  if (mask.causal) tile.furthest = mask.causal_offset;
  if (mask.causal && mask.causal_span > 0) tile.nearest = mask.causal_offset - mask.causal_span + 1;
  return tile;
}

/// Keys [k, k + keys) of the block as rows of the turned tile, its queries as columns.
HWY_INLINE BandTile turned_tile(const Plan& plan, const BandCodes& codes, const Block& block, std::int64_t k,
                                std::int64_t keys, const BandScratch& s) {
  const BandTile upright = band_tile(plan, codes, block);
  return {&codes,       block.j0 + k,      keys,
          block.i0,     block.rows,        s.turned,
          s.turned_row, -upright.furthest, -upright.nearest};
}

/// Packed keys of slots [j0, j0 + keys) for the key-side bands.
inline void pack_band_keys(const Plan& plan, Rows keys, std::int64_t j0, std::int64_t count,
                           const BandScratch& s) {
  if (s.key_rows == nullptr) return;
  keys.pad = nullptr;
  pack_rows(keys, j0, count, plan.args->D, plan.d_pad, 1.0f, s.key_rows);
}

/// Packed keys from row `x` of key_rows on; null without key-side bands.
HWY_INLINE const float* band_keys(const Plan& plan, std::int64_t x, const BandScratch& s) {
  return s.key_rows == nullptr ? nullptr : s.key_rows + x * plan.d_pad;
}

/// True when the products may start from the first band, instead of 0.
HWY_INLINE bool starts_from_band(const Plan& plan, bool holes) {
  const BandPlan& bands = plan.bands;
  return !bands.scores.empty() && bands.scores[0].side == Side::query && !holes && bands.factor.empty();
}

/// scores = the first band, base 2.
inline void start_from_band(const Plan& plan, const float* queries, const Block& block,
                            const BandScratch& s) {
  const BandTable& table = plan.bands.scores[0];
  put_band<false>(table, s.columns[0], band_tile(plan, table.codes, block), queries, s.strip);
}

/// What started from a band says nothing of the columns behind the last key.
HWY_INLINE void hide_padding(const Block& block) {
  const std::int64_t end = ceil_div(block.keys, kLanes) * kLanes;
  for (std::int64_t r = 0; block.keys < end && r < block.rows; ++r)
    std::fill(block.scores + r * block.row + block.keys, block.scores + r * block.row + end, -HUGE_VALF);
}

/// scores += the bands from the `first` on, base 2; `queries` and `keys` are the block's packed rows.
inline void add_bands(const Plan& plan, std::size_t first, const float* queries, const float* keys,
                      const Block& block, const BandScratch& s) {
  for (std::size_t t = first; t < plan.bands.scores.size(); ++t) {
    const BandTable& table = plan.bands.scores[t];
    if (table.side == Side::query) {
      put_band<true>(table, s.columns[t], band_tile(plan, table.codes, block), queries, s.strip);
      continue;
    }
    for (std::int64_t k = 0; k < block.keys; k += kTurnedKeys) {
      const std::int64_t count = std::min(kTurnedKeys, block.keys - k);
      const BandTile tile = turned_tile(plan, table.codes, block, k, count, s);
      put_band<false>(table, s.columns[t], tile, keys + k * table.padded, s.strip);
      transpose<true>(s.turned, s.turned_row, count, block.rows, block.scores + k, block.row);
    }
  }
}

/// The bands' gradients; the block holds dS. dq and dk are the packed rows of the block's queries and keys.
inline void add_band_grads(const BackwardPlan& plan, const BandGrads& grads, const Rows& key_slots,
                           const float* queries, const Block& block, float* dq, float* dk,
                           const BandScratch& s) {
  for (std::size_t t = 0; t < plan.bands.scores.size(); ++t) {
    const BandTable& table = plan.bands.scores[t];
    float* dvectors = grads.scores[t];
    if (dvectors != nullptr) dvectors += grads.slot(table.heads, block.h) * table.packed * table.padded;
    if (table.side == Side::query) {
      sum_band(table, s.rows[t], band_tile(plan, table.codes, block), queries, dq, dvectors, s.sheared);
      continue;
    }
    transpose<false>(block.scores, block.row, block.rows, block.keys, s.turned, s.turned_row);
    for (std::int64_t k = 0; k < block.keys; ++k)
      if (key_slots.row(block.j0 + k) < 0) std::fill_n(s.turned + k * s.turned_row, block.rows, 0.0f);
    const BandTile tile = turned_tile(plan, table.codes, block, 0, block.keys, s);
    sum_band(table, s.rows[t], tile, s.key_rows, dk, dvectors, s.sheared);
  }
}

/// Forward: sums (rows, dv_pad) += P value_term of the block, or its buckets do.
inline void add_value_term(const Plan& plan, const Block& block, bool first, float* sums,
                           const BandScratch& s) {
  for (const BandTable& table : plan.bands.value) {
    const BandTile tile = band_tile(plan, table.codes, block);
    if (table.index.empty()) {
      sum_band(table, s.rows[kValueBand], tile, nullptr, sums, nullptr, s.sheared);
      continue;
    }
    if (first) std::fill_n(s.buckets, block.rows * bucket_row(table), 0.0f);
    add_buckets(table, tile, s.buckets, s.spread);
  }
}

/// Forward: the top of row r has grown, what its buckets hold shrinks.
inline void shrink_buckets(const Plan& plan, std::int64_t r, float shrink, const BandScratch& s) {
  if (s.buckets == nullptr) return;
  const std::int64_t size = bucket_row(plan.bands.value[0]);
  for (std::int64_t x = r * size; x < (r + 1) * size; ++x) s.buckets[x] *= shrink;
}

/// Forward, after the last block of a tile: sums += buckets times vectors.
inline void add_bucket_vectors(const Plan& plan, std::int64_t rows, float* sums, const BandScratch& s) {
  if (s.buckets == nullptr) return;
  const BandTable& table = plan.bands.value[0];
  Product p{.rows = rows, .vectors = table.padded / kLanes, .depth = table.packed};
  p.a = s.buckets;
  p.a_row = bucket_row(table);
  p.a_step = 1;
  p.b = s.rows[kValueBand];
  p.b_step = p.init_row = p.c_row = table.padded;
  p.b_panel = p.init_panel = kPanel;
  p.c = sums;
  p.init = sums;
  multiply(p);
}

/// Backward, at the start of a head: dout times each vector, and no probabilities yet.
inline void start_buckets(const Plan& plan, const float* douts, const BandScratch& s) {
  if (s.buckets == nullptr) return;
  const BandTable& table = plan.bands.value[0];
  const std::int64_t size = bucket_row(table);
  Product p{.rows = plan.args->Nq, .vectors = 0, .depth = table.width};
  p.a = douts;
  p.a_row = table.padded;
  p.a_step = 1;
  p.b_step = kBandPanel;
  p.b_panel = kPanel;
  p.c_row = size;
  for (std::int64_t x = 0; x < table.packed; x += kBandPanel) {
    p.vectors = ceil_div(std::min(kBandPanel, table.packed - x), kLanes);
    p.b = s.columns[kValueBand] + x * table.width;
    p.c = s.bucket_products + x;
    multiply(p);
  }
  for (std::int64_t i = 0; i < p.rows; ++i) s.bucket_products[i * size + table.packed] = 0.0f;
  std::fill_n(s.buckets, p.rows * size, 0.0f);
}

/// Backward: dP += dout . value_term; the block holds dP, `douts` its packed rows.
inline void add_value_products(const Plan& plan, const float* douts, const Block& block,
                               const BandScratch& s) {
  for (const BandTable& table : plan.bands.value) {
    const BandTile tile = band_tile(plan, table.codes, block);
    if (table.index.empty()) {
      put_band<true>(table, s.columns[kValueBand], tile, douts, s.strip);
    } else {
      read_buckets(table, tile, s.bucket_products + block.i0 * bucket_row(table));
    }
  }
}

/// Backward: the gradient of the value term's vectors; the block holds P (what the values were summed with).
inline void add_value_grads(const Plan& plan, const BandGrads& grads, const float* douts, const Block& block,
                            const BandScratch& s) {
  if (grads.value == nullptr) return;
  const BandTable& table = plan.bands.value[0];
  const BandTile tile = band_tile(plan, table.codes, block);
  if (table.index.empty()) {
    float* dvectors = grads.value + grads.slot(table.heads, block.h) * table.packed * table.padded;
    sum_band(table, nullptr, tile, douts, nullptr, dvectors, s.sheared);
  } else {
    add_buckets(table, tile, s.buckets + block.i0 * bucket_row(table), s.spread);
  }
}

/// Backward, when the chunk is done with a head: dvectors += buckets^T dout.
inline void finish_buckets(const Plan& plan, const BandGrads& grads, std::int64_t h, const float* douts,
                           const BandScratch& s) {
  if (s.buckets == nullptr || grads.value == nullptr) return;
  const BandTable& table = plan.bands.value[0];
  Product p{.rows = table.packed, .vectors = table.padded / kLanes, .depth = plan.args->Nq};
  p.a = s.buckets;
  p.a_row = 1;
  p.a_step = bucket_row(table);
  p.b = douts;
  p.b_step = p.init_row = p.c_row = table.padded;
  p.b_panel = p.init_panel = kPanel;
  p.c = grads.value + grads.slot(table.heads, h) * table.packed * table.padded;
  p.init = p.c;
  multiply(p);
}

/// The products of the block times the factor, then the first row of the key panels: 0, -inf where nobody
/// sees.
inline void apply_factor(const Plan& plan, const float* columns, const Block& block, float* raw) {
  const Floats d;
  const FactorTable& table = plan.bands.factor[0];
  multiply_factor(table, block.h, band_tile(plan, table.codes, block), raw);
  const std::int64_t panel = (plan.args->D + 1) * kPanel;
  for (std::int64_t r = 0; r < block.rows; ++r)
    for (std::int64_t c = 0; c < block.keys; c += kLanes) {
      float* to = block.scores + r * block.row + c;
      hn::Store(hn::Add(hn::Load(d, to), hn::Load(d, columns + c / kPanel * panel + c % kPanel)), d, to);
    }
}

/// What the gradients of the products are made of, in place of the block's dS: factor dS.
inline Block factor_scores(const Plan& plan, const BandGrads& grads, const Block& block,
                           const BandScratch& s) {
  if (plan.bands.factor.empty()) return block;
  const FactorTable& table = plan.bands.factor[0];
  float* dfactor = grads.factor + grads.slot(table.heads, block.h) * table.padded;
  factor_grads(table, block.h, band_tile(plan, table.codes, block), s.raw, dfactor);
  Block products = block;
  products.scores = s.raw;
  return products;
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
