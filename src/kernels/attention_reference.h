#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <variant>
#include <vector>

#include "kernels/attention.h"
#include "kernels/attention_check.h"
#include "kernels/attention_dropout.h"

namespace locant {

/// The numbers of an attention call in another type T (double: the tests' oracle; complex: exact
/// derivatives). Places, maps and masks stay those of AttentionArgs, whose own float pointers are then not
/// read.
template <class T>
struct AttentionNumbers {
  const T *q = nullptr, *k = nullptr, *v = nullptr;            ///< strides of args.q, args.k, args.v
  T *out = nullptr, *lse = nullptr;                            ///< strides of args.out; (B, G, H, Nq)
  const T *key_pad = nullptr, *value_pad = nullptr;            ///< (H, D), (H, Dv)
  std::array<std::array<const T*, 3>, kMaxTerms> tables = {};  ///< per term; an axis term has up to three
  std::array<const T*, kMaxTerms> head_scales = {};            ///< (H) per term; null: 1
  const T *factor = nullptr, *value_vectors = nullptr;
};
template <class T>
struct AttentionGradNumbers {
  const T* dout = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr, *dkey_pad = nullptr, *dvalue_pad = nullptr;
  std::array<std::array<T*, 3>, kMaxTerms> dtables = {};  ///< null: not wanted
  std::array<T*, kMaxTerms> dhead_scales = {};
  T *dfactor = nullptr, *dvalue_vectors = nullptr;
};

namespace reference {

template <class T>
double real_part(const T& x) {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<double>(x);
  } else {
    return static_cast<double>(x.real());
  }
}

/// Slot -> row: the map of group g, or the identity. Negative: a padding slot.
inline std::int64_t slot_row(const std::int32_t* rows, std::int64_t g, std::int64_t slots,
                             std::int64_t slot) {
  return rows != nullptr ? rows[g * slots + slot] : g * slots + slot;
}

template <class View>
std::int64_t place(const View& view, std::int64_t b, std::int64_t row, std::int64_t h) {
  return b * view.batch_stride + row * view.row_stride + h * view.head_stride;
}

inline bool in_box(const AttentionMask& m, const std::int32_t* box, std::int64_t j) {
  if (j < m.box_first_key) return true;
  const std::int64_t y = (j - m.box_first_key) / m.box_columns, x = (j - m.box_first_key) % m.box_columns;
  return y >= box[0] && y < box[1] && x >= box[2] && x < box[3];
}

inline bool visible(const AttentionArgs& a, std::int64_t b, std::int64_t g, std::int64_t h, std::int64_t i,
                    std::int64_t j) {
  const AttentionMask& m = a.mask;
  if (m.key_lengths != nullptr && j >= m.key_lengths[b]) return false;
  if (m.query_region != nullptr && m.query_region[g * a.Nq + i] != m.key_region[g * a.Nk + j]) return false;
  if (m.causal && j > i + m.causal_offset) return false;
  if (m.causal && m.causal_span > 0 && j <= i + m.causal_offset - m.causal_span) return false;
  if (m.query_box != nullptr && !in_box(m, m.query_box + (g * a.Nq + i) * 4, j)) return false;
  if (m.dense != nullptr && m.dense[b * m.dense_batch_stride + g * m.dense_group_stride +
                                    h * m.dense_head_stride + i * m.dense_row_stride + j] == 0)
    return false;
  return slot_row(a.key_rows, g, a.Nk, j) >= 0 || a.key_pad != nullptr;
}

/// Row of the table that slots i and j read; negative: none.
inline std::int64_t index_of(const OffsetView& m, std::int64_t i, std::int64_t j) {
  const std::int64_t offset = std::int64_t{m.query_code[i]} - m.key_code[j] + m.origin;
  return m.map != nullptr ? m.map[offset] : offset;
}

/// A pair of slots of one head, and the token rows they stand for (negative: a padding slot).
struct Pair {
  std::int64_t b, g, h, i, j, query_row, key_row;
};

/// Calls read(which table, place in it) for each number of a term that is no band.
template <class Read>
void for_places(const ScoreTerm& term, const Pair& p, const Read& read) {
  if (const auto* gather = std::get_if<GatherTerm>(&term.term)) {
    const std::int64_t index = index_of(gather->offset, p.i, p.j);
    if (index >= 0) read(0, index * gather->row_stride + p.h * gather->head_stride);
  } else if (const auto* bucket = std::get_if<BucketTerm>(&term.term)) {
    const std::int64_t index = index_of(bucket->offset, p.i, p.j);
    const std::int64_t row = bucket->side == Side::query ? p.query_row : p.key_row;
    if (index >= 0 && row >= 0)
      read(0, p.b * bucket->batch_stride + row * bucket->row_stride + p.h * bucket->head_stride + index);
  } else if (const auto* axis = std::get_if<AxisTerm>(&term.term)) {
    std::int64_t at = p.j - axis->first_key;
    if (at < 0) return;
    for (std::size_t x = 3; x-- > 0; at /= axis->extents[x])
      if (axis->tables[x] != nullptr)
        read(x, p.b * axis->batch_stride[x] + p.query_row * axis->row_stride[x] + p.h * axis->head_stride[x] +
                    at % axis->extents[x]);
  } else if (const auto* dense = std::get_if<DenseTerm>(&term.term)) {
    read(0, p.b * dense->batch_stride + p.g * dense->group_stride + p.h * dense->head_stride +
                p.i * dense->row_stride + p.j);
  }
}

/// One query row: its scores over every key slot, and who is visible.
template <class T>
struct Row {
  const AttentionArgs& a;
  const AttentionNumbers<T>& x;
  std::int64_t b, g, h;
  std::vector<T> scores = std::vector<T>(static_cast<std::size_t>(a.Nk));
  std::vector<char> seen = std::vector<char>(static_cast<std::size_t>(a.Nk));

