#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/rng.h"
#include "kernels/attention.h"
#include "kernels/attention_reference.h"
#include "simd/isa.h"
#include "tests/support/isas.h"

namespace locant::testing {

/// What one attention call reads, in buffers of its own, and how to run it by the kernel and by the
/// reference. The defaults are one head on separate, tightly packed q, k, v.
struct AttentionCase {
  std::int64_t B = 1, G = 1, H = 1, Nq = 1, Nk = 1, D = 8, Dv = 8;
  float scale = 0.0f;     ///< 0: D^-0.5
  float spread = 1.0f;    ///< inputs are uniform in [-spread, spread]
  bool joint = false;     ///< q, k, v, and their gradients, interleaved as (B, N, 3, H, D)
  std::int64_t gap = 0;   ///< unused floats behind each row
  std::int64_t rows = 0;  ///< token rows a batch; 0: G * max(Nq, Nk)
  std::vector<std::int32_t> query_rows = {}, key_rows = {}, query_region = {}, key_region = {};
  std::vector<std::int64_t> key_lengths = {};
  bool causal = false;
  std::int64_t causal_offset = 0, causal_span = 0;
  std::vector<std::int32_t> query_box = {};
  std::int64_t box_columns = 0, box_first_key = 0;
  std::vector<std::uint8_t> dense_mask = {};
  std::array<std::int64_t, 4> dense_mask_strides = {};  ///< batch, group, head, row
  AttentionDropout dropout = {};
  bool pads = false;
  /// Where a query sees one key only, or equal ones, dS vanishes by cancellation: exactly so in plain loops,
  /// whose two sums have the same order, and up to roundings in general. Gradients are then compared as
  /// numbers near zero are.
  bool cancels = false;

  struct Term {
    decltype(ScoreTerm::term) term;
    std::vector<std::int32_t> query_code, key_code, map;
    std::int64_t size = 0;  ///< floats of the table
    std::vector<float> head_scale;
    bool wanted = true;  ///< its gradient
    std::vector<float> table;
    bool head_scale_wanted = false;
    /// Where the tables of an axis term begin in `table`; negative: null.
    std::array<std::int64_t, 3> starts = {-1, -1, -1};

    /// The table (or the gradient) of axis x in a buffer laid out as `table`.
    template <class T>
    T* axis(T* buffer, std::size_t x) const {
      return starts[x] < 0 ? nullptr : buffer + starts[x];
    }
  };
  std::vector<Term> terms = {};
  std::vector<Term> value = {};   ///< none or one, given as a band
  std::vector<Term> factor = {};  ///< none or one, given as a gather term

  std::int64_t token_rows() const { return rows > 0 ? rows : G * std::max(Nq, Nk); }
};

/// Every number that a forward and a backward write, in type T.
template <class T>
struct AttentionResults {
  std::vector<T> out, lse, dq, dk, dv, dkey_pad, dvalue_pad;
  std::vector<std::vector<T>> dtables, dhead_scales;
  std::vector<T> dvalue_vectors, dfactor;
};

/// Fills in the table and the codes of a case's term.
struct BindTable {
  const AttentionCase::Term& from;

  void operator()(GatherTerm& term) const { term.table = from.table.data(), codes(term.offset); }
  void operator()(BucketTerm& term) const { term.table = from.table.data(), codes(term.offset); }
  void operator()(BandTerm& term) const { term.vectors = from.table.data(), codes(term.offset); }
  void operator()(DenseTerm& term) const { term.bias = from.table.data(); }
  void operator()(AxisTerm& term) const {
    for (std::size_t x = 0; x < 3; ++x) term.tables[x] = from.axis(from.table.data(), x);
  }

 private:
  void codes(OffsetView& offset) const {
    offset.query_code = from.query_code.data();
    offset.key_code = from.key_code.data();
    offset.map = from.map.empty() ? nullptr : from.map.data();
  }
};

/// Fills in where its gradient goes.
struct BindGradient {
  const AttentionCase::Term& from;
  float* dtable;

