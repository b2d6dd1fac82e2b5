#include "kernels/attention_reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <complex>

#include "attention_case.h"
#include "tests/support/gradcheck.h"

namespace locant::testing {
namespace {

// Every real input of a small call, one after the other, and the scalar sum of dout * out by the forward
// formula.
class SmallCall {
 public:
  SmallCall() {
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
    args_.B = 1, args_.G = 2, args_.H = 2, args_.Nq = 4, args_.Nk = 5, args_.D = 3, args_.Dv = 2;
    args_.q = {nullptr, 0, 6, 3};
    args_.k = {nullptr, 0, 6, 3};
    args_.v = {nullptr, 0, 4, 2};
    args_.out = {nullptr, 0, 4, 2};
    args_.scale = 0.6f;
    args_.query_rows = query_rows_.data();
    args_.key_rows = key_rows_.data();
    args_.key_pad = args_.value_pad = &dummy_;  // says that padding slots are keys
    args_.mask = {lengths_.data(), query_region_.data(), key_region_.data()};
    args_.terms = terms_;
  }

  // q (7, 2, 3), k (6, 2, 3), v (6, 2, 2), key_pad (2, 3), value_pad (2, 2), table (5, 2), bias (2, 4, 5),
  // head_scale (2)
  static constexpr std::array<std::size_t, 8> kSizes = {42, 36, 24, 6, 4, 10, 40, 2};
  static constexpr std::size_t kOut = 7 * 4, kLse = 2 * 2 * 4;

  template <class T>
  AttentionNumbers<T> numbers(const std::vector<T>& x, std::vector<T>& out, std::vector<T>& lse) const {
    std::array<const T*, 8> at;
    const T* next = x.data();
    for (std::size_t i = 0; i < at.size(); ++i) at[i] = next, next += kSizes[i];
    AttentionNumbers<T> n{at[0], at[1], at[2], out.data(), lse.data(), at[3], at[4]};
    n.tables[0][0] = at[5];
    n.tables[1][0] = at[6];
    n.head_scales[0] = at[7];
    return n;
  }

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
    std::array<double*, 8> at;
    double* next = dx.data();
    for (std::size_t i = 0; i < at.size(); ++i) at[i] = next, next += kSizes[i];
    const AttentionNumbers<double> n = numbers(x, out, lse);
    attention_forward_reference(args_, n, 0, 4);
    AttentionGradArgs g;
    g.forward = args_;
    g.dout = {nullptr, 0, 4, 2};
    g.dq = g.dk = {nullptr, 0, 6, 3};
    g.dv = {nullptr, 0, 4, 2};
    AttentionGradNumbers<double> dn{dout.data(), at[0], at[1], at[2], at[3], at[4]};
    dn.dtables[0][0] = at[5];
    dn.dtables[1][0] = at[6];
    dn.dhead_scales[0] = at[7];
    attention_backward_reference(g, n, dn);
    return dx;
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
  float dummy_ = 0.0f;
  GatherTerm gather_;
  DenseTerm dense_;
  std::vector<ScoreTerm> terms_;
  AttentionArgs args_;
};

TEST(AttentionReference, GradientIsTheComplexStepOfTheForward) {
  const SmallCall call;
  std::size_t size = 0;
  for (const std::size_t part : SmallCall::kSizes) size += part;
  Rng rng(3);
  std::vector<double> x(size), dout(SmallCall::kOut);
  for (double& value : x) value = 2.0 * rng.uniform() - 1.0;
  for (double& value : dout) value = 2.0 * rng.uniform() - 1.0;
  const std::vector<double> got = call.gradient(x, dout);
  const std::vector<double> want = complex_step_gradient(
      [&](const std::vector<std::complex<double>>& z) { return call.loss(z, dout); }, x);
  std::size_t active = 0;
  for (std::size_t i = 0; i < size; ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-13) << "input " << i;
    active += want[i] != 0.0;
  }
  EXPECT_GT(active, size / 2);  // the case exercises most of its inputs
}

// Row terms (axis, bucket on both sides) with head scales, every mask of pairs, and dropout.
class RowTermsCall {
 public:
  explicit RowTermsCall(bool masks) {
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
    args_.B = 1, args_.G = 2, args_.H = 2, args_.Nq = 4, args_.Nk = 7, args_.D = 3, args_.Dv = 2;
    args_.q = args_.k = {nullptr, 0, 6, 3};
    args_.v = {nullptr, 0, 4, 2};
    args_.out = {nullptr, 0, 4, 2};
    args_.scale = 0.6f;
    args_.query_rows = query_rows_.data();
    args_.key_rows = key_rows_.data();
    args_.key_pad = args_.value_pad = &dummy_;
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

  // q (7, 2, 3), k (6, 2, 3), v (6, 2, 2), key_pad, value_pad, frames (7, 2, 2), columns (7, 2, 3), buckets
  // of queries (7, 2, 4) and of keys (6, 2, 4), three head scales
  static constexpr std::array<std::size_t, 12> kSizes = {42, 36, 24, 6, 4, 28, 42, 56, 48, 2, 2, 2};
  static constexpr std::size_t kOut = 7 * 4, kLse = 2 * 2 * 4;

  template <class T>
  static std::array<T*, 12> places(T* next) {
    std::array<T*, 12> at;
    for (std::size_t i = 0; i < at.size(); ++i) at[i] = next, next += kSizes[i];
    return at;
  }

  template <class T>
  AttentionNumbers<T> numbers(const std::vector<T>& x, std::vector<T>& out, std::vector<T>& lse) const {
    const auto at = places(x.data());
    AttentionNumbers<T> n{at[0], at[1], at[2], out.data(), lse.data(), at[3], at[4]};
    n.tables[0] = {at[5], nullptr, at[6]};
    n.tables[1][0] = at[7];
    n.tables[2][0] = at[8];
    for (std::size_t t = 0; t < 3; ++t) n.head_scales[t] = at[9 + t];
    return n;
  }

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
    const auto at = places(dx.data());
    const AttentionNumbers<double> n = numbers(x, out, lse);
    attention_forward_reference(args_, n, 0, 4);
    AttentionGradArgs g;
    g.forward = args_;
    g.dout = {nullptr, 0, 4, 2};
    g.dq = g.dk = {nullptr, 0, 6, 3};
    g.dv = {nullptr, 0, 4, 2};
    AttentionGradNumbers<double> dn{dout.data(), at[0], at[1], at[2], at[3], at[4]};
    dn.dtables[0] = {at[5], nullptr, at[6]};
    dn.dtables[1][0] = at[7];
    dn.dtables[2][0] = at[8];
    for (std::size_t t = 0; t < 3; ++t) dn.dhead_scales[t] = at[9 + t];
    attention_backward_reference(g, n, dn);
    return dx;
  }

