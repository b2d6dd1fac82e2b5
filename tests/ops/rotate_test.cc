#include "ops/rotate.h"

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace rotate_test {

using testing::random_tensor;

struct Case {
  std::int64_t B, prefix, N, H, D, P;
  bool per_head;
  Pairing pairing;
};

constexpr Case kCases[] = {
    {1, 0, 1, 1, 2, 1, false, Pairing::neighbours}, {2, 0, 3, 2, 6, 3, false, Pairing::neighbours},
    {2, 2, 3, 2, 7, 2, false, Pairing::halves},     {2, 1, 4, 3, 4, 2, true, Pairing::neighbours},
    {3, 0, 2, 2, 5, 2, true, Pairing::halves},
};

Shape angle_shape(const Case& c) { return c.per_head ? Shape{c.N, c.H, c.P} : Shape{c.N, c.P}; }

auto op(const Case& c) {
  return [c](const Context& ctx, const std::vector<Var>& in) {
    return rotate(ctx, in[0], c.H, rotary_table(in[1]), c.pairing, c.prefix);
  };
}

// Channel a of a pair is (a + i b) e^(i angle)'s real part, b its imaginary one.
template <class T>
std::vector<T> plain(const Case& c, const testing::Values<T>& in) {
  std::vector<T> y = in[0];
  for (std::int64_t b = 0; b < c.B; ++b)
    for (std::int64_t n = 0; n < c.N; ++n)
      for (std::int64_t h = 0; h < c.H; ++h)
        for (std::int64_t p = 0; p < c.P; ++p) {
          const T angle = in[1][static_cast<std::size_t>(c.per_head ? (n * c.H + h) * c.P + p : n * c.P + p)];
          const std::int64_t row = ((b * (c.prefix + c.N) + c.prefix + n) * c.H + h) * c.D;
          const bool halves = c.pairing == Pairing::halves;
          const auto one = static_cast<std::size_t>(row + (halves ? p : 2 * p)),
                     two = static_cast<std::size_t>(row + (halves ? p + c.P : 2 * p + 1));
          y[one] = in[0][one] * std::cos(angle) - in[0][two] * std::sin(angle);
          y[two] = in[0][two] * std::cos(angle) + in[0][one] * std::sin(angle);
        }
  return y;
}

TEST(Rotate, ResultAndGradients) {
  for (const Case& c : kCases)
    testing::expect_op(
        "rotate",
        {random_tensor({c.B, c.prefix + c.N, c.H * c.D}, 1), random_tensor(angle_shape(c), 2, 3.0f)}, op(c),
        [&](const auto& in) { return plain(c, in); });
}

TEST(Rotate, PrefixAndChannelsBeyondThePairsStay) {
  const Tensor x = random_tensor({1, 3, 2 * 5}, 1);
  const RotaryTable table = rotary_table(Var(Tensor::full({2, 2}, 1.0f)));
  const Tensor y = rotate({}, Var(x), 2, table, Pairing::halves, 1).value();
  for (std::int64_t at = 0; at < x.numel(); ++at) EXPECT_EQ(x[at] == y[at], at < 10 || at % 5 == 4) << at;
}

TEST(Rotate, SameBitsOnAnyThreads) {
  const Case c{3, 1, 70, 2, 24, 12, false, Pairing::halves};
  testing::expect_same_for_threads(
      "rotate", {random_tensor({c.B, c.prefix + c.N, c.H * c.D}, 1), random_tensor(angle_shape(c), 2, 3.0f)},
      op(c));
}

TEST(Rotate, RefusesWhatDoesNotFit) {
  const auto turn = [](const Shape& x, const Shape& angles, std::int64_t heads, std::int64_t prefix) {
    rotate({}, Var(Tensor::zeros(x)), heads, rotary_table(Var(Tensor::zeros(angles))), Pairing::halves,
           prefix);
  };
  EXPECT_NO_THROW(turn({1, 3, 8}, {3, 2}, 2, 0));
  EXPECT_THROW(turn({1, 3, 8}, {3, 3}, 2, 0), Error);  // 3 pairs in a head of 4
  EXPECT_THROW(turn({1, 3, 8}, {2, 2}, 2, 0), Error);
  EXPECT_THROW(turn({1, 3, 8}, {3, 2}, 2, 1), Error);
  EXPECT_THROW(turn({1, 3, 8}, {4, 2}, 2, -1), Error);
  EXPECT_THROW(turn({1, 3, 8}, {3, 3, 2}, 2, 0), Error);
  EXPECT_THROW(turn({1, 3, 8}, {3, 2}, 3, 0), Error);
  EXPECT_THROW(turn({1, 3, 8}, {3, 2}, 0, 0), Error);
  EXPECT_THROW(turn({3, 8}, {3, 2}, 2, 0), Error);
  EXPECT_THROW(turn({1, 3, 8}, {3}, 2, 0), Error);
  EXPECT_THROW(rotary_table({}), Error);
  EXPECT_THROW(rotate({}, Var(Tensor::zeros({1, 3, 8})), 2, {}, Pairing::halves), Error);
}

}  // namespace rotate_test
}  // namespace locant