  void operator()(GatherTerm& term) const { term.dtable = dtable; }
  void operator()(BucketTerm& term) const { term.dtable = dtable; }
  void operator()(BandTerm& term) const { term.dvectors = dtable; }
  void operator()(DenseTerm& term) const { term.dbias = dtable; }
  void operator()(AxisTerm& term) const {
    for (std::size_t x = 0; x < 3; ++x) term.dtables[x] = from.axis(dtable, x);
  }
};

inline std::vector<float> random_values(std::int64_t count, std::uint64_t seed, float spread) {
  std::vector<float> values(static_cast<std::size_t>(count));
  Rng rng(seed);
  for (float& x : values) x = spread * (2.0f * rng.uniform() - 1.0f);
  return values;
}

/// Buffers and arguments of a case.
class AttentionRun {
 public:
  explicit AttentionRun(AttentionCase c) : c_(std::move(c)) {
    const std::int64_t rows = c_.token_rows();
    const std::int64_t row_qk = c_.H * c_.D + c_.gap, row_v = c_.H * c_.Dv + c_.gap;
    if (c_.joint) {
      const std::int64_t row = 3 * c_.H * c_.D;
      q_ = random_values(c_.B * rows * row, 1, c_.spread);
      strides_[0] = strides_[1] = strides_[2] = {rows * row, row, c_.D};
    } else {
      q_ = random_values(c_.B * rows * row_qk, 1, c_.spread);
      k_ = random_values(c_.B * rows * row_qk, 2, c_.spread);
      v_ = random_values(c_.B * rows * row_v, 3, c_.spread);
      strides_[0] = strides_[1] = {rows * row_qk, row_qk, c_.D};
      strides_[2] = {rows * row_v, row_v, c_.Dv};
    }
    strides_[3] = {rows * row_v, row_v, c_.Dv};
    dout_ = random_values(c_.B * rows * row_v, 4, 1.0f);
    key_pad_ = random_values(c_.H * c_.D, 5, c_.spread);
    value_pad_ = random_values(c_.H * c_.Dv, 6, c_.spread);
    for (std::size_t t = 0; t < c_.terms.size(); ++t) {
      AttentionCase::Term& term = c_.terms[t];
      term.table = random_values(term.size, 10 + t, 1.0f);
      ScoreTerm made{term.term, term.head_scale.empty() ? nullptr : term.head_scale.data()};
      std::visit(BindTable{term}, made.term);
      score_terms_.push_back(made);
    }
    if (!c_.value.empty()) set_value(c_.value[0]);
    if (!c_.factor.empty()) set_factor(c_.factor[0]);
  }

  const AttentionCase& shape() const { return c_; }

  /// Places and integers, with the float inputs filled in.
  AttentionArgs args() const {
    AttentionArgs a;
    a.B = c_.B, a.G = c_.G, a.H = c_.H, a.Nq = c_.Nq, a.Nk = c_.Nk, a.D = c_.D, a.Dv = c_.Dv;
    a.q = view(0, q_.data());
    a.k = view(1, c_.joint ? q_.data() + c_.H * c_.D : k_.data());
    a.v = view(2, c_.joint ? q_.data() + 2 * c_.H * c_.D : v_.data());
    a.out = {nullptr, strides_[3].batch, strides_[3].row, strides_[3].head};
    a.scale = c_.scale != 0.0f ? c_.scale : 1.0f / std::sqrt(static_cast<float>(c_.D));
    const auto or_null = [](const auto& values) { return values.empty() ? nullptr : values.data(); };
    a.query_rows = or_null(c_.query_rows);
    a.key_rows = or_null(c_.key_rows);
    a.mask = {or_null(c_.key_lengths), or_null(c_.query_region), or_null(c_.key_region)};
    a.mask.causal = c_.causal;
    a.mask.causal_offset = c_.causal_offset, a.mask.causal_span = c_.causal_span;
    a.mask.query_box = or_null(c_.query_box);
    a.mask.box_columns = c_.box_columns, a.mask.box_first_key = c_.box_first_key;
    a.mask.dense = or_null(c_.dense_mask);
    a.mask.dense_batch_stride = c_.dense_mask_strides[0],
    a.mask.dense_group_stride = c_.dense_mask_strides[1];
    a.mask.dense_head_stride = c_.dense_mask_strides[2], a.mask.dense_row_stride = c_.dense_mask_strides[3];
    a.dropout = c_.dropout;
    if (c_.pads) a.key_pad = key_pad_.data(), a.value_pad = value_pad_.data();
    a.terms = score_terms_;
    if (!c_.value.empty()) a.value_term = &value_;
    if (!c_.factor.empty()) a.factor = &factor_;
    return a;
  }

