#include "kernels/attention_reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <complex>
#include <numeric>

#include "tests/kernels/attention_case.h"
#include "tests/support/gradcheck.h"

namespace locant::testing {
namespace attention_reference_test {

/// Every real input of a small call, one after the other, and the scalar sum of dout * out by the forward
/// formula.
class SmallCall {
 public:
  /// A part of the inputs behind q, k, v and the pads; `term` and `table` where they tell which it is.
  enum class Of { table, head_scale, factor, value_term };
  struct Part {
    std::size_t size;
    Of of;
    std::size_t term = 0, table = 0;
  };
  static constexpr std::size_t kOut = 7 * 4, kLse = 2 * 2 * 4;

  SmallCall(const SmallCall&) = delete;
  SmallCall& operator=(const SmallCall&) = delete;

  const std::vector<std::size_t>& sizes() const { return sizes_; }

  template <class T>
  T loss(const std::vector<T>& x, const std::vector<double>& dout) const {
    std::vector<T> out(kOut), lse(kLse);
    attention_forward_reference(args_, numbers(x, out, lse), 0, 4);
    T sum{};
    for (std::size_t i = 0; i < kOut; ++i) sum += T(dout[i]) * out[i];
    return sum;
  }

  std::vector<double> gradient(const std::vector<double>& x, const std::vector<double>& dout) const {
    std::vector<double> out(kOut), lse(kLse), dx(x.size(), 0.0);
    const std::vector<double*> at = places(dx.data());
    const AttentionNumbers<double> n = numbers(x, out, lse);
    attention_forward_reference(args_, n, 0, 4);
    AttentionGradArgs g;
    g.forward = args_;
    g.dout = {nullptr, 0, 4, 2};
    g.dq = g.dk = {nullptr, 0, 6, 3};
    g.dv = {nullptr, 0, 4, 2};
    AttentionGradNumbers<double> dn{dout.data(), at[0], at[1], at[2], at[3], at[4]};
    place_parts(at, dn.dtables, dn.dhead_scales, dn.dfactor, dn.dvalue_vectors);
    attention_backward_reference(g, n, dn);
    return dx;
  }

 protected:
  /// q (7, 2, 3), k (6, 2, 3), v (6, 2, 2), key_pad (2, 3), value_pad (2, 2), then the parts.
  explicit SmallCall(std::vector<Part> parts) : parts_(std::move(parts)) {
    for (const Part& part : parts_) sizes_.push_back(part.size);
    args_.B = 1, args_.G = 2, args_.H = 2, args_.Nq = 4, args_.D = 3, args_.Dv = 2;
    args_.q = args_.k = {nullptr, 0, 6, 3};
    args_.v = {nullptr, 0, 4, 2};
    args_.out = {nullptr, 0, 4, 2};
    args_.scale = 0.6f;
    args_.key_pad = args_.value_pad = &dummy_;  // says that padding slots are keys
  }

  AttentionArgs args_;
  std::vector<ScoreTerm> terms_;
  float dummy_ = 0.0f;

 private:
  static constexpr std::size_t kInputs = 5;

  template <class T>
  std::vector<T*> places(T* next) const {
    std::vector<T*> at;
    for (const std::size_t size : sizes_) at.push_back(next), next += size;
    return at;
  }
  template <class T, class Tables, class Scales>
  void place_parts(const std::vector<T*>& at, Tables& tables, Scales& head_scales, T*& factor,
                   T*& value_vectors) const {
    for (std::size_t p = 0; p < parts_.size(); ++p) {
      const Part& part = parts_[p];
      auto& place = part.of == Of::table        ? tables[part.term][part.table]
                    : part.of == Of::head_scale ? head_scales[part.term]
                    : part.of == Of::factor     ? factor
                                                : value_vectors;
      place = at[kInputs + p];
    }
  }
  template <class T>
  AttentionNumbers<T> numbers(const std::vector<T>& x, std::vector<T>& out, std::vector<T>& lse) const {
    const std::vector<const T*> at = places(x.data());
    AttentionNumbers<T> n{at[0], at[1], at[2], out.data(), lse.data(), at[3], at[4]};
    place_parts(at, n.tables, n.head_scales, n.factor, n.value_vectors);
    return n;
  }

