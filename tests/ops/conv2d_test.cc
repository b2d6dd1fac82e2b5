#include "ops/conv2d.h"

#include <atomic>
#include <thread>

#include "core/error.h"
#include "ops/conv2d_reference.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace conv2d_test {

using testing::expect_op;
using testing::random_tensor;

TEST(Conv2d, ResultAndGradients) {
  using S = reference::ConvShape;
  for (const S& s : {S{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},       // one of everything
                     S{2, 3, 5, 6, 4, 3, 2, 5, 5, 1, 1, 1, 1, 0},       // odd sides, padding on one axis
                     S{1, 3, 8, 9, 5, 4, 4, 2, 2, 1, 4, 4, 0, 0},       // patches, with a remainder
                     S{2, 4, 7, 7, 6, 3, 3, 4, 4, 2, 2, 2, 1, 1},       // two groups, stride 2
                     S{2, 4, 9, 8, 6, 3, 2, 5, 3, 2, 2, 3, 1, 1},       // strides differ
                     S{1, 5, 6, 5, 5, 3, 3, 6, 5, 5, 1, 1, 1, 1},       // depthwise
                     S{2, 3, 7, 6, 6, 3, 2, 4, 7, 3, 2, 1, 1, 1},       // two outputs a channel
                     S{2, 3, 2, 1, 3, 5, 3, 2, 2, 3, 3, 4, 4, 3},       // taps beyond the picture
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

// Loops of its own over one channel at a time: y, dx, dweight in float64.
struct Depthwise {
  std::int64_t B, C, H, W, k, stride, pad, rows, columns;
  std::vector<double> y, dx, dweight;

  Depthwise(const Tensor& x, const Tensor& weight, const Tensor& dy, std::int64_t stride_, std::int64_t pad_)
      : B(x.dim(0)), C(x.dim(1)), H(x.dim(2)), W(x.dim(3)), k(weight.dim(2)), stride(stride_), pad(pad_) {
    rows = dy.dim(2);
    columns = dy.dim(3);
    y.resize(static_cast<std::size_t>(dy.numel()));
    dx.resize(static_cast<std::size_t>(x.numel()));
    dweight.resize(static_cast<std::size_t>(weight.numel()));
    for (std::int64_t plane = 0; plane < B * C; ++plane)
      for (std::int64_t i = 0; i < rows * columns; ++i)
        for (std::int64_t t = 0; t < k * k; ++t) {
          const std::int64_t h = i / columns * stride - pad + t / k, w = i % columns * stride - pad + t % k;
          if (h < 0 || h >= H || w < 0 || w >= W) continue;
          const std::int64_t from = (plane * H + h) * W + w, to = plane * rows * columns + i,
                             tap = plane % C * k * k + t;
          y[static_cast<std::size_t>(to)] += static_cast<double>(x[from]) * static_cast<double>(weight[tap]);
          dx[static_cast<std::size_t>(from)] +=
              static_cast<double>(dy[to]) * static_cast<double>(weight[tap]);
          dweight[static_cast<std::size_t>(tap)] +=
              static_cast<double>(dy[to]) * static_cast<double>(x[from]);
        }
  }
};

TEST(Conv2d, DepthwiseKernelsAndStrides) {
  for (const std::int64_t C : {2, 17, 32})
    for (const std::int64_t k : {3, 5, 7})
      for (const std::int64_t stride : {1, 2})
        for (const std::int64_t pad : {std::int64_t{0}, k / 2}) {
          SCOPED_TRACE("C " + std::to_string(C) + " k " + std::to_string(k) + " stride " +
                       std::to_string(stride) + " pad " + std::to_string(pad));
          const std::int64_t H = 14, W = 11;
          const Tensor x = random_tensor({2, C, H, W}, 1), weight = random_tensor({C, 1, k, k}, 2);
          const Tensor dy =
              random_tensor({2, C, (H + 2 * pad - k) / stride + 1, (W + 2 * pad - k) / stride + 1}, 3);
          const Depthwise want(x, weight, dy, stride, pad);
          const Conv2dOptions options{stride, stride, pad, pad, C};
          testing::expect_close(conv2d_forward(x, weight, Tensor(), options), want.y, 3e-6, "result");
          Tensor dx, dweight, dbias;
          conv2d_backward(x, weight, dy, options, &dx, &dweight, &dbias);
          testing::expect_close(dx, want.dx, 3e-6, "dx");
          testing::expect_close(dweight, want.dweight, 3e-6, "dweight");
          EXPECT_EQ(dbias.shape(), Shape{C});
        }
}

TEST(Conv2d, DepthwiseSameBitsForAnyThreads) {
  for (const std::int64_t stride : {1, 2})
    testing::expect_same_for_threads(
        "depthwise",
        {random_tensor({3, 17, 30, 29}, 1), random_tensor({17, 1, 3, 3}, 2), random_tensor({17}, 3)},
        [&](const Context& ctx, const auto& v) {
          return conv2d(ctx, v[0], v[1], v[2], {stride, stride, 1, 1, 17});
        });
  EXPECT_EQ(
      conv2d_forward(Tensor({0, 2, 4, 4}), Tensor::zeros({2, 1, 3, 3}), Tensor(), {.groups = 2}).shape(),
      (Shape{0, 2, 2, 2}));
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;  // nothing of such a size may be made or visited
  EXPECT_EQ(
      conv2d_forward(Tensor({0, 2, kHuge, 3}), Tensor::zeros({2, 1, 1, 3}), Tensor(), {.groups = 2}).shape(),
      (Shape{0, 2, kHuge, 1}));
}

TEST(Conv2d, KnownNumbers) {
  // A 3 x 3 picture 1..9, kernel [[1, 0], [0, -1]]: every output is x[i, j] - x[i + 1, j + 1] = -4.
  const Tensor x = Tensor::from({1, 1, 3, 3}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Tensor weight = Tensor::from({1, 1, 2, 2}, std::vector<float>{1, 0, 0, -1});
  for (const float y : conv2d_forward(x, weight, Tensor(), {}).values()) EXPECT_FLOAT_EQ(y, -4.0f);
}

// Bits of conv2d_forward, whatever pictures came before, from several threads at once too.
TEST(Conv2d, PackedIsTheSame) {
  for (const std::int64_t groups : {1, 2, 8}) {
    const Tensor weight = random_tensor({16, 8 / groups, 3, 3}, 1), bias = random_tensor({16}, 2);
    const Conv2dOptions options{.stride_rows = 2, .pad_rows = 1, .pad_columns = 1, .groups = groups};
    const PackedConv2d packed(weight, bias);
    const auto same = [&](std::int64_t side, int seed) {
      const Tensor x = random_tensor({1 + side % 2, 8, side, side + 3}, static_cast<std::uint64_t>(seed));
      const Tensor want = conv2d_forward(x, weight, bias, options), got = packed.forward(x, options);
      return want.shape() == got.shape() &&
             std::equal(want.values().begin(), want.values().end(), got.data());
    };
    for (const std::int64_t side : {7, 64, 7, 16, 33}) EXPECT_TRUE(same(side, 3)) << groups << " " << side;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 6; ++i) wrong += same(8 + 9 * ((t + i) % 3), t) ? 0 : 1;
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0) << groups;
    EXPECT_THROW(packed.forward(Tensor({1, 7, 5, 5}), options), Error);
    EXPECT_EQ(packed.forward(Tensor({0, 8, 5, 5}), options).dim(0), 0);
  }
}

TEST(Conv2d, BadShapesAreErrors) {
  const Tensor x({1, 4, 5, 5}), weight({6, 4, 3, 3});
  EXPECT_THROW(conv2d_forward(Tensor({4, 5, 5}), weight, Tensor(), {}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor({5}), {}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.groups = 2}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.stride_rows = 0}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.pad_rows = -1}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.pad_columns = INT64_MAX}), Error);
  EXPECT_THROW(conv2d_forward(x, weight, Tensor(), {.stride_rows = INT64_MAX, .pad_rows = 5}), Error);
  EXPECT_THROW(conv2d_forward(Tensor({1, 4, 2, 5}), weight, Tensor(), {}), Error);
  Tensor dx;
  EXPECT_THROW(conv2d_backward(x, weight, Tensor({1, 6, 5, 5}), {}, &dx, nullptr, nullptr), Error);
}

}  // namespace conv2d_test
}  // namespace locant
