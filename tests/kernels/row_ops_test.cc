#include "kernels/row_ops.h"

#include <cmath>
#include <complex>
#include <limits>
#include <string>

#include "kernels/row_ops_reference.h"
#include "tests/support/gradcheck.h"
#include "tests/support/isas.h"

namespace locant {
namespace row_ops_test {

using testing::expect_close;
using testing::random_tensor;
using testing::to_double;

constexpr float kInf = std::numeric_limits<float>::infinity();

// Below, at and above one and four vectors of every instruction set.
const std::vector<std::int64_t> kWidths = {1, 2, 3, 7, 16, 17, 63, 64, 65, 96, 131};

/// Every kernel in every instruction set that the machine has, against the template in double.
class RowOpsTest : public ::testing::TestWithParam<Isa> {
 protected:
  const RowOps& ops() const { return row_ops(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isas, RowOpsTest, ::testing::ValuesIn(testing::tested_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

// Negative zero and guard values around a result: kernels may not write beyond their rows.
struct Guarded {
  explicit Guarded(const Shape& shape) : shape_(shape), all(Tensor::full({shape.numel() + 32}, 1234.5f)) {}
  float* data() { return all.data() + 16; }
  Tensor result() const {
    for (std::int64_t i = 0; i < 16; ++i) {
      EXPECT_EQ(all[i], 1234.5f);
      EXPECT_EQ(all[all.numel() - 1 - i], 1234.5f);
    }
    return Tensor::from(shape_, all.values().subspan(16, static_cast<std::size_t>(shape_.numel())));
  }

 private:
  Shape shape_;
  Tensor all;
};

TEST_P(RowOpsTest, LayerNorm) {
  for (const std::int64_t width : kWidths) {
    SCOPED_TRACE(width);
    const std::int64_t rows = 5;
    Tensor x = random_tensor({rows, width}, 1);
    for (float& v : x.values()) v += 3.0f;  // one pass would lose digits to the mean
    const Tensor weight = random_tensor({width}, 2), bias = random_tensor({width}, 3);
    Guarded y({rows, width}), mean({rows}), rstd({rows});
    ops().layer_norm(x.data(), rows, width, weight.data(), bias.data(), 1e-5f, y.data(), mean.data(),
                     rstd.data());
    const std::vector<double> xd = to_double(x), wd = to_double(weight), bd = to_double(bias);
    std::vector<double> yd(xd.size()), md(rows), rd(rows);
    reference::layer_norm(xd.data(), rows, width, wd.data(), bd.data(), 1e-5f, yd.data(), md.data(),
                          rd.data());
    if (width > 1) {
      expect_close(y.result(), yd, 3e-6, "y");
      expect_close(rstd.result(), rd, 3e-6, "rstd");
    } else {
      expect_close(y.result(), bd.size() == 1 ? std::vector<double>(5, bd[0]) : yd, 3e-6, "y");
    }
    expect_close(mean.result(), md, 1e-6, "mean");
  }
}

// A large eps: with a small one two elements normalise to +-1 whatever they are, and dx is all rounding.
TEST_P(RowOpsTest, LayerNormGradient) {
  for (const std::int64_t width : kWidths) {
    SCOPED_TRACE(width);
    const std::int64_t rows = 4;
    const Tensor x = random_tensor({rows, width}, 1), weight = random_tensor({width}, 2),
                 dy = random_tensor({rows, width}, 3);
    const std::vector<double> xd = to_double(x), wd = to_double(weight), dyd = to_double(dy), zero(xd.size());
    std::vector<double> yd(xd.size()), md(rows), rd(rows), dx(xd.size()), dw(wd.size(), 0.5),
        db(wd.size(), 0.5);
    reference::layer_norm(xd.data(), rows, width, wd.data(), zero.data(), 0.25f, yd.data(), md.data(),
                          rd.data());
    reference::layer_norm_gradient(xd.data(), wd.data(), md.data(), rd.data(), dyd.data(), rows, width,
                                   dx.data(), dw.data(), db.data());
    Tensor mean({rows}), rstd({rows});
    for (std::int64_t r = 0; r < rows; ++r) {
      mean[r] = static_cast<float>(md[static_cast<std::size_t>(r)]);
      rstd[r] = static_cast<float>(rd[static_cast<std::size_t>(r)]);
    }
    Guarded got({rows, width});
    Tensor dweight = Tensor::full({width}, 0.5f), dbias = Tensor::full({width}, 0.5f);
    ops().layer_norm_gradient(x.data(), weight.data(), mean.data(), rstd.data(), dy.data(), rows, width,
                              got.data(), dweight.data(), dbias.data());
    expect_close(got.result(), dx, width == 1 ? 1e-6 : 5e-6, "dx");
    expect_close(dweight, dw, 3e-6, "dweight");
    expect_close(dbias, db, 3e-6, "dbias");
  }
}

TEST_P(RowOpsTest, GeluFromTailToTail) {
  std::vector<float> points;
  for (int i = -1600; i <= 1600; ++i) points.push_back(static_cast<float>(i) / 100.0f);
  points.insert(points.end(), {-0.0f, 1e-30f, -1e-30f, 80.0f, -80.0f, 1e30f, -1e30f});
  const std::int64_t n = static_cast<std::int64_t>(points.size());
  Guarded y({n}), slope({n});
  const std::vector<float> ones(points.size(), 1.0f);
  ops().gelu(points.data(), n, y.data());
  ops().gelu_gradient(points.data(), ones.data(), n, slope.data());
  const Tensor got = y.result(), got_slope = slope.result();
  for (std::int64_t i = 0; i < n; ++i) {
    const double x = points[static_cast<std::size_t>(i)], area = 0.5 * std::erfc(-x * std::sqrt(0.5));
    const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * std::acos(-1.0));
    // Relative where the exponent's rounding allows: x^2 / 2 is off by 2^-24 of itself.
    const double relative = 4e-7 + 1e-7 * std::min(x * x, 175.0);
    EXPECT_NEAR(got[i], x * area, std::abs(x * area) * relative + 1e-37) << x;
    EXPECT_NEAR(got_slope[i], area + x * density, 3e-7) << x;
  }
}

TEST_P(RowOpsTest, Softmax) {
  for (const std::int64_t width : kWidths) {
    SCOPED_TRACE(width);
    const std::int64_t rows = 6;
    Tensor x = random_tensor({rows, width}, 1, 8.0f);
    for (std::int64_t c = 0; c < width; ++c) x[width + c] = -kInf;                  // sees nothing
    for (std::int64_t c = 0; c < width; c += 2) x[2 * width + c] = -kInf;           // half masked
    for (std::int64_t c = 0; c < width; ++c) x[3 * width + c] += 1e4f;              // large, all alike
    for (std::int64_t c = 0; c < width; ++c) x[4 * width + c] -= c == 0 ? 0 : 120;  // vanishing
    std::vector<double> xd = to_double(x), want(xd.size());
    reference::softmax(xd.data(), rows, width, want.data());
    Guarded y({rows, width});
    ops().softmax(x.data(), rows, width, y.data());
    const Tensor got = y.result();
    for (std::int64_t i = 0; i < got.numel(); ++i)
      EXPECT_NEAR(got[i], want[static_cast<std::size_t>(i)], 1e-6 * want[static_cast<std::size_t>(i)] + 1e-37)
          << i;
    for (std::int64_t c = 0; c < width; ++c) EXPECT_EQ(got[width + c], 0.0f);
    for (std::int64_t c = 0; c < width; c += 2) EXPECT_EQ(got[2 * width + c], 0.0f);
  }
}

TEST_P(RowOpsTest, SoftmaxGradient) {
  for (const std::int64_t width : kWidths) {
    SCOPED_TRACE(width);
    const Tensor y = random_tensor({3, width}, 1), dy = random_tensor({3, width}, 2);
    const std::vector<double> yd = to_double(y), dyd = to_double(dy);
    std::vector<double> want(yd.size());
    reference::softmax_gradient(yd.data(), dyd.data(), 3, width, want.data());
    Guarded dx({3, width});
    ops().softmax_gradient(y.data(), dy.data(), 3, width, dx.data());
    expect_close(dx.result(), want, 2e-6, "dx");
  }
}

TEST_P(RowOpsTest, SwiGlu) {
  for (const std::int64_t half : kWidths) {
    SCOPED_TRACE(half);
    const Tensor x = random_tensor({3, 2 * half}, 1, 12.0f), dy = random_tensor({3, half}, 2);
    const std::vector<double> xd = to_double(x), dyd = to_double(dy);
    std::vector<double> want(dyd.size()), want_dx(xd.size());
    reference::swiglu(xd.data(), 3, half, want.data());
    reference::swiglu_gradient(xd.data(), dyd.data(), 3, half, want_dx.data());
    Guarded y({3, half}), dx({3, 2 * half});
    ops().swiglu(x.data(), 3, half, y.data());
    ops().swiglu_gradient(x.data(), dy.data(), 3, half, dx.data());
    expect_close(y.result(), want, 2e-6, "y");
    expect_close(dx.result(), want_dx, 2e-6, "dx");
  }
}

TEST_P(RowOpsTest, SwiGluOfHugeGatesIsFinite) {
  const std::vector<float> x = {-200.0f, 200.0f, 3.0f, 3.0f};
  float y[2];
  ops().swiglu(x.data(), 1, 2, y);
  EXPECT_NEAR(y[0], 0.0f, 1e-30f);
  EXPECT_FLOAT_EQ(y[1], 600.0f);
}

TEST_P(RowOpsTest, ScalesSumsAndAdds) {
  for (const std::int64_t width : kWidths) {
    SCOPED_TRACE(width);
    const Tensor x = random_tensor({3, width}, 1), residual = random_tensor({3, width}, 2),
                 gamma = random_tensor({width}, 3);
    Guarded scaled({3, width}), added({3, width}), half({3, width});
    ops().scale_rows(x.data(), gamma.data(), nullptr, 3, width, scaled.data());
    ops().scale_rows(x.data(), gamma.data(), residual.data(), 3, width, added.data());
    ops().add(x.data(), residual.data(), 0.5f, 3 * width, half.data());
    Tensor sum = gamma.clone(), dot = gamma.clone();
    ops().sum_rows(x.data(), nullptr, 3, width, sum.data());
    ops().sum_rows(x.data(), residual.data(), 3, width, dot.data());
    const Tensor got_scaled = scaled.result(), got_added = added.result(), got_half = half.result();
    for (std::int64_t c = 0; c < width; ++c) {
      double want_sum = gamma[c], want_dot = gamma[c];
      for (std::int64_t i = c; i < 3 * width; i += width) {
        const double v = x[i], r = residual[i], g = gamma[c];
        EXPECT_NEAR(got_scaled[i], g * v, 1e-7);
        EXPECT_NEAR(got_added[i], g * v + r, 2e-7);
        EXPECT_NEAR(got_half[i], 0.5 * (v + r), 1e-7);
        want_sum += v;
        want_dot += v * r;
      }
      EXPECT_NEAR(sum[c], want_sum, 5e-7);
      EXPECT_NEAR(dot[c], want_dot, 5e-7);
    }
  }
}

TEST_P(RowOpsTest, WorksInPlace) {
  const Tensor x = random_tensor({2, 37}, 1, 4.0f);
  Tensor want(x.shape()), got = x.clone();
  ops().gelu(x.data(), 74, want.data());
  ops().gelu(got.data(), 74, got.data());
  EXPECT_TRUE(std::equal(want.values().begin(), want.values().end(), got.values().begin()));
  got = x.clone();
  ops().softmax(x.data(), 2, 37, want.data());
  ops().softmax(got.data(), 2, 37, got.data());
  EXPECT_TRUE(std::equal(want.values().begin(), want.values().end(), got.values().begin()));
}

// The templates' own gradients against the complex step of their forwards.
TEST(RowOpsReference, GradientsAreTheDerivatives) {
  const std::int64_t rows = 2, width = 5;
  const Tensor x = random_tensor({rows, width}, 1), weight = random_tensor({width}, 2),
               dy = random_tensor({rows, width}, 3);
  const std::vector<double> xd = to_double(x), wd = to_double(weight), dyd = to_double(dy), zero(xd.size());
  const auto dot = [&](const auto& y, std::size_t n) {
    typename std::decay_t<decltype(y)>::value_type sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += y[i] * dyd[i];
    return sum;
  };
  using C = std::complex<double>;
  const std::vector<C> wc(wd.begin(), wd.end()), zc(zero.begin(), zero.end());
  std::vector<double> y(xd.size()), mean(rows), rstd(rows), dx(xd.size());
  reference::layer_norm(xd.data(), rows, width, wd.data(), zero.data(), 1e-5f, y.data(), mean.data(),
                        rstd.data());
  reference::layer_norm_gradient<double>(xd.data(), wd.data(), mean.data(), rstd.data(), dyd.data(), rows,
                                         width, dx.data(), nullptr, nullptr);
  const auto norm = [&](const std::vector<C>& z) {
    std::vector<C> out(z.size());
    reference::layer_norm<C>(z.data(), rows, width, wc.data(), zc.data(), 1e-5f, out.data(), nullptr,
                             nullptr);
    return dot(out, out.size());
  };
  const std::vector<double> norm_want = testing::complex_step_gradient(norm, xd);
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(dx[i], norm_want[i], 1e-12);

  reference::softmax(xd.data(), rows, width, y.data());
  reference::softmax_gradient(y.data(), dyd.data(), rows, width, dx.data());
  const auto soft = [&](const std::vector<C>& z) {
    std::vector<C> out(z.size());
    reference::softmax(z.data(), rows, width, out.data());
    return dot(out, out.size());
  };
  const std::vector<double> soft_want = testing::complex_step_gradient(soft, xd);
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(dx[i], soft_want[i], 1e-12);

  std::vector<double> gate_dx(xd.size());  // one row [a | b] of 2 x 5
  reference::swiglu_gradient(xd.data(), dyd.data(), 1, width, gate_dx.data());
  const auto gate = [&](const std::vector<C>& z) {
    std::vector<C> out(static_cast<std::size_t>(width));
    reference::swiglu(z.data(), 1, width, out.data());
    return dot(out, out.size());
  };
  const std::vector<double> gate_want = testing::complex_step_gradient(gate, xd);
  for (std::size_t i = 0; i < gate_dx.size(); ++i) EXPECT_NEAR(gate_dx[i], gate_want[i], 1e-12);
}

}  // namespace row_ops_test
}  // namespace locant