  std::vector<Part> parts_;
  std::vector<std::size_t> sizes_ = {42, 36, 24, 6, 4};
};

/// The gradient is the complex step of the forward, and something of each input counts.
void check_gradient(const SmallCall& call, std::uint64_t seed, const std::string& name) {
  const std::size_t size = std::accumulate(call.sizes().begin(), call.sizes().end(), std::size_t{0});
  Rng rng(seed);
  std::vector<double> x(size), dout(SmallCall::kOut);
  for (double& value : x) value = 2.0 * rng.uniform() - 1.0;
  for (double& value : dout) value = 2.0 * rng.uniform() - 1.0;
  const std::vector<double> got = call.gradient(x, dout);
  const std::vector<double> want = complex_step_gradient(
      [&](const std::vector<std::complex<double>>& z) { return call.loss(z, dout); }, x);
  std::size_t active = 0;
  for (std::size_t i = 0; i < size; ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-13) << "input " << i << " " << name;
    active += want[i] != 0.0;
  }
  EXPECT_GT(active, size / 3) << name;
  auto at = want.begin();
  for (const std::size_t part : call.sizes()) {
    EXPECT_TRUE(std::any_of(at, at + static_cast<std::ptrdiff_t>(part), [](double v) { return v != 0.0; }))
        << "inputs from " << at - want.begin() << " " << name;
    at += static_cast<std::ptrdiff_t>(part);
  }
}

/// A gather and a dense term, with regions and lengths.
class TableTermsCall : public SmallCall {
 public:
  // table (5, 2), bias (2, 4, 5), head_scale (2)
  TableTermsCall() : SmallCall({{10, Of::table, 0}, {40, Of::table, 1}, {2, Of::head_scale, 0}}) {
    gather_.offset.offsets = 9;
    gather_.offset.table_rows = 5;
    gather_.row_stride = 2;
    gather_.head_stride = 1;
    gather_.offset.origin = 4;
    gather_.offset.query_code = query_code_.data();
    gather_.offset.key_code = key_code_.data();
    gather_.offset.map = map_.data();
    dense_.group_stride = 20;
    dense_.row_stride = 5;
    terms_ = {{gather_, head_scale_.data()}, {dense_, nullptr}};
    args_.Nk = 5;
    args_.query_rows = query_rows_.data();
    args_.key_rows = key_rows_.data();
    args_.mask = {lengths_.data(), query_region_.data(), key_region_.data()};
    args_.terms = terms_;
  }

 private:
  std::vector<std::int32_t> query_code_ = {0, 1, 2, 3}, key_code_ = {0, 1, 2, 3, 4},
                            map_ = {0, 1, -1, 2, 3, 4, 0, -1, 1};
  std::vector<std::int32_t> query_rows_ = {5, 0, 3, -1, 6, 1, 2, 4},
                            key_rows_ = {0, 3, -1, 1, 5, 2, 2, 4, 0, -1};
  std::vector<std::int32_t> query_region_ = {0, 0, 1, 0, 2, 2, 7, 2},
                            key_region_ = {0, 1, 0, 0, 1, 2, 2, 2, 2, 2};
  std::vector<std::int64_t> lengths_ = {4};
  std::vector<float> head_scale_ = {0.5f, -1.5f};
  GatherTerm gather_;
  DenseTerm dense_;
};

TEST(AttentionReference, GradientIsTheComplexStepOfTheForward) {
  check_gradient(TableTermsCall(), 3, "table terms");
}

/// Row terms (axis, bucket on both sides) with head scales, every mask of pairs, and dropout.
class RowTermsCall : public SmallCall {
 public:
  // frames (7, 2, 2), columns (7, 2, 3), buckets of queries (7, 2, 4) and of keys (6, 2, 4), three head
  // scales
  explicit RowTermsCall(bool masks)
      : SmallCall({{28, Of::table, 0, 0},
                   {42, Of::table, 0, 2},
                   {56, Of::table, 1},
                   {48, Of::table, 2},
                   {2, Of::head_scale, 0},
                   {2, Of::head_scale, 1},
                   {2, Of::head_scale, 2}}) {
    axis_.extents = {2, 1, 3};
    axis_.first_key = 1;
    axis_.tables = {&dummy_, nullptr, &dummy_};
    axis_.row_stride = {4, 0, 6};
    axis_.head_stride = {2, 0, 3};
    bucket_.offset.query_code = query_code_.data();
    bucket_.offset.key_code = key_code_.data();
    bucket_.offset.origin = 6;
    bucket_.offset.offsets = 10;
    bucket_.offset.map = map_.data();
    bucket_.offset.table_rows = 4;
    bucket_.row_stride = 8;
    bucket_.head_stride = 4;
    BucketTerm by_key = bucket_;
    by_key.side = Side::key;
    terms_ = {{axis_, &dummy_}, {bucket_, &dummy_}, {by_key, &dummy_}};
    args_.Nk = 7;
    args_.query_rows = query_rows_.data();
    args_.key_rows = key_rows_.data();
    args_.terms = terms_;
    args_.dropout = {0.3f, 5};
    if (!masks) return;
    args_.mask.causal = true;
    args_.mask.causal_offset = 2;
    args_.mask.causal_span = 5;
    args_.mask.query_box = box_.data();
    args_.mask.box_columns = 3;
    args_.mask.box_first_key = 1;
    args_.mask.dense = dense_.data();
    args_.mask.dense_group_stride = 7;
  }