  /// Forward and backward by the active instruction set. What is overwritten starts from 0.5, what is added
  /// to from -0.25: whoever writes too much, too little or elsewhere is found out.
  AttentionResults<float> by_kernel() const {
    AttentionResults<float> x = blank<float>();
    std::vector<ScoreTerm> terms = score_terms_;
    for (std::size_t t = 0; t < terms.size(); ++t) {
      if (c_.terms[t].wanted) std::visit(BindGradient{c_.terms[t], x.dtables[t].data()}, terms[t].term);
      if (c_.terms[t].head_scale_wanted) terms[t].dhead_scale = x.dhead_scales[t].data();
    }
    AttentionGradArgs g{args(), view(3, dout_.data()), {}, {}, {}};
    g.forward.terms = terms;
    g.forward.out.data = x.out.data();
    g.forward.lse = x.lse.data();
    g.dq = mutable_view(0, x.dq.data());
    g.dk = mutable_view(1, c_.joint ? x.dq.data() + c_.H * c_.D : x.dk.data());
    g.dv = mutable_view(2, c_.joint ? x.dq.data() + 2 * c_.H * c_.D : x.dv.data());
    if (c_.pads) g.dkey_pad = x.dkey_pad.data(), g.dvalue_pad = x.dvalue_pad.data();
    ValueTerm value = value_;
    GatherTerm factor = factor_;
    if (!c_.value.empty()) {
      if (c_.value[0].wanted) value.dvectors = x.dvalue_vectors.data();
      g.forward.value_term = &value;
    }
    if (!c_.factor.empty()) {
      if (c_.factor[0].wanted) factor.dtable = x.dfactor.data();
      g.forward.factor = &factor;
    }
    attention_forward(g.forward);
    attention_backward(g);
    return x;
  }

  /// The same by the plain template in type T.
  template <class T>
  AttentionResults<T> by_reference() const {
    const auto in = [](const std::vector<float>& values) {
      return std::vector<T>(values.begin(), values.end());
    };
    const std::vector<T> q = in(q_), k = in(k_), v = in(v_), dout = in(dout_), kp = in(key_pad_),
                         vp = in(value_pad_);
    std::deque<std::vector<T>> tables;
    AttentionResults<T> x = blank<T>();
    AttentionNumbers<T> n{q.data(),
                          c_.joint ? q.data() + c_.H * c_.D : k.data(),
                          c_.joint ? q.data() + 2 * c_.H * c_.D : v.data(),
                          x.out.data(),
                          x.lse.data(),
                          kp.data(),
                          vp.data()};
    AttentionGradNumbers<T> dn{dout.data(),
                               x.dq.data(),
                               c_.joint ? x.dq.data() + c_.H * c_.D : x.dk.data(),
                               c_.joint ? x.dq.data() + 2 * c_.H * c_.D : x.dv.data(),
                               nullptr,
                               nullptr};
    if (c_.pads) dn.dkey_pad = x.dkey_pad.data(), dn.dvalue_pad = x.dvalue_pad.data();
    for (std::size_t t = 0; t < c_.terms.size(); ++t) {
      tables.push_back(in(c_.terms[t].table));
      const bool axis = std::holds_alternative<AxisTerm>(c_.terms[t].term);
      n.tables[t][0] = tables.back().data();
      for (std::size_t a = 0; axis && a < 3; ++a) n.tables[t][a] = c_.terms[t].axis(tables.back().data(), a);
      tables.push_back(in(c_.terms[t].head_scale));
      if (!c_.terms[t].head_scale.empty()) n.head_scales[t] = tables.back().data();
      if (c_.terms[t].wanted) dn.dtables[t][0] = x.dtables[t].data();
      for (std::size_t a = 0; axis && c_.terms[t].wanted && a < 3; ++a)
        dn.dtables[t][a] = c_.terms[t].axis(x.dtables[t].data(), a);
      if (c_.terms[t].head_scale_wanted) dn.dhead_scales[t] = x.dhead_scales[t].data();
    }
    if (!c_.value.empty()) {
      tables.push_back(in(c_.value[0].table));
      n.value_vectors = tables.back().data();
      if (c_.value[0].wanted) dn.dvalue_vectors = x.dvalue_vectors.data();
    }
    if (!c_.factor.empty()) {
      tables.push_back(in(c_.factor[0].table));
      n.factor = tables.back().data();
      if (c_.factor[0].wanted) dn.dfactor = x.dfactor.data();
    }
    AttentionGradArgs g{args(), view(3, dout_.data()), {}, {}, {}};
    g.dq = mutable_view(0, nullptr);
    g.dk = mutable_view(1, nullptr);
    g.dv = mutable_view(2, nullptr);
    attention_forward_reference(g.forward, n, 0, c_.B * c_.G * c_.H);
    attention_backward_reference(g, n, dn);
    return x;
  }

