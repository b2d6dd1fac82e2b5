#include "ops/pool2d.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace pool2d_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

struct Sizes {
  Shape x;
  Pool2dOptions o;

  std::int64_t rows() const { return (x[2] + 2 * o.pad_rows - o.kernel_rows) / o.stride_rows + 1; }
  std::int64_t columns() const {
    return (x[3] + 2 * o.pad_columns - o.kernel_columns) / o.stride_columns + 1;
  }

  // Places in x that cell i of the result covers.
  std::vector<std::size_t> covered(std::int64_t i) const {
    std::vector<std::size_t> out;
    const std::int64_t plane = i / (rows() * columns()), r = i / columns() % rows(), c = i % columns();
    for (std::int64_t k = 0; k < o.kernel_rows * o.kernel_columns; ++k) {
      const std::int64_t h = r * o.stride_rows - o.pad_rows + k / o.kernel_columns;
      const std::int64_t w = c * o.stride_columns - o.pad_columns + k % o.kernel_columns;
      if (h >= 0 && h < x[2] && w >= 0 && w < x[3]) out.push_back(at((plane * x[2] + h) * x[3] + w));
    }
    return out;
  }
  std::int64_t cells() const { return x[0] * x[1] * rows() * columns(); }
};

// Kernel, stride, padding; by axis.
const Sizes kCases[] = {{{1, 1, 1, 1}, {1, 1, 1, 1, 0, 0}},  {{2, 3, 4, 6}, {2, 2, 2, 2, 0, 0}},
                        {{1, 2, 17, 5}, {3, 2, 2, 1, 1, 1}}, {{2, 1, 7, 7}, {3, 3, 1, 1, 1, 1}},
                        {{1, 2, 5, 2}, {2, 1, 3, 2, 0, 0}},  {{1, 1, 2, 1}, {4, 2, 1, 1, 2, 1}},
                        {{1, 17, 8, 9}, {3, 3, 2, 2, 1, 1}}, {{1, 2, 6, 7}, {1, 3, 4, 2, 0, 1}}};

TEST(MaxPool2d, ResultAndGradient) {
  for (const Sizes& s : kCases) {
    const auto op = [&](const Context& ctx, const auto& v) { return max_pool2d(ctx, v[0], s.o); };
    EXPECT_EQ(op({}, std::vector<Var>{Var(Tensor::zeros(s.x))}).shape(),
              (Shape{s.x[0], s.x[1], s.rows(), s.columns()}));
    const Tensor x = random_tensor(s.x, 1);
    Tensor below = x.clone();  // padding must not win
    for (float& v : below.values()) v -= 2.0f;
    for (const Tensor& input : {x, below})
      expect_op(s.x.str().c_str(), {input}, op, [&](const auto& in) {
        std::decay_t<decltype(in[0])> y;
        for (std::int64_t i = 0; i < s.cells(); ++i) {
          auto best = in[0][s.covered(i).at(0)];
          for (const std::size_t place : s.covered(i))
            if (std::real(in[0][place]) > std::real(best)) best = in[0][place];
          y.push_back(best);
        }
        return y;
      });
  }
}

TEST(MaxPool2d, FirstOfEqualsWins) {
  Tape tape;
  const Var x(Tensor::from({1, 1, 2, 4}, std::vector<float>{0, 5, 7, 7, 5, 5, 7, 0}), true);
  const Var y = max_pool2d({.tape = &tape}, x, {});
  tape.backward({{y, Tensor::from({1, 1, 1, 2}, std::vector<float>{2, 3})}});
  const std::vector<float> want = {0, 2, 3, 0, 0, 0, 0, 0};
  EXPECT_TRUE(std::equal(want.begin(), want.end(), x.grad().values().begin()));
}

TEST(MaxPool2d, NanStaysWhereverItIs) {
  for (std::int64_t place = 0; place < 4; ++place) {
    Tensor x = random_tensor({1, 1, 2, 2}, 1);
    x[place] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(max_pool2d({}, Var(x), {}).value()[0])) << place;
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(max_pool2d({}, Var(Tensor::full({1, 1, 2, 2}, -infinity)), {}).value()[0], -infinity);
}

TEST(AveragePool2d, ResultAndGradient) {
  for (Sizes s : kCases)
    for (const bool count_padding : {true, false}) {
      s.o.count_padding = count_padding;
      expect_op(
          s.x.str().c_str(), {random_tensor(s.x, 1)},
          [&](const Context& ctx, const auto& v) { return average_pool2d(ctx, v[0], s.o); },
          [&](const auto& in) {
            auto y = in[0];
            y.assign(at(s.cells()), 0);
            for (std::int64_t i = 0; i < s.cells(); ++i) {
              const auto places = s.covered(i);
              for (const std::size_t place : places) y[at(i)] += in[0][place];
              y[at(i)] /= count_padding ? static_cast<double>(s.o.kernel_rows * s.o.kernel_columns)
                                        : static_cast<double>(places.size());
            }
            return y;
          });
    }
}

