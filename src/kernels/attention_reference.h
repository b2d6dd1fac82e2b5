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

namespace locant {

/// The numbers of an attention call in another type T (double: the tests' oracle; complex: exact
/// derivatives). Places, maps and masks stay those of AttentionArgs, whose own float pointers are then not
/// read.
template <class T>
struct AttentionNumbers {
  const T *q = nullptr, *k = nullptr, *v = nullptr;  ///< strides of args.q, args.k, args.v
  T *out = nullptr, *lse = nullptr;                  ///< strides of args.out; (B, G, H, Nq)
  const T *key_pad = nullptr, *value_pad = nullptr;  ///< (H, D), (H, Dv)
  std::array<const T*, 4> tables = {};               ///< one a term
};
template <class T>
struct AttentionGradNumbers {
  const T* dout = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr, *dkey_pad = nullptr, *dvalue_pad = nullptr;
  std::array<T*, 4> dtables = {};  ///< null: not wanted
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

inline bool visible(const AttentionArgs& a, std::int64_t b, std::int64_t g, std::int64_t i, std::int64_t j) {
  if (a.mask.key_lengths != nullptr && j >= a.mask.key_lengths[b]) return false;
  if (a.mask.query_region != nullptr && a.mask.query_region[g * a.Nq + i] != a.mask.key_region[g * a.Nk + j])
    return false;
  return slot_row(a.key_rows, g, a.Nk, j) >= 0 || a.key_pad != nullptr;
}

/// Where in its table a term reads for (b, g, h, i, j); -1: it adds nothing.
inline std::int64_t table_place(const ScoreTerm& term, std::int64_t b, std::int64_t g, std::int64_t h,
                                std::int64_t i, std::int64_t j) {
  if (const auto* gather = std::get_if<GatherTerm>(&term.term)) {
    const std::int64_t offset = std::int64_t{gather->query_code[i]} - gather->key_code[j] + gather->origin;
    const std::int64_t index = gather->map != nullptr ? gather->map[offset] : offset;
    return index < 0 ? -1 : index * gather->row_stride + h * gather->head_stride;
  }
  const auto& dense = std::get<DenseTerm>(term.term);
  return b * dense.batch_stride + g * dense.group_stride + h * dense.head_stride + i * dense.row_stride + j;
}

inline float term_scale(const ScoreTerm& term, std::int64_t h) {
  return term.head_scale != nullptr ? term.head_scale[h] : 1.0f;
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

  /// s_ij = scale q_i.k_j + sum over terms of head_scale table[...], for the visible j.
  void score(std::int64_t i, std::int64_t row) {
    for (std::int64_t j = 0; j < a.Nk; ++j) {
      if (!(seen[static_cast<std::size_t>(j)] = visible(a, b, g, i, j))) continue;
      T dot{};
      for (std::int64_t d = 0; d < a.D; ++d) dot += query(row)[d] * key(j)[d];
      T s = T(a.scale) * dot;
      for (std::size_t t = 0; t < a.terms.size(); ++t) {
        const std::int64_t at = table_place(a.terms[t], b, g, h, i, j);
        if (at >= 0) s += T(term_scale(a.terms[t], h)) * x.tables[t][at];
      }
      scores[static_cast<std::size_t>(j)] = s;
    }
  }
};

}  // namespace reference

/// The whole truth in plain lines, for heads [begin, end) of the B*G*H, counted with h innermost:
/// out_i = sum_j P_ij v_j, P_ij = exp(s_ij - L_i), L_i = log sum_j exp(s_ij) over the visible j.
template <class T>
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
      for (std::int64_t d = 0; d < a.Dv; ++d) out[d] = T{};
      double most = -std::numeric_limits<double>::infinity();
      for (std::size_t j = 0; j < row.seen.size(); ++j)
        if (row.seen[j]) most = std::max(most, reference::real_part(row.scores[j]));
      if (most == -std::numeric_limits<double>::infinity()) continue;  // sees nothing: zeros, L = +inf
      T sum{};
      for (std::size_t j = 0; j < row.seen.size(); ++j) {
        if (!row.seen[j]) continue;
        const T p = std::exp(row.scores[j] - T(most));
        const T* v = row.value(static_cast<std::int64_t>(j));
        for (std::int64_t d = 0; d < a.Dv; ++d) out[d] += p * v[d];
        sum += p;
      }
      for (std::int64_t d = 0; d < a.Dv; ++d) out[d] /= sum;
      if (x.lse != nullptr) x.lse[unit * a.Nq + i] = T(most) + std::log(sum);
    }
  }
}

namespace reference {

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
    const std::int64_t r = slot_row(a.key_rows, row.g, a.Nk, j);
    T* dk = dx.dkey_pad == nullptr ? nullptr : dx.dkey_pad + row.h * a.D;
    T* dv = dx.dvalue_pad == nullptr ? nullptr : dx.dvalue_pad + row.h * a.Dv;
    if (r >= 0) {
      dk = dx.dk + place(args.dk, row.b, r, row.h);
      dv = dx.dv + place(args.dv, row.b, r, row.h);
    }
    const T p = std::exp(row.scores[static_cast<std::size_t>(j)] - lse);
    T dp{};
    for (std::int64_t d = 0; d < a.Dv; ++d) dp += g_i[d] * row.value(j)[d];
    const T ds = p * (dp - delta);
    for (std::int64_t d = 0; dv != nullptr && d < a.Dv; ++d) dv[d] += p * g_i[d];
    for (std::int64_t d = 0; d < a.D; ++d) dq[d] += T(a.scale) * ds * row.key(j)[d];
    for (std::int64_t d = 0; dk != nullptr && d < a.D; ++d) dk[d] += T(a.scale) * ds * row.query(at)[d];
    for (std::size_t t = 0; t < a.terms.size(); ++t) {
      const std::int64_t entry = table_place(a.terms[t], row.b, row.g, row.h, i, j);
      if (entry >= 0 && dx.dtables[t] != nullptr)
        dx.dtables[t][entry] += T(term_scale(a.terms[t], row.h)) * ds;
    }
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

/// With g_i = dL/dout_i: Delta_i = g_i.out_i, dS_ij = P_ij (g_i.v_j - Delta_i), dv_j = sum_i P_ij g_i,
/// dq_i = scale sum_j dS_ij k_j, dk_j = scale sum_i dS_ij q_i, dtable = sum of head_scale dS_ij over its
/// readers. Sequential: keys and tables are shared between heads and groups.
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
