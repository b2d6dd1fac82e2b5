#include "ops/conv2d.h"

#include "core/error.h"
#include "ops/conv2d_reference.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace {

using testing::expect_op;
using testing::random_tensor;

TEST(Conv2d, ResultAndGradients) {
  using S = reference::ConvShape;
  for (const S& s : {S{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},       // one of everything
                     S{2, 3, 5, 6, 4, 3, 2, 5, 5, 1, 1, 1, 1, 0},       // odd sides, padding on one axis
                     S{1, 3, 8, 9, 5, 4, 4, 2, 2, 1, 4, 4, 0, 0},       // patches, with a remainder
                     S{2, 4, 7, 7, 6, 3, 3, 4, 4, 2, 2, 2, 1, 1},       // two groups, stride 2
                     S{1, 5, 6, 5, 5, 3, 3, 6, 5, 5, 1, 1, 1, 1},       // depthwise
                     S{1, 16, 2, 3, 32, 1, 1, 2, 3, 1, 1, 1, 0, 0}}) {  // pointwise
    const Conv2dOptions options{s.stride_rows, s.stride_columns, s.pad_rows, s.pad_columns, s.groups};
    const Tensor x = random_tensor({s.B, s.C, s.H, s.W}, 1),
                 weight = random_tensor({s.out, s.C / s.groups, s.kh, s.kw}, 2);
    const auto reference = [&](const auto& in) {
      using T = typename std::decay_t<decltype(in[0])>::value_type;
      std::vector<T> y(static_cast<std::size_t>(s.B * s.out * s.rows * s.columns));
      const std::size_t pixels = static_cast<std::size_t>(s.rows * s.columns);
      for (std::size_t i = 0; i < y.size() && in.size() > 2; ++i)
        y[i] = in[2][i / pixels % static_cast<std::size_t>(s.out)];
      reference::for_each_product(s, 0, s.B, [&](auto i, auto k, auto o) {
        y[static_cast<std::size_t>(o)] +=
            in[0][static_cast<std::size_t>(i)] * in[1][static_cast<std::size_t>(k)];
      });
      return y;
    };
    expect_op(
        "with bias", {x, weight, random_tensor({s.out}, 3)},
        [&](const Context& ctx, const auto& v) { return conv2d(ctx, v[0], v[1], v[2], options); }, reference);
    expect_op(
        "without bias", {x, weight},
        [&](const Context& ctx, const auto& v) { return conv2d(ctx, v[0], v[1], Var(), options); },
        reference);
  }
}

TEST(Conv2d, KnownNumbers) {
  // A 3 x 3 picture 1..9, kernel [[1, 0], [0, -1]]: every output is x[i, j] - x[i + 1, j + 1] = -4.
  const Tensor x = Tensor::from({1, 1, 3, 3}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Tensor weight = Tensor::from({1, 1, 2, 2}, std::vector<float>{1, 0, 0, -1});
  for (const float y : conv2d_forward(x, weight, Tensor(), {}).values()) EXPECT_FLOAT_EQ(y, -4.0f);
}

TEST(Conv2d, BadShapesAreErrors) {
  const Tensor x({1, 4, 5, 5}), weight({6, 4, 3, 3});
  EXPECT_THROW(conv2d_forward(Tensor({4, 5, 5}), weight, Tensor(), {}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor({5}), {}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.groups = 2}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.stride_rows = 0}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.pad_rows = -1}), Error);
  EXPECT_THROW(conv2d_forward(Tensor({1, 4, 2, 5}), weight, Tensor(), {}), Error);
  Tensor dx;
  EXPECT_THROW(conv2d_backward(x, weight, Tensor({1, 6, 5, 5}), {}, &dx, nullptr, nullptr), Error);
}

}  // namespace
}  // namespace locant