  const T* query(std::int64_t row) const { return x.q + place(a.q, b, row, h); }
  const T* key(std::int64_t j) const {
    const std::int64_t row = slot_row(a.key_rows, g, a.Nk, j);
    return row < 0 ? x.key_pad + h * a.D : x.k + place(a.k, b, row, h);
  }
  const T* value(std::int64_t j) const {
    const std::int64_t row = slot_row(a.key_rows, g, a.Nk, j);
    return row < 0 ? x.value_pad + h * a.Dv : x.v + place(a.v, b, row, h);
  }
  Pair pair(std::int64_t i, std::int64_t row, std::int64_t j) const {
    return {b, g, h, i, j, row, slot_row(a.key_rows, g, a.Nk, j)};
  }
  T dot(std::int64_t row, std::int64_t j) const {
    T sum{};
    for (std::int64_t d = 0; d < a.D; ++d) sum += query(row)[d] * key(j)[d];
    return sum;
  }

  /// What multiplies scale q.k: place in the factor's table, or -1 for 1.
  std::int64_t factor_place(std::int64_t i, std::int64_t j) const {
    if (a.factor == nullptr) return -1;
    const std::int64_t index = index_of(a.factor->offset, i, j);
    return index < 0 ? -1 : index * a.factor->row_stride + h * a.factor->head_stride;
  }
  T factor(std::int64_t i, std::int64_t j) const {
    const std::int64_t at = factor_place(i, j);
    return at < 0 ? T(1) : x.factor[at];
  }

  /// Place of the vector that a band reads for a pair, or -1.
  std::int64_t band_place(const BandTerm& band, const Pair& p) const {
    const std::int64_t index = index_of(band.offset, p.i, p.j);
    if (index < 0 || (band.side == Side::key && p.key_row < 0)) return -1;
    return index * band.row_stride + h * band.head_stride;
  }
  /// Place of the vector that is added to value j for query i, or -1.
  std::int64_t value_place(std::int64_t i, std::int64_t j) const {
    if (a.value_term == nullptr) return -1;
    const std::int64_t index = index_of(a.value_term->offset, i, j);
    return index < 0 ? -1 : index * a.value_term->row_stride + h * a.value_term->head_stride;
  }
  /// v_j + value_term(i, j), element d.
  T shifted_value(std::int64_t i, std::int64_t j, std::int64_t d) const {
    const std::int64_t at = value_place(i, j);
    return at < 0 ? value(j)[d] : value(j)[d] + x.value_vectors[at + d];
  }
  /// 0, or 1 / (1 - p).
  double keep(std::int64_t i, std::int64_t j) const {
    if (a.dropout.p == 0.0f) return 1.0;
    const std::uint32_t draw = dropout_draw(dropout_row_key(a.dropout.seed, (b * a.G + g) * a.H + h, i), j);
    return draw >= dropout_threshold(a.dropout.p) ? 1.0 / (1.0 - static_cast<double>(a.dropout.p)) : 0.0;
  }

  /// A term without its head scale.
  T term(std::size_t t, const Pair& p) const {
    T sum{};
    if (const auto* band = std::get_if<BandTerm>(&a.terms[t].term)) {
      const std::int64_t at = band_place(*band, p);
      const T* meets = band->side == Side::query ? query(p.query_row) : key(p.j);
      for (std::int64_t d = 0; at >= 0 && d < a.D; ++d) sum += T(a.scale) * meets[d] * x.tables[t][0][at + d];
      return sum;
    }
    for_places(a.terms[t], p, [&](std::size_t which, std::int64_t at) { sum += x.tables[t][which][at]; });
    return sum;
  }
  T head_scale(std::size_t t) const { return x.head_scales[t] != nullptr ? x.head_scales[t][h] : T(1); }