 private:
  std::vector<std::int32_t> query_code_ = {0, 1, 2, 3}, key_code_ = {0, 1, 2, 3, 4, 5, 6},
                            map_ = {0, 1, -1, 2, 3, 2, 0, -1, 1, 3};
  std::vector<std::int32_t> query_rows_ = {5, 0, 3, -1, 6, 1, 2, 4},
                            key_rows_ = {0, 3, -1, 1, 5, 2, 2, 4, 0, -1, 5, 3, 1, 4};
  std::vector<std::int32_t> box_ = {0, 2, 0, 2, 0, 1, 1, 3, -1, 5, 0, 3, 0, 2, 0, 3,
                                    1, 2, 0, 3, 0, 2, 1, 9, 0,  2, 0, 1, 2, 2, 0, 3};
  std::vector<std::uint8_t> dense_ = {1, 1, 0, 1, 2, 1, 1, 1, 0, 1, 1, 1, 255, 1};
  float dummy_ = 0.0f;
  AxisTerm axis_;
  BucketTerm bucket_;
  std::vector<ScoreTerm> terms_;
  AttentionArgs args_;
};

TEST(AttentionReference, RowTermsMasksAndDropoutAgreeWithTheComplexStep) {
  for (const bool masks : {false, true}) {
    const RowTermsCall call(masks);
    std::size_t size = 0;
    for (const std::size_t part : RowTermsCall::kSizes) size += part;
    Rng rng(4);
    std::vector<double> x(size), dout(RowTermsCall::kOut);
    for (double& value : x) value = 2.0 * rng.uniform() - 1.0;
    for (double& value : dout) value = 2.0 * rng.uniform() - 1.0;
    const std::vector<double> got = call.gradient(x, dout);
    const std::vector<double> want = complex_step_gradient(
        [&](const std::vector<std::complex<double>>& z) { return call.loss(z, dout); }, x);
    std::size_t active = 0, at = 0;
    for (std::size_t i = 0; i < size; ++i) {
      EXPECT_NEAR(got[i], want[i], 1e-13) << "input " << i << " masks " << masks;
      active += want[i] != 0.0;
    }
    EXPECT_GT(active, size / 3) << "masks " << masks;
    for (const std::size_t part : RowTermsCall::kSizes) {  // something of each input counts
      EXPECT_TRUE(std::any_of(want.begin() + static_cast<std::ptrdiff_t>(at),
                              want.begin() + static_cast<std::ptrdiff_t>(at + part),
                              [](double value) { return value != 0.0; }))
          << "inputs from " << at << " masks " << masks;
      at += part;
    }
  }
}

}  // namespace
}  // namespace locant::testing