 private:
  std::vector<std::int32_t> query_code_ = {0, 1, 2, 3}, key_code_ = {0, 1, 2, 3, 4, 5, 6},
                            map_ = {0, 1, -1, 2, 3, 2, 0, -1, 1, 3};
  std::vector<std::int32_t> query_rows_ = {5, 0, 3, -1, 6, 1, 2, 4},
                            key_rows_ = {0, 3, -1, 1, 5, 2, 2, 4, 0, -1, 5, 3, 1, 4};
  std::vector<std::int32_t> box_ = {0, 2, 0, 2, 0, 1, 1, 3, -1, 5, 0, 3, 0, 2, 0, 3,
                                    1, 2, 0, 3, 0, 2, 1, 9, 0,  2, 0, 1, 2, 2, 0, 3};
  std::vector<std::uint8_t> dense_ = {1, 1, 0, 1, 2, 1, 1, 1, 0, 1, 1, 1, 255, 1};
  AxisTerm axis_;
  BucketTerm bucket_;
};

TEST(AttentionReference, RowTermsMasksAndDropoutAgreeWithTheComplexStep) {
  for (const bool masks : {false, true})
    check_gradient(RowTermsCall(masks), 4, masks ? "row terms, masks" : "row terms");
}

/// Bands of both sides, the factor and the value term, with holes in the map and dropout.
class BandsCall : public SmallCall {
 public:
  // vectors of the bands (4, 2, 3) and (4, 2, 3), numbers of the factor (4, 2), vectors of values (4, 2, 2)
  BandsCall()
      : SmallCall({{24, Of::table, 0},
                   {24, Of::table, 1},
                   {2, Of::head_scale, 1},
                   {8, Of::factor},
                   {16, Of::value_term}}) {
    BandTerm band;
    band.offset.query_code = query_code_.data();
    band.offset.key_code = key_code_.data();
    band.offset.origin = 4;
    band.offset.offsets = 8;
    band.offset.map = map_.data();
    band.offset.table_rows = 4;
    band.row_stride = 6;
    band.head_stride = 3;
    terms_ = {{band, nullptr}, {band, &dummy_}};
    std::get<BandTerm>(terms_[1].term).side = Side::key;
    factor_.offset = value_.offset = band.offset;
    factor_.row_stride = 2, factor_.head_stride = 1;
    value_.row_stride = 4, value_.head_stride = 2;
    args_.Nk = 5;
    args_.query_rows = query_rows_.data();
    args_.key_rows = key_rows_.data();
    args_.terms = terms_;
    args_.factor = &factor_;
    args_.value_term = &value_;
    args_.dropout = {0.3f, 5};
  }

 private:
  std::vector<std::int32_t> query_code_ = {0, 1, 2, 3}, key_code_ = {0, 1, 2, 3, 4},
                            map_ = {0, 1, -1, 2, 3, 1, 0, -1};
  std::vector<std::int32_t> query_rows_ = {5, 0, 3, -1, 6, 1, 2, 4},
                            key_rows_ = {0, 3, -1, 1, 5, 2, 2, 4, 0, -1};
  GatherTerm factor_;
  ValueTerm value_;
};

TEST(AttentionReference, BandsFactorAndValuesAgreeWithTheComplexStep) {
  check_gradient(BandsCall(), 5, "bands");
}

}  // namespace attention_reference_test
}  // namespace locant::testing
