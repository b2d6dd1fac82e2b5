#include "ops/conv1d.h"

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace conv1d_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

struct Sizes {
  std::int64_t B, C, L, out, kernel;
  Conv1dOptions o;

  std::int64_t from() const { return C / o.groups; }
  std::int64_t length() const {
    std::int64_t t = 0;  // counts the places where the kernel fits
    while (t * o.stride + (kernel - 1) * o.dilation < L + o.pad_left + o.pad_right) ++t;
    return t;
  }

  template <class T>
  std::vector<T> operator()(const testing::Values<T>& in) const {
    std::vector<T> y;
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t n = 0; n < out; ++n)
        for (std::int64_t t = 0; t < length(); ++t) {
          T sum = in.size() > 2 ? in[2][at(n)] : T(0);
          const std::int64_t group = n * o.groups / out;
          for (std::int64_t c = 0; c < from(); ++c)
            for (std::int64_t k = 0; k < kernel; ++k) {
              const std::int64_t place = t * o.stride + k * o.dilation - o.pad_left;
              if (place >= 0 && place < L)
                sum += in[0][at((b * C + group * from() + c) * L + place)] *
                       in[1][at((n * from() + c) * kernel + k)];
            }
          y.push_back(sum);
        }
    return y;
  }
};

void check(const Sizes& s) {
  const Tensor x = random_tensor({s.B, s.C, s.L}, 1), weight = random_tensor({s.out, s.from(), s.kernel}, 2),
               bias = random_tensor({s.out}, 3);
  const auto with = [&](const Context& ctx, const auto& v) { return conv1d(ctx, v[0], v[1], v[2], s.o); };
  const auto without = [&](const Context& ctx, const auto& v) { return conv1d(ctx, v[0], v[1], Var(), s.o); };
  EXPECT_EQ(without({}, std::vector<Var>{Var(x), Var(weight)}).shape(), (Shape{s.B, s.out, s.length()}));
  expect_op("with bias", {x, weight, bias}, with, s);
  expect_op("without bias", {x, weight}, without, s);
}

TEST(Conv1d, StrideDilationGroupsPadding) {
  //  B, C, L, out, kernel; stride, dilation, groups, left, right
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1, {1, 1, 1, 0, 0}},
                         {2, 3, 17, 5, 3, {1, 1, 1, 1, 1}},
                         {1, 2, 17, 3, 4, {2, 1, 1, 0, 3}},
                         {2, 4, 17, 6, 3, {3, 2, 2, 2, 1}},
                         {1, 6, 9, 6, 5, {1, 2, 6, 4, 4}},    // depthwise
                         {1, 3, 7, 6, 2, {2, 3, 3, 1, 0}},    // two outputs a channel
                         {1, 2, 2, 2, 7, {1, 1, 1, 5, 6}},    // taps that never reach a number
                         {1, 2, 1, 2, 3, {4, 5, 1, 10, 11}},  // steps over all of x
                         {3, 17, 2, 1, 1, {1, 1, 1, 0, 0}}}) {
    SCOPED_TRACE("L " + std::to_string(s.L) + " kernel " + std::to_string(s.kernel));
    check(s);
  }
}

TEST(Conv1d, SameKeepsTheLength) {
  for (const std::int64_t kernel : {1, 2, 3, 4, 31}) {
    const Sizes s{2, 4, 17, 4, kernel, Conv1dOptions::same(kernel, 4)};
    EXPECT_EQ(s.o.groups, 4);
    EXPECT_EQ(s.length(), 17);
    check(s);
  }
  EXPECT_EQ(Conv1dOptions::same(4).pad_left, 1);
  EXPECT_EQ(Conv1dOptions::same(4).pad_right, 2);
  EXPECT_EQ(Conv1dOptions::same(4).groups, 1);
}

TEST(Conv1d, CausalSeesNothingLater) {
  for (const std::int64_t kernel : {1, 2, 3, 4}) {
    const Sizes s{1, 2, 17, 2, kernel, Conv1dOptions::causal(kernel, 2)};
    EXPECT_EQ(s.length(), 17);
    check(s);
    Tape tape;
    const Var x(random_tensor({1, 2, 17}, 1), true);
    const Var y = conv1d({.tape = &tape}, x, Var(random_tensor({2, 1, kernel}, 2)), {}, s.o);
    Tensor dy = Tensor::zeros(y.shape());
    dy[8] = 1.0f;
    tape.backward({{y, dy}});
    for (std::int64_t t = 0; t < 17; ++t) EXPECT_EQ(x.grad()[t] != 0.0f, t <= 8 && t > 8 - kernel) << t;
  }
}

TEST(Conv1d, SameBitsForAnyThreads) {
  for (const Conv1dOptions& o : {Conv1dOptions{2, 1, 1, 1, 1}, Conv1dOptions::same(3, 8)})
    testing::expect_same_for_threads(
        "conv1d",
        {random_tensor({3, 8, 501}, 1), random_tensor({8, 8 / o.groups, 3}, 2), random_tensor({8}, 3)},
        [&](const Context& ctx, const auto& v) { return conv1d(ctx, v[0], v[1], v[2], o); });
}

TEST(Conv1d, NoSamples) {
  const Var y = conv1d({}, Var(Tensor({0, 2, 5})), Var(Tensor::zeros({3, 2, 2})), {}, {});
  EXPECT_EQ(y.shape(), (Shape{0, 3, 4}));
}

TEST(Conv1d, BadInputsAreErrors) {
  const Shape x{1, 4, 9}, weight{6, 4, 3};
  const auto bad = [](const Shape& from, const Shape& taps, const Var& bias, const Conv1dOptions& o) {
    EXPECT_THROW(conv1d({}, Var(Tensor::zeros(from)), Var(Tensor::zeros(taps)), bias, o), Error);
  };
  bad({4, 9}, weight, {}, {});
  bad(x, {6, 4}, {}, {});
  bad(x, {6, 4, 0}, {}, {});
  bad(x, {6, 3, 3}, {}, {});
  bad(x, weight, Var(Tensor::zeros({5})), {});
  bad(x, weight, Var(Tensor::zeros({6, 1})), {});
  bad(x, weight, {}, {.stride = 0});
  bad(x, {4, 1, 3}, {}, {.stride = INT64_MAX, .groups = 4, .pad_left = 5});
  bad(x, weight, {}, {.dilation = 0});
  bad(x, weight, {}, {.groups = 0});
  bad(x, weight, {}, {.groups = 2});
  bad(x, {6, 1, 3}, {}, {.groups = 4});  // 6 outputs in 4 groups
  bad(x, weight, {}, {.pad_left = -1});
  bad(x, weight, {}, {.pad_right = -1});
  bad(x, weight, {}, {.dilation = 5});
  bad(x, weight, {}, {.dilation = INT64_MAX});
  bad(x, weight, {}, {.pad_left = INT64_MAX});
  // One output, between whose taps there are terabytes of nothing.
  bad(x, {4, 1, 3}, {}, {.dilation = std::int64_t{1} << 39, .groups = 4, .pad_left = std::int64_t{1} << 40});
  bad({1, 4, 2}, weight, {}, {});
}

}  // namespace conv1d_test
}  // namespace locant