 private:
  struct Strides {
    std::int64_t batch, row, head;
  };
  AttentionView view(std::size_t which, const float* data) const {
    return {data, strides_[which].batch, strides_[which].row, strides_[which].head};
  }
  AttentionMutableView mutable_view(std::size_t which, float* data) const {
    return {data, strides_[which].batch, strides_[which].row, strides_[which].head};
  }
  template <class T>
  AttentionResults<T> blank() const {
    AttentionResults<T> x;
    x.out.assign(dout_.size(), T(0.5));
    x.lse.assign(static_cast<std::size_t>(c_.B * c_.G * c_.H * c_.Nq), T(0.5));
    x.dq.assign(q_.size(), T(0.5));
    x.dk.assign(k_.size(), T(0.5));
    x.dv.assign(v_.size(), T(0.5));
    x.dkey_pad.assign(key_pad_.size(), T(-0.25));
    x.dvalue_pad.assign(value_pad_.size(), T(-0.25));
    for (const auto& term : c_.terms) {
      x.dtables.emplace_back(term.table.size(), T(-0.25));
      x.dhead_scales.emplace_back(term.head_scale.size(), T(-0.25));
    }
    if (!c_.value.empty()) x.dvalue_vectors.assign(c_.value[0].table.size(), T(-0.25));
    if (!c_.factor.empty()) x.dfactor.assign(c_.factor[0].table.size(), T(-0.25));
    return x;
  }

  static void set_offset(const AttentionCase::Term& term, OffsetView& offset) {
    offset.query_code = term.query_code.data();
    offset.key_code = term.key_code.data();
    offset.map = term.map.empty() ? nullptr : term.map.data();
  }
  void set_value(AttentionCase::Term& term) {
    const auto& band = std::get<BandTerm>(term.term);
    term.table = random_values(term.size, 20, 1.0f);
    value_ = {band.offset, term.table.data(), nullptr, band.row_stride, band.head_stride};
    set_offset(term, value_.offset);
  }
  void set_factor(AttentionCase::Term& term) {
    factor_ = std::get<GatherTerm>(term.term);
    term.table = random_values(term.size, 21, 1.0f);
    factor_.table = term.table.data();
    set_offset(term, factor_.offset);
  }

  AttentionCase c_;
  Strides strides_[4];
  std::vector<float> q_, k_, v_, dout_, key_pad_, value_pad_;
  std::vector<ScoreTerm> score_terms_;
  ValueTerm value_;
  GatherTerm factor_;
};

/// Worst error in units of the root mean square of `want` (of what was written alone); infinities must agree.
inline double error_of(const std::vector<float>& got, const std::vector<double>& want) {
  double square = 0, worst = 0;
  std::size_t finite = 0;
  for (const double x : want)
    if (std::isfinite(x) && x != 0.5 && x != -0.25) square += x * x, ++finite;
  // Sums that cancel are zero in exact numbers, and next to it in double.
  constexpr double kZero = 1e-13;
  const double mean = finite > 0 ? std::sqrt(square / static_cast<double>(finite)) : 0.0;
  const double unit = mean > kZero ? mean : 1.0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (std::isinf(want[i]) && got[i] == want[i]) continue;
    const double error = std::abs(got[i] - want[i]) / unit;
    if (!(error <= worst)) worst = error;  // keeps a NaN
  }
  return worst;
}

/// Calls visit(name, numbers of a, of b, of c) for every gradient.
template <class Visit>
void for_gradients(const AttentionResults<float>& a, const AttentionResults<float>& b,
                   const AttentionResults<double>& c, const Visit& visit) {
  visit("dq", a.dq, b.dq, c.dq);
  visit("dk", a.dk, b.dk, c.dk);
  visit("dv", a.dv, b.dv, c.dv);
  visit("dkey_pad", a.dkey_pad, b.dkey_pad, c.dkey_pad);
  visit("dvalue_pad", a.dvalue_pad, b.dvalue_pad, c.dvalue_pad);
  for (std::size_t t = 0; t < c.dtables.size(); ++t) {
    visit("dtable " + std::to_string(t), a.dtables[t], b.dtables[t], c.dtables[t]);
    visit("dhead_scale " + std::to_string(t), a.dhead_scales[t], b.dhead_scales[t], c.dhead_scales[t]);
  }
  visit("dvalue_vectors", a.dvalue_vectors, b.dvalue_vectors, c.dvalue_vectors);
  visit("dfactor", a.dfactor, b.dfactor, c.dfactor);
}

