#include "ops/talking_heads.h"

#include <cmath>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace talking_heads_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

struct Case {
  std::int64_t B, N, H, D;
};

// Pair by pair, all scores in memory. in: qkv, L, W, w. Without l, whose exact gradient of 0 no rounding
// gives.
template <class T>
std::vector<T> plain(const Case& c, const testing::Values<T>& in) {
  const std::int64_t width = 3 * c.H * c.D, pairs = c.N * c.N;
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.D));
  std::vector<T> out(at(c.B * c.N * c.H * c.D));
  const auto number = [&](std::int64_t b, std::int64_t n, std::int64_t part, std::int64_t h, std::int64_t d) {
    return in[0][at((b * c.N + n) * width + (part * c.H + h) * c.D + d)];
  };
  const auto mixed = [&](const std::vector<T>& x, std::size_t matrix, bool biased) {
    std::vector<T> y(x.size());
    for (std::int64_t h = 0; h < c.H; ++h)
      for (std::int64_t p = 0; p < pairs; ++p) {
        y[at(h * pairs + p)] = biased ? in[matrix + 1][at(h)] : T(0);
        for (std::int64_t g = 0; g < c.H; ++g)
          y[at(h * pairs + p)] += in[matrix][at(h * c.H + g)] * x[at(g * pairs + p)];
      }
    return y;
  };
  for (std::int64_t b = 0; b < c.B; ++b) {
    std::vector<T> scores(at(c.H * pairs));
    for (std::int64_t h = 0; h < c.H; ++h)
      for (std::int64_t p = 0; p < pairs; ++p)
        for (std::int64_t d = 0; d < c.D; ++d)
          scores[at(h * pairs + p)] += number(b, p / c.N, 0, h, d) * number(b, p % c.N, 1, h, d) * scale;
    scores = mixed(scores, 1, false);
    for (std::int64_t r = 0; r < c.H * c.N; ++r) {
      T total = 0;
      for (std::int64_t j = 0; j < c.N; ++j) {
        scores[at(r * c.N + j)] = std::exp(scores[at(r * c.N + j)]);
        total += scores[at(r * c.N + j)];
      }
      for (std::int64_t j = 0; j < c.N; ++j) scores[at(r * c.N + j)] /= total;
    }
    scores = mixed(scores, 2, true);
    for (std::int64_t h = 0; h < c.H; ++h)
      for (std::int64_t p = 0; p < pairs; ++p)
        for (std::int64_t d = 0; d < c.D; ++d)
          out[at(((b * c.N + p / c.N) * c.H + h) * c.D + d)] +=
              scores[at(h * pairs + p)] * number(b, p % c.N, 2, h, d);
  }
  return out;
}

TalkingHeads mix_of(const std::vector<Var>& v, const Var& before_bias) {
  return {v[1], before_bias, v[2], v[3]};
}

// 70 tokens: more than a tile of queries.
TEST(TalkingHeads, ResultAndGradients) {
  const int before = num_threads();
  for (const Case& c : {Case{1, 1, 1, 1}, Case{2, 5, 3, 4}, Case{1, 70, 2, 1}})
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      expect_op(
          "talking_heads",
          {random_tensor({c.B, c.N, 3 * c.H * c.D}, 1), random_tensor({c.H, c.H}, 2),
           random_tensor({c.H, c.H}, 4), random_tensor({c.H}, 5)},
          [&](const Context& ctx, const auto& v) {
            return talking_heads_attention(ctx, v[0], mix_of(v, Var(random_tensor({c.H}, 3))), c.H);
          },
          [&](const auto& in) { return plain(c, in); });
    }
  set_num_threads(before);
}

TEST(TalkingHeads, ScoresMayMoveTogether) {
  Tape tape;
  const Var bias(random_tensor({2}, 1), true);
  const std::vector<Var> v = {Var(random_tensor({1, 5, 12}, 2), true), Var(random_tensor({2, 2}, 3)),
                              Var(random_tensor({2, 2}, 4)), Var(random_tensor({2}, 5))};
  const Var y = talking_heads_attention({.tape = &tape}, v[0], mix_of(v, bias), 2);
  tape.backward({{y, Tensor::full(y.shape(), 1.0f)}});
  for (const float x : bias.grad().values()) EXPECT_EQ(x, 0.0f);
}

TEST(TalkingHeads, RefusesWhatDoesNotFit) {
  const TalkingHeads mix{Var(Tensor::zeros({2, 2})), Var(Tensor::zeros({2})), Var(Tensor::zeros({2, 2})),
                         Var(Tensor::zeros({2}))};
  EXPECT_THROW(talking_heads_attention({}, Var(Tensor::zeros({1, 3, 10})), mix, 2), Error);
  EXPECT_THROW(talking_heads_attention({}, Var(Tensor::zeros({1, 3, 18})), mix, 3), Error);
  EXPECT_EQ(talking_heads_attention({}, Var(Tensor::zeros({0, 3, 12})), mix, 2).shape(), (Shape{0, 3, 4}));
}

}  // namespace talking_heads_test
}  // namespace locant