TEST(AdaptiveAveragePool2d, ResultAndGradient) {
  // Cells that tile, overlap (5 to 3), repeat (3 to 7), are the whole picture.
  for (const auto& [shape, rows, columns] :
       std::vector<std::tuple<Shape, std::int64_t, std::int64_t>>{{{2, 3, 4, 6}, 2, 3},
                                                                  {{1, 2, 5, 7}, 3, 4},
                                                                  {{1, 1, 3, 2}, 7, 5},
                                                                  {{2, 2, 17, 1}, 1, 1},
                                                                  {{1, 1, 1, 1}, 1, 1},
                                                                  {{1, 2, 2, 17}, 1, 6},
                                                                  {{1, 17, 5, 5}, 2, 5}}) {
    const Shape x = shape;
    const std::int64_t R = rows, C = columns;
    expect_op(
        x.str().c_str(), {random_tensor(x, 1)},
        [&](const Context& ctx, const auto& v) { return adaptive_average_pool2d(ctx, v[0], R, C); },
        [&](const auto& in) {
          auto y = in[0];
          y.assign(at(x[0] * x[1] * R * C), 0);
          const auto first = [](std::int64_t i, std::int64_t cells, std::int64_t extent) {
            return static_cast<std::int64_t>(
                std::floor(static_cast<double>(i * extent) / static_cast<double>(cells)));
          };
          const auto last = [](std::int64_t i, std::int64_t cells, std::int64_t extent) {
            return static_cast<std::int64_t>(
                std::ceil(static_cast<double>((i + 1) * extent) / static_cast<double>(cells)));
          };
          for (std::int64_t p = 0; p < x[0] * x[1]; ++p)
            for (std::int64_t r = 0; r < R; ++r)
              for (std::int64_t c = 0; c < C; ++c) {
                double count = 0;
                auto& sum = y[at((p * R + r) * C + c)];
                for (std::int64_t h = first(r, R, x[2]); h < last(r, R, x[2]); ++h)
                  for (std::int64_t w = first(c, C, x[3]); w < last(c, C, x[3]); ++w, ++count)
                    sum += in[0][at((p * x[2] + h) * x[3] + w)];
                sum /= count;
              }
          return y;
        });
  }
}

TEST(AdaptiveAveragePool2d, LargeCellsKeepTheirDigits) {
  Tensor x = random_tensor({1, 2, 250, 251}, 1);
  std::vector<double> want(2);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    x[i] += 10.0f;
    want[at(i / (250 * 251))] += static_cast<double>(x[i]) / (250 * 251);
  }
  testing::expect_close(adaptive_average_pool2d({}, Var(x), 1, 1).value(), want, 3e-7, "mean");
}

TEST(Pool2d, SameBitsForAnyThreads) {
  const std::vector<Tensor> x = {random_tensor({3, 5, 33, 31}, 1)};
  const Pool2dOptions o{3, 3, 2, 2, 1, 1};
  testing::expect_same_for_threads("max", x,
                                   [&](const Context& c, const auto& v) { return max_pool2d(c, v[0], o); });
  testing::expect_same_for_threads(
      "average", x, [&](const Context& c, const auto& v) { return average_pool2d(c, v[0], o); });
  testing::expect_same_for_threads(
      "adaptive", x, [&](const Context& c, const auto& v) { return adaptive_average_pool2d(c, v[0], 4, 7); });
}

TEST(Pool2d, BadInputsAreErrors) {
  const auto bad = [](const Shape& shape, const Pool2dOptions& o) {
    EXPECT_THROW(max_pool2d({}, Var(Tensor::zeros(shape)), o), Error) << shape.str();
    EXPECT_THROW(average_pool2d({}, Var(Tensor::zeros(shape)), o), Error) << shape.str();
  };
  const Shape x{1, 2, 5, 5};
  bad({2, 5, 5}, {});
  bad(x, {.kernel_rows = 0});
  bad(x, {.kernel_columns = -1});
  bad(x, {.stride_rows = 0});
  bad(x, {.stride_columns = 0});
  bad(x, {.pad_rows = -1});
  bad(x, {.pad_columns = 2});  // more than half of 2
  bad(x, {.kernel_rows = 6});
  bad(x, {.kernel_rows = INT64_MAX, .pad_rows = INT64_MAX / 2 - 3});
  bad(x, {.pad_columns = INT64_MAX});
  bad({1, 2, 0, 5}, {.pad_rows = 1});  // a cell of nothing but padding
  bad({1, 2, 5, 0}, {.pad_columns = 1});
  const Var image(Tensor::zeros(x));
  EXPECT_THROW(adaptive_average_pool2d({}, Var(Tensor::zeros({2, 5, 5})), 1, 1), Error);
  EXPECT_THROW(adaptive_average_pool2d({}, Var(Tensor::zeros({1, 2, 0, 5})), 1, 1), Error);
  EXPECT_THROW(adaptive_average_pool2d({}, image, 0, 1), Error);
  EXPECT_THROW(adaptive_average_pool2d({}, image, 1, -1), Error);
  EXPECT_EQ(max_pool2d({}, Var(Tensor({0, 2, 5, 5})), {}).shape(), (Shape{0, 2, 2, 2}));
}

}  // namespace pool2d_test
}  // namespace locant