  /// s_ij = scale factor q_i.k_j + sum over terms of head_scale term(i, j), for the visible j.
  void score(std::int64_t i, std::int64_t row) {
    for (std::int64_t j = 0; j < a.Nk; ++j) {
      if (!(seen[static_cast<std::size_t>(j)] = visible(a, b, g, h, i, j))) continue;
      T s = T(a.scale) * factor(i, j) * dot(row, j);
      for (std::size_t t = 0; t < a.terms.size(); ++t) s += head_scale(t) * term(t, pair(i, row, j));
      scores[static_cast<std::size_t>(j)] = s;
    }
  }
};

}  // namespace reference

/// The whole truth in plain lines, for heads [begin, end) of the B*G*H, counted with h innermost:
/// out_i = sum_j K_ij P_ij (v_j + value_term(i, j)), P_ij = exp(s_ij - L_i), L_i = log sum_j exp(s_ij) over
/// the visible j. Sum: what a row is summed up in.
template <class T, class Sum = T>
void attention_forward_reference(const AttentionArgs& a, const AttentionNumbers<T>& x, std::int64_t begin,
                                 std::int64_t end) {
  for (std::int64_t unit = begin; unit < end; ++unit) {
    reference::Row<T> row{a, x, unit / (a.G * a.H), unit / a.H % a.G, unit % a.H};
    for (std::int64_t i = 0; i < a.Nq; ++i) {
      if (x.lse != nullptr) x.lse[unit * a.Nq + i] = T(std::numeric_limits<double>::infinity());
      const std::int64_t at = reference::slot_row(a.query_rows, row.g, a.Nq, i);
      if (at < 0) continue;
      row.score(i, at);
      T* out = x.out + reference::place(a.out, row.b, at, row.h);
      std::fill_n(out, a.Dv, T{});
      double most = -std::numeric_limits<double>::infinity();
      for (std::size_t j = 0; j < row.seen.size(); ++j)
        if (row.seen[j]) most = std::max(most, reference::real_part(row.scores[j]));
      if (most == -std::numeric_limits<double>::infinity()) continue;  // sees nothing: zeros, L = +inf
      Sum sum{};
      std::vector<Sum> sums(static_cast<std::size_t>(a.Dv));
      for (std::size_t j = 0; j < row.seen.size(); ++j) {
        if (!row.seen[j]) continue;
        const T p = std::exp(row.scores[j] - T(most));
        const auto key = static_cast<std::int64_t>(j);
        const T kept = T(row.keep(i, key)) * p;
        for (std::int64_t d = 0; d < a.Dv; ++d)
          sums[static_cast<std::size_t>(d)] += kept * row.shifted_value(i, key, d);
        sum += p;
      }
      for (std::int64_t d = 0; d < a.Dv; ++d) out[d] = T(sums[static_cast<std::size_t>(d)] / sum);
      if (x.lse != nullptr) x.lse[unit * a.Nq + i] = T(Sum(most) + std::log(sum));
    }
  }
}

