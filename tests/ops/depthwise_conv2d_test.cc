#include "ops/depthwise_conv2d.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/conv2d.h"
#include "ops/conv2d_reference.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace depthwise_conv2d_test {

using reference::ConvShape;
using testing::random_tensor;

DepthwiseShape shape_of(const ConvShape& s) {
  return {s.B, s.C, s.out / s.C, ConvAxis(s.H, s.rows, s.kh, s.stride_rows, 1, s.pad_rows),
          ConvAxis(s.W, s.columns, s.kw, s.stride_columns, 1, s.pad_columns)};
}

// B, C, H, W, out, kh, kw, rows, columns, groups, strides, padding.
const ConvShape kShapes[] = {{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},
                             {2, 3, 5, 6, 3, 3, 3, 5, 6, 3, 1, 1, 1, 1},
                             {2, 17, 7, 7, 17, 7, 7, 7, 7, 17, 1, 1, 3, 3},
                             {1, 2, 9, 20, 6, 3, 5, 5, 10, 2, 2, 2, 1, 2},  // three outputs a channel
                             {2, 2, 11, 13, 4, 2, 1, 3, 5, 2, 4, 3, 0, 1},  // pixels that nobody reads
                             {1, 2, 2, 3, 2, 2, 3, 9, 5, 2, 1, 1, 4, 2},    // rows of padding alone
                             {1, 2, 40, 33, 2, 4, 3, 13, 31, 2, 3, 1, 1, 0}};

TEST(DepthwiseConv2d, EveryPassAgainstEveryProduct) {
  for (const ConvShape& s : kShapes) {
    const Tensor x = random_tensor({s.B, s.C, s.H, s.W}, 1),
                 weight = random_tensor({s.out, 1, s.kh, s.kw}, 2), bias = random_tensor({s.out}, 3),
                 dy = random_tensor({s.B, s.out, s.rows, s.columns}, 4);
    SCOPED_TRACE(x.shape().str() + weight.shape().str());
    std::vector<double> y = testing::to_double(dy), dx(static_cast<std::size_t>(x.numel())),
                        dweight(static_cast<std::size_t>(weight.numel()));
    for (std::size_t i = 0; i < y.size(); ++i)
      y[i] = static_cast<double>(bias[static_cast<std::int64_t>(i) / (s.rows * s.columns) % s.out]);
    reference::for_each_product(s, 0, s.B, [&](auto i, auto k, auto o) {
      y[static_cast<std::size_t>(o)] += static_cast<double>(x[i]) * static_cast<double>(weight[k]);
      dx[static_cast<std::size_t>(i)] += static_cast<double>(dy[o]) * static_cast<double>(weight[k]);
      dweight[static_cast<std::size_t>(k)] += static_cast<double>(dy[o]) * static_cast<double>(x[i]);
    });
    const int before = num_threads();
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      // NaN where a pass would leave a number unwritten.
      Tensor got_y = Tensor::full(dy.shape(), std::nanf("")), got_dx = Tensor::full(x.shape(), std::nanf("")),
             got_dweight = Tensor::full(weight.shape(), std::nanf(""));
      depthwise_forward(shape_of(s), x.data(), weight.data(), bias.data(), got_y.data());
      depthwise_input_gradient(shape_of(s), weight.data(), dy.data(), got_dx.data());
      depthwise_weight_gradient(shape_of(s), x.data(), dy.data(), got_dweight.data());
      testing::expect_close(got_y, y, 3e-6, "y");
      testing::expect_close(got_dx, dx, 3e-6, "dx");
      testing::expect_close(got_dweight, dweight, 3e-6, "dweight");
    }
    set_num_threads(before);
  }
}

TEST(DepthwiseConv2d, PhasesOfAnAxis) {
  // Seven inputs, three taps two apart, stride 3, one zero in front: taps read 3 j - 1, 3 j + 1, 3 j + 3.
  const ConvAxis axis(7, 2, 3, 3, 2, 1);
  EXPECT_EQ(axis.start, (std::vector<std::int64_t>{-1, 1, 0}));
  EXPECT_EQ(axis.phase, (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(axis.shift, (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(axis.extent, 3);
  EXPECT_EQ(axis.first(0), 1);  // the zero
  EXPECT_EQ(axis.last(0), 3);   // 2, 5
  EXPECT_EQ(axis.first(1), 0);
  EXPECT_EQ(axis.last(1), 2);  // 1, 4
  EXPECT_EQ(axis.last(2), 3);  // 0, 3, 6
}

TEST(PackedDepthwise, IsConv2dOfTheGrid) {
  for (const ConvShape& s : kShapes) {
    if (s.out != s.C) continue;
    const Tensor weight = random_tensor({s.C, 1, s.kh, s.kw}, 2), bias = random_tensor({s.C}, 3);
    SCOPED_TRACE(weight.shape().str());
    for (const std::int64_t prefix : {0, 2}) {
      const Tensor x = random_tensor({s.B, prefix + s.H * s.W, s.C}, 1);
      const Var images = tokens_to_images({}, select_rows({}, Var(x), prefix, x.dim(1)), s.H, s.W);
      const Conv2dOptions options{s.stride_rows, s.stride_columns, s.pad_rows, s.pad_columns, s.C};
      const Var y = conv2d({}, images, Var(weight), Var(bias), options);
      const PackedDepthwise packed(weight, bias, options);
      for (const Activation act : {Activation::none, Activation::gelu}) {
        const Var grid = images_to_tokens({}, act == Activation::gelu ? gelu({}, y) : y);
        const Var want = prefix == 0 ? grid : concat_rows({}, {select_rows({}, Var(x), 0, prefix), grid});
        const Tensor got = packed.forward(x, s.H, s.W, prefix, act);
        EXPECT_EQ(got.shape(), want.shape());
        testing::expect_close(got, testing::to_double(want.value()), 3e-6, "y");
      }
    }
  }
}

TEST(PackedDepthwise, RefusesWhatDoesNotFit) {
  const Tensor weight = Tensor::zeros({4, 1, 3, 3});
  const auto packed_by = [](const Tensor& w, const Tensor& b, const Conv2dOptions& o) {
    return PackedDepthwise(w, b, o);
  };
  EXPECT_THROW(packed_by(Tensor::zeros({4, 2, 3, 3}), Tensor(), {.groups = 4}), Error);
  EXPECT_THROW(packed_by(weight, Tensor(), {.groups = 2}), Error);
  EXPECT_THROW(packed_by(weight, Tensor::zeros({3}), {.groups = 4}), Error);
  EXPECT_THROW(packed_by(weight, Tensor(), {.stride_rows = 0, .groups = 4}), Error);
  const PackedDepthwise packed = packed_by(weight, Tensor(), {.groups = 4});
  EXPECT_THROW(packed.forward(Tensor::zeros({1, 12, 4}), 3, 5), Error);
  EXPECT_THROW(packed.forward(Tensor::zeros({1, 12, 3}), 3, 4), Error);
  EXPECT_THROW(packed.forward(Tensor::zeros({1, 8, 4}), 2, 4), Error);  // smaller than the kernel
  EXPECT_THROW(PackedDepthwise().forward(Tensor::zeros({1, 12, 4}), 3, 4), Error);
}

}  // namespace depthwise_conv2d_test
}  // namespace locant