/// A few roundings. P = exp(s - L), and both s and L are rounded to float32: what that does to P grows with
/// their size, of which the largest L is the measure.
inline double few_roundings(const std::vector<double>& lse) {
  double largest = 2.0;
  for (const double L : lse)
    if (std::isfinite(L)) largest = std::max(largest, std::abs(L));
  return 4.0 * 0x1p-23 * largest;
}

/// The kernel may be wrong by twice what the plain float32 loops are, and by a few roundings. Of the
/// gradients the loops' worst counts: that of a single small tensor is next to nothing by luck now and then.
inline void expect_same_results(const AttentionResults<float>& got, const AttentionResults<float>& plain,
                                const AttentionResults<double>& want, const std::string& what,
                                bool cancels = false) {
  const double roundings = few_roundings(want.lse);
  EXPECT_LE(error_of(got.out, want.out), 2 * error_of(plain.out, want.out) + roundings) << what << " out";
  EXPECT_LE(error_of(got.lse, want.lse), 2 * error_of(plain.lse, want.lse) + roundings) << what << " lse";
  double loops = 0;
  for_gradients(got, plain, want, [&](const std::string&, const auto&, const auto& own, const auto& truth) {
    loops = std::max(loops, error_of(own, truth));
  });
  const double sums = 2 * loops + roundings, differences = cancels ? 2 * loops + 1e-4 : sums;
  for_gradients(got, plain, want,
                [&](const std::string& name, const auto& own, const auto&, const auto& truth) {
                  const bool of_values = name.rfind("dv", 0) == 0;  // sums of P dout, which do not cancel
                  EXPECT_LE(error_of(own, truth), of_values ? sums : differences) << what << " " << name;
                });
}

/// Puts the instruction set and the number of threads back.
class KeepSettings {
 public:
  KeepSettings() : isa_(active_isa()), threads_(num_threads()) {}
  ~KeepSettings() {
    set_active_isa(isa_);
    set_num_threads(threads_);
  }
  KeepSettings(const KeepSettings&) = delete;
  KeepSettings& operator=(const KeepSettings&) = delete;

 private:
  Isa isa_;
  int threads_;
};

/// The kernel of every instruction set of this machine, on one thread and on two, against the reference in
/// double.
inline void check_attention(const AttentionCase& c, const std::string& name) {
  const KeepSettings keep;
  const AttentionRun run(c);
  const AttentionResults<double> want = run.by_reference<double>();
  const AttentionResults<float> plain = run.by_reference<float>();
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      expect_same_results(run.by_kernel(), plain, want,
                          name + " " + std::string(isa_name(isa)) + " threads " + std::to_string(threads),
                          c.cancels);
    }
  }
}

/// Two calls write equal bits.
inline void expect_same_bits(const AttentionResults<float>& a, const AttentionResults<float>& b,
                             const std::string& what) {
  EXPECT_EQ(a.out, b.out) << what;
  EXPECT_EQ(a.lse, b.lse) << what;
  EXPECT_EQ(a.dq, b.dq) << what;
  EXPECT_EQ(a.dk, b.dk) << what;
  EXPECT_EQ(a.dv, b.dv) << what;
  EXPECT_EQ(a.dkey_pad, b.dkey_pad) << what;
  EXPECT_EQ(a.dvalue_pad, b.dvalue_pad) << what;
  EXPECT_EQ(a.dtables, b.dtables) << what;
  EXPECT_EQ(a.dhead_scales, b.dhead_scales) << what;
  EXPECT_EQ(a.dvalue_vectors, b.dvalue_vectors) << what;
  EXPECT_EQ(a.dfactor, b.dfactor) << what;
}

/// For each number of threads: right, and the same bits again. The output does not depend on it at all.
inline void check_threads(const AttentionCase& c, const std::string& name) {
  const KeepSettings keep;
  const AttentionRun run(c);
  const AttentionResults<double> want = run.by_reference<double>();
  const AttentionResults<float> plain = run.by_reference<float>();
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    std::vector<float> out;
    for (const int threads : {1, 2, 3, 7}) {
      const std::string what =
          name + " " + std::string(isa_name(isa)) + " threads " + std::to_string(threads);
      set_num_threads(threads);
      const AttentionResults<float> first = run.by_kernel();
      expect_same_results(first, plain, want, what);
      expect_same_bits(run.by_kernel(), first, what);
      if (threads == 1) out = first.out;
      EXPECT_EQ(first.out, out) << what;
    }
  }
}

}  // namespace locant::testing