namespace reference {

/// Gradients of the terms of one pair, `ds` the gradient of its score; dq and dk of the pair where bands meet
/// them.
template <class T>
void backward_terms(const AttentionArgs& a, const AttentionNumbers<T>& x, const AttentionGradNumbers<T>& dx,
                    const Row<T>& row, const Pair& p, const T& ds, T* dq, T* dk) {
  for (std::size_t t = 0; t < a.terms.size(); ++t) {
    if (dx.dhead_scales[t] != nullptr) dx.dhead_scales[t][p.h] += ds * row.term(t, p);
    const T scaled = row.head_scale(t) * ds;
    if (const auto* band = std::get_if<BandTerm>(&a.terms[t].term)) {
      const std::int64_t at = row.band_place(*band, p);
      if (at < 0) continue;
      const bool query = band->side == Side::query;
      const T* meets = query ? row.query(p.query_row) : row.key(p.j);
      T* dmeets = query ? dq : dk;
      for (std::int64_t d = 0; d < a.D; ++d) {
        dmeets[d] += T(a.scale) * scaled * x.tables[t][0][at + d];
        if (dx.dtables[t][0] != nullptr) dx.dtables[t][0][at + d] += T(a.scale) * scaled * meets[d];
      }
      continue;
    }
    for_places(a.terms[t], p, [&](std::size_t which, std::int64_t at) {
      if (dx.dtables[t][which] != nullptr) dx.dtables[t][which][at] += scaled;
    });
  }
}

/// Gradients of one query row, added to; `dk_j`, `dv_j` of slot j wherever they belong.
template <class T>
void backward_row(const AttentionGradArgs& args, const AttentionNumbers<T>& x,
                  const AttentionGradNumbers<T>& dx, Row<T>& row, std::int64_t i, std::int64_t at,
                  const T& lse) {
  const AttentionArgs& a = args.forward;
  row.score(i, at);
  const T* g_i = dx.dout + place(args.dout, row.b, at, row.h);
  const T* out = x.out + place(a.out, row.b, at, row.h);
  T* dq = dx.dq + place(args.dq, row.b, at, row.h);
  T delta{};
  for (std::int64_t d = 0; d < a.Dv; ++d) delta += g_i[d] * out[d];
  for (std::int64_t j = 0; j < a.Nk; ++j) {
    if (!row.seen[static_cast<std::size_t>(j)]) continue;
    const Pair pair = row.pair(i, at, j);
    T* dk = dx.dkey_pad == nullptr ? nullptr : dx.dkey_pad + row.h * a.D;
    T* dv = dx.dvalue_pad == nullptr ? nullptr : dx.dvalue_pad + row.h * a.Dv;
    if (pair.key_row >= 0) {
      dk = dx.dk + place(args.dk, row.b, pair.key_row, row.h);
      dv = dx.dv + place(args.dv, row.b, pair.key_row, row.h);
    }
    const T p = std::exp(row.scores[static_cast<std::size_t>(j)] - lse);
    const T keep = T(row.keep(i, j));
    const std::int64_t value_at = row.value_place(i, j);
    T dp{};
    for (std::int64_t d = 0; d < a.Dv; ++d) dp += g_i[d] * row.shifted_value(i, j, d);
    for (std::int64_t d = 0; d < a.Dv; ++d) {
      if (dv != nullptr) dv[d] += keep * p * g_i[d];
      if (value_at >= 0 && dx.dvalue_vectors != nullptr) dx.dvalue_vectors[value_at + d] += keep * p * g_i[d];
    }
    const T ds = p * (keep * dp - delta);
    const T scaled = T(a.scale) * row.factor(i, j) * ds;
    for (std::int64_t d = 0; d < a.D; ++d) dq[d] += scaled * row.key(j)[d];
    for (std::int64_t d = 0; dk != nullptr && d < a.D; ++d) dk[d] += scaled * row.query(at)[d];
    if (const std::int64_t f = row.factor_place(i, j); f >= 0 && dx.dfactor != nullptr)
      dx.dfactor[f] += T(a.scale) * row.dot(at, j) * ds;
    backward_terms(a, x, dx, row, pair, ds, dq, dk);
  }
}

/// Zeros on every row of dq, dk, dv that the maps reach.
template <class T>
void clear_rows(const AttentionGradArgs& args, const AttentionGradNumbers<T>& dx) {
  const AttentionArgs& a = args.forward;
  for (std::int64_t unit = 0; unit < a.B * a.G * a.H; ++unit) {
    const std::int64_t b = unit / (a.G * a.H), g = unit / a.H % a.G, h = unit % a.H;
    for (std::int64_t i = 0; i < a.Nq; ++i)
      if (const std::int64_t row = slot_row(a.query_rows, g, a.Nq, i); row >= 0)
        std::fill_n(dx.dq + place(args.dq, b, row, h), a.D, T{});
    for (std::int64_t j = 0; j < a.Nk; ++j) {
      const std::int64_t row = slot_row(a.key_rows, g, a.Nk, j);
      if (row < 0) continue;
      std::fill_n(dx.dk + place(args.dk, b, row, h), a.D, T{});
      std::fill_n(dx.dv + place(args.dv, b, row, h), a.Dv, T{});
    }
  }
}

}  // namespace reference

/// With g_i = dL/dout_i: Delta_i = g_i.out_i, dS_ij = P_ij (K_ij g_i.(v_j + value_term) - Delta_i),
/// dv_j = sum_i K_ij P_ij g_i, dq_i = scale sum_j factor dS_ij k_j, dk_j = scale sum_i factor dS_ij q_i,
/// dtable = sum of head_scale dS_ij over its readers. Sequential: keys and tables are shared between heads
/// and groups.
template <class T>
void attention_backward_reference(const AttentionGradArgs& args, const AttentionNumbers<T>& x,
                                  const AttentionGradNumbers<T>& dx) {
  const AttentionArgs& a = args.forward;
  reference::clear_rows(args, dx);
  for (std::int64_t unit = 0; unit < a.B * a.G * a.H; ++unit) {
    reference::Row<T> row{a, x, unit / (a.G * a.H), unit / a.H % a.G, unit % a.H};
    for (std::int64_t i = 0; i < a.Nq; ++i) {
      const std::int64_t at = reference::slot_row(a.query_rows, row.g, a.Nq, i);
      const T lse = x.lse[unit * a.Nq + i];
      if (at < 0 || reference::real_part(lse) == std::numeric_limits<double>::infinity()) continue;
      reference::backward_row(args, x, dx, row, i, at, lse);
    }
  }
}

}  // namespace locant
