#include "ops/conv_transpose2d.h"

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace conv_transpose2d_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

struct Sizes {
  std::int64_t B, C, H, W, out, kh, kw;
  ConvTranspose2dOptions o;

  std::int64_t rows() const { return (H - 1) * o.stride_rows - 2 * o.pad_rows + kh + o.output_pad_rows; }
  std::int64_t columns() const {
    return (W - 1) * o.stride_columns - 2 * o.pad_columns + kw + o.output_pad_columns;
  }

  // Every pixel stamps its kernel into the result.
  template <class T>
  std::vector<T> operator()(const testing::Values<T>& in) const {
    std::vector<T> y(at(B * out * rows() * columns()));
    for (std::size_t i = 0; i < y.size() && in.size() > 2; ++i)
      y[i] = in[2][i / at(rows() * columns()) % at(out)];
    const std::int64_t outs = out / o.groups, ins = C / o.groups;
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t c = 0; c < C; ++c)
        for (std::int64_t p = 0; p < H * W; ++p)
          for (std::int64_t n = 0; n < outs; ++n)
            for (std::int64_t k = 0; k < kh * kw; ++k) {
              const std::int64_t r = p / W * o.stride_rows - o.pad_rows + k / kw;
              const std::int64_t q = p % W * o.stride_columns - o.pad_columns + k % kw;
              if (r < 0 || r >= rows() || q < 0 || q >= columns()) continue;
              y[at(((b * out + c / ins * outs + n) * rows() + r) * columns() + q)] +=
                  in[0][at((b * C + c) * H * W + p)] * in[1][at((c * outs + n) * kh * kw + k)];
            }
    return y;
  }
};

Tensor input(const Sizes& s) { return random_tensor({s.B, s.C, s.H, s.W}, 1); }
Tensor kernel(const Sizes& s) { return random_tensor({s.C, s.out / s.o.groups, s.kh, s.kw}, 2); }

TEST(ConvTranspose2d, ResultAndGradients) {
  //  B, C, H, W, out, kh, kw; stride, padding, output padding, groups
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1, 1, 1, {}},
                         {2, 3, 4, 5, 2, 3, 3, {1, 1, 1, 1, 0, 0, 1}},
                         {1, 4, 3, 2, 5, 2, 2, {2, 2, 0, 0, 0, 0, 1}},  // a patch a pixel
                         {1, 3, 3, 4, 4, 3, 4, {2, 3, 1, 0, 1, 2, 1}},  // everything differs by axis
                         {2, 4, 3, 3, 6, 3, 3, {2, 2, 1, 1, 1, 1, 2}},  // groups
                         {1, 5, 3, 4, 5, 5, 3, {2, 1, 2, 1, 1, 0, 5}},  // depthwise
                         {1, 2, 2, 2, 3, 2, 1, {4, 3, 0, 0, 3, 2, 1}},  // gaps that no kernel reaches
                         {1, 17, 1, 2, 17, 2, 3, {1, 1, 0, 1, 0, 0, 1}}}) {
    SCOPED_TRACE("kernel " + std::to_string(s.kh) + " x " + std::to_string(s.kw));
    const auto without = [&](const Context& ctx, const auto& v) {
      return conv_transpose2d(ctx, v[0], v[1], Var(), s.o);
    };
    EXPECT_EQ(without({}, std::vector<Var>{Var(input(s)), Var(kernel(s))}).shape(),
              (Shape{s.B, s.out, s.rows(), s.columns()}));
    expect_op("without bias", {input(s), kernel(s)}, without, s);
    expect_op(
        "with bias", {input(s), kernel(s), random_tensor({s.out}, 3)},
        [&](const Context& ctx, const auto& v) { return conv_transpose2d(ctx, v[0], v[1], v[2], s.o); }, s);
  }
}

TEST(ConvTranspose2d, KnownNumbers) {
  // Stride 2 leaves each pixel's 2 x 2 block for itself.
  const Var x(Tensor::from({1, 1, 1, 2}, std::vector<float>{2, -1}));
  const Var weight(Tensor::from({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4}));
  const Tensor y = conv_transpose2d({}, x, weight, {}, {.stride_rows = 2, .stride_columns = 2}).value();
  const std::vector<float> want = {2, 4, -1, -2, 6, 8, -3, -4};
  EXPECT_TRUE(std::equal(y.values().begin(), y.values().end(), want.begin(), want.end()));
}

TEST(ConvTranspose2d, CloseForAnyThreads) {
  const Sizes s{2, 8, 15, 13, 8, 3, 3, {2, 2, 1, 1, 1, 1, 2}};
  const std::vector<Tensor> inputs = {input(s), kernel(s), random_tensor({s.out}, 3)};
  const auto op = [&](const Context& ctx, const auto& v) {
    return conv_transpose2d(ctx, v[0], v[1], v[2], s.o);
  };
  const Tensor dy = random_tensor({s.B, s.out, s.rows(), s.columns()}, 9);
  const int before = num_threads();
  std::vector<Tensor> first;
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    const auto got = testing::run_op(op, inputs, dy, {true, true, true});
    const auto again = testing::run_op(op, inputs, dy, {true, true, true});
    if (threads == 1) first = got;
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(std::equal(got[i].values().begin(), got[i].values().end(), again[i].values().begin()));
      testing::expect_close(got[i], testing::to_double(first[i]), 3e-6, "gradient");
    }
  }
  set_num_threads(before);
}

TEST(ConvTranspose2d, BadInputsAreErrors) {
  const Shape x{1, 4, 5, 5}, weight{4, 3, 3, 3};
  const auto bad = [](const Shape& from, const Shape& taps, const Var& bias,
                      const ConvTranspose2dOptions& o) {
    EXPECT_THROW(conv_transpose2d({}, Var(Tensor::zeros(from)), Var(Tensor::zeros(taps)), bias, o), Error)
        << from.str() << " " << taps.str();
  };
  bad({4, 5, 5}, weight, {}, {});
  bad(x, {4, 3, 3}, {}, {});
  bad(x, {5, 3, 3, 3}, {}, {});
  bad(x, {4, 3, 0, 3}, {}, {});
  bad({1, 4, 0, 5}, weight, {}, {});
  bad(x, weight, Var(Tensor::zeros({4})), {});
  bad(x, weight, Var(Tensor::zeros({3})), {.groups = 2});  // 6 outputs
  bad(x, weight, {}, {.groups = 3});
  bad(x, weight, {}, {.groups = 0});
  bad(x, weight, {}, {.stride_rows = 0});
  bad(x, weight, {}, {.stride_columns = 0});
  bad(x, weight, {}, {.pad_rows = -1});
  bad(x, weight, {}, {.pad_columns = 4});  // nothing is left
  bad(x, weight, {}, {.output_pad_rows = 1});
  bad(x, weight, {}, {.stride_columns = 2, .output_pad_columns = 2});
  bad(x, weight, {}, {.output_pad_columns = -1});
  bad(x, weight, {}, {.stride_rows = INT64_MAX});
  bad(x, weight, {}, {.pad_columns = INT64_MAX});
}

}  // namespace conv_transpose2d_test
}  // namespace locant
